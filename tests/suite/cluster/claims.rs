//! Two resources, one id; and who may name which Ditto namespace.
use super::{Desk, NO_RESYNC, QUICK_RESYNC, SOON};
use crate::support::wait_for;
use serde_json::json;

#[test]
fn f12_two_claims_oldest_wins_and_the_other_takes_over_without_a_delete() {
    let desk = Desk::new(NO_RESYNC);
    desk.sensor("pump");
    let mut rival = desk.twin("rival");
    rival["spec"]["thingId"] = json!(desk.id("pump"));
    rival["spec"]["attributes"]["location"] = json!("rival's");
    desk.apply(&rival).ok();
    let message = desk.wait_reason("dt", "rival", "ResourceConflict");
    assert_eq!(message, format!("managed by {}/pump", desk.namespace));
    let before = desk.thing("pump").unwrap();
    assert_eq!(before["attributes"]["location"], "warehouse-1");

    desk.delete("dt", "pump");
    desk.wait_gone("dt", "pump");
    desk.wait_ready("dt", "rival");
    let after = desk.thing("pump").expect("it was never deleted");
    assert_eq!(after["attributes"]["location"], "rival's");
    let revision = before["_revision"].as_u64().unwrap() + 1;
    assert_eq!(after["_revision"], revision, "one patch takes it over; a delete would show in the revision");
    assert_eq!(after["_metadata"]["twinops"]["name"], "rival");
}

#[test]
fn f12_the_end_of_a_loser_touches_nothing() {
    let desk = Desk::new(NO_RESYNC);
    desk.sensor("pump");
    let mut rival = desk.twin("rival");
    rival["spec"]["thingId"] = json!(desk.id("pump"));
    desk.apply(&rival).ok();
    desk.wait_reason("dt", "rival", "ResourceConflict");
    let before = desk.thing("pump").unwrap();
    desk.delete("dt", "rival");
    desk.wait_gone("dt", "rival");
    assert_eq!(desk.thing("pump").unwrap(), before);
}

#[test]
fn s36_the_annotation_of_a_namespace_decides_what_it_may_name() {
    let desk = Desk::new(NO_RESYNC);
    desk.sensor("pump");
    let annotate = |list: &str| {
        let annotation = format!("twinops.dev/ditto-namespaces={list}");
        desk.kubectl(&["annotate", "--overwrite", "namespace", &desk.namespace, &annotation]).ok();
    };
    annotate("org.other");
    let message = desk.wait_reason("dt", "pump", "NamespaceNotAllowed");
    assert!(
        message.contains(&desk.ditto_namespace) && message.contains("annotate the Namespace"),
        "{message}"
    );
    desk.wait_reason("tp", "sensors", "NamespaceNotAllowed");
    desk.patch_thing(super::USER, "pump", &json!({"attributes": {"location": "anywhere"}}));
    annotate("org.other, org.*");
    desk.wait_ready("tp", "sensors");
    wait_for("the repair once it is allowed again", SOON, || {
        (desk.thing("pump")?["attributes"]["location"] == "warehouse-1").then_some(())
    });
    desk.wait_ready("dt", "pump");
}

#[test]
fn the_thing_of_a_twin_that_may_not_name_it_any_more_is_no_stray() {
    let desk = Desk::new(QUICK_RESYNC);
    desk.sensor("pump");
    let annotation = "twinops.dev/ditto-namespaces=org.other";
    desk.kubectl(&["annotate", "--overwrite", "namespace", &desk.namespace, annotation]).ok();
    desk.wait_reason("dt", "pump", "NamespaceNotAllowed");
    desk.operator.wait_resyncs();
    let log = desk.operator.child.log();
    assert!(!log.contains("delete them in Ditto") && desk.operator.metric("twinops_strays") == 0, "{log}");
}

#[test]
fn s36_a_claim_that_may_not_be_made_holds_nobody_up() {
    let desk = Desk::with(NO_RESYNC, &["--ditto-namespaces", "<namespace>"]);
    desk.apply(&desk.twin("pump")).ok();
    let message = desk.wait_reason("dt", "pump", "NamespaceNotAllowed");
    assert!(message.contains("--ditto-namespaces"), "{message}");
    assert_eq!(desk.thing("pump"), None);
}
