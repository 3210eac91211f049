//! Two operators of one cluster, each over namespaces of its own, with one Ditto.
use serde_json::{Value, json};

use super::{Desk, QUICK_RESYNC, SOON, USER, ditto};
use crate::support::wait_for;

fn revisions(desks: &[&Desk]) -> Vec<Value> {
    desks.iter().map(|desk| desk.thing("pump").expect("a thing")["_revision"].clone()).collect()
}

#[test]
fn two_operators_with_disjoint_namespaces_both_lead_and_leave_each_other_alone() {
    let (one, other) = (Desk::new(QUICK_RESYNC), Desk::new(QUICK_RESYNC));
    for desk in [&one, &other] {
        desk.sensor("pump");
        wait_for("each to lead", SOON, || desk.operator.leads().then_some(()));
    }
    let before = revisions(&[&one, &other]);
    for desk in [&one, &other] {
        desk.operator.wait_resyncs();
        assert_eq!(desk.operator.metric("twinops_strays"), 0, "what the other keeps is no stray");
    }
    assert_eq!(revisions(&[&one, &other]), before);

    // A claim on what the other keeps is told, and changes nothing.
    let mut rival = other.twin("rival");
    rival["spec"]["thingId"] = json!(one.id("pump"));
    rival["spec"]["attributes"]["location"] = json!("rival's");
    other.apply(&rival).ok();
    // Its operator is in no policy of theirs, or is, and then reads the mark: both are the same user here.
    let message = other.wait_reason("dt", "rival", "ResourceConflict");
    assert!(message.contains(&one.namespace), "{message}");
    assert_eq!(revisions(&[&one, &other]), before);

    one.delete("dt", "pump");
    one.wait_gone("dt", "pump");
    // It has tried again meanwhile, or is told to.
    other.kubectl(&["annotate", "dt", "rival", "twinops.dev/sync=now"]).ok();
    other.wait_ready("dt", "rival");
    let path = format!("/things/{}/attributes/location", one.id("pump"));
    assert_eq!(ditto().call(USER, "GET", &path, None).1, "rival's");
    assert!(other.thing("pump").is_some(), "the deletion by one is none of the other's");
}
