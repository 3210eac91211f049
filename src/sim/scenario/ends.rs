//! Ends, and accidents.
#![allow(clippy::wildcard_imports, clippy::too_many_lines)] // tables of one kind
use serde_json::{Value, json};

use super::*;

pub fn ends() -> Vec<Scenario> {
    let retained = |attributes| Step::Apply(twin("t"), managed(attributes, &json!({"deletion": "Retain"})));
    let left =
        || vec![at("hall-1"), ("/things/org.acme:t/mark", Value::Null), ("/resources/Twin t", Value::Null)];
    let mut suspended = spec(here());
    suspended["suspend"] = json!(true);
    let named = |name: &str| {
        let mut spec = spec(here());
        spec["thingId"] = json!(format!("org.acme:{name}"));
        Step::Apply(twin(name), spec)
    };
    let four = ["t", "u", "v", "w"];
    let each = |step: fn(&str) -> Step| Step::Together(four.into_iter().map(step).collect());
    let mut many: Vec<Step> = four.into_iter().map(named).collect();
    many.extend([Step::Calm, each(|name| Step::Delete(twin(name))), Step::Calm]);
    let mut confirmed = many.clone();
    confirmed.push(each(|name| Step::Annotate(twin(name), "twinops.dev/confirm-deletion", "true")));
    let held = |name| (name, json!("False DeletionHeld"));
    vec![
        life("delete", vec![t(here()), device(VALUE, 1), Step::Calm, Step::Delete(twin("t"))], gone()),
        life("delete_at_once", vec![t(here()), Step::Delete(twin("t"))], gone()),
        life("retain", vec![retained(here()), Step::Calm, Step::Delete(twin("t"))], left()),
        life(
            "released",
            vec![
                t(here()),
                Step::Calm,
                Step::Annotate(twin("t"), "twinops.dev/release", "true"),
                Step::Delete(twin("t")),
            ],
            left(),
        ),
        Scenario {
            leaves_marks: true,
            ..life(
                "suspended_then_deleted",
                vec![t(here()), Step::Calm, Step::Apply(twin("t"), suspended), Step::Delete(twin("t"))],
                vec![
                    at("hall-1"),
                    ("/things/org.acme:t/mark/name", json!("t")),
                    ("/resources/Twin t", Value::Null),
                ],
            )
        },
        life(
            "too_many_at_once",
            many,
            vec![
                held("/resources/Twin t/conditions/Synced"),
                held("/resources/Twin w/conditions/Synced"),
                at("hall-1"),
            ],
        ),
        life("too_many_at_once_and_meant", confirmed, gone()),
        life(
            "the_thing_was_deleted_behind_our_back_and_then_the_twin",
            vec![
                t(here()),
                Step::Calm,
                Step::InDitto("DELETE", format!("/things/{THING}"), None, None),
                Step::Delete(twin("t")),
            ],
            gone(),
        ),
    ]
}

pub fn accidents() -> Vec<Scenario> {
    let delete = |what: &str| Step::InDitto("DELETE", format!("/{what}"), None, None);
    vec![
        life(
            "the_thing_is_deleted_behind_our_back",
            vec![t(here()), Step::Calm, delete("things/org.acme:t")],
            vec![at("hall-1"), ready("True Applied")],
        ),
        life(
            "the_policy_is_deleted_behind_our_back",
            vec![t(here()), device(VALUE, 1), Step::Calm, delete("policies/org.acme:p")],
            vec![
                at("hall-1"),
                ready("True Applied"),
                ("/policies/org.acme:p/entries/people/subjects/sim:people/type", json!("people")),
            ],
        ),
        life(
            "status_is_lost",
            vec![
                t(json!({"location": "hall-1", "a": 1})),
                Step::Calm,
                Step::Together(vec![Step::ClearStatus(twin("t")), Step::ClearStatus(policy("p"))]),
            ],
            vec![ready("True Applied"), ("/resources/Twin t/seeded", json!([INITIAL, VALUE]))],
        ),
    ]
}
