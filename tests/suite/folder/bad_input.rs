//! Bad input says what to do, loses nothing and holds nobody else up.
use serde_json::json;

use super::{POLICY, apply, run, twin};
use crate::support::ditto::{Engine, folder, twinops};
use crate::support::free_port;

const OPERATOR: &str = "nginx:operator";
const GOOD: &str = "  attributes: {kw: 3}\n";

struct Row {
    name: &'static str,
    file: String,
    /// Parts that the message must hold: where, and what to change.
    says: &'static [&'static str],
}

/// One wrong file beside a good twin: the good one is applied, the wrong one says what to change, exit code 1.
#[test]
fn one_wrong_file_is_named_and_holds_nobody_up() {
    let null = twin("bad", "  attributes: {kw: null}\n");
    let rows = [
        Row {
            name: "broken YAML",
            file: "kind: DigitalTwin\nmetadata: {name: x\nspec: {}\n".into(),
            says: &["bad.yaml:"],
        },
        Row {
            name: "an unquoted y",
            file: twin("bad", "  attributes:\n    y: 3\n"),
            says: &["bad.yaml:9", "quote"],
        },
        Row {
            name: "an unquoted on",
            file: twin("bad", "  attributes:\n    on: 3\n"),
            says: &["bad.yaml:9", "quote"],
        },
        Row {
            name: "an unquoted n deep down",
            file: twin("bad", "  features:\n    f:\n      properties:\n        n: 3\n"),
            says: &["bad.yaml:11", "quote"],
        },
        Row {
            name: "a wrong version",
            file: "apiVersion: twinops.dev/v2\nkind: DigitalTwin\nmetadata: {name: bad}\nspec: {}\n".into(),
            says: &["bad.yaml", "twinops.dev/v1alpha1"],
        },
        Row {
            name: "a kind that is not ours",
            file: "apiVersion: twinops.dev/v1alpha1\nkind: DigitalTwinn\nmetadata: {name: bad}\nspec: {}\n"
                .into(),
            says: &["bad.yaml", "DigitalTwinn"],
        },
        Row { name: "a null", file: null, says: &["/attributes/kw"] },
        Row { name: "a misspelt field", file: twin("bad", "  atributes: {kw: 3}\n"), says: &["atributes"] },
        Row {
            name: "a duplicate key",
            file: twin("bad", "  attributes: {kw: 3, kw: 4}\n"),
            says: &["bad.yaml:8", "kw"],
        },
        Row {
            name: "an id that is none",
            file: twin("bad", GOOD).replace("org.acme:bad", "nocolon"),
            says: &["namespace:name"],
        },
        Row {
            name: "no policy",
            file: twin("bad", GOOD).replace("policyRef: {name: pumps}", "suspend: false"),
            says: &["policyRef", "policyId"],
        },
        Row {
            name: "a policy that is not there",
            file: twin("bad", GOOD).replace("{name: pumps}", "{name: nobody}"),
            says: &["nobody"],
        },
    ];
    for row in rows {
        let files =
            folder(&[("bad.yaml", &row.file), ("good.yaml", &twin("good", GOOD)), ("policy.yaml", POLICY)]);
        let engine = Engine::start(files.path(), None);
        let run = apply(files.path(), &engine.ditto, &[]);
        assert_eq!(run.code, 1, "{}: {}", row.name, run.json);
        for part in row.says {
            assert!(run.messages().contains(part), "{}: no {part:?} in {:?}", row.name, run.messages());
        }
        assert!(!run.messages().trim().contains('\n'), "{}: one line: {:?}", row.name, run.messages());
        assert_eq!(run.line("good").0, "applied", "{}", row.name);
        assert!(engine.ditto.thing(OPERATOR, "org.acme:good").is_some(), "{}", row.name);
    }
}

#[test]
fn what_is_unusual_and_right_is_taken() {
    let quoted = twin("quoted", "  attributes: {'y': 3, \"on\": 4}\n");
    let anchored = format!(
        "{}\n---\n{}",
        twin("a1", "  attributes: &common {kw: 3}\n"),
        twin("a2", "  attributes: {same: 1}\n")
    );
    let anchors = twin("anchors", "  attributes: &c {kw: 3}\n  features: {f: {desiredProperties: *c}}\n");
    let foreign = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n";
    let files = folder(&[
        ("a.yaml", &quoted),
        ("b.yaml", &anchored),
        ("c.yml", &anchors),
        ("d.yaml", foreign),
        ("policy.yaml", POLICY),
        (".hidden.yaml", "broken: ["),
        ("notes.txt", "broken: ["),
    ]);
    let engine = Engine::start(files.path(), None);
    let run = apply(files.path(), &engine.ditto, &[]);
    assert_eq!(run.code, 0, "{} {}", run.stderr, run.messages());
    assert!(run.stderr.contains("ConfigMap"), "a foreign kind is skipped with a line: {}", run.stderr);
    let thing = engine.ditto.thing(OPERATOR, "org.acme:anchors").unwrap();
    assert_eq!(thing["features"]["f"]["desiredProperties"], json!({"kw": 3}));
    assert_eq!(
        engine.ditto.thing(OPERATOR, "org.acme:quoted").unwrap()["attributes"],
        json!({"y": 3, "on": 4})
    );
}

#[test]
fn two_files_declaring_one_twin_name_both_and_the_first_stays() {
    let second = twin("pump", "  attributes: {kw: 4}\n");
    let files = folder(&[("a.yaml", &twin("pump", GOOD)), ("b.yaml", &second), ("policy.yaml", POLICY)]);
    let engine = Engine::start(files.path(), None);
    let run = apply(files.path(), &engine.ditto, &[]);
    assert_eq!(run.code, 1);
    assert!(run.messages().contains("a.yaml") && run.messages().contains("b.yaml"), "{}", run.messages());
    assert_eq!(engine.ditto.thing(OPERATOR, "org.acme:pump").unwrap()["attributes"]["kw"], 3);
}

#[test]
fn f12_two_twins_claiming_one_id_the_first_stays() {
    let other = twin("other", "  attributes: {kw: 4}\n").replace("org.acme:other", "org.acme:pump");
    let files = folder(&[("a.yaml", &twin("pump", GOOD)), ("b.yaml", &other), ("policy.yaml", POLICY)]);
    let engine = Engine::start(files.path(), None);
    let run = apply(files.path(), &engine.ditto, &[]);
    assert_eq!((run.code, run.line("pump").0, run.line("other").1), (1, "applied", "ResourceConflict"));
    assert!(run.line("other").2.contains("default/pump"));
}

#[test]
fn a_twin_too_large_waits_for_an_edit() {
    let big = twin("big", &format!("  attributes: {{text: {}}}\n", "x".repeat(200_000)));
    let files = folder(&[("big.yaml", &big), ("good.yaml", &twin("good", GOOD)), ("policy.yaml", POLICY)]);
    let engine = Engine::start(files.path(), None);
    let run = apply(files.path(), &engine.ditto, &[]);
    assert_eq!((run.code, run.line("big").1, run.line("good").0), (1, "TooLarge", "applied"));
    assert!(run.line("big").2.contains("smaller"), "{}", run.line("big").2);
}

#[test]
fn nothing_is_tried_without_a_folder_or_a_ditto() {
    let files = folder(&[("policy.yaml", POLICY)]);
    let engine = Engine::start(files.path(), None);
    let missing = apply(&files.path().join("nowhere"), &engine.ditto, &[]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("nowhere"), "{}", missing.stderr);

    let url = format!("http://127.0.0.1:{}", free_port());
    let mut command = twinops();
    command.arg("apply").arg(files.path()).args(["--ditto-url", &url]);
    let unreachable = run(command);
    assert_eq!(unreachable.code, 2);
    assert!(
        unreachable.stderr.contains(&url) && unreachable.stderr.contains("twinops dev"),
        "{}",
        unreachable.stderr
    );
    for hint in ["--ditto-url", &url] {
        assert_eq!(unreachable.stderr.matches(hint).count(), 1, "{hint} once: {}", unreachable.stderr);
    }

    let mut command = twinops();
    command.arg("apply").arg(files.path()).args([
        "--ditto-url",
        &engine.ditto.url,
        "--ditto-username",
        "eve",
    ]);
    command.env("DITTO_PASSWORD", "s3cret-canary");
    let refused = run(command);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("DITTO_PASSWORD"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("s3cret-canary"), "s45: no secret in a message");
}

#[test]
fn f33_things_of_others_are_left_alone() {
    let foreign = twin("foreign", GOOD);
    let elsewhere = twin("elsewhere", GOOD);
    let files = folder(&[
        ("a.yaml", &foreign),
        ("b.yaml", &elsewhere),
        ("good.yaml", &twin("good", GOOD)),
        ("policy.yaml", POLICY),
    ]);
    let engine = Engine::start(files.path(), None);
    let only_policy = folder(&[("policy.yaml", POLICY)]);
    assert_eq!(apply(only_policy.path(), &engine.ditto, &[]).code, 0);
    let mark = r#"[{"key":"/twinops","value":{"v":1,"owner":"other-cluster","uid":"u","generation":1,"namespace":"n","name":"x","origin":"Created","hash":"h"}}]"#;
    let body = json!({"policyId": "org.acme:pumps", "attributes": {"kw": 1}});
    let (status, _) = engine.ditto.call_with(
        "nginx:ditto",
        "PUT",
        "/things/org.acme:foreign",
        Some(&body),
        &[("put-metadata", mark)],
    );
    assert_eq!(status, 201);
    // Under a policy of its own that lets the operator in, but is not the declared one.
    let own = json!({"entries": {"o": {
        "subjects": {"nginx:ditto": {"type": "u"}, "nginx:operator": {"type": "u"}},
        "resources": {"thing:/": {"grant": ["READ", "WRITE"], "revoke": []}, "policy:/": {"grant": ["READ", "WRITE"], "revoke": []}},
    }}});
    assert_eq!(engine.ditto.call("nginx:ditto", "PUT", "/policies/org.acme:own", Some(&own)).0, 201);
    let body = json!({"policyId": "org.acme:own", "attributes": {"kw": 1}});
    assert_eq!(engine.ditto.call("nginx:ditto", "PUT", "/things/org.acme:elsewhere", Some(&body)).0, 201);

    let run = apply(files.path(), &engine.ditto, &[]);
    assert_eq!(run.code, 1);
    assert_eq!(
        (run.line("foreign").1, run.line("elsewhere").1, run.line("good").0),
        ("NotAdoptable", "NotAdoptable", "applied")
    );
    assert!(run.line("foreign").2.contains("other-cluster"), "{}", run.line("foreign").2);
    assert!(run.line("elsewhere").2.contains("another policy"), "{}", run.line("elsewhere").2);
    for id in ["org.acme:foreign", "org.acme:elsewhere"] {
        assert_eq!(engine.ditto.thing("nginx:ditto", id).unwrap()["attributes"]["kw"], 1, "{id}");
    }
}

#[test]
fn f31_a_policy_that_leaves_the_operator_out_says_what_to_add() {
    let declared = POLICY.replace("  entries:", "  access: Declared\n  entries:");
    let files = folder(&[("policy.yaml", &declared), ("pump.yaml", &twin("pump", GOOD))]);
    let engine = Engine::start(files.path(), None);
    let run = apply(files.path(), &engine.ditto, &[]);
    assert_eq!((run.code, run.line("pumps").1, run.line("pump").1), (1, "InvalidSpec", "PolicyNotReady"));
    assert!(
        run.line("pumps").2.contains(OPERATOR) && run.line("pumps").2.contains("thing:/"),
        "{}",
        run.line("pumps").2
    );
    assert_eq!(
        engine.ditto.call("nginx:ditto", "GET", "/policies/org.acme:pumps", None).0,
        404,
        "nothing was sent"
    );
    // A policy nobody manages, without the operator: the entry to add is in the message.
    let closed = json!({"entries": {"o": {"subjects": {"nginx:ditto": {"type": "u"}}, "resources": {"thing:/": {"grant": ["READ", "WRITE"], "revoke": []}, "policy:/": {"grant": ["READ", "WRITE"], "revoke": []}}}}});
    assert_eq!(engine.ditto.call("nginx:ditto", "PUT", "/policies/org.acme:closed", Some(&closed)).0, 201);
    let by_id = twin("pump", GOOD).replace("policyRef: {name: pumps}", "policyId: org.acme:closed");
    let files = folder(&[("pump.yaml", &by_id)]);
    let run = apply(files.path(), &engine.ditto, &[]);
    assert_eq!(run.line("pump").1, "PolicyNotAccessible");
    assert!(run.line("pump").2.contains("\"nginx:operator\""), "{}", run.line("pump").2);
}
