//! `twinops secrets`, with the rights of the chart and nothing else.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{NAME, render};
use crate::crds::installed;
use crate::support::apiserver::Cluster;
use crate::support::ditto::twinops;
use crate::support::process::{Output, run};

const VALUES: [&str; 2] = ["mosquitto.devices[0].user=lamp", "mosquitto.devices[0].thingId=com.example:lamp"];

/// A namespace in which the chart's account exists, with the chart's rights.
pub struct Home {
    cluster: &'static Cluster,
    namespace: String,
}

impl Home {
    pub fn new(values: &[&str]) -> Self {
        let cluster = installed();
        let namespace = cluster.namespace();
        for object in render(values, &["--namespace", &namespace]) {
            if ["ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]
                .contains(&object["kind"].as_str().unwrap_or_default())
            {
                cluster.apply_stdin("admin", &object.to_string(), true).ok();
            }
        }
        Self { cluster, namespace }
    }

    /// The arguments of the chart's own init container, run as the chart's account.
    pub fn ensure(&self, values: &[&str]) -> Output {
        let pods = render(values, &["--namespace", &self.namespace]);
        let operator = pods.iter().find(|one| {
            one["kind"] == "Deployment" && one["metadata"]["name"] == json!(format!("{NAME}-operator"))
        });
        let container = &operator.expect("an operator")["spec"]["template"]["spec"]["initContainers"][0];
        let args = container["args"].as_array().expect("arguments").iter().map(|arg| arg.as_str().unwrap());
        let kubeconfig = self.cluster.kubeconfig_of_account(&self.namespace, &format!("{NAME}-operator"));
        let mut command = twinops();
        command.args(args).arg("--kubeconfig").arg(kubeconfig);
        run(command, "")
    }

    pub fn secrets(&self) -> Vec<Value> {
        let text =
            self.cluster.kubectl("admin", &["-n", &self.namespace, "get", "secrets", "-o", "json"]).ok();
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().unwrap().clone()
    }
}

/// The values of a Secret as text.
pub fn data(secret: &Value, key: &str) -> String {
    let encoded =
        secret["data"][key].as_str().unwrap_or_else(|| panic!("no {key} in {}", secret["metadata"]["name"]));
    String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
}

#[test]
fn what_is_missing_is_made_once_and_never_changed() {
    let home = Home::new(&VALUES);
    let first = home.ensure(&VALUES);
    let said = first.clone().ok();
    let made = home.secrets();
    let names: Vec<_> = made.iter().map(|one| one["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["ditto", "facade", "mongodb", "mosquitto"].map(|part| format!("{NAME}-{part}")));
    for secret in &made {
        assert_eq!(secret["metadata"]["labels"]["twinops.dev/release"], "shop");
        for (key, value) in secret["data"].as_object().unwrap() {
            let text = String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap();
            let secret = !key.contains("username") && key != "acl";
            assert!(!secret || !(said.contains(&text) || first.stderr.contains(&text)), "{key} was printed");
        }
    }
    // An edit of somebody, and one Secret lost.
    let edit = r#"{"stringData": {"users": "ada:her own\n"}}"#;
    let facade = format!("{NAME}-facade");
    home.cluster.kubectl("admin", &["-n", &home.namespace, "patch", "secret", &facade, "-p", edit]).ok();
    home.cluster
        .kubectl("admin", &["-n", &home.namespace, "delete", "secret", &format!("{NAME}-ditto")])
        .ok();
    let said = home.ensure(&VALUES).ok();
    assert!(said.contains(&format!("made {}/{NAME}-ditto", home.namespace)), "{said}");
    assert_eq!(said.matches("kept ").count(), 3, "{said}");
    let now = home.secrets();
    assert_eq!(data(&now[1], "users"), "ada:her own\n");
    assert_eq!(now[2]["data"], made[2]["data"]);
    assert_ne!(now[0]["data"], made[0]["data"]);
}

#[test]
fn a_secret_somebody_brought_is_told_what_it_lacks() {
    let home = Home::new(&VALUES);
    let own = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{NAME}-ditto"), "namespace": home.namespace}, "stringData": {"devops-password": "mine"}});
    home.cluster.apply_stdin("admin", &own.to_string(), true).ok();
    let said = home.ensure(&VALUES).ok();
    assert!(said.contains(&format!("{NAME}-ditto, which lacks status-password")), "{said}");
    assert_eq!(data(&home.secrets()[0], "devops-password"), "mine");
}

/// The account may make Secrets and look at those of the installation, and do nothing else with any.
#[test]
fn the_account_may_not_look_at_other_secrets() {
    let home = Home::new(&VALUES);
    let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other", "namespace": home.namespace}, "stringData": {"key": "value"}});
    home.cluster.apply_stdin("admin", &other.to_string(), true).ok();
    home.ensure(&VALUES).ok();
    let kubeconfig = home.cluster.kubeconfig_of_account(&home.namespace, &format!("{NAME}-operator"));
    let facade = format!("{NAME}-facade");
    for (args, allowed) in [
        (vec!["get", "secret", facade.as_str()], true),
        (vec!["get", "secret", "other"], false),
        (vec!["get", "secrets"], false),
        (vec!["delete", "secret", facade.as_str()], false),
        (vec!["label", "secret", facade.as_str(), "a=b"], false),
        (vec!["get", "secrets", "-A"], false),
    ] {
        let output = home
            .cluster
            .kubectl_with(&kubeconfig, &[&["-n", home.namespace.as_str()], args.as_slice()].concat());
        assert_eq!(output.success, allowed, "{args:?}: {}", output.stderr);
    }
}

#[test]
fn without_the_right_it_says_which_secret() {
    let home = Home::new(&["secrets.ensure=false"]);
    let said = home.ensure(&VALUES).refused();
    assert!(said.contains("Secret") && said.contains("orbidden"), "{said}");
}
