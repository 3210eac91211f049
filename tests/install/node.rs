//! Runs a test inside the namespaces of a node that `tests/cluster/cluster.sh` starts for it.
use std::{
    env,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    process::{Child, Output, run},
    tools, wait_for,
};

/// Set inside the node.
const INSIDE: &str = "TWINOPS_TEST_INSIDE";
/// The node and all that a test does on it. Nothing that works takes half as long.
const WITHIN: Duration = Duration::from_mins(15);
/// For a pod to start or to end, on a machine that compiles beside.
pub const SOON: Duration = Duration::from_mins(3);

/// Runs `test` on a node of its own: the test binary runs the calling test once more inside.
///
/// # Panics
/// With all that the test has printed there when it fails.
#[track_caller]
pub fn on_a_node(test: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return test();
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let images = folder.join("images");
    let mut command = Command::new(repository.join("tests/cluster/images.sh"));
    command.arg(&images);
    run(command, "").ok();

    let itself = thread::current().name().expect("a test's thread bears its name").to_owned();
    let mut command = Command::new(repository.join("tests/cluster/cluster.sh"));
    command
        .args(["run", env::current_exe().expect("the test binary has a path").to_str().expect("UTF-8")])
        .args(["--exact", &itself, "--nocapture"])
        .env("TWINOPS_CLUSTER_IMAGES", &images)
        .env(INSIDE, "");
    let name = format!("install-{}-{}", itself.replace("::", "-"), std::process::id());
    let mut node = Child::start(&name, &command, folder).expect("bash starts");
    let deadline = Instant::now() + WITHIN;
    let status = loop {
        if let Some(status) = node.ended() {
            break status;
        }
        assert!(
            Instant::now() < deadline,
            "the test on the node takes longer than {WITHIN:?}:\n{}",
            node.log()
        );
        thread::sleep(Duration::from_millis(100));
    };
    assert!(status.success(), "the test on the node failed ({status}):\n{}", node.log());
}

/// Runs a step and prints how long it took: what a failure shows first is how far the test came.
pub fn step<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    println!("{what} …");
    let result = act();
    println!("{what}: {:.1} s", start.elapsed().as_secs_f64());
    result
}

/// The real kubectl, as the node's administrator.
pub fn kubectl(args: &[&str]) -> Output {
    kubectl_with(args, "")
}

/// The same, with an input.
pub fn kubectl_with(args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(tools::bin("kubectl"));
    command.arg("--request-timeout=60s").args(args);
    run(command, stdin)
}

/// What `kubectl get … -o json` tells.
#[track_caller]
pub fn get(args: &[&str]) -> Value {
    let text = kubectl(&[&["get", "-o", "json"], args].concat()).ok();
    serde_json::from_str(&text).expect("kubectl prints JSON")
}

/// Waits until `count` pods of a selector are ready and no other of them is left.
///
/// # Panics
/// At the deadline, with what the pods say of themselves.
#[track_caller]
pub fn pods_ready(namespace: &str, selector: &str, count: usize) {
    let deadline = Instant::now() + SOON;
    loop {
        let pods = get(&["pods", "-n", namespace, "-l", selector]);
        let pods = pods["items"].as_array().expect("a list");
        if pods.len() == count && pods.iter().all(is_ready) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{count} pods of {selector} are not ready within {SOON:?}:\n{}",
            diagnosis(namespace)
        );
        thread::sleep(Duration::from_millis(300));
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    pod["metadata"]["deletionTimestamp"].is_null()
        && conditions
            .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

/// What a person would look at first.
fn diagnosis(namespace: &str) -> String {
    let mut text = String::new();
    for args in [&["get", "pods,pvc,jobs", "-o", "wide"][..], &["get", "events", "--sort-by=.lastTimestamp"]]
    {
        let said = kubectl(&[&["-n", namespace], args].concat());
        text.push_str(&said.stdout);
        text.push_str(&said.stderr);
    }
    for pod in kubectl(&["-n", namespace, "get", "pods", "-o", "name"]).stdout.lines() {
        let said = kubectl(&["-n", namespace, "logs", "--all-containers", "--prefix", "--tail=15", pod]);
        text.push_str(&said.stdout);
        text.push_str(&said.stderr);
    }
    text
}

/// Makes a namespace that takes only pods which keep to the Pod Security Standard `restricted`.
pub fn restricted_namespace(name: &str) {
    kubectl(&["create", "namespace", name]).ok();
    kubectl(&["label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"]).ok();
    wait_for("the namespace's account", SOON, || {
        kubectl(&["-n", name, "get", "serviceaccount", "default"]).success.then_some(())
    });
}

/// `curl` from the node, which reaches Services as its pods do. The answer's body.
pub fn curl(args: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["-sS", "--fail-with-body", "--max-time", "10"]).args(args);
    run(command, "")
}

/// The address of a Service inside the cluster.
pub fn service_address(namespace: &str, name: &str) -> String {
    let service = get(&["service", "-n", namespace, name]);
    service["spec"]["clusterIP"].as_str().expect("the Service has an address").to_owned()
}

/// Kills the processes of a pod's containers, as a crash would: kubelet starts them anew in the same pod.
pub fn kill_containers(namespace: &str, pod: &str) {
    let pod = get(&["pod", "-n", namespace, pod]);
    for container in pod["status"]["containerStatuses"].as_array().expect("the pod has containers") {
        let id = container["containerID"]
            .as_str()
            .expect("the container runs")
            .trim_start_matches("containerd://");
        let mut command = Command::new("ctr");
        command.args(["-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", id]);
        run(command, "").ok();
    }
}
