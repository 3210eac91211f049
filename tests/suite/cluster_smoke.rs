//! The ground the cluster tests stand on: programs that end when they should, and a real API server.
use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    apiserver,
    process::{Child, Signal},
    wait_for,
};

/// For what the kernel does at once; long, so that a busy machine fails no test.
const SOON: Duration = Duration::from_secs(30);

/// Present in `/proc` and no zombie: an orphan stays one until its new parent looks.
fn runs(id: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { return false };
    // The state follows the program's name, which stands in parentheses.
    !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']))
}

/// Started and past the programs that lead to it.
fn sleeper(folder: &Path) -> Child {
    let mut command = Command::new("sleep");
    command.arg("600");
    let mut child = Child::start("sleep", &command, folder).expect("sleep starts");
    let name = format!("/proc/{}/comm", child.id());
    child.wait_ready(SOON, || fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n")).unwrap();
    child
}

#[test]
fn a_frozen_program_ends_with_its_guard() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut sleep = sleeper(folder.path());
    let id = sleep.id();
    sleep.signal(Signal::Stop);
    assert!(runs(id), "a frozen program is there");
    drop(sleep);
    assert!(!runs(id), "nothing is left of it");
}

#[test]
fn a_program_outlives_the_thread_that_started_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_owned();
    let mut sleep = thread::spawn(move || sleeper(&path)).join().expect("the thread returns the program");
    // A signal of the kernel's would come with the end of the thread; let another program come and go
    // after that.
    assert!(Command::new("true").status().is_ok_and(|status| status.success()));
    assert_eq!(sleep.ended(), None);
}

/// Runs itself once more in a process of its own, and kills that.
#[test]
fn no_program_outlives_a_killed_test_process() {
    const INNER: &str = "TWINOPS_TEST_INNER";
    let folder = tempfile::tempdir().expect("a temporary folder");
    if env::var_os(INNER).is_some() {
        let sleep = sleeper(folder.path());
        println!("\nid {}", sleep.id());
        thread::sleep(SOON);
        return;
    }
    let itself = thread::current().name().expect("a test's thread bears its name").to_owned();
    let mut inner = Command::new(env::current_exe().expect("the test binary has a path"))
        .args(["--exact", &itself, "--nocapture"])
        .env(INNER, "")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test binary starts");
    let lines = BufReader::new(inner.stdout.take().expect("standard output is a pipe")).lines();
    let id = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("id ")?.parse::<u32>().ok())
        .expect("the inner process tells the program's id");
    assert!(runs(id), "the program runs while its test process does");
    inner.kill().expect("the inner process takes KILL");
    inner.wait().expect("the inner process has ended");
    wait_for("the program to end", SOON, || (!runs(id)).then_some(()));
}

#[test]
fn a_program_that_is_not_ready_is_reported_with_its_log() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut ends = Command::new("sh");
    ends.args(["-c", "echo no port for me >&2; exit 3"]);
    let mut child = Child::start("server", &ends, folder.path()).expect("sh starts");
    let error = child.wait_ready(SOON, || false).expect_err("it ends before it is ready").to_string();
    assert!(error.contains("ended before it was ready (exit status: 3)"), "{error}");
    assert!(error.ends_with("no port for me"), "{error}");

    let error =
        sleeper(folder.path()).wait_ready(Duration::ZERO, || false).expect_err("never ready").to_string();
    assert!(error.contains("sleep was not ready within 0ns"), "{error}");
}

#[test]
fn a_real_api_server_answers() {
    let cluster = apiserver::shared();
    let version = cluster.kubectl("admin", &["version", "-o", "json"]).ok();
    let version: Value = serde_json::from_str(&version).expect("kubectl prints JSON");
    assert_eq!(version["serverVersion"]["gitVersion"], version["clientVersion"]["gitVersion"], "{version}");
    assert_eq!(version["serverVersion"]["major"], "1", "built with its version: {version}");

    let namespace = cluster.namespace();
    let config = format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: seen, namespace: {namespace}}}, data: {{unit: °C}}}}"
    );
    for server_side in [false, true] {
        cluster.apply_stdin("admin", &config, server_side).ok();
    }
    let read = ["get", "configmap", "seen", "-n", &namespace, "-o", "jsonpath={.data.unit}"];
    assert_eq!(cluster.kubectl("admin", &read).ok(), "°C");
}

#[test]
fn a_user_has_the_rights_a_test_binds_and_no_more() {
    let cluster = apiserver::shared();
    let namespace = cluster.namespace();
    let list = ["get", "configmaps", "-n", &namespace, "-o", "name"];
    for user in ["operator", "user"] {
        let refusal = cluster.kubectl(user, &list).refused();
        assert!(refusal.contains(&format!("User \"{user}\" cannot list resource")), "{refusal}");
    }
    let role = ["create", "role", "reader", "--verb=list", "--resource=configmaps", "-n", &namespace];
    let bind = ["create", "rolebinding", "reader", "--role=reader", "--user=operator", "-n", &namespace];
    cluster.kubectl("admin", &role).ok();
    cluster.kubectl("admin", &bind).ok();
    wait_for("the binding to reach the authorizer", SOON, || {
        cluster.kubectl("operator", &list).success.then_some(())
    });
    cluster.kubectl("user", &list).refused();
}
