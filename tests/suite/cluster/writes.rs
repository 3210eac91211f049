//! How often the operator writes to the API server for one twin.
use std::collections::BTreeMap;

use serde_json::json;

use super::expired::writes;
use super::{DEVICE, Desk, QUICK_RESYNC, account, cluster, ditto};
use crate::support::gate::Gate;

const TWINS: usize = 5;

fn names() -> Vec<String> {
    (0..TWINS).map(|number| format!("pump-{number}")).collect()
}

/// For each twin these writes, once each.
fn each(parts: &[&str]) -> BTreeMap<String, usize> {
    names().iter().flat_map(|name| parts.iter().map(move |part| (format!("{name}{part}"), 1))).collect()
}

/// Events and the lease are no writes of a twin; a policy's status follows the number of its users.
#[test]
fn a_twin_costs_two_writes_when_it_is_made_one_for_an_edit_and_none_for_telemetry() {
    let gate = Gate::before(cluster().url());
    let kubeconfig = cluster().kubeconfig_through(&account(cluster()), &gate.url);
    let desk = Desk::through(&kubeconfig, ditto(), QUICK_RESYNC, &[]);
    desk.apply(&desk.policy("sensors")).ok();
    desk.wait_ready("tp", "sensors");
    gate.forget();
    for name in names() {
        desk.apply(&desk.twin(&name)).ok();
    }
    let ready = || names().iter().for_each(|name| drop(desk.wait_ready("dt", name)));
    ready();
    desk.operator.wait_resyncs();
    assert_eq!(writes(&gate, "digitaltwins"), each(&["", "/status"]), "finalizer and status");

    gate.forget();
    for name in names() {
        let mut twin = desk.twin(&name);
        twin["spec"]["attributes"]["location"] = json!("warehouse-2");
        desk.apply(&twin).ok();
    }
    ready();
    desk.operator.wait_resyncs();
    assert_eq!(writes(&gate, "digitaltwins"), each(&["/status"]));

    gate.forget();
    for value in 0..20 {
        for name in names() {
            let value = json!({"features": {"temperature": {"properties": {"value": value}}}});
            desk.patch_thing(DEVICE, &name, &value);
        }
    }
    desk.operator.wait_resyncs();
    let others: Vec<String> = gate.passed().into_iter().filter(|line| !line.starts_with("GET ")).collect();
    assert!(others.iter().all(|line| line.contains("/leases/")), "{others:?}");
}
