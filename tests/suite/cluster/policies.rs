//! Policies before their twins and after them, and the access they give.
use serde_json::{Value, json};

use super::{DEVICE, Desk, NO_RESYNC, OPERATOR, SOON, USER, condition, ditto};
use crate::support::wait_for;

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

    let hash = |desk: &Desk| desk.get("tp", "sensors").unwrap()["status"]["effectiveHash"].clone();
    let before = hash(&desk);
    let mut edited = declared;
    edited["spec"]["entries"].as_object_mut().unwrap().remove("devices");
    desk.apply(&edited).ok();
    desk.wait_ready("tp", "sensors");
    assert!(policy(&desk, "sensors")["entries"]["devices"].is_null(), "what left the spec is revoked");
    assert!(before.is_string() && hash(&desk) != before, "the hash is that of what holds: {before}");
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

/// A call to a policy by the user.
fn call(desk: &Desk, method: &str, name: &str, body: Option<&Value>) -> (u16, Value) {
    ditto().call(USER, method, &format!("/policies/{}", desk.id(name)), body)
}

#[test]
fn a_policy_waits_for_things_that_no_twin_declares() {
    let desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.policy("sensors")).ok();
    desk.wait_ready("tp", "sensors");
    let path = format!("/things/{}", desk.id("stray"));
    let thing = json!({"policyId": desk.id("sensors")});
    assert_eq!(ditto().call(USER, "PUT", &path, Some(&thing)).0, 201);
    desk.delete("tp", "sensors");
    let message = desk.wait_reason("tp", "sensors", "DeletionHeld");
    assert!(message.contains("things in Ditto use this policy"), "{message}");
    let held = desk.get("tp", "sensors").unwrap();
    assert_eq!(condition(&held, "InUse")["reason"], "UsedByThings");
    assert_eq!(call(&desk, "GET", "sensors", None).0, 200);
    assert_eq!(ditto().call(USER, "DELETE", &path, None).0, 204);
    desk.wait_gone("tp", "sensors");
    assert_eq!(call(&desk, "GET", "sensors", None).0, 404);
}

#[test]
fn f32_a_policy_deleted_behind_our_back_is_made_again_before_its_things_are_judged() {
    let desk = Desk::new(NO_RESYNC);
    let mut twin = desk.sensor("pump");
    desk.patch_thing(DEVICE, "pump", &json!({"features": {"temperature": {"properties": {"value": 99}}}}));
    let revision = desk.thing("pump").unwrap()["_revision"].as_u64().unwrap();
    assert_eq!(call(&desk, "DELETE", "sensors", None).0, 204);
    twin["spec"]["attributes"]["location"] = json!("hall-2");
    desk.apply(&twin).ok();
    desk.wait_ready("dt", "pump");
    let thing = desk.thing("pump").expect("the thing of before");
    assert_eq!(thing["attributes"]["location"], "hall-2");
    assert_eq!(thing["features"]["temperature"]["properties"]["value"], 99, "the device's value was kept");
    assert_eq!(thing["_revision"], revision + 1, "one patch, and nothing made anew");
}

#[test]
fn f32_twin_and_policy_end_although_the_policy_is_gone_in_ditto() {
    let desk = Desk::new(NO_RESYNC);
    desk.sensor("pump");
    assert_eq!(call(&desk, "DELETE", "sensors", None).0, 204);
    desk.delete("tp", "sensors");
    desk.delete("dt", "pump");
    desk.wait_gone("dt", "pump");
    desk.wait_gone("tp", "sensors");
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    let people =
        json!({"subjects": {USER: {"type": "user"}}, "resources": {"thing:/": all, "policy:/": all}});
    assert_eq!(call(&desk, "PUT", "sensors", Some(&json!({"entries": {"people": people}}))).0, 201);
    assert_eq!(desk.thing("pump"), None, "nothing came to light: the thing itself is gone");
}

#[test]
fn what_left_the_spec_is_revoked_even_if_status_was_lost() {
    let mut desk = Desk::new(NO_RESYNC);
    let mut declared = desk.policy("sensors");
    declared["spec"]["entries"]["people"]["subjects"]["nginx:guest"] =
        json!({"type": "user", "expiry": "2099-01-01T00:00:00Z"});
    desk.apply(&declared).ok();
    desk.wait_ready("tp", "sensors");
    let guests =
        |desk: &Desk| policy(desk, "sensors")["entries"]["people"]["subjects"]["nginx:guest"].clone();
    assert!(guests(&desk).is_object());
    desk.restart(NO_RESYNC, |desk| {
        let none = r#"{"status": null}"#;
        desk.kubectl(&["patch", "tp", "sensors", "--subresource=status", "--type=merge", "-p", none]).ok();
        assert!(desk.get("tp", "sensors").unwrap()["status"].is_null());
        let mut edited = desk.policy("sensors");
        edited["spec"]["entries"].as_object_mut().unwrap().remove("devices");
        desk.apply(&edited).ok();
    });
    desk.wait_ready("tp", "sensors");
    assert!(policy(&desk, "sensors")["entries"]["devices"].is_null(), "the label is revoked");
    assert!(guests(&desk).is_null(), "and so is the subject, although it looks like one of run time");
}

#[test]
fn f30_an_importing_policy_waits_is_woken_and_is_waited_for() {
    let desk = Desk::new(NO_RESYNC);
    let mut sensors = desk.policy("sensors");
    sensors["spec"]["imports"] = json!({ desk.id("base"): {} });
    desk.apply(&sensors).ok();
    let message = desk.wait_reason("tp", "sensors", "PolicyNotAccessible");
    assert!(message.contains(&desk.id("base")), "{message}");
    let mut base = desk.policy("base");
    base["spec"]["suspend"] = json!(true);
    desk.apply(&base).ok();
    let message = desk.wait_reason("tp", "sensors", "PolicyNotReady");
    assert!(message.contains("\"base\" is not ready"), "{message}");
    base["spec"]["suspend"] = json!(false);
    desk.apply(&base).ok();
    desk.wait_ready("tp", "sensors");
    assert_eq!(policy(&desk, "sensors")["imports"], json!({ desk.id("base"): {"entries": []} }));

    base["spec"]["imports"] = json!({ desk.id("sensors"): {} });
    desk.apply(&base).ok();
    for name in ["base", "sensors"] {
        let message = desk.wait_reason("tp", name, "InvalidSpec");
        assert!(message.contains(" imports "), "{message}");
    }
    base["spec"].as_object_mut().unwrap().remove("imports");
    desk.apply(&base).ok();
    desk.wait_ready("tp", "base");
    desk.wait_ready("tp", "sensors");

    desk.delete("tp", "base");
    let message = desk.wait_reason("tp", "base", "DeletionHeld");
    assert!(message.contains("sensors imports this policy"), "{message}");
    desk.delete("tp", "sensors");
    desk.wait_gone("tp", "sensors");
    desk.wait_gone("tp", "base");
}

#[test]
fn f31_who_shuts_the_operator_out_afterwards_is_told_the_entry_to_add() {
    let desk = Desk::new(NO_RESYNC);
    desk.sensor("pump");
    let mut closed = policy(&desk, "sensors");
    closed["entries"].as_object_mut().unwrap().remove("twinops");
    assert_eq!(call(&desk, "PUT", "sensors", Some(&closed)).0, 204);
    desk.kubectl(&["annotate", "tp", "sensors", "twinops.dev/sync=1"]).ok();
    let message = desk.wait_reason("tp", "sensors", "Forbidden");
    desk.wait_reason("dt", "pump", "PolicyNotReady");
    let (_, entry) = message.split_once("add this entry to it: ").expect(&message);
    let entry: Value = serde_json::from_str(entry).expect(entry);
    closed["entries"]["twinops"] = entry["twinops"].clone();
    assert_eq!(call(&desk, "PUT", "sensors", Some(&closed)).0, 204);
    desk.kubectl(&["annotate", "tp", "sensors", "twinops.dev/sync=2", "--overwrite"]).ok();
    desk.wait_ready("tp", "sensors");
    desk.wait_ready("dt", "pump");
    wait_for("the thing as before", SOON, || desk.thing("pump"));
}
