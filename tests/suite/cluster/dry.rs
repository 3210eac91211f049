//! An operator that only says what it would do.
use serde_json::json;

use super::{Desk, NO_RESYNC, Operator, SOON, USER, account, cluster, ditto};
use crate::support::ditto::Ditto;
use crate::support::gate::Gate;
use crate::support::wait_for;

#[test]
fn a_dry_run_says_what_it_would_do_and_writes_nothing_anywhere() {
    let mut desk = Desk::new(NO_RESYNC);
    let mut edited = desk.sensor("edited");
    for name in ["drifted", "going", "same"] {
        desk.apply(&desk.twin(name)).ok();
        desk.wait_ready("dt", name);
    }
    desk.wait("tp", "sensors", "knew its users", |policy| (policy["status"]["usedBy"] == 4).then_some(()));
    assert!(desk.operator.child.stop().success(), "{}", desk.operator.child.log());
    edited["spec"]["attributes"]["location"] = json!("warehouse-2");
    desk.apply(&edited).ok();
    desk.patch_thing(USER, "drifted", &json!({"attributes": {"location": "elsewhere"}}));
    desk.delete("dt", "going");
    let unmarked = json!({"policyId": desk.id("sensors"), "attributes": {"location": "warehouse-1"}});
    let path = format!("/things/{}", desk.id("found"));
    assert_eq!(ditto().call(USER, "PUT", &path, Some(&unmarked)).0, 201);
    for name in ["found", "new"] {
        desk.apply(&desk.twin(name)).ok();
    }
    // Its policy was never applied either.
    desk.apply(&desk.policy("fresh")).ok();
    let mut early = desk.twin("early");
    early["spec"]["policyRef"]["name"] = json!("fresh");
    desk.apply(&early).ok();
    let names = ["drifted", "early", "edited", "found", "going", "new", "same"];
    let all = || names.map(|name| (desk.get("dt", name), desk.thing(name)));
    let before = all();

    let (kubernetes, things) = (Gate::before(cluster().url()), Gate::before(&ditto().url));
    let kubeconfig = cluster().kubeconfig_through(&account(cluster()), &kubernetes.url);
    let behind = Ditto { url: things.url.clone() };
    let args = ["--watch-namespace", &desk.namespace, "--resync", "1s", "--dry-run"];
    let mut operator = Operator::start_as(&kubeconfig, &behind, desk.folder.path(), &args);
    operator.wait_ready();
    let would = |verb: &str| {
        let labels = format!("{{kind=\"DigitalTwin\",result=\"would\",reason=\"{verb}\"}}");
        operator.metric(&format!("twinops_passes_total{labels}"))
    };
    let says = |name: &str, words: &[&str]| {
        let resource = format!("resource={}/{name} ", desk.namespace);
        let log = operator.child.log();
        let said = |line: &str| line.contains(&resource) && words.iter().all(|word| line.contains(word));
        log.lines().any(said)
    };
    let told: [(&str, &[&str]); 8] = [
        ("fresh", &["would=\"create\""]),
        ("early", &["would=\"create\"", "after=\"its policy\""]),
        ("drifted", &["would=\"update\"", "paths=\"/attributes/location\""]),
        ("edited", &["would=\"update\"", "paths=\"/attributes/location\""]),
        ("found", &["would=\"update\"", "adopts=true"]),
        ("going", &["would=\"delete\""]),
        ("new", &["would=\"create\""]),
        ("same", &["nothing to do", "AlreadyInSync"]),
    ];
    for (name, words) in told {
        wait_for(&format!("{words:?} of {name}, in:\n{}", operator.child.log()), SOON, || {
            says(name, words).then_some(())
        });
    }
    assert!(["create", "update", "delete"].iter().all(|verb| would(verb) > 0));
    operator.wait_resyncs();
    assert_eq!(all(), before);
    let fresh = format!("/policies/{}", desk.id("fresh"));
    assert_eq!(ditto().call(USER, "GET", &fresh, None).0, 404);
    for gate in [&kubernetes, &things] {
        let writes: Vec<_> = gate.passed().into_iter().filter(|line| !line.starts_with("GET ")).collect();
        assert_eq!(writes, [""; 0]);
    }
    assert!(!operator.leads());
    assert!(operator.child.stop().success(), "{}", operator.child.log());
}
