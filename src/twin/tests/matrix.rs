//! Who wins, when: `docs/ownership.md` row by row. Each test runs its event in every mode, in a cluster
//! and in a folder, and looks at what stands in the thing afterwards.
use serde_json::{Value, json};

use super::super::desired::{Adoption, Desired, Drift, Identity, Mode};
use super::super::json::Pointer;
use super::super::mark::{Mark, Origin};
use super::super::reason::Reason;
use super::world::{World, facts};
use super::{desired, identity};

const MODES: [Mode; 3] = [Mode::Enforce, Mode::Seed, Mode::Ignore];
const PATH: &str = "/attributes/kw";
const NOTHING: Value = Value::Null;

/// A twin that declares `value` at [`PATH`] in `mode`, and something else beside it.
fn twin(mode: Mode, value: &Value) -> Desired {
    let mut document = json!({"attributes": {"make": "acme"}});
    if !value.is_null() {
        document["attributes"]["kw"] = value.clone();
    }
    Desired { fields: vec![(Pointer::parse(PATH), mode)], ..desired(document) }
}

fn kw(value: Value) -> Value {
    let mut document = json!({"attributes": {}});
    document["attributes"]["kw"] = value;
    document
}

/// What stands at [`PATH`] after `event`, for Enforce, Seed and Ignore; and the pass after it is quiet.
fn row(folder: bool, event: impl Fn(&mut World, Mode) -> Desired, expected: &[Value; 3]) {
    for (mode, expected) in MODES.into_iter().zip(expected) {
        let mut world = World::new(folder);
        let last = event(&mut world, mode);
        assert_eq!(&world.at(PATH), expected, "{mode:?}, folder: {folder}");
        assert_eq!(world.pass(&last).writes, 0, "{mode:?}, folder: {folder}: quiet afterwards");
        assert_eq!(&world.at(PATH), expected, "{mode:?}, folder: {folder}: it stays");
    }
}

fn everywhere(event: impl Fn(&mut World, Mode) -> Desired, expected: &[Value; 3]) {
    for folder in [false, true] {
        row(folder, &event, expected);
    }
}

#[test]
fn a_create_carries_what_is_enforced_and_what_is_seeded() {
    let created = |world: &mut World, mode| {
        let twin = twin(mode, &json!(3));
        world.pass(&twin);
        twin
    };
    everywhere(created, &[json!(3), json!(3), NOTHING]);
}

#[test]
fn an_edit_of_the_spec_moves_enforced_values_only() {
    let edited = |world: &mut World, mode| {
        world.pass(&twin(mode, &json!(3)));
        world.pass(&twin(mode, &json!(5)));
        twin(mode, &json!(5))
    };
    everywhere(edited, &[json!(5), json!(3), NOTHING]);
    let beside_a_device = |world: &mut World, mode| {
        world.pass(&twin(mode, &json!(3)));
        world.write(&kw(json!(9)));
        world.pass(&twin(mode, &json!(5)));
        twin(mode, &json!(5))
    };
    everywhere(beside_a_device, &[json!(5), json!(9), json!(9)]);
}

/// What another writer did, for each `drift`: the value afterwards, and whether drift is told.
fn after(drift: Drift, mode: Mode, folder: bool, write: &Value) -> (Value, bool) {
    let twin = Desired { drift, ..twin(mode, &json!(3)) };
    let mut world = World::new(folder);
    world.pass(&twin);
    world.write(write);
    let told = world.pass(&twin).drift.is_some();
    (world.at(PATH), told)
}

#[test]
fn another_writers_value_is_set_back_where_it_is_enforced() {
    let changed = kw(json!(9));
    for folder in [false, true] {
        let found = |drift, mode| after(drift, mode, folder, &changed);
        assert_eq!(found(Drift::Enforce, Mode::Enforce), (json!(3), true));
        assert_eq!(found(Drift::Report, Mode::Enforce), (json!(9), true));
        assert_eq!(found(Drift::Ignore, Mode::Enforce), (json!(9), false));
        for drift in [Drift::Enforce, Drift::Report, Drift::Ignore] {
            assert_eq!(found(drift, Mode::Seed), (json!(9), false));
            assert_eq!(found(drift, Mode::Ignore), (json!(9), false));
        }
    }
}

#[test]
fn a_path_that_a_device_deleted_comes_back_only_where_it_is_enforced() {
    let deleted = kw(NOTHING);
    for folder in [false, true] {
        let found = |drift, mode| after(drift, mode, folder, &deleted);
        assert_eq!(found(Drift::Enforce, Mode::Enforce), (json!(3), true));
        assert_eq!(found(Drift::Report, Mode::Enforce), (NOTHING, true));
        assert_eq!(found(Drift::Ignore, Mode::Enforce), (NOTHING, false));
        for drift in [Drift::Enforce, Drift::Report, Drift::Ignore] {
            assert_eq!(found(drift, Mode::Seed), (NOTHING, false));
            assert_eq!(found(drift, Mode::Ignore), (NOTHING, false));
        }
    }
}

#[test]
fn what_a_device_adds_beside_stays_through_edits_and_removals() {
    let beside = |world: &mut World, mode| {
        world.pass(&twin(mode, &json!(3)));
        world.write(&json!({"attributes": {"rpm": 900}, "features": {"own": {"properties": {"x": 1}}}}));
        world.pass(&twin(mode, &json!(5)));
        world.pass(&twin(mode, &NOTHING));
        assert_eq!(
            (world.at("/attributes/rpm"), world.at("/features/own/properties/x")),
            (json!(900), json!(1))
        );
        twin(mode, &NOTHING)
    };
    everywhere(beside, &[NOTHING, json!(3), NOTHING]);
}

#[test]
fn a_path_declared_later_is_written_where_it_is_missing() {
    let later = |world: &mut World, mode| {
        world.pass(&twin(mode, &NOTHING));
        world.pass(&twin(mode, &json!(3)));
        twin(mode, &json!(3))
    };
    everywhere(later, &[json!(3), json!(3), NOTHING]);
    let over_a_device = |world: &mut World, mode| {
        world.pass(&twin(mode, &NOTHING));
        world.write(&kw(json!(9)));
        world.pass(&twin(mode, &json!(3)));
        twin(mode, &json!(3))
    };
    everywhere(over_a_device, &[json!(3), json!(9), json!(9)]);
}

#[test]
fn a_device_that_is_faster_keeps_its_value_but_not_an_enforced_one() {
    let raced = |world: &mut World, mode| {
        world.pass(&twin(mode, &NOTHING));
        world.device = Some(kw(json!(9)));
        world.pass(&twin(mode, &json!(3)));
        world.device = None;
        twin(mode, &json!(3))
    };
    everywhere(raced, &[json!(3), json!(9), json!(9)]);
}

#[test]
fn a_path_taken_out_of_the_spec_goes_only_where_it_was_enforced() {
    let removed = |world: &mut World, mode| {
        world.pass(&twin(mode, &json!(3)));
        if mode == Mode::Ignore {
            world.write(&kw(json!(9)));
        }
        // Its mode goes with it.
        let bare = Desired { fields: vec![], ..twin(mode, &NOTHING) };
        world.pass(&bare);
        bare
    };
    everywhere(removed, &[NOTHING, json!(3), json!(9)]);
    let filled = |world: &mut World, mode| {
        world.pass(&twin(mode, &json!({})));
        world.write(&kw(json!({"device": 1})));
        world.pass(&twin(mode, &NOTHING));
        twin(mode, &NOTHING)
    };
    let device = json!({"device": 1});
    everywhere(filled, &[device.clone(), device.clone(), device]);
}

#[test]
fn a_path_declared_once_more_is_seeded_only_where_it_is_missing() {
    let again = |world: &mut World, mode| {
        world.pass(&twin(mode, &json!(3)));
        world.pass(&twin(mode, &NOTHING));
        world.pass(&twin(mode, &json!(5)));
        twin(mode, &json!(5))
    };
    everywhere(again, &[json!(5), json!(3), NOTHING]);
}

#[test]
fn a_path_keeps_its_value_when_its_mode_changes_until_it_is_enforced() {
    let rows = [
        (Mode::Enforce, Mode::Seed, json!(9), json!(9)),
        (Mode::Enforce, Mode::Ignore, json!(9), json!(9)),
        (Mode::Seed, Mode::Enforce, json!(9), json!(3)),
        (Mode::Seed, Mode::Ignore, json!(9), json!(9)),
        (Mode::Ignore, Mode::Enforce, json!(9), json!(3)),
        (Mode::Ignore, Mode::Seed, json!(9), json!(9)),
        (Mode::Ignore, Mode::Seed, NOTHING, json!(3)),
    ];
    for folder in [false, true] {
        for (from, to, live, expected) in &rows {
            let mut world = World::new(folder);
            world.pass(&twin(*from, &json!(3)));
            world.write(&kw(live.clone()));
            world.pass(&twin(*to, &json!(3)));
            assert_eq!(&world.at(PATH), expected, "{from:?} to {to:?} over {live}, folder: {folder}");
            assert_eq!(world.pass(&twin(*to, &json!(3))).writes, 0, "{from:?} to {to:?}");
        }
    }
}

#[test]
fn a_thing_that_stood_there_keeps_what_is_not_enforced() {
    let adopted = |live: Value| {
        move |world: &mut World, mode| {
            *world = World::with_thing(world.folder, json!({"attributes": {}}));
            world.write(&kw(live.clone()));
            let outcome = world.pass(&twin(mode, &json!(3)));
            assert_eq!(outcome.origin, Some(Origin::Adopted));
            twin(mode, &json!(3))
        }
    };
    everywhere(adopted(json!(9)), &[json!(3), json!(9), json!(9)]);
    everywhere(adopted(NOTHING), &[json!(3), json!(3), NOTHING]);
}

/// The thing of another resource: with one path that only that resource declared.
fn marked_by(world: &mut World, change: impl Fn(&mut Identity)) {
    let mut document = kw(json!(9));
    document["attributes"]["old"] = json!("kept");
    let mut other = identity();
    change(&mut other);
    *world = World::with_thing(world.folder, document);
    world.mark = Some(Mark::of(&other, Origin::Created, "another document".into()).to_json());
}

#[test]
fn a_thing_taken_over_keeps_what_is_not_enforced_and_loses_nothing() {
    for owner in ["cluster-1", "cluster-2"] {
        let taken = |world: &mut World, mode| {
            marked_by(world, |id| {
                (id.owner, id.uid, id.name) = (owner.into(), "uid-0".into(), "elsewhere".into());
            });
            let mut twin = twin(mode, &json!(3));
            twin.adoption = Adoption::Always;
            let outcome = world.pass(&twin);
            let note = outcome.notes.iter().find(|note| note.reason == "TakenOver").expect("it is told");
            assert!(note.message.contains("plant/elsewhere"), "{}", note.message);
            assert_eq!(world.at("/attributes/old"), "kept");
            twin
        };
        everywhere(taken, &[json!(3), json!(9), json!(9)]);
    }
}

#[test]
fn a_resource_made_anew_keeps_what_is_not_enforced_and_removes_nothing() {
    let anew = |world: &mut World, mode| {
        marked_by(world, |id| id.uid = "uid-0".into());
        let outcome = world.pass(&twin(mode, &json!(3)));
        assert_eq!(world.at("/attributes/old"), "kept");
        assert_eq!(outcome.notes.iter().any(|note| note.reason == "BaseLost"), !world.folder);
        assert_eq!(world.mark().uid, "uid-1", "fenced by the new one from now on");
        twin(mode, &json!(3))
    };
    everywhere(anew, &[json!(3), json!(9), json!(9)]);
}

#[test]
fn a_thing_that_was_deleted_comes_back_only_where_drift_is_enforced() {
    let rows = [
        (Drift::Enforce, Some(true), json!(3)),
        (Drift::Report, Some(false), NOTHING),
        (Drift::Ignore, None, NOTHING),
    ];
    for (drift, repaired, expected) in rows {
        let twin = Desired { drift, ..twin(Mode::Enforce, &json!(3)) };
        let mut world = World::new(false);
        world.pass(&twin);
        (world.thing, world.mark) = (None, None);
        let outcome = world.pass(&twin);
        assert_eq!(outcome.drift.as_ref().map(|drift| drift.repaired), repaired, "{drift:?}");
        assert_eq!(world.at(PATH), expected, "{drift:?}");
        if let Some(drift) = outcome.drift {
            assert_eq!(drift.paths, [Pointer::root()], "the thing as a whole");
        }
        assert_eq!(world.pass(&twin).writes, 0, "{drift:?}: quiet");
        let edited = Desired { drift, ..self::twin(Mode::Enforce, &json!(5)) };
        world.pass(&edited);
        assert_eq!(world.at(PATH), json!(5), "{drift:?}: an edit is carried out");
    }
    for drift in [Drift::Enforce, Drift::Report, Drift::Ignore] {
        let twin = Desired { drift, ..twin(Mode::Enforce, &json!(3)) };
        let mut folder = World::new(true);
        folder.pass(&twin);
        (folder.thing, folder.mark) = (None, None);
        folder.pass(&twin);
        assert_eq!(folder.at(PATH), json!(3), "a folder's memory went with the thing");
    }
}

#[test]
fn a_thing_that_was_never_there_is_created_whatever_drift_says() {
    for drift in [Drift::Enforce, Drift::Report, Drift::Ignore] {
        let mut world = World::new(false);
        let outcome = world.pass(&Desired { drift, ..twin(Mode::Enforce, &json!(3)) });
        assert_eq!((outcome.writes, outcome.drift, world.at(PATH)), (1, None, json!(3)), "{drift:?}");
    }
}

#[test]
fn a_suspended_twin_writes_nothing() {
    for folder in [false, true] {
        let mut world = World::new(folder);
        world.pass(&twin(Mode::Enforce, &json!(3)));
        world.write(&kw(json!(9)));
        let mut paused = facts(twin(Mode::Enforce, &json!(5)));
        paused.paused = true;
        world.pass_with(paused);
        assert_eq!((world.asked.len(), world.at(PATH)), (0, json!(9)));
    }
}

#[test]
fn a_policy_moved_by_somebody_else_is_moved_back_where_drift_is_enforced() {
    for (drift, expected) in [
        (Drift::Enforce, super::world::POLICY),
        (Drift::Report, "org.acme:other"),
        (Drift::Ignore, "org.acme:other"),
    ] {
        let twin = Desired { drift, ..twin(Mode::Enforce, &json!(3)) };
        let mut world = World::new(false);
        world.pass(&twin);
        world.write(&json!({"policyId": "org.acme:other"}));
        let outcome = world.pass(&twin);
        assert_eq!(world.at("/policyId"), expected, "{drift:?}");
        assert_eq!(
            outcome.reason(),
            if drift == Drift::Enforce { Reason::Applied } else { Reason::AlreadyInSync }
        );
    }
}

#[test]
fn a_mark_that_vanished_or_turned_foreign_stops_every_write() {
    let foreign = Identity { owner: "cluster-2".into(), ..identity() };
    let foreign = Mark::of(&foreign, Origin::Created, "h".into()).to_json();
    for (name, mark) in [("vanished", None), ("turned foreign", Some(foreign))] {
        for mode in MODES {
            let mut twin = twin(mode, &json!(3));
            twin.adoption = Adoption::Always;
            let mut world = World::new(false);
            world.pass(&twin);
            world.write(&kw(json!(9)));
            world.mark.clone_from(&mark);
            let outcome = world.pass(&twin);
            assert_eq!((outcome.reason(), outcome.writes), (Reason::MarkChanged, 0), "{name}, {mode:?}");
            assert_eq!((world.at(PATH), &world.mark), (json!(9), &mark), "{name}, {mode:?}");
        }
    }
}

#[test]
fn a_thing_whose_former_resource_lives_is_not_written() {
    for folder in [false, true] {
        for mode in MODES {
            let mut world = World::new(folder);
            marked_by(&mut world, |id| (id.uid, id.name) = ("uid-0".into(), "elsewhere".into()));
            let mut late = facts(twin(mode, &json!(3)));
            late.living.insert("uid-0".into());
            let outcome = world.pass_with(late);
            assert_eq!((outcome.reason(), outcome.writes), (Reason::ResourceConflict, 0), "{mode:?}");
            assert_eq!(world.at(PATH), json!(9), "{mode:?}");
        }
    }
}
