use serde_json::json;

use super::{POLICY, apply, twin};
use crate::support::ditto::{Engine, folder, write};

const OPERATOR: &str = "nginx:operator";
const DEVICE: &str = "nginx:device";

const PUMP: &str = "
  attributes: {kw: 3, site: A}
  features:
    motor:
      properties: {rpm: 0, unit: rpm}
      desiredProperties: {limit: 900}
  management:
    fields: [{path: /features/motor/properties/unit, mode: Enforce}]
";

#[test]
fn a_folder_is_applied_and_a_second_pass_writes_nothing() {
    let files = folder(&[("policy.yaml", POLICY), ("pump.yaml", &twin("pump", PUMP))]);
    let engine = Engine::start(files.path(), None);
    let first = apply(files.path(), &engine.ditto, &[]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert_eq!(first.line("pump").0, "applied");
    let thing = engine.ditto.thing(OPERATOR, "org.acme:pump").unwrap();
    assert_eq!(thing["features"]["motor"]["properties"], json!({"rpm": 0, "unit": "rpm"}));
    assert_eq!(thing["_metadata"]["twinops"]["owner"], "folder");

    let second = apply(files.path(), &engine.ditto, &[]);
    assert_eq!((second.code, second.wrote(), second.line("pump").0), (0, 0, "in-sync"));
    assert_eq!(engine.ditto.thing(OPERATOR, "org.acme:pump").unwrap(), thing, "not even the revision moved");
}

/// The three hands on one thing: telemetry stays, drift is repaired, what is no longer declared goes.
#[test]
fn f34_telemetry_stays_drift_is_repaired_and_removals_work_from_a_fresh_checkout() {
    let files = folder(&[("policy.yaml", POLICY), ("pump.yaml", &twin("pump", PUMP))]);
    let engine = Engine::start(files.path(), None);
    assert_eq!(apply(files.path(), &engine.ditto, &[]).code, 0);
    let change = json!({"features": {"motor": {
        "properties": {"rpm": 1480, "unit": "Hz", "temperature": 61},
        "desiredProperties": {"limit": 100},
    }}});
    let (status, _) = engine.ditto.call(DEVICE, "PATCH", "/things/org.acme:pump", Some(&change));
    assert_eq!(status, 204);
    let run = apply(files.path(), &engine.ditto, &[]);
    assert_eq!(run.line("pump").0, "applied");
    assert!(run.line("pump").2.contains("repaired: /features/motor"), "{}", run.line("pump").2);
    let thing = engine.ditto.thing(OPERATOR, "org.acme:pump").unwrap();
    assert_eq!(
        thing["features"]["motor"]["properties"],
        json!({"rpm": 1480, "unit": "rpm", "temperature": 61})
    );
    assert_eq!(thing["features"]["motor"]["desiredProperties"]["limit"], 900);

    write(files.path(), "pump.yaml", &twin("pump", "  attributes: {kw: 3}\n"));
    let fresh = folder(&[("policy.yaml", POLICY), ("pump.yaml", &twin("pump", "  attributes: {kw: 3}\n"))]);
    assert_eq!(apply(fresh.path(), &engine.ditto, &[]).line("pump").0, "applied");
    let thing = engine.ditto.thing(OPERATOR, "org.acme:pump").unwrap();
    assert_eq!(thing["attributes"], json!({"kw": 3}));
    assert_eq!(
        thing["features"]["motor"]["properties"],
        json!({"rpm": 1480, "unit": "rpm", "temperature": 61}),
        "telemetry, seeds and what turned Seed stay"
    );
    assert_eq!(thing["features"]["motor"]["desiredProperties"], json!({}));
    assert_eq!(apply(fresh.path(), &engine.ditto, &[]).wrote(), 0);
}

#[test]
fn a_dry_run_writes_nothing_and_says_what_it_would_do() {
    let files = folder(&[("policy.yaml", POLICY), ("pump.yaml", &twin("pump", PUMP))]);
    let engine = Engine::start(files.path(), None);
    let dry = apply(files.path(), &engine.ditto, &["--dry-run"]);
    assert_eq!((dry.code, dry.line("pump").0, dry.line("pumps").0), (0, "would-create", "would-create"));
    assert_eq!(engine.ditto.thing("nginx:ditto", "org.acme:pump"), None);
    assert_eq!(apply(files.path(), &engine.ditto, &[]).code, 0);
    write(files.path(), "pump.yaml", &twin("pump", "  attributes: {kw: 9}\n"));
    let dry = apply(files.path(), &engine.ditto, &["--dry-run"]);
    assert_eq!(dry.line("pump").0, "would-update");
    let message = dry.line("pump").2;
    assert!(message.contains("/attributes/kw") && message.contains("/attributes/site"), "{message}");
    assert!(!message.contains("policyId") && !message.contains("properties"), "{message}");
    let wider =
        POLICY.replace("thing:/features: {grant: [WRITE]}", "thing:/features: {grant: [READ, WRITE]}");
    write(files.path(), "policy.yaml", &wider);
    let dry = apply(files.path(), &engine.ditto, &["--dry-run"]);
    assert_eq!(dry.line("pumps").0, "would-update");
    assert_eq!(dry.line("pumps").2, "changes /entries/devices");
    let summary = &dry.json["summary"];
    assert_eq!((&summary["wouldUpdate"], &summary["applied"]), (&json!(2), &json!(0)), "{summary}");
}

#[test]
fn every_line_gives_its_own_reason_and_id() {
    let files = folder(&[("policy.yaml", POLICY), ("pump.yaml", &twin("pump", "  suspend: true\n"))]);
    let engine = Engine::start(files.path(), None);
    let run = apply(files.path(), &engine.ditto, &[]);
    assert_eq!((run.line("pump").0, run.line("pump").1), ("paused", "Paused"));
    let line = run.json["resources"].as_array().unwrap().iter().find(|line| line["name"] == "pump").unwrap();
    assert_eq!(line["id"], "org.acme:pump");
}

/// 80 seeds beside what a device wrote: each needs a guard, and all headers stay under Ditto's limit.
#[test]
fn eighty_seeds_come_in_around_a_device() {
    let seeds: Vec<String> = (0..80).map(|i| format!("property-number-{i:02}: {i}")).collect();
    let body = format!("  features: {{motor: {{properties: {{{}}}}}}}\n", seeds.join(", "));
    let files = folder(&[("policy.yaml", POLICY)]);
    let engine = Engine::start(files.path(), None);
    assert_eq!(apply(files.path(), &engine.ditto, &[]).code, 0);
    let standing = json!({"policyId": "org.acme:pumps", "features": {"motor": {"properties": {"property-number-07": 700, "own": 1}}}});
    assert_eq!(engine.ditto.call("nginx:ditto", "PUT", "/things/org.acme:pump", Some(&standing)).0, 201);
    write(files.path(), "pump.yaml", &twin("pump", &body));
    let run = apply(files.path(), &engine.ditto, &[]);
    assert_eq!(run.line("pump").0, "applied", "{}", run.messages());
    let thing = engine.ditto.thing(OPERATOR, "org.acme:pump").unwrap();
    let properties = thing["features"]["motor"]["properties"].as_object().unwrap();
    assert_eq!(
        (properties.len(), &properties["property-number-07"], &properties["property-number-79"]),
        (81, &json!(700), &json!(79))
    );
    assert_eq!(thing["_metadata"]["twinops"]["origin"], "Adopted");
}

#[test]
fn every_sample_is_applied() {
    let samples = std::path::Path::new("manifests/samples");
    let work = folder(&[]);
    let engine = Engine::start(work.path(), None);
    let first = apply(samples, &engine.ditto, &[]);
    assert_eq!(first.code, 0, "{} {}", first.stderr, first.messages());
    assert_eq!(first.json["summary"]["applied"], first.json["summary"]["resources"]);
    assert!(
        first.json["summary"]["resources"].as_u64() >= Some(23),
        "a sensor, a fleet of 20 and their policies"
    );
    assert_eq!(apply(samples, &engine.ditto, &[]).wrote(), 0);
}
