use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::desired::Mode;
use super::super::json::{Pointer, leaves, merge, same};
use super::super::mark::Base;
use super::super::ownership::declared;
use super::super::plan::{base_after_create, changes, creation, needed};
use super::{desired, fields};

const ROOM: usize = 1_700;

fn base(enforced: &[&str], seeded: &[&str]) -> Base {
    let paths = |texts: &[&str]| texts.iter().map(|text| Pointer::parse(text)).collect();
    Base { enforced: paths(enforced), seeded: paths(seeded) }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn the_patch_is_the_smallest_that_closes_the_gap() {
    let none = base(&[], &[]);
    let rows = [
        (
            "equal",
            json!({"attributes": {"kw": 3}}),
            json!({"attributes": {"kw": 3}}),
            none.clone(),
            json!({}),
        ),
        (
            "numbers by value",
            json!({"attributes": {"kw": 3}}),
            json!({"attributes": {"kw": 3.0}}),
            none.clone(),
            json!({}),
        ),
        (
            "a device added a key",
            json!({"attributes": {"kw": 3}}),
            json!({"attributes": {"kw": 3, "rpm": 9}}),
            none.clone(),
            json!({}),
        ),
        (
            "a value moved",
            json!({"attributes": {"kw": 3, "x": 1}}),
            json!({"attributes": {"kw": 4, "x": 1}}),
            none.clone(),
            json!({"attributes": {"kw": 3}}),
        ),
        (
            "arrays are values",
            json!({"attributes": {"l": [1, 2]}}),
            json!({"attributes": {"l": [1]}}),
            none.clone(),
            json!({"attributes": {"l": [1, 2]}}),
        ),
        (
            "an object stands where a scalar is wanted",
            json!({"attributes": {"a": 1}}),
            json!({"attributes": {"a": {"b": 1}}}),
            none.clone(),
            json!({"attributes": {"a": 1}}),
        ),
        (
            "a scalar stands where an object is wanted",
            json!({"attributes": {"a": {"b": 1}}}),
            json!({"attributes": {"a": 1}}),
            none.clone(),
            json!({"attributes": {"a": {"b": 1}}}),
        ),
        (
            "an empty container is satisfied by any",
            json!({"features": {"f": {}}}),
            json!({"features": {"f": {"properties": {"x": 1}}}}),
            none.clone(),
            json!({}),
        ),
        (
            "an empty container is made",
            json!({"features": {"f": {}}}),
            json!({}),
            none.clone(),
            json!({"features": {"f": {}}}),
        ),
        (
            "desired properties are enforced",
            json!({"features": {"f": {"desiredProperties": {"i": 30}}}}),
            json!({"features": {"f": {"desiredProperties": {"i": 5}}}}),
            none.clone(),
            json!({"features": {"f": {"desiredProperties": {"i": 30}}}}),
        ),
        (
            "a path no longer declared goes",
            json!({}),
            json!({"attributes": {"old": 1, "new": 2}}),
            base(&["/attributes/old"], &[]),
            json!({"attributes": {"old": null}}),
        ),
        (
            "a path that is gone already is not removed again",
            json!({}),
            json!({}),
            base(&["/features/f/desiredProperties/x"], &[]),
            json!({}),
        ),
        (
            "a container that a device filled stays",
            json!({}),
            json!({"attributes": {"a": {"device": 1}}}),
            base(&["/attributes/a"], &[]),
            json!({}),
        ),
        (
            "a leaf that became a branch is not removed",
            json!({"attributes": {"a": {"b": 1}}}),
            json!({"attributes": {"a": {"b": 1}}}),
            base(&["/attributes/a"], &[]),
            json!({}),
        ),
        (
            "a branch that became a leaf is replaced once",
            json!({"attributes": {"a": 5}}),
            json!({"attributes": {"a": {"b": 1}}}),
            base(&["/attributes/a/b"], &[]),
            json!({"attributes": {"a": 5}}),
        ),
        (
            "a seed is never removed",
            json!({}),
            json!({"features": {"f": {"properties": {"v": 1}}}}),
            base(&[], &["/features/f/properties/v"]),
            json!({}),
        ),
    ];
    for (name, document, live, base, expected) in rows {
        let desired = desired(document);
        let found = changes(&desired, &declared(&desired), Some(&base), &live, ROOM);
        assert_eq!(found.owned, expected, "{name}");
        assert_eq!(found.differing.is_empty(), expected == json!({}), "{name}");
    }
}

#[test]
fn a_path_turned_seed_or_ignore_leaves_the_base_and_stays() {
    for mode in [Mode::Seed, Mode::Ignore] {
        for document in [json!({"attributes": {"a": 1}}), json!({})] {
            let mut desired = desired(document);
            desired.fields = fields(&[("/attributes/a", mode)]);
            let live = json!({"attributes": {"a": 9}});
            let found =
                changes(&desired, &declared(&desired), Some(&base(&["/attributes/a"], &[])), &live, ROOM);
            assert_eq!((found.owned, found.seeds), (json!({}), json!({})), "{mode:?}");
            assert!(found.base.enforced.is_empty(), "{mode:?}");
        }
    }
}

#[test]
fn a_seed_is_written_once_and_under_the_highest_guard_that_holds_only_seeds() {
    let seeded = json!({"features": {"f": {"properties": {"v": 1, "u": "C"}}}});
    let with_desired = json!({"features": {"f": {"properties": {"v": 1}, "desiredProperties": {"i": 1}}}});
    let rows = [
        ("nothing there", seeded.clone(), json!({}), vec!["/features/f"], 0),
        (
            "the feature is there",
            seeded.clone(),
            json!({"features": {"f": {}}}),
            vec!["/features/f/properties"],
            0,
        ),
        (
            "a sibling is there",
            seeded.clone(),
            json!({"features": {"f": {"properties": {"x": 1}}}}),
            vec!["/features/f/properties/v", "/features/f/properties/u"],
            0,
        ),
        (
            "one is there, whoever wrote it",
            seeded.clone(),
            json!({"features": {"f": {"properties": {"v": 9}}}}),
            vec!["/features/f/properties/u"],
            1,
        ),
        ("never above an enforced path", with_desired, json!({}), vec!["/features/f/properties"], 0),
        (
            "a scalar in the way is the device's",
            json!({"features": {"f": {"properties": {"v": {"deep": 1}}}}}),
            json!({"features": {"f": {"properties": {"v": 5}}}}),
            vec![],
            1,
        ),
    ];
    for (name, document, live, guards, decided) in rows {
        let desired = desired(document);
        let found = changes(&desired, &declared(&desired), Some(&base(&[], &[])), &live, ROOM);
        let nodes: Vec<String> = found.guards.iter().map(|(node, _)| node.to_string()).collect();
        assert_eq!(nodes, guards, "{name}");
        assert_eq!(found.base.seeded.len(), decided, "{name}");
    }
}

#[test]
fn a_decided_seed_is_not_written_again_even_when_the_device_deleted_it() {
    let desired = desired(json!({"features": {"f": {"properties": {"v": 1}}}}));
    let before = base(&[], &["/features/f/properties/v"]);
    let found = changes(&desired, &declared(&desired), Some(&before), &json!({}), ROOM);
    assert_eq!((found.seeds, found.guards.len()), (json!({}), 0));
    assert_eq!(found.base, before);
}

/// 80 seeds beside what a device wrote need a guard each: more than one patch may carry.
#[test]
fn eighty_seeds_are_spread_over_patches() {
    let properties: Map<String, Value> = (0..80).map(|i| (format!("property-{i:02}"), json!(i))).collect();
    let desired = desired(json!({"features": {"f": {"properties": properties}}}));
    let mut live = json!({"features": {"f": {"properties": {"device": 1}}}});
    let mut base = base(&[], &[]);
    let mut patches = 0;
    loop {
        let found = changes(&desired, &declared(&desired), Some(&base), &live, ROOM);
        let header: usize =
            found.guards.iter().map(|(node, rql)| node.to_string().len() + rql.len() + 6).sum();
        assert!(header <= ROOM, "{header} bytes of guards");
        base = found.base.clone();
        if found.guards.is_empty() {
            break;
        }
        merge(&mut live, &found.body(true));
        patches += 1;
        assert!(patches < 20, "every patch carries some seeds");
    }
    assert_eq!(base.seeded.len(), 80);
    assert!(patches > 1);
}

#[test]
fn a_seed_longer_than_all_headers_is_named() {
    let long = "x".repeat(250);
    let mut document = json!({});
    Pointer::of(["features", &long, "properties", &long, &long, &long, &long]).set(&mut document, json!(1));
    let desired = desired(document);
    let mut live = json!({});
    Pointer::of(["features", &long, "properties", &long, &long, &long]).set(&mut live, json!({}));
    let found = changes(&desired, &declared(&desired), Some(&base(&[], &[])), &live, ROOM);
    assert!(found.unseedable.is_some() && !found.postponed);
}

#[test]
fn an_observation_reads_only_what_is_needed() {
    let document = json!({"attributes": {"a": 1}, "features": {"f": {"properties": {"v": 1}, "desiredProperties": {"i": 1}}}});
    let desired = desired(document);
    let needed = |base: &Base| -> Vec<String> {
        needed(&declared(&desired), Some(base)).iter().map(ToString::to_string).collect()
    };
    assert_eq!(needed(&base(&[], &[])), ["/attributes/a", "/features/f"]);
    assert_eq!(
        needed(&base(&["/attributes/gone"], &["/features/f/properties/v"])),
        ["/attributes/a", "/attributes/gone", "/features/f/desiredProperties/i"]
    );
}

/// Small documents in the shape of a thing, over few keys so that sides meet.
fn document() -> impl Strategy<Value = Value> {
    let scalar =
        prop_oneof![Just(json!(1)), Just(json!(2)), Just(json!("s")), Just(json!([1])), Just(json!({}))];
    let key = prop_oneof![Just("a"), Just("b"), Just("c")];
    let tree = scalar.prop_recursive(2, 8, 3, move |inner| {
        prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..3)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    });
    let object = tree.prop_map(|value| if value.is_object() { value } else { json!({ "a": value }) });
    (object.clone(), object.clone(), object).prop_map(|(attributes, properties, desired)| {
        json!({"attributes": attributes, "features": {"f": {"properties": properties, "desiredProperties": desired}}})
    })
}

fn modes() -> impl Strategy<Value = Vec<(Pointer, Mode)>> {
    let path = prop_oneof![
        Just("/attributes/a"),
        Just("/attributes"),
        Just("/features/f/properties/a"),
        Just("/features/f/desiredProperties/b")
    ];
    let mode = prop_oneof![Just(Mode::Enforce), Just(Mode::Seed), Just(Mode::Ignore)];
    prop::collection::vec((path.prop_map(Pointer::parse), mode), 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Carrying a plan out leaves nothing to plan, whatever stood there and whatever was ours.
    #[test]
    fn a_plan_carried_out_leaves_nothing_to_plan(want in document(), live in document(), before in document(), fields in modes()) {
        let mut old = desired(before);
        old.fields.clone_from(&fields);
        let base = base_after_create(&declared(&old));
        let mut desired = desired(want);
        desired.fields = fields;
        let declared = declared(&desired);
        let first = changes(&desired, &declared, Some(&base), &live, usize::MAX);
        let mut after = live;
        merge(&mut after, &first.body(true));
        let second = changes(&desired, &declared, Some(&first.base), &after, usize::MAX);
        prop_assert_eq!(&second.owned, &json!({}), "after {}", after);
        prop_assert_eq!(&second.seeds, &json!({}));
        prop_assert!(second.guards.is_empty());
    }

    /// What a device owns is never in a patch: neither undeclared paths, nor seeds that stand, nor ignored ones.
    #[test]
    fn f34_device_owned_paths_never_appear_in_a_patch(want in document(), live in document(), fields in modes()) {
        let mut desired = desired(want);
        desired.fields = fields;
        let declared = declared(&desired);
        let found = changes(&desired, &declared, Some(&base(&[], &[])), &live, usize::MAX);
        let enforced: BTreeSet<&Pointer> = declared.enforced.iter().map(|(path, _)| path).collect();
        for (path, _) in leaves(&found.body(true)).into_iter().filter(|(path, _)| !path.is_root()) {
            let seed = declared.seeds.iter().any(|(seed, _)| *seed == path) && path.get(&live).is_none();
            prop_assert!(enforced.contains(&path) || seed, "{} is the device's; live {}", path, live);
        }
    }

    /// What a device adds beside declared paths survives every patch.
    #[test]
    fn f34_what_a_device_adds_survives(want in document(), device in document()) {
        let desired = desired(want);
        let declared = declared(&desired);
        let found = changes(&desired, &declared, Some(&base(&[], &[])), &device, usize::MAX);
        let mut after = device.clone();
        merge(&mut after, &found.body(true));
        for (path, value) in leaves(&device) {
            let ours = declared.enforced.iter().any(|(ours, _)| ours.covers(&path) || path.covers(ours));
            if !ours && !(value.as_object().is_some_and(Map::is_empty)) {
                prop_assert!(path.get(&after).is_some_and(|left| same(left, value)), "{} was {}", path, value);
            }
        }
    }

    /// A create holds everything declared and nothing that is ignored.
    #[test]
    fn a_create_needs_no_second_write(want in document(), fields in modes()) {
        let mut desired = desired(want);
        desired.fields = fields;
        let declared = declared(&desired);
        let body = creation(&declared, "a:p");
        let found = changes(&desired, &declared, Some(&base_after_create(&declared)), &body, usize::MAX);
        prop_assert_eq!(found.body(true), json!({}));
    }
}
