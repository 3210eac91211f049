//! Several operators over the same resources: one leads, and whatever happens to it nothing is written twice
//! or wrongly.
use serde_json::{Value, json};

use super::{ACCOUNT, Desk, NO_RESYNC, Operator, QUICK_RESYNC, SOON, ditto, let_operator_lead};
use crate::support::ditto::Ditto;
use crate::support::gate::Gate;
use crate::support::process::Signal;
use crate::support::wait_for;

/// Nobody waits for its end: whoever leads then was handed the lease.
const LONG: [&str; 2] = ["--lease-duration", "1h"];
const SHORT: [&str; 2] = ["--lease-duration", "2s"];

#[track_caller]
fn wait_leads(operator: &Operator, leads: bool) {
    let what =
        format!("an operator that {} in:\n{}", if leads { "leads" } else { "follows" }, operator.child.log());
    wait_for(&what, SOON, || (operator.leads() == leads).then_some(()));
}

fn another(desk: &Desk, more: &[&str]) -> Operator {
    let mut operator = desk.another(&[&["--resync", NO_RESYNC], more].concat());
    operator.wait_ready();
    operator
}

/// Moves the sensor `pump`, and waits until that is done.
#[track_caller]
fn move_to(desk: &Desk, twin: &mut Value, location: &str) {
    twin["spec"]["attributes"]["location"] = json!(location);
    desk.apply(twin).ok();
    desk.wait_ready("dt", "pump");
    assert_eq!(desk.thing("pump").unwrap()["attributes"]["location"], location);
}

#[test]
fn f14_a_leader_that_is_stopped_hands_over_at_once() {
    let mut desk = Desk::with(NO_RESYNC, &LONG);
    let mut twin = desk.sensor("pump");
    let second = another(&desk, &LONG);
    move_to(&desk, &mut twin, "warehouse-2");
    assert!(desk.operator.leads() && !second.leads());
    assert_eq!(second.passes(), 0, "who follows does nothing");

    assert!(desk.operator.child.stop().success(), "{}", desk.operator.child.log());
    wait_leads(&second, true);
    move_to(&desk, &mut twin, "warehouse-3");
    let lease: Value =
        serde_json::from_str(&desk.kubectl(&["get", "lease", "twinops", "-o", "json"]).ok()).unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 1, "{lease:#}");
}

#[test]
fn f14_a_leader_that_is_killed_is_followed_when_its_lease_is_over() {
    let mut desk = Desk::with(NO_RESYNC, &SHORT);
    let mut twin = desk.sensor("pump");
    let second = another(&desk, &SHORT);
    desk.operator.child.kill();
    wait_leads(&second, true);
    move_to(&desk, &mut twin, "warehouse-2");
}

#[test]
fn f13_a_leader_that_was_frozen_writes_nothing_when_it_wakes_up() {
    let gate = Gate::before(&ditto().url);
    let mut desk = Desk::beside(&Ditto { url: gate.url.clone() }, NO_RESYNC, &SHORT);
    let mut twin = desk.sensor("pump");
    let second = another(&desk, &SHORT);
    // Its pass stands in the middle: it has asked, and the answer is on its way.
    gate.forget();
    gate.hold(|line| line.starts_with("GET /api/2/things/"));
    twin["spec"]["attributes"]["location"] = json!("warehouse-2");
    desk.apply(&twin).ok();
    wait_for("a pass that looks", SOON, || {
        gate.passed().iter().any(|line| line.starts_with("GET /api/2/things/")).then_some(())
    });
    desk.operator.child.signal(Signal::Stop);
    wait_leads(&second, true);
    desk.wait_ready("dt", "pump");
    move_to(&desk, &mut twin, "warehouse-3");
    let (thing, resource) = (desk.thing("pump").unwrap(), desk.get("dt", "pump").unwrap());

    gate.forget();
    gate.open();
    desk.operator.child.signal(Signal::Cont);
    wait_for("the old leader to notice", SOON, || {
        desk.operator.child.log().contains("not leading any more").then_some(())
    });
    wait_leads(&desk.operator, false);
    let writes: Vec<String> = gate.passed().into_iter().filter(|line| !line.starts_with("GET ")).collect();
    assert_eq!(writes, [""; 0], "{}", desk.operator.child.log());
    assert_eq!(desk.thing("pump").unwrap(), thing);
    assert_eq!(desk.get("dt", "pump").unwrap()["metadata"], resource["metadata"]);
}

#[test]
fn f13_two_who_both_lead_agree_and_come_to_rest() {
    let desk = Desk::new(QUICK_RESYNC);
    let elsewhere = desk.cluster.namespace();
    let_operator_lead(desk.cluster, &elsewhere);
    let args =
        ["--watch-namespace", &desk.namespace, "--lease-namespace", &elsewhere, "--resync", QUICK_RESYNC];
    let mut second = Operator::start(desk.cluster, ditto(), desk.folder.path(), &args);
    second.wait_ready();
    wait_leads(&second, true);
    let mut twin = desk.sensor("pump");
    for number in 0..5 {
        move_to(&desk, &mut twin, &format!("warehouse-{number}"));
    }
    let versions = || {
        let resource = desk.get("dt", "pump").unwrap()["metadata"]["resourceVersion"].clone();
        (resource, desk.thing("pump").unwrap()["_revision"].clone())
    };
    // What both have begun comes to its end; then nobody finds anything to do.
    wait_for("rest", SOON, || {
        let before = versions();
        desk.operator.wait_resyncs();
        second.wait_resyncs();
        (versions() == before).then_some(())
    });
    desk.delete("dt", "pump");
    desk.wait_gone("dt", "pump");
    assert_eq!(desk.thing("pump"), None);
}

#[test]
fn f21_a_leader_that_may_not_renew_steps_down_and_says_why() {
    let desk = Desk::with(NO_RESYNC, &SHORT);
    let mut twin = desk.sensor("pump");
    desk.kubectl(&["delete", "rolebinding", ACCOUNT]).ok();
    wait_leads(&desk.operator, false);
    let (status, text) = desk.operator.get("/readyz");
    assert!(status == 503 && text.contains("the lease") && text.contains("leases"), "{status} {text}");
    twin["spec"]["attributes"]["location"] = json!("warehouse-2");
    desk.apply(&twin).ok();
    assert_eq!(desk.operator.get("/livez").0, 200, "a restart would help nobody");
    assert_eq!(desk.thing("pump").unwrap()["attributes"]["location"], "warehouse-1");

    let_operator_lead(desk.cluster, &desk.namespace);
    wait_leads(&desk.operator, true);
    desk.wait_ready("dt", "pump");
    assert_eq!(desk.thing("pump").unwrap()["attributes"]["location"], "warehouse-2");
}
