//! Policies before their twins and after them, and the access they give.
use serde_json::{Value, json};

use super::{Desk, NO_RESYNC, OPERATOR, USER, condition, ditto};

fn policy(desk: &Desk, name: &str) -> Value {
    let (status, policy) = ditto().call(USER, "GET", &format!("/policies/{}", desk.id(name)), None);
    assert_eq!(status, 200, "{policy}");
    policy
}

#[test]
fn f30_a_twin_before_its_policy_waits_and_is_woken() {
    let desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.twin("pump")).ok();
    let message = desk.wait_reason("dt", "pump", "PolicyNotFound");
    assert!(message.contains("\"sensors\"") && message.contains("create it"), "{message}");
    assert_eq!(desk.thing("pump"), None);
    desk.apply(&desk.policy("sensors")).ok();
    desk.wait_ready("dt", "pump");
    assert!(desk.thing("pump").is_some());
}

#[test]
fn a_policy_before_its_twin_is_ready_alone_and_then_in_use() {
    let desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.policy("sensors")).ok();
    let alone = desk.wait_ready("tp", "sensors");
    assert_eq!(condition(&alone, "InUse")["reason"], "Unused");
    desk.apply(&desk.twin("pump")).ok();
    desk.wait_ready("dt", "pump");
    let used = desk.wait("tp", "sensors", "was in use", |policy| {
        (condition(policy, "InUse")["reason"] == "UsedByTwins").then(|| policy.clone())
    });
    assert_eq!(used["status"]["usedBy"], 1);
}

#[test]
fn the_operator_lets_itself_in_under_its_own_label_only() {
    let desk = Desk::new(NO_RESYNC);
    let declared = desk.policy("sensors");
    desk.apply(&declared).ok();
    desk.wait_ready("tp", "sensors");
    let entries = policy(&desk, "sensors")["entries"].clone();
    let labels: Vec<&String> = entries.as_object().unwrap().keys().collect();
    assert_eq!(labels.len(), 3, "{labels:?}");
    assert!(entries["twinops"]["subjects"][OPERATOR].is_object(), "{entries}");
    assert_eq!(entries["twinops"]["importable"], "never");

    let mut edited = declared;
    edited["spec"]["entries"].as_object_mut().unwrap().remove("devices");
    desk.apply(&edited).ok();
    desk.wait_ready("tp", "sensors");
    assert!(policy(&desk, "sensors")["entries"]["devices"].is_null(), "what left the spec is revoked");
}

#[test]
fn a_policy_that_leaves_the_operator_out_is_refused_before_it_is_sent() {
    let desk = Desk::new(NO_RESYNC);
    let mut closed = desk.policy("sensors");
    closed["spec"]["access"] = json!("Declared");
    desk.apply(&closed).ok();
    let message = desk.wait_reason("tp", "sensors", "InvalidSpec");
    assert!(message.contains(OPERATOR) && message.contains("access: Managed"), "{message}");
    desk.apply(&desk.twin("pump")).ok();
    let message = desk.wait_reason("dt", "pump", "PolicyNotReady");
    assert!(message.contains(OPERATOR), "the twin says why, too: {message}");
    let (status, _) = ditto().call(USER, "GET", &format!("/policies/{}", desk.id("sensors")), None);
    assert_eq!(status, 404);
}

#[test]
fn a_policy_nobody_manages_must_let_the_operator_in() {
    let desk = Desk::new(NO_RESYNC);
    let mut twin = desk.twin("pump");
    twin["spec"].as_object_mut().unwrap().remove("policyRef");
    twin["spec"]["policyId"] = json!(desk.id("theirs"));
    desk.apply(&twin).ok();
    let message = desk.wait_reason("dt", "pump", "PolicyNotAccessible");
    assert!(message.contains("add this entry") && message.contains(OPERATOR), "{message}");
    assert_eq!(desk.thing("pump"), None);
}
