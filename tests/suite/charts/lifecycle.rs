//! Installing, upgrading, rolling back and uninstalling, by the real helm. No controllers run here: helm does not
//! wait for pods; on a real node `make cluster` does.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{CHART, NAME, PRODUCTION, RELEASE, helm_as, render, set};
use crate::crds::installed;
use crate::support::apiserver::Cluster;
use crate::support::process::run;

/// One namespace to install in. Cluster-wide names hold it, so tests do not meet.
struct Site {
    cluster: &'static Cluster,
    namespace: String,
    kubeconfig: PathBuf,
}

impl Site {
    fn new() -> Self {
        let cluster = installed();
        Self { cluster, namespace: cluster.namespace(), kubeconfig: cluster.kubeconfig("admin") }
    }

    #[track_caller]
    fn helm(&self, args: &[&str], values: &[&str]) -> String {
        let fixed = ["--namespace", self.namespace.as_str()];
        helm_as(Some(&self.kubeconfig), &[args, &fixed, set(values).as_slice()].concat()).ok()
    }

    fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let args = ["-n", &self.namespace, "get", kind, name, "-o", "json", "--ignore-not-found"];
        serde_json::from_str(&self.cluster.kubectl("admin", &args).ok()).ok()
    }

    fn replicas(&self, part: &str) -> Value {
        self.get("deployment", &format!("{NAME}-{part}")).expect(part)["spec"]["replicas"].clone()
    }

    /// What the API server would change if it were applied again, with the two annotations that helm adds by itself.
    fn difference(&self, values: &[&str]) -> String {
        let mut objects = render(values, &["--namespace", &self.namespace, "--no-hooks"]);
        for object in &mut objects {
            let annotations = &mut object["metadata"]["annotations"];
            annotations["meta.helm.sh/release-name"] = json!(RELEASE);
            annotations["meta.helm.sh/release-namespace"] = json!(self.namespace);
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let manager = ["diff", "--server-side", "--force-conflicts", "--field-manager=helm", "-f", "-"];
        let output = self.cluster.kubectl_stdin("admin", &manager, &list);
        assert!(output.success || !output.stdout.is_empty(), "{}", output.stderr);
        output.stdout
    }
}

#[test]
fn install_upgrade_rollback_and_uninstall_run_through() {
    let site = Site::new();
    let said = site.helm(&["install", RELEASE, CHART], &[]);
    assert!(
        said.contains("STATUS: deployed")
            && said.contains("kubectl apply --server-side -f manifests/samples"),
        "{said}"
    );
    assert!(
        said.matches("\n     kubectl").count() + said.matches("\n     curl").count() == 3,
        "three commands:\n{said}"
    );
    assert_eq!(site.replicas("facade"), 1);

    site.helm(&["upgrade", RELEASE, CHART], &["facade.replicas=3", "operator.replicas=2"]);
    assert_eq!((site.replicas("facade"), site.replicas("operator")), (3.into(), 2.into()));
    site.helm(&["rollback", RELEASE, "1"], &[]);
    assert_eq!((site.replicas("facade"), site.replicas("operator")), (1.into(), 1.into()));

    // From Ditto to the engine and back: what belongs to the other goes.
    site.helm(&["upgrade", RELEASE, CHART], &["backend=engine"]);
    assert!(site.get("deployment", &format!("{NAME}-gateway")).is_none());
    assert!(site.get("statefulset", &format!("{NAME}-engine")).is_some());

    site.helm(&["uninstall", RELEASE], &[]);
    assert!(site.get("deployment", &format!("{NAME}-operator")).is_none());
    for definition in ["digitaltwins.twinops.dev", "twinpolicies.twinops.dev"] {
        assert!(site.get("crd", definition).is_some(), "definitions, and with them every twin, are kept");
    }
}

/// The chart before its last change: the last commit's when something of it is not committed, else that of the commit
/// before the one which changed it last, so that there always is a difference to go over.
fn chart_before(folder: &Path) -> PathBuf {
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-C", env!("CARGO_MANIFEST_DIR")]).args(args);
        run(command, "")
    };
    if git(&["rev-parse", "--is-shallow-repository"]).ok().trim() == "true" {
        // A shallow clone brings what it lacks from where it came.
        git(&["fetch", "--quiet", "--unshallow"]).ok();
    }
    let is_committed = git(&["status", "--porcelain", "--", "charts/twinops"]).ok().is_empty();
    let before = if is_committed {
        format!("{}~1", git(&["log", "-1", "--format=%H", "--", "charts/twinops"]).ok().trim())
    } else {
        "HEAD".to_owned()
    };
    let archive = folder.join("chart.tar");
    let path = archive.to_str().expect("a temporary folder in UTF-8");
    let taken = git(&["archive", "--output", path, &before, "charts/twinops"]);
    assert!(
        taken.success,
        "the chart of {before} is not in this clone: run `git fetch origin` ({})",
        taken.stderr.trim()
    );
    let mut unpack = Command::new("tar");
    unpack.arg("-xf").arg(&archive).arg("-C").arg(folder);
    run(unpack, "").ok();
    folder.join("charts/twinops")
}

#[test]
fn the_chart_of_the_commit_before_upgrades_to_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let before = chart_before(folder.path());
    let site = Site::new();
    for values in [&["backend=engine"][..], &[]] {
        site.helm(&["install", RELEASE, before.to_str().unwrap()], values);
        site.helm(&["upgrade", RELEASE, CHART], values);
        assert_eq!(site.difference(values), "", "the upgrade leaves what an install would make");
        site.helm(&["rollback", RELEASE, "1"], &[]);
        site.helm(&["uninstall", RELEASE], &[]);
    }
}

/// Argo CD and `helm diff` compare what is rendered with what is there: it must be the same, at once and later.
#[test]
fn nothing_differs_from_what_was_installed() {
    let site = Site::new();
    for values in [&[][..], &["backend=engine", "facade.autoscaling.enabled=true"]] {
        site.helm(&["upgrade", "--install", RELEASE, CHART], values);
        // As the HorizontalPodAutoscaler would.
        let scale = ["-n", &site.namespace, "scale", "deployment", &format!("{NAME}-facade"), "--replicas=4"];
        if values.contains(&"facade.autoscaling.enabled=true") {
            site.cluster.kubectl("admin", &scale).ok();
        }
        assert_eq!(site.difference(values), "", "{values:?}");
    }
}

/// The way of docs/operations.md back from a stop.
#[test]
fn what_kubectl_scaled_an_upgrade_sets_back() {
    let site = Site::new();
    let engine = ["backend=engine"];
    site.helm(&["install", RELEASE, CHART], &engine);
    let stop = ["-n", &site.namespace, "scale", "deployment", &format!("{NAME}-facade"), "--replicas=0"];
    site.cluster.kubectl("admin", &stop).ok();
    assert_eq!(site.replicas("facade"), 0);
    site.helm(&["upgrade", RELEASE, CHART, "--reset-then-reuse-values"], &[]);
    assert_eq!(site.replicas("facade"), 1);
    assert!(site.get("statefulset", &format!("{NAME}-engine")).is_some(), "with the values there were");
}

/// Helm was cut off in the middle: the objects of the first half are there, the release is `failed` or pending.
#[test]
fn f50_an_interrupted_install_is_completed_by_running_it_again() {
    let site = Site::new();
    // An object that the API server refuses stands in the way of the rest.
    let broken = ["backend=engine", "engine.persistence.size=much"];
    let fixed = ["--namespace", site.namespace.as_str()];
    let args = [&["install", RELEASE, CHART][..], &fixed, &set(&broken)].concat();
    let said = helm_as(Some(&site.kubeconfig), &args).refused();
    assert!(said.contains("quantities must match"), "{said}");
    assert!(site.get("serviceaccount", &format!("{NAME}-operator")).is_some(), "half of it is there");
    site.helm(&["upgrade", "--install", RELEASE, CHART], &["backend=engine"]);
    assert_eq!(site.difference(&["backend=engine"]), "");
    site.helm(&["uninstall", RELEASE], &[]);
}

#[test]
fn f50_definitions_follow_an_upgrade_when_they_are_told_to() {
    let cluster = Cluster::start().unwrap_or_else(|error| panic!("{error}"));
    let kubeconfig = cluster.kubeconfig("admin");
    let helm = |args: &[&str]| helm_as(Some(&kubeconfig), &[args, &["--namespace", "default"]].concat());
    let get = || cluster.kubectl("admin", &["get", "crd", "digitaltwins.twinops.dev", "-o", "json"]);
    // The way of crds/: made once, adopted later, kept at the end.
    helm(&["install", RELEASE, CHART, "--set", "backend=engine"]).ok();
    assert!(get().success);
    let upgrade = [
        "upgrade",
        RELEASE,
        CHART,
        "--skip-crds",
        "--take-ownership",
        "--set",
        "backend=engine,crds.templated=true",
    ];
    helm(&upgrade).ok();
    let definition: Value = serde_json::from_str(&get().ok()).unwrap();
    assert_eq!(definition["metadata"]["annotations"]["meta.helm.sh/release-name"], RELEASE);
    helm(&["uninstall", RELEASE]).ok();
    assert!(get().success, "kept");
    // And installed again over what was kept.
    helm(&[
        "install",
        RELEASE,
        CHART,
        "--skip-crds",
        "--take-ownership",
        "--set",
        "backend=engine,crds.templated=true",
    ])
    .ok();
}

/// The way of docs/operations.md from the defaults to production: helm alone is refused, the written steps are not.
#[test]
fn the_written_way_leads_from_defaults_to_production() {
    let site = Site::new();
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let (broker, claim) = (format!("{NAME}-mosquitto"), format!("data-{NAME}-mosquitto-0"));
    site.helm(&["install", RELEASE, CHART], &[]);
    // What the StatefulSet's controller and a provisioner would have made.
    let template = site.get("statefulset", &broker).unwrap()["spec"]["volumeClaimTemplates"][0].clone();
    let class = format!("{}-growing", site.namespace);
    let mut volume = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim, "namespace": site.namespace}, "spec": template["spec"].clone()});
    volume["spec"]["storageClassName"] = json!(class);
    volume["spec"]["volumeName"] = json!("disk");
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": class},
        "provisioner": "example.com/disk", "allowVolumeExpansion": true});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [class, volume]}).to_string();
    site.cluster.kubectl_stdin("admin", &["apply", "-f", "-"], &list).ok();
    let bound = ["-n", &site.namespace, "patch", "pvc", &claim, "--subresource=status", "--type=merge", "-p"];
    let status = r#"{"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}"#;
    site.cluster.kubectl("admin", &[&bound[..], &[status]].concat()).ok();

    // No definitions of the Prometheus operator are here.
    let production = [PRODUCTION, "metrics.podMonitor.enabled=false"];
    let upgrade = ["upgrade", RELEASE, CHART, "--namespace", &site.namespace];
    let said = helm_as(Some(&site.kubeconfig), &[&upgrade[..], &set(&production)].concat()).refused();
    assert!(said.contains("updates to statefulset spec for fields other than"), "{said}");

    let steps = page.split("### From defaults to production").nth(1).expect("the section");
    let steps = steps.split("```").nth(1).expect("its commands");
    let steps: Vec<_> = steps.lines().filter(|line| line.starts_with("kubectl -n twinops ")).collect();
    let mut done = 0;
    for line in
        steps.iter().filter(|line| line.contains(" delete statefulset ") || line.contains(" patch pvc "))
    {
        let line = line.split_once("kubectl -n twinops ").unwrap().1.replace("twinops-mosquitto", &broker);
        let (words, body) = line.split_once(" -p ").unwrap_or((&line, ""));
        let mut args = vec!["-n", &site.namespace];
        args.extend(words.split(' '));
        if !body.is_empty() {
            args.extend(["-p", body.trim_matches('\'')]);
        }
        let is_deletion = words.starts_with("delete ");
        if is_deletion {
            args.push("--wait=false");
        }
        site.cluster.kubectl("admin", &args).ok();
        if is_deletion {
            // As the garbage collector does, once the pods have no owner any more.
            let orphaned = r#"{"metadata": {"finalizers": null}}"#;
            let finish =
                ["-n", &site.namespace, "patch", "statefulset", &broker, "--type=merge", "-p", orphaned];
            site.cluster.kubectl("admin", &finish).ok();
        }
        done += 1;
    }
    assert_eq!(done, 2, "{steps:?}");
    site.helm(&["upgrade", RELEASE, CHART], &production);
    let anew = site.get("statefulset", &broker).unwrap()["spec"]["volumeClaimTemplates"][0].clone();
    let grown = site.get("pvc", &claim).unwrap();
    for storage in [&anew, &grown] {
        assert_eq!(storage["spec"]["resources"]["requests"]["storage"], "8Gi", "{storage}");
    }
    assert!(site.get("statefulset", &format!("{NAME}-mongodb")).is_none(), "it is outside now");
    assert_eq!(site.difference(&production), "");
}
