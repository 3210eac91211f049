//! Edits, removals, seeds, drift, pauses.
#![allow(clippy::wildcard_imports, clippy::too_many_lines)] // tables of one kind
use serde_json::{Value, json};

use super::*;

pub fn lives() -> Vec<Scenario> {
    let report = |attributes| managed(attributes, &json!({"drift": "Report"}));
    let ignore = |attributes| managed(attributes, &json!({"drift": "Ignore"}));
    let suspended = |attributes| {
        let mut spec = spec(attributes);
        spec["suspend"] = json!(true);
        spec
    };
    let wrong = || in_ditto("PATCH", json!({"attributes": {"location": "elsewhere"}}));
    let mark = "/things/org.acme:t/mark/origin";
    vec![
        life(
            "create",
            vec![t(here())],
            vec![
                ready("True Applied"),
                at("hall-1"),
                (mark, json!("Created")),
                ("/things/org.acme:t/features/temperature/properties/initial", json!(1)),
                ("/things/org.acme:t/features/temperature/properties/unit", json!("celsius")),
                ("/resources/Twin t/seeded", json!([INITIAL, VALUE])),
            ],
        ),
        life(
            "spec_change",
            vec![t(here()), t(there()), t(json!({"location": "hall-3"}))],
            vec![ready("True Applied"), at("hall-3"), ("/resources/Twin t/observed", json!(3))],
        ),
        life(
            "there_and_back",
            vec![t(here()), t(there()), t(here())],
            vec![ready("True Applied"), at("hall-1")],
        ),
        life(
            "removal",
            vec![
                t(json!({"location": "hall-1", "a": 1, "b": {"x": 1, "y": 2}})),
                Step::Calm,
                in_ditto("PATCH", json!({"attributes": {"theirs": 1, "b": {"z": 3}}})),
                t(json!({"location": "hall-1", "b": {"y": 2}})),
                t(here()),
            ],
            vec![
                ("/things/org.acme:t/attributes/a", Value::Null),
                ("/things/org.acme:t/attributes/b", json!({"z": 3})),
                ("/things/org.acme:t/attributes/theirs", json!(1)),
                ready("True Applied"),
            ],
        ),
        life(
            "seeds",
            vec![
                t(here()),
                device(VALUE, 1),
                Step::Calm,
                Step::Device(THING, VALUE, None),
                Step::Device(THING, INITIAL, None),
                t(there()),
            ],
            vec![("/things/org.acme:t/features/temperature/properties/initial", Value::Null), at("hall-2")],
        ),
        life(
            "late_seeds",
            vec![
                Step::Apply(
                    twin("t"),
                    json!({"thingId": THING, "policyRef": {"name": "p"}, "attributes": here()}),
                ),
                device("/features/temperature/properties/extra", 7),
                t(here()),
                device(VALUE, 2),
            ],
            vec![
                ("/things/org.acme:t/features/temperature/properties/initial", json!(1)),
                ready("True Applied"),
            ],
        ),
        life(
            "late_seeds_taken_away",
            vec![
                Step::Apply(
                    twin("t"),
                    json!({"thingId": THING, "policyRef": {"name": "p"}, "attributes": here()}),
                ),
                t(here()),
                Step::Calm,
                Step::Device(THING, VALUE, None),
                Step::Device(THING, INITIAL, None),
                t(there()),
            ],
            vec![("/things/org.acme:t/features/temperature/properties/initial", Value::Null), at("hall-2")],
        ),
        life(
            "device_writes",
            vec![
                t(here()),
                device(VALUE, 1),
                t(there()),
                device(VALUE, 2),
                device(EXTRA, 3),
                t(here()),
                device(VALUE, 4),
            ],
            vec![ready("True Applied"), at("hall-1")],
        ),
        life(
            "drift",
            vec![t(here()), Step::Calm, wrong(), device(VALUE, 1)],
            vec![ready("True Applied"), at("hall-1")],
        ),
        life("drift_then_edit", vec![t(here()), Step::Calm, wrong(), t(there())], vec![at("hall-2")]),
        life(
            "drift_reported",
            vec![Step::Apply(twin("t"), report(here())), Step::Calm, wrong(), device(VALUE, 1)],
            vec![
                at("elsewhere"),
                ready("True Applied"),
                ("/resources/Twin t/conditions/Drifted", json!("True DriftReported")),
            ],
        ),
        life(
            "drift_reported_then_edit",
            vec![
                Step::Apply(twin("t"), report(here())),
                Step::Calm,
                wrong(),
                Step::Calm,
                Step::Apply(twin("t"), report(there())),
            ],
            vec![at("hall-2"), ("/resources/Twin t/conditions/Drifted", json!("False NoDrift"))],
        ),
        life(
            "drift_ignored",
            vec![Step::Apply(twin("t"), ignore(here())), Step::Calm, wrong()],
            vec![at("elsewhere"), ready("True Applied")],
        ),
        life(
            "suspended",
            vec![t(here()), Step::Apply(twin("t"), suspended(there())), t(json!({"location": "hall-3"}))],
            vec![at("hall-3"), ready("True Applied")],
        ),
        life(
            "paused",
            vec![t(here()), Step::Calm, Step::Annotate(twin("t"), "twinops.dev/paused", "true"), t(there())],
            vec![at("hall-1"), ("/resources/Twin t/conditions/ReconciliationPaused", json!("True Paused"))],
        ),
    ]
}
