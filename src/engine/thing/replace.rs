//! PUT of a part that is there already: the packed thing with other bytes in one place, and no tree is built.
use serde_json::{Value, json};

use super::super::command::{Answer, Caller, Headers, IfEqual, Live, Metadata, Outcome};
use super::super::depth;
use super::super::enforce::Permission;
use super::super::place::{ThingPart, ThingPlace};
use super::super::precondition::{Preconditions, hash_tag};
use super::super::state::{Change, Content, Entry, Kind, State};
use super::super::time;
use super::{SIZE_MAX, THING, path};
use crate::twin::id::ThingId;

/// How much longer JSON text can be than the same packed: `false` in an array is a byte there and six here.
const TEXT_PER_PACKED: usize = 6;

/// What [`write_tree`](super::write::write_tree) answers; `None` when only that can tell. `body` is checked.
pub fn replace(
    state: &State,
    id: &ThingId,
    place: &ThingPlace,
    headers: &Headers,
    body: &Value,
    caller: &Caller,
) -> Option<Outcome> {
    use ThingPart::{Attribute, Attributes, DesiredProperties, DesiredProperty, Properties, Property};
    let is_bag = matches!(place.part, Attributes | Properties | DesiredProperties);
    let is_value = matches!(place.part, Attribute | Property | DesiredProperty);
    let segments = place.pointer.segments();
    if !(is_bag || is_value) || !is_plain(headers) || !depth::fits(body, segments.len()) {
        return None;
    }
    let thing = state.thing(id.as_str())?;
    let empties = body.as_object().is_some_and(serde_json::Map::is_empty);
    if empties && thing.node()?.at(&["_metadata"]).is_some() {
        return None; // the notes follow, see `metadata`
    }
    let enforcer = state.enforcer(thing.policy_id()?, caller.now)?;
    if !enforcer.unrestricted(&caller.subjects, THING, &path(segments), Permission::Write) {
        return None;
    }
    let revision = thing.revision() + 1;
    let document = thing.packed()?.replace(segments, body)?;
    let document = document.replace(&["_revision"], &json!(revision))?;
    let document = document.replace(&["_modified"], &json!(time::print(caller.now)))?;
    if document.size() * TEXT_PER_PACKED > SIZE_MAX {
        return None;
    }
    let entry = Entry { revision, document: Some(Content::Packed(document)) };
    Some(Outcome {
        answer: Answer::changed(Some(hash_tag(body)), revision),
        changes: vec![Change { kind: Kind::Thing, id: id.to_string(), entry }],
        patch: None,
    })
}

/// Nothing but the value is asked to be written.
fn is_plain(headers: &Headers) -> bool {
    matches!(headers.live, Live::Never)
        && headers.condition.is_none()
        && headers.patch_conditions.is_empty()
        && headers.preconditions == Preconditions::default()
        && headers.if_equal == IfEqual::Update
        && matches!(headers.metadata, Metadata::None | Metadata::Get(_))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::command::{Command, Target, Verb};
    use super::super::super::state::Packed;
    use super::super::write::write_tree;
    use super::*;
    use crate::twin::json::Pointer;

    const PLACES: [(ThingPart, &str); 8] = [
        (ThingPart::Attributes, "attributes"),
        (ThingPart::Attribute, "attributes/a"),
        (ThingPart::Attribute, "attributes/a/b"),
        (ThingPart::Attribute, "attributes/none"),
        (ThingPart::Properties, "features/f/properties"),
        (ThingPart::Property, "features/f/properties/p"),
        (ThingPart::Property, "features/g/properties/p"),
        (ThingPart::DesiredProperty, "features/f/desiredProperties/d"),
    ];

    fn value() -> impl Strategy<Value = Value> {
        let nested = |levels: usize| {
            serde_json::from_str(&format!("{}1{}", "[".repeat(levels), "]".repeat(levels)))
                .unwrap_or_default()
        };
        let long = |size: usize| json!("\u{1f600}".repeat(size));
        prop_oneof![
            4 => prop::sample::select(vec![json!(null), json!(1.5), json!("\"\u{e4}\n"), json!({}), json!({"b": {"c": 1}}), json!([])]),
            1 => (95..102_usize).prop_map(nested),
            1 => (4_000..30_000_usize).prop_map(long),
        ]
    }

    /// With a rule on a part, or a thing of an older time that lacks what is stamped.
    fn world(resource: &str, value: &Value, stamped: bool) -> State {
        let mut state = State::default();
        let mut put = |kind, id: &str, document: Value| {
            let entry = Entry { revision: 7, document: Some(document.into()) };
            drop(state.put(Change { kind, id: id.to_owned(), entry }));
        };
        let rule = json!({"grant": ["READ", "WRITE"], "revoke": []});
        put(
            Kind::Policy,
            "n:p",
            json!({"policyId": "n:p", "entries": {
            "e": {"subjects": {"nginx:a": {"type": "t"}}, "resources": {resource: rule}}}}),
        );
        let mut thing = json!({"thingId": "n:t", "policyId": "n:p", "attributes": {"a": value, "z": 1},
            "features": {"f": {"properties": {"p": value, "q": true}, "desiredProperties": {"d": value}}}, "_namespace": "n"});
        if stamped {
            thing["_revision"] = json!(7);
            thing["_created"] = json!("2026-01-01T00:00:00Z");
            thing["_modified"] = json!("2026-01-01T00:00:00Z");
            thing["_metadata"] = json!({"attributes": {"a": {"note": 1}}});
        }
        put(Kind::Thing, "n:t", thing);
        state
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn a_part_is_replaced_as_in_a_tree(
            resource in prop::sample::select(vec!["thing:/", "thing:/", "thing:/attributes", "thing:/features/f/properties/p"]),
            before in value().prop_filter("it is in the thing", |value| depth::fits(value, 4)),
            body in value(),
            stamped in prop::bool::weighted(0.9),
            (part, pointer) in prop::sample::select(PLACES.to_vec()),
        ) {
            let (state, id) = (world(resource, &before, stamped), ThingId::parse("n:t").unwrap());
            let place = ThingPlace { part, pointer: Pointer::parse(pointer) };
            let caller = Caller { subjects: vec!["nginx:a".to_owned()], now: 1_790_000_000_123 };
            let headers = Headers::default();
            if let Some(replaced) = replace(&state, &id, &place, &headers, &body, &caller) {
                let command = Command { target: Target::Thing(id.clone(), place.clone()), verb: Verb::Put, body: Value::Null, headers };
                let written = write_tree(&state, &id, &place, (&command, body), &caller).unwrap();
                prop_assert_eq!(replaced.answer, written.answer);
                prop_assert_eq!(replaced.changes, written.changes);
                prop_assert_eq!(replaced.patch, written.patch);
            }
        }
    }

    #[test]
    fn a_value_that_is_there_is_replaced_and_nothing_else_is() {
        let state = world("thing:/", &json!(1), true);
        let id = ThingId::parse("n:t").unwrap();
        let caller = |name: &str| Caller { subjects: vec![name.to_owned()], now: 0 };
        let put = |pointer: &str, headers: &Headers, caller: &Caller| {
            let place = ThingPlace { part: ThingPart::Attribute, pointer: Pointer::parse(pointer) };
            replace(&state, &id, &place, headers, &json!(2), caller)
        };
        let plain = Headers::default();
        assert!(put("attributes/a", &plain, &caller("nginx:a")).is_some());
        assert!(put("attributes/none", &plain, &caller("nginx:a")).is_none(), "it would be created");
        assert!(put("attributes/a", &plain, &caller("nginx:b")).is_none(), "it must not be written");
        let skip = Headers { if_equal: IfEqual::Skip, ..plain };
        assert!(put("attributes/a", &skip, &caller("nginx:a")).is_none(), "it might not be changed");
    }

    #[test]
    fn no_text_is_longer_than_the_bound_on_what_is_packed_says() {
        for value in [
            json!(vec![false; 1_000]),
            json!("\u{1}".repeat(1_000)),
            json!(vec![-2.225_073_858_507_201_4e-308; 100]),
        ] {
            assert!(value.to_string().len() <= Packed::of(&value).size() * TEXT_PER_PACKED, "{value}");
        }
    }
}
