//! A resync looks at everything, with few calls, and hands only what differs to a pass.
use serde_json::json;

use super::{Desk, NO_RESYNC, QUICK_RESYNC, SOON, USER, ditto};
use crate::support::ditto::Ditto;
use crate::support::gate::Gate;
use crate::support::wait_for;

const TWINS: usize = 30;

fn fleet(desk: &Desk) {
    desk.apply(&desk.policy("sensors")).ok();
    let twins: Vec<_> = (0..TWINS).map(|number| desk.twin(&format!("pump-{number}"))).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": twins});
    let path = crate::support::ditto::write(desk.folder.path(), "twins.json", &list.to_string());
    desk.kubectl(&["create", "-f", path.to_str().unwrap()]).ok();
    for number in 0..TWINS {
        desk.wait_ready("dt", &format!("pump-{number}"));
    }
}

/// One alone is not asked for as a batch.
fn two(desk: &Desk) {
    desk.sensor("pump");
    desk.sensor("valve");
}

#[test]
fn a_quiet_fleet_costs_one_call_for_each_batch_and_none_for_each_twin() {
    let gate = Gate::before(&ditto().url);
    let desk = Desk::beside(&Ditto { url: gate.url.clone() }, QUICK_RESYNC, &[]);
    fleet(&desk);
    desk.operator.wait_resyncs();
    let (passes, whole) =
        (desk.operator.passes(), desk.operator.metric("twinops_resyncs_total{result=\"whole\"}"));
    gate.forget();
    desk.operator.wait_resyncs();
    let calls = gate.passed();
    let resyncs = desk.operator.metric("twinops_resyncs_total{result=\"whole\"}") - whole + 1;
    let of_kind = |start: &str| calls.iter().filter(|line| line.starts_with(start)).count();
    let (batches, policies) = (of_kind("GET /api/2/things?ids="), of_kind("GET /api/2/policies/"));
    assert!((2..=usize::try_from(resyncs).unwrap()).contains(&batches), "{batches} in {resyncs}: {calls:?}");
    assert!(
        (2..=usize::try_from(resyncs).unwrap()).contains(&policies),
        "{policies} in {resyncs}: {calls:?}"
    );
    // Who we are, and whether there are marked things that nobody declares.
    let is_question = |line: &&String| {
        line.starts_with("GET /api/2/whoami") || line.starts_with("GET /api/2/search/things/count?")
    };
    let others: Vec<_> =
        calls.iter().filter(|line| !line.contains("?ids=") && !line.contains("/policies/")).collect();
    assert!(others.iter().copied().all(|line| is_question(&line)), "{others:?}");
    assert_eq!(desk.operator.passes(), passes, "nobody needed a pass of its own");
}

#[test]
fn f27_a_thing_missing_from_a_batch_is_confirmed_and_never_deleted_for_it() {
    let gate = Gate::before(&ditto().url);
    let desk = Desk::beside(&Ditto { url: gate.url.clone() }, QUICK_RESYNC, &[]);
    two(&desk);
    let before = desk.thing("pump").unwrap();
    gate.refuse(|line| line.contains("things?ids="), (200, vec![("content-type", "application/json")], "[]"));
    gate.forget();
    wait_for("a look of its own", SOON, || {
        gate.passed().iter().any(|line| line.starts_with("GET /api/2/things/")).then_some(())
    });
    desk.operator.wait_resyncs();
    assert_eq!(desk.thing("pump").unwrap(), before);
    let writes: Vec<_> = gate.passed().into_iter().filter(|line| !line.starts_with("GET ")).collect();
    assert_eq!(writes, [""; 0]);
    gate.let_through();
    let id = desk.id("pump");
    assert_eq!(ditto().call(USER, "DELETE", &format!("/things/{id}"), None).0, 204);
    wait_for("the thing that is really gone to come back", SOON, || desk.thing("pump"));
}

#[test]
fn f22_a_resync_that_breaks_off_is_tried_again_and_no_twin_suffers() {
    let gate = Gate::before(&ditto().url);
    let desk = Desk::beside(&Ditto { url: gate.url.clone() }, QUICK_RESYNC, &[]);
    two(&desk);
    let before = desk.get("dt", "pump").unwrap();
    gate.refuse(|line| line.contains("things?ids="), (503, vec![], ""));
    wait_for("a resync that broke off", SOON, || {
        (desk.operator.metric("twinops_resyncs_total{result=\"failed\"}") > 0).then_some(())
    });
    gate.let_through();
    desk.operator.wait_resyncs();
    let after = desk.get("dt", "pump").unwrap();
    assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"], "{after:#}");
}

#[test]
fn a_policy_that_moved_is_looked_at_and_repaired() {
    let desk = Desk::new(QUICK_RESYNC);
    desk.sensor("pump");
    let path = format!("/policies/{}/entries/devices", desk.id("sensors"));
    assert_eq!(ditto().call(USER, "DELETE", &path, None).0, 204);
    wait_for("the entry to come back", SOON, || {
        (ditto().call(USER, "GET", &path, None).0 == 200).then_some(())
    });
}

#[test]
fn without_a_resync_nothing_is_compared() {
    let gate = Gate::before(&ditto().url);
    let desk = Desk::beside(&Ditto { url: gate.url.clone() }, NO_RESYNC, &[]);
    desk.sensor("pump");
    desk.kubectl(&["annotate", "dt", "pump", "twinops.dev/sync=now"]).ok();
    let calls = gate.passed();
    assert!(
        calls.iter().filter(|line| line.contains("?ids=")).count() <= 1,
        "once, as nothing is replayed: {calls:?}"
    );
}
