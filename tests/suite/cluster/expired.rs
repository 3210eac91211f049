//! A watch that asks for a version which the API server has forgotten.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Desk, NO_RESYNC, SOON, account, cluster, ditto};
use crate::support::gate::{Gate, Reply};
use crate::support::wait_for;

fn is_watch(line: &str) -> bool {
    line.contains("/digitaltwins?") && line.contains("watch=true")
}

fn is_list(line: &str) -> bool {
    line.starts_with("GET ") && line.contains("/digitaltwins?") && !line.contains("watch=true")
}

/// Reaches the API server through a gate.
fn desk() -> (Gate, Desk) {
    let gate = Gate::before(cluster().url());
    let kubeconfig = cluster().kubeconfig_through(&account(cluster()), &gate.url);
    let desk = Desk::through(&kubeconfig, ditto(), NO_RESYNC, &[]);
    (gate, desk)
}

/// Ends the watch, and answers `reply` to whoever asks for it in the way that is `meant`; waits until somebody has.
fn cut_off(gate: &Gate, meant: impl Fn(&str) -> bool + Copy + Send + Sync + 'static, reply: Reply) {
    gate.refuse(meant, reply);
    gate.forget();
    gate.cut(is_watch);
    wait_for("the watch to be refused", SOON, || gate.passed().iter().any(|line| meant(line)).then_some(()));
}

fn relocate(desk: &Desk, twin: &mut Value) {
    twin["spec"]["attributes"]["location"] = json!("warehouse-2");
    desk.apply(twin).ok();
}

/// Writes to resources of this kind, by what was written.
pub fn writes(gate: &Gate, plural: &str) -> BTreeMap<String, usize> {
    let mut writes = BTreeMap::new();
    let part = format!("/{plural}/");
    for line in gate.passed().iter().filter(|line| !line.starts_with("GET ")) {
        let Some((_, what)) = line.split_once(&part) else { continue };
        *writes.entry(what.split('?').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    writes
}

#[test]
fn f7_a_watch_that_expired_begins_with_a_new_list_and_nothing_happens_twice() {
    let (gate, mut desk) = desk();
    let mut pump = desk.sensor("pump");
    for name in ["rest", "going", "gone"] {
        desk.apply(&desk.twin(name)).ok();
        desk.wait_ready("dt", name);
    }
    let of_old = format!(
        "/apis/twinops.dev/v1alpha1/namespaces/{}/digitaltwins?watch=true&resourceVersion=1&timeoutSeconds=5",
        desk.namespace
    );
    let answer = desk.kubectl(&["get", "--raw", &of_old]).ok();
    assert!(answer.contains("\"code\":410"), "so an API server says that a version is too old: {answer}");

    // Nobody watches while one is edited, one deleted, one forced away and one made.
    cut_off(&gate, is_watch, (503, vec![], ""));
    relocate(&desk, &mut pump);
    desk.delete("dt", "going");
    desk.kubectl(&["patch", "dt", "gone", "--type=merge", "-p", r#"{"metadata": {"finalizers": []}}"#]).ok();
    desk.delete("dt", "gone");
    desk.apply(&desk.twin("new")).ok();
    let before = (desk.get("dt", "rest").unwrap(), desk.thing("rest").unwrap());
    let revision = desk.thing("pump").unwrap()["_revision"].as_u64().unwrap();

    gate.forget();
    gate.age("/digitaltwins?");
    gate.let_through();
    desk.wait_ready("dt", "pump");
    desk.wait_ready("dt", "new");
    desk.wait_gone("dt", "going");
    let ready = || desk.operator.metric("twinops_twins{state=\"ready\"}");
    wait_for("all that are gone to be forgotten", SOON, || (ready() == 3).then_some(()));
    let passed = gate.passed();
    let lists = passed.iter().filter(|line| is_list(line)).count();
    assert_eq!(lists, 1, "{passed:?}");
    assert!(desk.operator.child.log().contains("too old resource version"), "{}", desk.operator.child.log());

    assert_eq!(desk.thing("pump").unwrap()["attributes"]["location"], "warehouse-2");
    assert_eq!(desk.thing("pump").unwrap()["_revision"], revision + 1, "one patch");
    assert_eq!(desk.thing("new").unwrap()["_revision"], 1, "one create");
    assert_eq!(desk.thing("going"), None);
    assert_eq!((desk.get("dt", "rest").unwrap(), desk.thing("rest").unwrap()), before);
    let once = ["going", "new", "new/status", "pump/status"].map(|what| (what.to_owned(), 1));
    assert_eq!(writes(&gate, "digitaltwins"), once.into());
    desk.operator.wait_ready();
}

/// No API server says so at the start of a watch, but what stands before it may.
#[test]
fn f7_a_watch_whose_start_is_refused_as_gone_begins_with_a_new_list() {
    let (gate, desk) = desk();
    let mut pump = desk.sensor("pump");
    let last = desk.get("dt", "pump").unwrap()["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    let last: u64 = last.unwrap().parse().unwrap();
    let is_old = move |line: &str| {
        let version =
            line.split("resourceVersion=").nth(1).map(|rest| rest.split('&').next().unwrap_or(rest));
        is_watch(line) && version.and_then(|version| version.parse::<u64>().ok()).is_some_and(|v| v <= last)
    };
    let gone = r#"{"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired",
        "code": 410, "message": "too old resource version"}"#;
    cut_off(&gate, is_old, (410, vec![("content-type", "application/json")], gone));
    relocate(&desk, &mut pump);
    desk.wait_ready("dt", "pump");
    assert_eq!(desk.thing("pump").unwrap()["attributes"]["location"], "warehouse-2");
}
