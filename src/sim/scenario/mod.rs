//! The scenarios: what happens, and how it must end.
mod adoptions;
mod ends;
mod lives;
mod policies;

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
/// at the start, rightly ends elsewhere: the thing went, or was adopted and given up, and Ditto cannot know that it is
/// not to come back. What then remains is told in `docs/simulation.md`. Writes of status are no part of it.
pub const NO_LONG_STALLS: [&str; 7] = [
    "adopted_then_deleted",
    "delete",
    "delete_at_once",
    "policy_and_twin_go",
    "the_thing_was_deleted_behind_our_back_and_then_the_twin",
    "too_many_at_once_and_meant",
    "twin_and_policy_go",
];
/// Paths that nobody remembers after a crash between a write and its status and another edit before the next look: they
/// stay, and an Event says so (`docs/ownership.md`).
pub const LEFT_BEHIND: [(&str, &str); 1] = [("removal", "/things/org.acme:t/attributes/b/y")];
/// Whether many go at once depends on what the watch shows at once.
pub const NO_TWISTS: [&str; 2] = ["too_many_at_once", "too_many_at_once_and_meant"];

/// The twin of a [`Storm`].
pub const STORM: &str = "t";

/// A twin whose spec is edited, whose thing drifts, and whose device never rests.
pub struct Storm;

impl Storm {
    /// What plans call it.
    pub const NAME: &str = "storm";

    pub fn steps() -> Vec<Step> {
        vec![others(), p(), t(here())]
    }

    /// Another place, a path more or less, a seed more or less.
    pub fn edit(dice: &mut Dice) -> Step {
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

    pub fn drift(dice: &mut Dice) -> Step {
        in_ditto("PATCH", json!({"attributes": {"location": format!("elsewhere-{}", dice.roll(9))}}))
    }

    /// Below what is seeded, beside it, and, for what is `seeded` already, away with it.
    pub fn report(
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

#[allow(clippy::needless_pass_by_value)] // every caller makes it on the spot
fn spec(attributes: Value) -> Value {
    json!({
        "thingId": THING, "policyRef": {"name": "p"}, "attributes": attributes,
        "features": {"temperature": {
            "properties": {"value": 22.5, "initial": 1, "unit": "celsius"}, "desiredProperties": {"interval": 30},
        }},
        "management": {"fields": [{"path": "/features/temperature/properties/unit", "mode": "Enforce"}]},
    })
}

#[allow(clippy::needless_pass_by_value)] // as above
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
    [lives::lives(), adoptions::adoptions(), ends::ends(), policies::policies(), ends::accidents()]
        .into_iter()
        .flatten()
        .collect()
}
