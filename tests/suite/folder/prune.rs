use super::{POLICY, apply, twin};
use crate::support::ditto::{Engine, folder};

const OPERATOR: &str = "nginx:operator";
const GOOD: &str = "  attributes: {kw: 3}\n";

#[test]
fn what_no_file_declares_any_more_goes_only_when_asked() {
    let both = folder(&[("a.yaml", &twin("a", GOOD)), ("b.yaml", &twin("b", GOOD)), ("policy.yaml", POLICY)]);
    let engine = Engine::start(both.path(), None);
    assert_eq!(apply(both.path(), &engine.ditto, &["--owner", "team"]).code, 0);
    let one = folder(&[("a.yaml", &twin("a", GOOD)), ("policy.yaml", POLICY)]);
    assert_eq!(apply(one.path(), &engine.ditto, &["--owner", "team"]).code, 0);
    assert!(engine.ditto.thing(OPERATOR, "org.acme:b").is_some(), "not without --prune");
    let without_owner = apply(one.path(), &engine.ditto, &["--prune"]);
    assert_eq!(without_owner.code, 2);
    assert!(without_owner.stderr.contains("--owner"), "{}", without_owner.stderr);
    let pruned = apply(one.path(), &engine.ditto, &["--owner", "team", "--prune"]);
    assert_eq!((pruned.code, pruned.line("b").0), (0, "deleted"), "{}", pruned.messages());
    assert_eq!(engine.ditto.thing(OPERATOR, "org.acme:b"), None);
    assert!(engine.ditto.thing(OPERATOR, "org.acme:a").is_some());
}

#[test]
fn pruning_spares_other_owners_adopted_things_and_folders_that_cannot_be_read() {
    let files = folder(&[("a.yaml", &twin("a", GOOD)), ("policy.yaml", POLICY)]);
    let engine = Engine::start(files.path(), None);
    assert_eq!(apply(files.path(), &engine.ditto, &["--owner", "team-1"]).code, 0);
    let standing = serde_json::json!({"policyId": "org.acme:pumps", "attributes": {"kw": 3}});
    assert_eq!(engine.ditto.call("nginx:ditto", "PUT", "/things/org.acme:found", Some(&standing)).0, 201);
    let second = folder(&[
        ("b.yaml", &twin("b", GOOD).replace("policyRef: {name: pumps}", "policyId: org.acme:pumps")),
        ("found.yaml", &twin("found", GOOD).replace("policyRef: {name: pumps}", "policyId: org.acme:pumps")),
    ]);
    assert_eq!(apply(second.path(), &engine.ditto, &["--owner", "team-2"]).code, 0);

    let only_b = folder(&[(
        "b.yaml",
        &twin("b", GOOD).replace("policyRef: {name: pumps}", "policyId: org.acme:pumps"),
    )]);
    let broken = folder(&[("b.yaml", &twin("b", GOOD)), ("broken.yaml", "kind: [")]);
    let held = apply(broken.path(), &engine.ditto, &["--owner", "team-2", "--prune"]);
    assert!(held.messages().contains("nothing is pruned while a file cannot be read"), "{}", held.messages());
    assert!(engine.ditto.thing("nginx:ditto", "org.acme:found").is_some());
    let empty = folder(&[]);
    let held = apply(empty.path(), &engine.ditto, &["--owner", "team-2", "--prune"]);
    assert_eq!(held.code, 1, "{}", held.json);
    assert!(engine.ditto.thing(OPERATOR, "org.acme:b").is_some(), "an empty folder deletes nothing");

    let pruned = apply(only_b.path(), &engine.ditto, &["--owner", "team-2", "--prune"]);
    assert_eq!(pruned.line("found").0, "released", "adopted: the mark goes, the thing stays");
    let found = engine.ditto.thing("nginx:ditto", "org.acme:found").unwrap();
    assert!(found["_metadata"].get("twinops").is_none(), "{found}");
    assert!(engine.ditto.thing(OPERATOR, "org.acme:a").is_some(), "team-1's");
}

#[test]
fn f17_an_unusual_number_waits_for_a_yes() {
    let many: Vec<String> = (0..60).map(|i| twin(&format!("t{i}"), GOOD)).collect();
    let files = folder(&[
        ("many.yaml", &many.join("\n---\n")),
        ("keep.yaml", &twin("keep", GOOD)),
        ("policy.yaml", POLICY),
    ]);
    let engine = Engine::start(files.path(), None);
    assert_eq!(apply(files.path(), &engine.ditto, &["--owner", "team"]).code, 0);
    let one = folder(&[("keep.yaml", &twin("keep", GOOD)), ("policy.yaml", POLICY)]);
    let held = apply(one.path(), &engine.ditto, &["--owner", "team", "--prune"]);
    assert_eq!(held.code, 1);
    assert!(held.messages().contains("60 of 61") && held.messages().contains("--yes"), "{}", held.messages());
    assert!(engine.ditto.thing(OPERATOR, "org.acme:t7").is_some());
    let pruned = apply(one.path(), &engine.ditto, &["--owner", "team", "--prune", "--yes"]);
    assert_eq!((pruned.code, pruned.json["summary"]["deleted"].as_u64()), (0, Some(60)));
    assert!(engine.ditto.thing(OPERATOR, "org.acme:keep").is_some());
}
