//! Things that are there already, and twins that follow each other.
#![allow(clippy::wildcard_imports, clippy::too_many_lines)] // tables of one kind
use serde_json::{Value, json};

use super::*;

pub fn adoptions() -> Vec<Scenario> {
    let theirs =
        || in_ditto("PUT", json!({"policyId": "org.acme:p", "attributes": {"location": "old", "theirs": 1}}));
    let foreign = json!({"v": 1, "owner": "another-cluster", "uid": "x", "generation": 4, "namespace": "n", "name": "x",
        "origin": "Created", "hash": "h"});
    let of_another = || {
        let body = json!({"policyId": "org.acme:p", "attributes": {"location": "old"}});
        Step::InDitto("PUT", format!("/things/{THING}"), Some(body), Some(foreign.clone()))
    };
    let adopting = |word: &str| Step::Apply(twin("t"), managed(here(), &json!({"adoption": word})));
    let stays = ("/things/org.acme:t/attributes", json!({"location": "hall-1", "theirs": 1}));
    let adopted = ("/things/org.acme:t/mark/origin", json!("Adopted"));
    let unmarked = ("/things/org.acme:t/mark", Value::Null);
    vec![
        life(
            "adoption",
            vec![Step::Calm, theirs(), device(VALUE, 1), Step::Calm, t(here())],
            vec![
                stays.clone(),
                adopted.clone(),
                ready("True Applied"),
                ("/resources/Twin t/origin", json!("Adopted")),
            ],
        ),
        life(
            "adopted_then_deleted",
            vec![Step::Calm, theirs(), t(here()), Step::Calm, Step::Delete(twin("t"))],
            vec![stays.clone(), unmarked.clone(), ("/resources/Twin t", Value::Null)],
        ),
        life(
            "adoption_never_then_always",
            vec![Step::Calm, theirs(), Step::Calm, adopting("Never"), Step::Calm, adopting("Always")],
            vec![stays.clone(), adopted.clone(), ready("True Applied")],
        ),
        life(
            "adoption_only_if_identical",
            vec![Step::Calm, theirs(), Step::Calm, adopting("IfIdentical")],
            vec![at("old"), unmarked.clone(), ready("False NotAdoptable")],
        ),
        life(
            "a_foreign_thing_is_left_alone",
            vec![Step::Calm, of_another(), Step::Calm, t(here()), Step::Delete(twin("t"))],
            vec![
                at("old"),
                ("/things/org.acme:t/mark/owner", json!("another-cluster")),
                ("/resources/Twin t", Value::Null),
            ],
        ),
        life(
            "a_foreign_thing_is_taken_with_always",
            vec![Step::Calm, of_another(), Step::Calm, adopting("Always")],
            vec![at("hall-1"), adopted, ready("True Applied")],
        ),
        life(
            "the_mark_turns_foreign",
            vec![t(here()), Step::Calm, of_another(), t(there())],
            vec![at("old"), ready("False MarkChanged")],
        ),
        life(
            "rename",
            vec![
                t(here()),
                device(VALUE, 1),
                Step::Calm,
                Step::Apply(twin("u"), spec(there())),
                Step::Calm,
                Step::Delete(twin("t")),
            ],
            vec![
                at("hall-2"),
                ("/things/org.acme:t/mark/name", json!("u")),
                ("/resources/Twin u/conditions/Ready", json!("True Applied")),
                ("/resources/Twin t", Value::Null),
            ],
        ),
        life(
            "rename_in_one_go",
            vec![
                t(here()),
                Step::Calm,
                Step::Together(vec![Step::Delete(twin("t")), Step::Apply(twin("u"), spec(here()))]),
            ],
            vec![
                at("hall-1"),
                ("/things/org.acme:t/mark/name", json!("u")),
                ("/resources/Twin t", Value::Null),
            ],
        ),
        life(
            "two_claims",
            vec![
                t(here()),
                Step::Apply(twin("u"), spec(there())),
                Step::Calm,
                Step::Delete(twin("u")),
                t(json!({"location": "hall-3"})),
            ],
            vec![at("hall-3"), ready("True Applied"), ("/resources/Twin u", Value::Null)],
        ),
        life(
            "recreated",
            vec![t(here()), Step::Calm, Step::ForceAway(twin("t")), Step::Apply(twin("t"), spec(there()))],
            vec![at("hall-2"), ready("True Applied"), ("/things/org.acme:t/mark/origin", json!("Created"))],
        ),
        life(
            "deleted_and_made_again",
            vec![t(here()), Step::Delete(twin("t")), Step::Calm, Step::Apply(twin("t"), spec(there()))],
            vec![at("hall-2"), ready("True Applied")],
        ),
        life(
            "made_again_and_seeds_taken_away",
            vec![
                t(here()),
                Step::Delete(twin("t")),
                Step::Calm,
                t(here()),
                Step::Calm,
                Step::Device(THING, VALUE, None),
                Step::Device(THING, INITIAL, None),
            ],
            vec![
                ("/things/org.acme:t/features/temperature/properties/initial", Value::Null),
                ready("True Applied"),
            ],
        ),
        life(
            "restored",
            vec![
                t(here()),
                t(there()),
                t(json!({"location": "hall-3"})),
                Step::Calm,
                Step::Restore(twin("t"), spec(here()), 1),
            ],
            vec![at("hall-3"), ready("False StaleResource")],
        ),
        life(
            "restored_and_taken_over",
            vec![
                t(here()),
                t(there()),
                Step::Calm,
                Step::Restore(twin("t"), spec(json!({"location": "hall-9"})), 1),
                Step::Calm,
                Step::Annotate(twin("t"), "twinops.dev/takeover", "2"),
            ],
            vec![at("hall-9"), ready("True Applied")],
        ),
    ]
}
