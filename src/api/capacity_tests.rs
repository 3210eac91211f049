//! What status can hold, against the largest things that Ditto takes by default.
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::twin::desired::{Adoption, Desired, Drift, Mode, PolicyName};
use crate::twin::id::ThingId;
use crate::twin::json::{leaves, merge};
use crate::twin::ownership::declared;
use crate::twin::plan::{base_after_create, changes};

/// Ditto 3.8, `LIMITS_THINGS_MAX_SIZE`.
const THING_BYTES_MAX: usize = 102_400;

fn desired(document: Value, fields: &[(&str, Mode)]) -> Desired {
    Desired {
        id: ThingId::parse("a:t").unwrap(),
        policy: PolicyName::Resource("p".into()),
        document,
        fields: fields.iter().map(|(path, mode)| (Pointer::parse(path), *mode)).collect(),
        drift: Drift::Enforce,
        adoption: Adoption::IfUnowned,
        deletion: None,
        suspend: false,
        telemetry: None,
    }
}

/// As many members as fit, below `at`.
fn filled(at: &Pointer, name: impl Fn(usize) -> Pointer) -> Value {
    let mut document = json!({});
    at.set(&mut document, json!({}));
    let mut bytes = document.to_string().len();
    for name in (0..).map(name) {
        // Each key with its quotes, a colon, a value or braces, and a comma.
        bytes += name.segments().iter().map(|key| key.len() + 6).sum::<usize>();
        if bytes > THING_BYTES_MAX {
            break;
        }
        at.join(&name).set(&mut document, json!(1));
    }
    document
}

fn status_of(desired: &Desired) -> (DigitalTwinStatus, Outcome) {
    let applied = Applied { hash: desired.hash(), base: base_after_create(&declared(desired)) };
    let outcome = Outcome {
        writes: 1,
        applied: Some(applied),
        observed: true,
        resolved: true,
        ..Outcome::new(Ok(Reason::Applied))
    };
    (DigitalTwinStatus::default().after(&outcome, 1, Timestamp::UNIX_EPOCH), outcome)
}

#[test]
fn all_paths_of_the_largest_things_are_remembered_and_removed() {
    let long = |count: usize| Pointer::of((0..count).map(|i| format!("{i:0>256}")));
    let attributes = Pointer::of(["attributes"]);
    let mut features = json!({"features": {}});
    for i in 0..1_000 {
        let feature = json!({"desiredProperties": {"interval": i, "mode": "auto"}});
        features["features"][format!("feature-{i:04}")] = feature;
    }
    let rows = [
        ("1,000 features", features),
        ("very many short names", filled(&attributes, |i| Pointer::of([format!("{i:x}")]))),
        (
            "a long name above all of them",
            filled(&attributes.join(&long(1)), |i| Pointer::of([format!("{i:x}")])),
        ),
        ("long names", filled(&attributes, |i| Pointer::of([format!("{i:x<256}")]))),
        (
            "a tree",
            filled(&attributes, |i| Pointer::of([i / 4_096, i / 64 % 64, i % 64].map(|n| format!("{n:x}")))),
        ),
    ];
    for (name, document) in rows {
        assert!(document.to_string().len() <= THING_BYTES_MAX, "{name}");
        for fields in [&[][..], &[("/attributes", Mode::Seed)]] {
            let twin = desired(document.clone(), fields);
            let (status, outcome) = status_of(&twin);
            let kept = serde_json::to_string(&status.last_applied).unwrap().len();
            assert!(kept < APPLIED_BYTES_MAX, "{name}: {kept} bytes");
            assert_eq!(status.forgets(&outcome), None, "{name}");
            assert_eq!(status.known().applied, outcome.applied, "{name}: every path comes back");

            let base = status.known().applied.unwrap().base;
            let bare = desired(json!({}), &[]);
            let removal = changes(&bare, &declared(&bare), Some(&base), &document, 1_700);
            let mut left = document.clone();
            merge(&mut left, &removal.body(true));
            let is_value = |value: &Value| !value.as_object().is_some_and(Map::is_empty);
            let values = leaves(&left).into_iter().filter(|(_, value)| is_value(value)).count();
            assert_eq!(values, base.seeded.len(), "{name}: only seeds are left");
        }
    }
}

#[test]
fn what_does_not_fit_is_told_and_nothing_is_removed_by_guessing() {
    let mut document = json!({});
    for i in 0..2_000 {
        Pointer::of(["attributes", &format!("{i:x<256}")]).set(&mut document, json!(1));
    }
    let (status, outcome) = status_of(&desired(document.clone(), &[]));
    assert!(status.forgets(&outcome).is_some());
    let base = status.known().applied.unwrap().base;
    let bare = desired(json!({}), &[]);
    assert_eq!(changes(&bare, &declared(&bare), Some(&base), &document, 1_700).owned, json!({}));
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!(1)), Just(json!("s")), Just(json!({})), Just(json!([1]))];
    let name = prop_oneof!["[a-z]{1,2}", "[a-z0-9 \"\\\\泵]{1,40}"];
    leaf.prop_recursive(12, 200, 12, move |inner| {
        prop::collection::btree_map(name.clone(), inner, 0..12)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Each name stands in a list at most once, so both lists together are shorter than the document twice.
    #[test]
    fn two_folded_lists_are_shorter_than_the_document_twice(tree in tree(), parts in 1_usize..4) {
        let paths: Vec<Pointer> = leaves(&tree).into_iter().map(|(path, _)| path).collect();
        let (one, other): (Vec<_>, Vec<_>) = paths.iter().cloned().enumerate().partition(|(i, _)| i % parts == 0);
        let mut bytes = 0;
        for list in [one, other] {
            let list: BTreeSet<Pointer> = list.into_iter().map(|(_, path)| path).collect();
            let folded = fold(&list);
            prop_assert_eq!(unfold(folded.iter().map(String::as_str)), Some(list));
            bytes += serde_json::to_string(&folded).unwrap().len();
        }
        let document = tree.to_string().len();
        prop_assert!(bytes <= 2 * document + "[]".len() * 4, "{} for {}", bytes, document);
    }
}
