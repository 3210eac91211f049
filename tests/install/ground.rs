//! What an installation stands on: pods, names, Services and volumes of the node work.
use crate::{
    node::{
        SOON, curl, kill_containers, kubectl, kubectl_with, on_a_node, pods_ready, restricted_namespace,
        service_address, step,
    },
    support::wait_for,
};

const NAMESPACE: &str = "ground";
const THING: &str = "com.example:temperature-sensor-01";

#[test]
fn pods_find_each_other_and_a_volume_outlives_its_pod() {
    on_a_node(|| {
        step("an engine with a volume becomes ready", start);
        step("a job finds it by name and applies the samples", || {
            kubectl(&["-n", NAMESPACE, "wait", "--for=condition=complete", "--timeout=180s", "job/apply"])
                .ok();
        });
        step("what is written is there on the Service's address", has_thing);
        step("it is there when the process was killed, and in the next pod", || {
            kill_containers(NAMESPACE, "engine-0");
            has_thing();
            kubectl(&["-n", NAMESPACE, "delete", "pod", "engine-0", "--grace-period=0", "--force"]).ok();
            pods_ready(NAMESPACE, "app=engine", 1);
            has_thing();
        });
    });
}

fn start() {
    restricted_namespace(NAMESPACE);
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/samples");
    kubectl(&["-n", NAMESPACE, "create", "configmap", "samples", "--from-file", samples]).ok();
    let objects = include_str!("ground.yaml").replace("VERSION", env!("CARGO_PKG_VERSION"));
    kubectl_with(&["-n", NAMESPACE, "apply", "--server-side", "-f", "-"], &objects).ok();
    pods_ready(NAMESPACE, "app=engine", 1);
}

fn has_thing() {
    let url = format!("http://{}/api/2/things/{THING}", service_address(NAMESPACE, "engine"));
    wait_for("the Service to lead to the pod", SOON, || {
        curl(&["-u", "ditto:ditto", &url]).success.then_some(())
    });
}
