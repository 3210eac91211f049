//! Nothing to do means nothing written: neither to Ditto nor to the API server.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Desk, NO_RESYNC, QUICK_RESYNC, SOON, USER, ditto};
use crate::support::wait_for;

const TWINS: usize = 5;

/// All that a write would move: versions in Kubernetes (Events too), revisions in Ditto.
fn versions(desk: &Desk) -> BTreeMap<String, Value> {
    let mut versions = BTreeMap::new();
    for kind in ["digitaltwins", "twinpolicies", "events.events.k8s.io"] {
        let list: Value = serde_json::from_str(&desk.kubectl(&["get", kind, "-o", "json"]).ok()).unwrap();
        for item in list["items"].as_array().unwrap() {
            let name = format!("{kind}/{}", item["metadata"]["name"].as_str().unwrap());
            versions.insert(name, item["metadata"]["resourceVersion"].clone());
        }
    }
    for number in 0..TWINS {
        let name = format!("pump-{number}");
        versions.insert(desk.id(&name), desk.thing(&name).unwrap()["_revision"].clone());
    }
    let (_, policy) =
        ditto().call(USER, "GET", &format!("/policies/{}?fields=_revision", desk.id("sensors")), None);
    versions.insert(desk.id("sensors"), policy["_revision"].clone());
    versions
}

fn written(desk: &Desk) -> u64 {
    let (_, metrics) = desk.operator.get("/metrics");
    let applied =
        metrics.lines().filter(|line| line.contains("reason=\"Applied\"") && line.contains("passes"));
    applied.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn a_second_start_and_every_resync_write_nothing() {
    let mut desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.policy("sensors")).ok();
    for number in 0..TWINS {
        let mut twin = desk.twin(&format!("pump-{number}"));
        twin["spec"]["attributes"]["n"] = json!(1.0);
        desk.apply(&twin).ok();
    }
    for number in 0..TWINS {
        desk.wait_ready("dt", &format!("pump-{number}"));
    }
    desk.wait("tp", "sensors", "knew all its users", |policy| {
        (policy["status"]["usedBy"] == TWINS).then_some(())
    });
    // Events are published beside the passes: let the last one land.
    let events = || versions(&desk).keys().filter(|name| name.starts_with("events")).count();
    wait_for("an Event for each", SOON, || (events() > TWINS).then_some(()));

    let before = versions(&desk);
    desk.restart(QUICK_RESYNC, |_| {});
    let each = u64::try_from(TWINS).unwrap();
    wait_for("a pass over each", SOON, || (desk.operator.passes() >= each).then_some(()));
    desk.operator.wait_resyncs();
    assert_eq!(versions(&desk), before, "{}", desk.operator.child.log());
    assert_eq!(written(&desk), 0);
}
