//! A Ditto that does not answer, or does not know us.
use serde_json::json;

use super::{Desk, NO_RESYNC, Operator, SOON, cluster, condition, ditto};
use crate::support::ditto::{Ditto, Engine};
use crate::support::gate::Gate;
use crate::support::process::Signal;
use crate::support::wait_for;

#[test]
fn f22_an_outage_of_ditto_is_told_and_what_was_edited_meanwhile_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = Engine::start(folder.path(), None);
    let mut desk = Desk::beside(&engine.ditto, NO_RESYNC, &["--ditto-timeout", "1s"]);
    let mut twin = desk.sensor("pump");
    let path = format!("/things/{}", desk.id("pump"));
    engine.child.signal(Signal::Stop);
    twin["spec"]["attributes"]["location"] = json!("warehouse-2");
    desk.apply(&twin).ok();
    let message = desk.wait_reason("dt", "pump", "BackendUnavailable");
    assert!(message.contains("--ditto-url"), "{message}");
    wait_for("readiness to say so", SOON, || {
        desk.operator.get("/readyz").1.contains("ditto: ").then_some(())
    });
    assert_eq!(desk.operator.get("/livez").0, 200, "a restart would help nobody");

    engine.child.signal(Signal::Cont);
    desk.wait_ready("dt", "pump");
    let (_, thing) = engine.ditto.call(super::USER, "GET", &path, None);
    assert_eq!(thing["attributes"]["location"], "warehouse-2");
    desk.operator.wait_ready();
    let told = desk.get("dt", "pump").unwrap();
    assert!(
        told["status"]["lastError"].is_null() && condition(&told, "Synced")["status"] == "True",
        "{told:#}"
    );
}

#[test]
fn f25_an_answer_that_does_not_come_costs_a_deadline_and_holds_nobody_up() {
    let gate = Gate::before(&ditto().url);
    let desk = Desk::beside(&Ditto { url: gate.url.clone() }, NO_RESYNC, &["--ditto-timeout", "1s"]);
    desk.apply(&desk.policy("sensors")).ok();
    desk.wait_ready("tp", "sensors");
    let slow = format!("/things/{}", desk.id("slow"));
    gate.hold(move |line| line.contains(&slow));
    desk.apply(&desk.twin("slow")).ok();
    for name in ["one", "two", "three"] {
        desk.apply(&desk.twin(name)).ok();
    }
    for name in ["one", "two", "three"] {
        desk.wait_ready("dt", name);
    }
    let message = desk.wait_reason("dt", "slow", "BackendUnavailable");
    assert!(message.contains("--ditto-url"), "{message}");
    assert_eq!(desk.operator.get("/livez").0, 200);
    gate.open();
    desk.wait_ready("dt", "slow");
    // Ditto had taken the write whose answer did not come: it is found again, and not made twice.
    assert_eq!(desk.thing("slow").expect("the thing")["_revision"], 1);
}

#[test]
fn an_operator_without_a_ditto_waits_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let closed =
        crate::support::ditto::Ditto { url: format!("http://127.0.0.1:{}", crate::support::free_port()) };
    let nowhere = ["--watch-namespace", "nowhere", "--lease-namespace", "nowhere"];
    let mut operator = Operator::start(cluster(), &closed, folder.path(), &nowhere);
    wait_for("readiness to say so", SOON, || {
        let (status, text) = operator.get("/readyz");
        (status == 503 && text.contains("ditto: Ditto does not know us") && text.contains(&closed.url))
            .then_some(())
    });
    assert_eq!(operator.get("/livez").0, 200);
    assert!(operator.child.stop().success(), "it stops all the same: {}", operator.child.log());
}
