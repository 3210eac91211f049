//! Tokens that end while the operator runs.
use serde_json::json;

use super::{Desk, NO_RESYNC, SOON, USER, ditto};
use crate::support::gateway::Gateway;
use crate::support::wait_for;

#[test]
fn f29_a_token_that_ends_ends_the_stream_and_the_next_one_opens_it_again() {
    let gateway = Gateway::start(ditto());
    gateway.take_token("first");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first").unwrap();
    let desk = Desk::beside(&gateway.ditto, NO_RESYNC, &["--ditto-token-file", file.to_str().unwrap()]);
    desk.sensor("pump");
    // The last pass for now: one that looks between the change and the news of it would not know whose it was.
    desk.wait("tp", "sensors", "used", |policy| (policy["status"]["usedBy"] == 1).then_some(()));
    let listens = |open: u64| {
        let what = format!("the stream to be {open}, in:\n{}", desk.operator.child.log());
        wait_for(&what, SOON, || (desk.operator.metric("twinops_listening") == open).then_some(()));
    };
    listens(1);
    let resyncs = || desk.operator.metric("twinops_resyncs_total{result=\"whole\"}");
    let before = resyncs();

    // The old one ends before the kubelet has written the new one.
    gateway.take_token("second");
    listens(0);
    std::fs::write(&file, "second").unwrap();
    listens(1);
    wait_for("what was missed to be looked for", SOON, || (resyncs() > before).then_some(()));

    desk.wait_ready("tp", "sensors");
    desk.wait_ready("dt", "pump");
    let path = format!("/things/{}/attributes/location", desk.id("pump"));
    assert_eq!(ditto().call(USER, "PUT", &path, Some(&json!("anywhere"))).0, 204);
    wait_for("the repair", SOON, || {
        (desk.thing("pump")?["attributes"]["location"] == "warehouse-1").then_some(())
    });
    let told = desk.wait("dt", "pump", "told its drift", |twin| {
        (twin["status"]["drift"]["count"] == 1).then(|| twin["status"]["drift"].clone())
    });
    assert_eq!(told["originator"], USER, "heard of, and not found by a resync");
    assert_eq!(desk.operator.get("/readyz").0, 200);
}
