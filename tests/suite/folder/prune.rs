use serde_json::json;

use super::{Applied, POLICY, apply, policy, text, twin};
use crate::support::ditto::{Engine, folder};
use crate::support::gateway::Gateway;

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
    let listed = |run: &Applied| run.verdicts().iter().filter(|verdict| **verdict == "would-delete").count();
    assert_eq!(listed(&held), 60, "each is named before anybody says yes");
    let dry = apply(one.path(), &engine.ditto, &["--owner", "team", "--prune", "--dry-run"]);
    assert_eq!((dry.code, listed(&dry)), (1, 60), "{}", dry.messages());
    assert!(engine.ditto.thing(OPERATOR, "org.acme:t7").is_some());
    let pruned = apply(one.path(), &engine.ditto, &["--owner", "team", "--prune", "--yes"]);
    assert_eq!((pruned.code, pruned.json["summary"]["deleted"].as_u64()), (0, Some(60)));
    assert!(engine.ditto.thing(OPERATOR, "org.acme:keep").is_some());
}

/// The new document is the reason why the thing is there, also while it waits for something.
#[test]
fn a_thing_that_a_renamed_document_names_is_never_pruned() {
    let rows = [
        ("suspended", format!("{GOOD}  suspend: true\n"), "paused"),
        ("held", GOOD.to_owned(), "held"),
        ("not valid", "  attributes: {kw: 3}\n  features: {'a/b': {}}\n".to_owned(), "failed"),
    ];
    for (name, rest, verdict) in rows {
        let engine_folder = folder(&[]);
        let engine = Engine::start(engine_folder.path(), None);
        let before = folder(&[("old.yaml", &twin("old", GOOD)), ("policy.yaml", POLICY)]);
        assert_eq!(apply(before.path(), &engine.ditto, &["--owner", "team"]).code, 0, "{name}");
        let renamed = twin("new", &rest).replace("org.acme:new", "org.acme:old");
        let renamed =
            if name == "held" { renamed.replace("{name: pumps}", "{name: later}") } else { renamed };
        let after = folder(&[("new.yaml", &renamed), ("policy.yaml", POLICY)]);
        let pruned = apply(after.path(), &engine.ditto, &["--owner", "team", "--prune"]);
        assert_eq!(pruned.line("new").0, verdict, "{name}: {}", pruned.json);
        assert!(!pruned.verdicts().contains(&"deleted"), "{name}: {}", pruned.json);
        assert!(engine.ditto.thing(OPERATOR, "org.acme:old").is_some(), "{name}");
    }
}

#[test]
fn one_empty_folder_of_several_holds_the_prune() {
    let (first, second) = (
        folder(&[("a.yaml", &twin("a", GOOD)), ("policy.yaml", POLICY)]),
        folder(&[("b.yaml", &twin("b", GOOD))]),
    );
    let engine = Engine::start(first.path(), None);
    let both = second.path().to_str().unwrap();
    assert_eq!(apply(first.path(), &engine.ditto, &["--owner", "team", both]).code, 0);
    std::fs::remove_file(second.path().join("b.yaml")).unwrap();
    let held = apply(first.path(), &engine.ditto, &["--owner", "team", "--prune", both]);
    assert_eq!(held.code, 1, "{}", held.json);
    assert!(held.messages().contains("nothing is pruned"), "{}", held.messages());
    assert!(engine.ditto.thing(OPERATOR, "org.acme:b").is_some(), "the mount is missing, not the twin");
}

/// What a dry run says of each is what then happens to it.
#[test]
fn a_dry_prune_tells_the_truth() {
    let work = folder(&[]);
    let engine = Engine::start(work.path(), None);
    let shared = policy("shared");
    let keep = twin("keep", GOOD).replace("{name: pumps}", "{name: shared}");
    let found = twin("found", GOOD).replace("{name: pumps}", "{name: shared}");
    let all = folder(&[
        ("a.yaml", &twin("a", GOOD)),
        ("found.yaml", &found),
        ("keep.yaml", &keep),
        ("policy.yaml", POLICY),
        ("shared.yaml", &shared),
    ]);
    let start = folder(&[("keep.yaml", &keep), ("shared.yaml", &shared)]);
    assert_eq!(apply(start.path(), &engine.ditto, &["--owner", "team"]).code, 0);
    let standing = json!({"policyId": "org.acme:shared", "attributes": {"kw": 3}});
    assert_eq!(engine.ditto.call("nginx:ditto", "PUT", "/things/org.acme:found", Some(&standing)).0, 201);
    assert_eq!(apply(all.path(), &engine.ditto, &["--owner", "team"]).code, 0);

    let expected = [
        ("a", "would-delete", "deleted"),
        ("found", "would-release", "released"),
        ("pumps", "would-delete", "deleted"),
        ("keep", "in-sync", "in-sync"),
        ("shared", "in-sync", "in-sync"),
    ];
    let dry = apply(start.path(), &engine.ditto, &["--owner", "team", "--prune", "--dry-run"]);
    let real = apply(start.path(), &engine.ditto, &["--owner", "team", "--prune"]);
    assert_eq!((dry.code, real.code), (0, 0), "{} {}", dry.json, real.json);
    for (name, would, did) in expected {
        assert_eq!((dry.line(name).0, real.line(name).0), (would, did), "{name}: {} {}", dry.json, real.json);
    }
    assert_eq!(dry.wrote(), 0);
    let summary = &dry.json["summary"];
    assert_eq!((&summary["wouldDelete"], &summary["wouldRelease"]), (&json!(2), &json!(1)), "{summary}");
    assert_eq!((real.line("a").1, real.line("found").1), ("Deleted", "Released"));
    for run in [&dry, &real] {
        for line in run.json["resources"].as_array().unwrap() {
            assert!(text(line, "id").starts_with("org.acme:"), "{line}");
        }
    }
}

/// A policy that others use as well stays, and a dry run knows it.
#[test]
fn a_policy_that_is_still_used_is_not_pruned() {
    let work = folder(&[]);
    let engine = Engine::start(work.path(), None);
    let others = policy("others");
    let keep = twin("keep", GOOD).replace("{name: pumps}", "{name: others}");
    let all = folder(&[
        ("a.yaml", &twin("a", GOOD)),
        ("keep.yaml", &keep),
        ("others.yaml", &others),
        ("policy.yaml", POLICY),
    ]);
    assert_eq!(apply(all.path(), &engine.ditto, &["--owner", "team"]).code, 0);
    let standing = json!({"policyId": "org.acme:pumps"});
    assert_eq!(engine.ditto.call("nginx:ditto", "PUT", "/things/org.acme:guest", Some(&standing)).0, 201);
    let rest = folder(&[("keep.yaml", &keep), ("others.yaml", &others)]);
    for more in [["--owner", "team", "--prune", "--dry-run"].as_slice(), &["--owner", "team", "--prune"]] {
        let run = apply(rest.path(), &engine.ditto, more);
        assert_eq!((run.line("pumps").0, run.line("pumps").1), ("held", "DeletionHeld"), "{}", run.json);
    }
    assert_eq!(engine.ditto.call("nginx:ditto", "GET", "/policies/org.acme:pumps", None).0, 200);
}

/// Ditto's search shows a deleted thing for a while: the policy is asked about again until it does not.
#[test]
fn f17_a_search_that_lags_does_not_orphan_a_policy() {
    let both = folder(&[
        ("a.yaml", &twin("a", GOOD)),
        ("keep.yaml", &twin("keep", GOOD).replace("{name: pumps}", "{name: others}")),
        ("others.yaml", &policy("others")),
        ("policy.yaml", POLICY),
    ]);
    let engine = Engine::start(both.path(), None);
    let gateway = Gateway::start(&engine.ditto);
    assert_eq!(apply(both.path(), &gateway.ditto, &["--owner", "team"]).code, 0);
    std::fs::remove_file(both.path().join("a.yaml")).unwrap();
    std::fs::remove_file(both.path().join("policy.yaml")).unwrap();
    gateway.lag("org.acme:a", 2);
    let pruned = apply(both.path(), &gateway.ditto, &["--owner", "team", "--prune"]);
    assert_eq!((pruned.code, pruned.line("pumps").0), (0, "deleted"), "{}", pruned.messages());
    assert_eq!(engine.ditto.call("nginx:ditto", "GET", "/policies/org.acme:pumps", None).0, 404);
    assert_eq!(gateway.lags(), 0);
}
