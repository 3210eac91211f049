//! The operator as a process, against a real API server and a Ditto.
//!
//! Every test has a Kubernetes namespace, a Ditto namespace and an operator of its own. Operator, device
//! and user are three subjects in Ditto; in Kubernetes the operator is the chart's `ServiceAccount`, with
//! the chart's rights and nothing else.
mod bridge;
mod changes;
mod claims;
mod deletion;
mod disjoint;
mod dry;
mod expired;
mod kept;
mod kills;
mod leader;
mod life;
mod metrics;
mod outage;
mod policies;
mod quiet;
mod rbac;
mod refused;
mod restored;
mod resync;
mod rows;
mod solo;
mod token;
mod views;
mod writes;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::charts::render;
use crate::crds::installed;
use crate::support::apiserver::Cluster;
use crate::support::ditto::{Ditto, Engine, STARTS_WITHIN, get, last_after, twinops};
use crate::support::process::{Child, Output};
use crate::support::wait_for;

/// For what the operator does at once; long, so that a busy machine fails no test.
pub const SOON: Duration = Duration::from_mins(1);
pub const OPERATOR: &str = "nginx:operator";
pub const DEVICE: &str = "nginx:device";
pub const USER: &str = "nginx:ditto";
/// Longer than any test: what is seen then was not a resync.
pub const NO_RESYNC: &str = "1h";
/// What a test waits for when it waits for a resync.
pub const QUICK_RESYNC: &str = "1s";

/// The name of the operator's account, and of its role in a namespace.
pub const ACCOUNT: &str = "shop-twinops-operator";
/// The namespace of the account.
pub const HOME: &str = "shop";

/// The objects of these kinds that the chart renders for the operator, installed in `namespace`.
pub fn chart(kinds: &[&str], namespace: &str) -> Vec<Value> {
    let objects = render(&["backend=engine", "secrets.ensure=false"], &["--namespace", namespace]);
    objects.into_iter().filter(|one| kinds.contains(&one["kind"].as_str().unwrap_or_default())).collect()
}

fn apply(cluster: &Cluster, objects: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    cluster
        .kubectl_stdin(
            "admin",
            &["apply", "--server-side", "--force-conflicts", "-f", "-"],
            &list.to_string(),
        )
        .ok();
}

/// A kubeconfig with a token of the operator's account, which is made if it is not there.
pub fn account(cluster: &Cluster) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _held = ONE_AT_A_TIME.lock();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}});
    apply(cluster, &[vec![namespace], chart(&["ServiceAccount"], HOME)].concat());
    cluster.kubeconfig_of_account(HOME, ACCOUNT)
}

/// Gives the account the chart's rights in the whole cluster.
pub fn let_operator_in(cluster: &Cluster) {
    account(cluster);
    apply(cluster, &chart(&["ClusterRole", "ClusterRoleBinding"], HOME));
}

/// Gives it the chart's rights in this namespace, as if it were at home there: the election.
pub fn let_operator_lead(cluster: &Cluster, namespace: &str) {
    let mut objects = chart(&["Role", "RoleBinding"], namespace);
    for object in &mut objects {
        if let Some(subjects) = object.get_mut("subjects").and_then(Value::as_array_mut) {
            subjects[0]["namespace"] = json!(HOME);
        }
    }
    apply(cluster, &objects);
}

fn cluster() -> &'static Cluster {
    static READY: LazyLock<&'static Cluster> = LazyLock::new(|| {
        let cluster = installed();
        let_operator_in(cluster);
        cluster
    });
    *READY
}

/// One Ditto for all tests; it ends with the process.
pub fn ditto() -> &'static Ditto {
    static ENGINE: LazyLock<(Engine, TempDir)> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        (Engine::start(folder.path(), None), folder)
    });
    &ENGINE.0.ditto
}

/// An operator process and what it is asked through.
pub struct Operator {
    pub child: Child,
    management: String,
}

impl Operator {
    pub fn start(cluster: &Cluster, ditto: &Ditto, folder: &Path, more: &[&str]) -> Self {
        Self::start_as(&account(cluster), ditto, folder, more)
    }

    pub fn start_as(kubeconfig: &Path, ditto: &Ditto, folder: &Path, more: &[&str]) -> Self {
        let mut command = twinops();
        command.args(["operator", "--management-listen", "127.0.0.1:0"]);
        if !more.contains(&"--log-level") {
            command.args(["--log-level", "debug"]);
        }
        command.arg("--kubeconfig").arg(kubeconfig);
        command.args(["--ditto-url", &ditto.url]).args(more);
        if !more.contains(&"--ditto-token-file") {
            command.args(["--ditto-pre-authenticated", OPERATOR]);
        }
        Self::of(&command, folder)
    }

    /// Of a command that says everything.
    pub fn of(command: &Command, folder: &Path) -> Self {
        static STARTS: AtomicU32 = AtomicU32::new(0);
        // A log of its own, so that the address in it is that of this start.
        let name = format!("operator-{}", STARTS.fetch_add(1, Ordering::Relaxed));
        let mut child = Child::start(&name, command, folder).expect("the operator starts");
        let management = wait_for("the operator's management port", STARTS_WITHIN, || {
            assert!(child.ended().is_none(), "the operator ended:\n{}", child.log());
            last_after(&child.log(), "operator: management ")
        });
        Self { child, management }
    }

    /// Where its management port is.
    pub fn management(&self) -> &str {
        &self.management
    }

    pub fn leads(&self) -> bool {
        self.get("/metrics").1.contains("twinops_leader 1")
    }

    /// The value of a metric, by its name with labels; 0 when it is not there yet.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = self.get("/metrics");
        let found = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or_default()
    }

    /// Passes over twins so far.
    pub fn passes(&self) -> u64 {
        self.metric("twinops_pass_duration_seconds_count{kind=\"DigitalTwin\"}")
    }

    /// Waits until everything was compared with Ditto twice more: one of them began after this call.
    #[track_caller]
    pub fn wait_resyncs(&self) {
        let whole = || self.metric("twinops_resyncs_total{result=\"whole\"}");
        let before = whole();
        wait_for("two more resyncs", SOON, || (whole() >= before + 2).then_some(()));
    }

    /// What the management port answers.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(&format!("{}{path}", self.management))
    }

    pub fn wait_ready(&mut self) {
        let ready = self.child.wait_ready(SOON, || get(&format!("{}/readyz", self.management)).0 == 200);
        if let Err(error) = ready {
            panic!("{:?} from /readyz; {error}", self.get("/readyz"));
        }
    }
}

/// What one test works with.
pub struct Desk {
    pub cluster: &'static Cluster,
    pub namespace: String,
    /// A Ditto namespace no other test uses.
    pub ditto_namespace: String,
    /// Goes before its folder, where its log is.
    pub operator: Operator,
    pub folder: TempDir,
}

impl Desk {
    /// With an operator that compares everything as often as `resync` says.
    pub fn new(resync: &str) -> Self {
        Self::with(resync, &[])
    }

    pub fn with(resync: &str, more: &[&str]) -> Self {
        Self::beside(ditto(), resync, more)
    }

    pub fn beside(ditto: &Ditto, resync: &str, more: &[&str]) -> Self {
        Self::through(&account(cluster()), ditto, resync, more)
    }

    /// With an operator that reaches the API server as this kubeconfig says.
    pub fn through(kubeconfig: &Path, ditto: &Ditto, resync: &str, more: &[&str]) -> Self {
        let cluster = cluster();
        let namespace = cluster.namespace();
        let_operator_lead(cluster, &namespace);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let args = ["--watch-namespace", &namespace, "--lease-namespace", &namespace, "--resync", resync];
        let mut operator = Operator::start_as(kubeconfig, ditto, folder.path(), &[&args, more].concat());
        operator.wait_ready();
        let ditto_namespace = format!("org.{}", namespace.replace('-', ""));
        Self { cluster, namespace, ditto_namespace, operator, folder }
    }

    /// Ends the operator, lets `meanwhile` happen, and starts another.
    pub fn restart(&mut self, resync: &str, meanwhile: impl FnOnce(&Self)) {
        assert!(self.operator.child.stop().success(), "{}", self.operator.child.log());
        meanwhile(self);
        self.operator = self.another(&["--resync", resync]);
        self.operator.wait_ready();
    }

    /// Another operator over the same resources, which takes part in the same election.
    pub fn another(&self, more: &[&str]) -> Operator {
        let args = ["--watch-namespace", &self.namespace, "--lease-namespace", &self.namespace];
        Operator::start(self.cluster, ditto(), self.folder.path(), &[&args, more].concat())
    }

    pub fn id(&self, name: &str) -> String {
        format!("{}:{name}", self.ditto_namespace)
    }

    pub fn kubectl(&self, args: &[&str]) -> Output {
        self.cluster.kubectl("admin", &[&["-n", &self.namespace], args].concat())
    }

    /// `kubectl apply` of one resource in the test's namespace; server-side, so that nulls arrive.
    pub fn apply(&self, resource: &Value) -> Output {
        let mut resource = resource.clone();
        resource["metadata"]["namespace"] = json!(self.namespace);
        self.cluster.apply_stdin("admin", &resource.to_string(), true)
    }

    /// A policy that lets the user and the device in, and names the operator nowhere.
    pub fn policy(&self, name: &str) -> Value {
        let all = json!({"grant": ["READ", "WRITE"]});
        json!({
            "apiVersion": "twinops.dev/v1alpha1", "kind": "TwinPolicy", "metadata": {"name": name},
            "spec": {"policyId": self.id(name), "entries": {
                "people": {
                    "subjects": {USER: {"type": "user"}},
                    "resources": {"thing:/": all, "policy:/": all, "message:/": all},
                },
                "devices": {
                    "subjects": {DEVICE: {"type": "device"}},
                    "resources": {
                        "thing:/": {"grant": ["READ"]},
                        "thing:/features": {"grant": ["WRITE"]},
                    },
                },
            }},
        })
    }

    /// A sensor under the policy `sensors`.
    pub fn twin(&self, name: &str) -> Value {
        json!({
            "apiVersion": "twinops.dev/v1alpha1", "kind": "DigitalTwin", "metadata": {"name": name},
            "spec": {
                "thingId": self.id(name), "policyRef": {"name": "sensors"},
                "attributes": {"location": "warehouse-1"},
                "features": {"temperature": {
                    "properties": {"value": 22.5, "unit": "celsius"},
                    "desiredProperties": {"reportingInterval": 30},
                }},
            },
        })
    }

    /// The policy and the twin, both Ready.
    pub fn sensor(&self, name: &str) -> Value {
        self.apply(&self.policy("sensors")).ok();
        let twin = self.twin(name);
        self.apply(&twin).ok();
        self.wait_ready("dt", name);
        twin
    }

    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let output = self.kubectl(&["get", kind, name, "-o", "json", "--ignore-not-found"]).ok();
        serde_json::from_str(&output).ok()
    }

    /// Until `look` finds something in the resource; a failure shows the resource and the log.
    #[track_caller]
    pub fn wait<T>(&self, kind: &str, name: &str, what: &str, look: impl Fn(&Value) -> Option<T>) -> T {
        let deadline = std::time::Instant::now() + SOON;
        loop {
            let found = self.get(kind, name);
            if let Some(found) = found.as_ref().and_then(&look) {
                return found;
            }
            if std::time::Instant::now() > deadline {
                let text = found.map_or_else(|| "gone".to_owned(), |found| format!("{found:#}"));
                panic!("{kind}/{name} never {what}:\n{text}\n{}", self.operator.child.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    pub fn wait_ready(&self, kind: &str, name: &str) -> Value {
        self.wait(kind, name, "became Ready", |found| {
            let generation = &found["metadata"]["generation"];
            let is_new = found["status"]["observedGeneration"] == *generation;
            (is_new && condition(found, "Ready")["status"] == "True").then(|| found.clone())
        })
    }

    /// Until Ready is not True for this reason; tells the message.
    #[track_caller]
    pub fn wait_reason(&self, kind: &str, name: &str, reason: &str) -> String {
        self.wait(kind, name, &format!("said {reason}"), |found| {
            let ready = condition(found, "Ready");
            let fits = ready["status"] == "False" && ready["reason"] == reason;
            fits.then(|| ready["message"].as_str().unwrap_or_default().to_owned())
        })
    }

    #[track_caller]
    pub fn wait_gone(&self, kind: &str, name: &str) {
        wait_for(&format!("{kind}/{name} to go; the log:\n{}", self.operator.child.log()), SOON, || {
            self.get(kind, name).is_none().then_some(())
        });
    }

    pub fn delete(&self, kind: &str, name: &str) {
        self.kubectl(&["delete", kind, name, "--wait=false"]).ok();
    }

    /// The thing as the user sees it.
    pub fn thing(&self, name: &str) -> Option<Value> {
        ditto().thing(USER, &self.id(name))
    }

    /// One write to the thing by somebody else.
    #[track_caller]
    pub fn patch_thing(&self, subject: &str, name: &str, patch: &Value) {
        let (status, answer) =
            ditto().call(subject, "PATCH", &format!("/things/{}", self.id(name)), Some(patch));
        assert!(matches!(status, 200..=204), "{status} {answer}");
    }
}

/// `Null` when it is not there.
pub fn condition(resource: &Value, kind: &str) -> Value {
    let conditions = resource["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}
