//! The scenarios: what happens, and how it must end.
use serde_json::{Value, json};

use super::fault::Dice;
use super::step::{Step, policy, twin};

/// A life of some twins and policies.
pub struct Scenario {
    pub name: &'static str,
    pub steps: Vec<Step>,
    /// Places in the end, with what must stand there; `null` is nothing.
    pub end: Vec<(&'static str, Value)>,
    /// The end leaves marks in Ditto behind on purpose.
    pub leaves_marks: bool,
}

/// Scenarios in which an operator that stood still for their whole length, and then sends what it had decided
/// at the start, rightly ends elsewhere: the thing went, was given up, or was changed by hand meanwhile, and
/// Ditto cannot know that the resource did not stay as it was. What then remains is told in
/// `docs/simulation.md`.
pub const NO_LONG_STALLS: [&str; 19] = [
    "adopted_then_deleted",
    "delete",
    "delete_at_once",
    "deleted_and_made_again",
    "drift",
    "drift_then_edit",
    "drift_ignored",
    "drift_reported",
    "drift_reported_then_edit",
    "policy_and_twin_go",
    "released",
    "restored",
    "restored_and_taken_over",
    "retain",
    "suspended_then_deleted",
    "the_mark_turns_foreign",
    "the_thing_was_deleted_behind_our_back_and_then_the_twin",
    "too_many_at_once_and_meant",
    "twin_and_policy_go",
];
/// Whether many go at once depends on what the watch shows at once.
pub const NO_TWISTS: [&str; 2] = ["too_many_at_once", "too_many_at_once_and_meant"];

/// A twin whose spec is edited, whose thing drifts, and whose device never rests.
pub struct Storm {
    pub thing: &'static str,
}

impl Storm {
    pub const STEPS: fn() -> Vec<Step> = || vec![others(), p(), t(here())];

    /// Another place, a path more or less, a seed more or less.
    pub fn edit(&self, dice: &mut Dice) -> Step {
        let mut spec = spec(json!({"location": format!("hall-{}", dice.roll(9))}));
        if dice.chance(2) {
            spec["attributes"]["more"] = json!({"a": dice.roll(3), "b": 1});
        }
        if dice.chance(2) {
            spec["features"]["temperature"]["properties"]["late"] = json!({"x": 1, "y": {"z": 2}});
        }
        if dice.chance(2) {
            spec["features"]["pressure"] = json!({"properties": {"value": 1}});
        }
        Step::Apply(twin("t"), spec)
    }

    pub fn drift(&self, dice: &mut Dice) -> Step {
        in_ditto("PATCH", json!({"attributes": {"location": format!("elsewhere-{}", dice.roll(9))}}))
    }

    /// Below what is seeded, beside it, and, for what is `seeded` already, away with it.
    pub fn report(
        &self,
        dice: &mut Dice,
        number: usize,
        seeded: impl Fn(&str) -> bool,
    ) -> (&'static str, Option<Value>) {
        const PATHS: [&str; 6] = [
            VALUE,
            INITIAL,
            EXTRA,
            "/features/temperature/properties/late/y/z",
            "/features/pressure/properties/value",
            "/features/temperature/properties/late/x",
        ];
        let at = dice.roll(PATHS.len());
        let takes_away = at < 2 && dice.chance(4) && seeded(PATHS[at]);
        (PATHS[at], (!takes_away).then(|| json!(number)))
    }
}

pub const THING: &str = "org.acme:t";
const VALUE: &str = "/features/temperature/properties/value";
const EXTRA: &str = "/features/temperature/properties/extra";
const INITIAL: &str = "/features/temperature/properties/initial";

fn rights(list: &[&str]) -> Value {
    json!({"grant": list})
}

/// People and devices have rights, and `more` entries.
fn policy_spec(id: &str, more: &Value) -> Value {
    let mut entries = json!({
        "people": {
            "subjects": {"sim:people": {"type": "people"}},
            "resources": {"thing:/": rights(&["READ", "WRITE"]), "policy:/": rights(&["READ", "WRITE"])},
        },
        "device": {
            "subjects": {"sim:device": {"type": "device"}},
            "resources": {"thing:/features": rights(&["READ", "WRITE"])},
        },
    });
    for (label, entry) in more.as_object().into_iter().flatten() {
        entries[label] = entry.clone();
    }
    json!({"policyId": id, "entries": entries})
}

fn guest() -> Value {
    json!({"guest": {"subjects": {"sim:guest": {"type": "guest"}}, "resources": {"thing:/": rights(&["READ"])}}})
}

fn p() -> Step {
    Step::Apply(policy("p"), policy_spec("org.acme:p", &json!({})))
}

/// A thing that TwinOps has nothing to do with, and the policy `org.acme:free`, which lets everybody in.
fn others() -> Step {
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    let everybody =
        json!({"sim:people": {"type": "x"}, "sim:operator": {"type": "x"}, "sim:device": {"type": "x"}});
    let entry =
        json!({"subjects": everybody, "resources": {"thing:/": all, "policy:/": all, "message:/": all}});
    let body = json!({"entries": {"all": entry}});
    let thing = json!({"policyId": "org.acme:free", "attributes": {"untouched": true}});
    Step::Together(vec![
        Step::InDitto("PUT", "/policies/org.acme:free".into(), Some(body), None),
        Step::InDitto("PUT", "/things/org.acme:bystander".into(), Some(thing), None),
    ])
}

fn spec(attributes: Value) -> Value {
    json!({
        "thingId": THING, "policyRef": {"name": "p"}, "attributes": attributes,
        "features": {"temperature": {
            "properties": {"value": 22.5, "initial": 1, "unit": "celsius"}, "desiredProperties": {"interval": 30},
        }},
        "management": {"fields": [{"path": "/features/temperature/properties/unit", "mode": "Enforce"}]},
    })
}

fn managed(attributes: Value, management: &Value) -> Value {
    let mut spec = spec(attributes);
    for (name, value) in management.as_object().into_iter().flatten() {
        spec["management"][name] = value.clone();
    }
    spec
}

fn t(attributes: Value) -> Step {
    Step::Apply(twin("t"), spec(attributes))
}

fn in_ditto(method: &'static str, body: Value) -> Step {
    Step::InDitto(method, format!("/things/{THING}"), Some(body), None)
}

fn device(path: &'static str, value: impl Into<Value>) -> Step {
    Step::Device(THING, path, Some(value.into()))
}

fn ready(reason: &str) -> (&'static str, Value) {
    ("/resources/Twin t/conditions/Ready", json!(reason))
}

fn at(location: impl Into<Value>) -> (&'static str, Value) {
    ("/things/org.acme:t/attributes/location", location.into())
}

fn gone() -> Vec<(&'static str, Value)> {
    vec![("/resources/Twin t", Value::Null), ("/things/org.acme:t", Value::Null)]
}

fn here() -> Value {
    json!({"location": "hall-1"})
}

fn there() -> Value {
    json!({"location": "hall-2"})
}

/// Steps come after those of everybody: the others of this Ditto, then the policy.
fn life(name: &'static str, steps: Vec<Step>, end: Vec<(&'static str, Value)>) -> Scenario {
    let steps = [others(), p()].into_iter().chain(steps).collect();
    Scenario { name, steps, end, leaves_marks: false }
}

pub fn all() -> Vec<Scenario> {
    [lives(), adoptions(), ends(), policies(), accidents()].into_iter().flatten().collect()
}

fn lives() -> Vec<Scenario> {
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

fn adoptions() -> Vec<Scenario> {
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

fn ends() -> Vec<Scenario> {
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

fn policies() -> Vec<Scenario> {
    let with_guest = || Step::Apply(policy("p"), policy_spec("org.acme:p", &guest()));
    let entry = "/policies/org.acme:p/entries/guest";
    let q = Step::Apply(policy("q"), policy_spec("org.acme:q", &json!({})));
    let under_q = |attributes: Value| {
        let mut spec = spec(attributes);
        spec["policyRef"]["name"] = json!("q");
        Step::Apply(twin("t"), spec)
    };
    let mut unmanaged = spec(here());
    unmanaged.as_object_mut().expect("a spec").shift_remove("policyRef");
    unmanaged["policyId"] = json!("org.acme:free");
    let no_policy = ("/policies/org.acme:p", Value::Null);
    let both_gone =
        || gone().into_iter().chain([no_policy.clone(), ("/resources/Policy p", Value::Null)]).collect();
    vec![
        Scenario {
            name: "the_twin_comes_before_its_policy",
            steps: vec![others(), t(here()), p()],
            end: vec![ready("True Applied"), at("hall-1")],
            leaves_marks: false,
        },
        life(
            "policy_change",
            vec![t(here()), with_guest(), t(there()), p()],
            vec![(entry, Value::Null), ready("True Applied"), ("/resources/Policy p/usedBy", json!(1))],
        ),
        life(
            "policy_change_beside_people",
            vec![
                t(here()),
                with_guest(),
                Step::InDitto(
                    "PUT",
                    "/policies/org.acme:p/entries/theirs".into(),
                    Some(guest()["guest"].clone()),
                    None,
                ),
            ],
            vec![
                ("/policies/org.acme:p/entries/theirs/subjects/sim:guest/type", json!("guest")),
                ("/policies/org.acme:p/entries/guest/subjects/sim:guest/type", json!("guest")),
            ],
        ),
        life(
            "policy_drift",
            vec![
                with_guest(),
                t(here()),
                Step::Calm,
                Step::InDitto("DELETE", "/policies/org.acme:p/entries/guest".into(), None, None),
            ],
            vec![("/policies/org.acme:p/entries/guest/subjects/sim:guest/type", json!("guest"))],
        ),
        life(
            "policy_and_twin_go",
            vec![t(here()), Step::Delete(policy("p")), Step::Delete(twin("t"))],
            both_gone(),
        ),
        life(
            "twin_and_policy_go",
            vec![t(here()), Step::Delete(twin("t")), Step::Delete(policy("p"))],
            both_gone(),
        ),
        life(
            "policy_in_use_stays",
            vec![t(here()), Step::Calm, Step::Delete(policy("p")), t(there())],
            vec![at("hall-2"), ("/resources/Policy p/conditions/Synced", json!("False DeletionHeld"))],
        ),
        life(
            "another_policy",
            vec![t(here()), q, under_q(there())],
            vec![at("hall-2"), ("/things/org.acme:t/policyId", json!("org.acme:q")), ready("True Applied")],
        ),
        life(
            "a_policy_nobody_manages",
            vec![Step::Apply(twin("t"), unmanaged)],
            vec![("/things/org.acme:t/policyId", json!("org.acme:free")), ready("True Applied")],
        ),
    ]
}

fn accidents() -> Vec<Scenario> {
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
