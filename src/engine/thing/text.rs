//! GET by somebody who may read all of a thing: its packed bytes become text, and no tree is built.
use serde::Serialize;

use super::super::command::{Caller, Headers, Live, Metadata};
use super::super::enforce::Permission;
use super::super::failure::Failure;
use super::super::place::{ThingPart, ThingPlace};
use super::super::precondition::{revision_tag, text_tag};
use super::super::state::{Shown, State, Thing};
use super::THING;

/// A thing or a part of it, as [`read`](super::read) answers it.
#[derive(Debug, PartialEq)]
pub struct Text {
    pub json: String,
    pub etag: String,
    pub revision: u64,
}

/// What [`read`](super::read) answers; `None` when only that can tell.
pub fn text(
    state: &State,
    id: &str,
    place: &ThingPlace,
    headers: &Headers,
    caller: &Caller,
) -> Option<Result<Text, Failure>> {
    let thing = state.thing(id).filter(|_| is_plain(headers))?;
    // of the whole thing: below, a part is seen through the rules of the parts beside it
    if !reads_all(state, thing, caller) {
        return None;
    }
    let (node, revision) = (thing.node()?, thing.revision());
    let check = |etag: &str| headers.preconditions.check(Some(etag), true, "things");
    if place.is_root() {
        let etag = revision_tag(revision);
        if let Err(failure) = check(&etag) {
            return Some(Err(failure));
        }
        return Some(Ok(Text { json: written(Shown(node), thing.size())?, etag, revision }));
    }
    let part = node.at(place.pointer.segments())?;
    let is_special = match place.part {
        ThingPart::Feature | ThingPart::FeatureDefinition => true,
        ThingPart::Definition => part.text().is_none(),
        _ => false,
    };
    if is_special {
        return None;
    }
    let json = written(part, 0)?;
    let etag = text_tag(&json);
    Some(check(&etag).map(|()| Text { json, etag, revision }))
}

/// Whether nothing of the thing is hidden from the caller.
pub fn reads_all(state: &State, thing: &Thing, caller: &Caller) -> bool {
    let enforcer = thing.policy_id().and_then(|policy| state.enforcer(policy, caller.now));
    enforcer.is_some_and(|enforcer| enforcer.unrestricted(&caller.subjects, THING, &[], Permission::Read))
}

fn is_plain(headers: &Headers) -> bool {
    matches!(headers.live, Live::Never)
        && headers.condition.is_none()
        && headers.patch_conditions.is_empty()
        && headers.fields.is_none()
        && headers.moment.is_none()
        && !matches!(headers.metadata, Metadata::Get(_))
}

/// `size` is about how long the text will be.
fn written(value: impl Serialize, size: usize) -> Option<String> {
    let mut text = Vec::with_capacity(size);
    serde_json::to_writer(&mut text, &value).ok()?;
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::super::precondition::{Preconditions, Tags};
    use super::super::super::state::{Change, Entry, Kind};
    use super::super::read;
    use super::*;
    use crate::twin::json::Pointer;

    const RESOURCES: [&str; 7] = [
        "thing:/",
        "thing:/attributes",
        "thing:/attributes/a",
        "thing:/attributes/a/b",
        "thing:/features",
        "thing:/features/f/properties",
        "policy:/",
    ];
    const SUBJECTS: [&str; 3] = ["nginx:a", "nginx:b", "nginx:c"];
    const PLACES: [(ThingPart, &str); 11] = [
        (ThingPart::Thing, ""),
        (ThingPart::PolicyId, "policyId"),
        (ThingPart::Definition, "definition"),
        (ThingPart::Attributes, "attributes"),
        (ThingPart::Attribute, "attributes/a"),
        (ThingPart::Attribute, "attributes/a/b"),
        (ThingPart::Features, "features"),
        (ThingPart::Feature, "features/f"),
        (ThingPart::FeatureDefinition, "features/f/definition"),
        (ThingPart::Properties, "features/f/properties"),
        (ThingPart::Property, "features/f/properties/p"),
    ];

    fn rules() -> impl Strategy<Value = Value> {
        let names = || prop::sample::subsequence(vec!["READ", "WRITE"], 0..=2);
        let rule = (prop::sample::select(RESOURCES.to_vec()), names(), names());
        // most readers may read everything: that is what is looked at here
        let all = Just(("thing:/", vec!["READ"], vec![]));
        prop::collection::vec(prop_oneof![2 => all, 1 => rule], 1..4).prop_map(|rules| {
            rules
                .into_iter()
                .map(|(key, grant, revoke)| (key.to_owned(), json!({"grant": grant, "revoke": revoke})))
                .collect()
        })
    }

    fn policy() -> impl Strategy<Value = Value> {
        let entry = (prop::sample::select(SUBJECTS.to_vec()), rules());
        prop::collection::vec(entry, 1..4).prop_map(|entries| {
            let entries = entries.into_iter().enumerate().map(|(n, (subject, rules))| {
                (n.to_string(), json!({"subjects": {subject: {"type": "t"}}, "resources": rules}))
            });
            json!({"policyId": "n:p", "entries": Value::Object(entries.collect())})
        })
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf =
            prop::sample::select(vec![json!(null), json!(1.5), json!("\"\u{e4}\n"), json!({}), json!([])]);
        leaf.prop_recursive(2, 6, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[ab]", inner, 0..3).prop_map(|members| json!(members)),
            ]
        })
    }

    fn thing() -> impl Strategy<Value = Value> {
        let member = || prop::option::weighted(0.8, value());
        (member(), member(), member(), member()).prop_map(|(definition, attributes, properties, feature)| {
            let mut thing = json!({"thingId": "n:t", "policyId": "n:p"});
            let mut put = |at: &str, value: Option<Value>| {
                if let Some(value) = value {
                    Pointer::parse(at).set(&mut thing, value);
                }
            };
            put("definition", definition.map(|given| if given.is_array() { given } else { json!("n:d:1") }));
            put("attributes/a", attributes);
            put("features/f/definition", feature);
            put("features/f/properties/p", properties);
            put("_revision", Some(json!(7)));
            put("_modified", Some(json!("2026-01-01T00:00:00Z")));
            thing
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn text_is_what_a_read_answers(
            policy in policy(),
            thing in thing(),
            asked in prop::collection::vec((prop::sample::subsequence(SUBJECTS.to_vec(), 1..=3),
                prop::sample::select(PLACES.to_vec()), any::<bool>()), 1..12),
        ) {
            let mut state = State::default();
            let entry = |document: Value| Entry { revision: 7, document: Some(document.into()) };
            state.put(Change { kind: Kind::Policy, id: "n:p".into(), entry: entry(policy) });
            state.put(Change { kind: Kind::Thing, id: "n:t".into(), entry: entry(thing) });
            for (subjects, (part, pointer), known) in asked {
                let caller = Caller { subjects: subjects.into_iter().map(str::to_owned).collect(), now: 0 };
                let place = ThingPlace { part, pointer: Pointer::parse(pointer) };
                let tag = read(&state, "n:t", &place, &Headers::default(), &caller).ok().and_then(|a| a.etag);
                let if_none_match = tag.filter(|_| known).map(|tag| Tags::List(vec![tag]));
                let headers = Headers { preconditions: Preconditions { if_none_match, if_match: None }, ..Headers::default() };
                let Some(text) = text(&state, "n:t", &place, &headers, &caller) else { continue };
                let read = read(&state, "n:t", &place, &headers, &caller).map(|answer| Text {
                    json: answer.body.unwrap_or_default().to_string(),
                    etag: answer.etag.unwrap_or_default(),
                    revision: answer.revision.unwrap_or_default(),
                });
                prop_assert_eq!(text, read, "{:?}", place);
            }
        }
    }

    #[test]
    fn only_a_plain_read_by_somebody_who_may_read_all_is_text() {
        let mut state = State::default();
        let rule = |grant: &[&str], revoke: &[&str]| json!({"grant": grant, "revoke": revoke});
        let entry = |subject: &str, resources: Value| json!({"subjects": {subject: {"type": "t"}}, "resources": resources});
        let policy = json!({"policyId": "n:p", "entries": {
            "a": entry("nginx:a", json!({"thing:/": rule(&["READ"], &[])})),
            "b": entry("nginx:b", json!({"thing:/": rule(&["READ"], &[]), "thing:/attributes": rule(&[], &["READ"])})),
        }});
        let thing = json!({"thingId": "n:t", "policyId": "n:p", "attributes": {"a": 1}, "_revision": 1});
        let entry = |document: Value| Entry { revision: 1, document: Some(document.into()) };
        state.put(Change { kind: Kind::Policy, id: "n:p".into(), entry: entry(policy) });
        state.put(Change { kind: Kind::Thing, id: "n:t".into(), entry: entry(thing) });
        let asked = |subject: &str, id: &str, headers: &Headers| {
            let caller = Caller { subjects: vec![subject.to_owned()], now: 0 };
            text(&state, id, &ThingPlace::root(), headers, &caller)
        };
        let plain = Headers::default();
        assert!(matches!(asked("nginx:a", "n:t", &plain), Some(Ok(_))));
        assert_eq!(asked("nginx:b", "n:t", &plain), None, "part of it is hidden");
        assert_eq!(asked("nginx:c", "n:t", &plain), None, "nothing is granted");
        assert_eq!(asked("nginx:a", "n:none", &plain), None, "there is nothing");
        let fields = Headers {
            fields: Some(super::super::super::fields::Selector::parse("thingId").unwrap()),
            ..plain
        };
        assert_eq!(asked("nginx:a", "n:t", &fields), None, "a part was asked for");
    }
}
