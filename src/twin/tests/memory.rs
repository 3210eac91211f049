//! Crashes, lost status, marks too small: what a pass still knows, and what it does not dare then.
use serde_json::{Value, json};

use super::super::adopt::Watched;
use super::super::desired::{Adoption, Desired, Drift, Identity, Mode, PolicyName};
use super::super::facts::{Known, PolicyFact, TwinFacts};
use super::super::id::PolicyId;
use super::super::json::Pointer;
use super::super::mark::{Mark, Origin};
use super::super::pass::TwinPass;
use super::super::reason::{Outcome, Reason};
use super::super::request::{Next, Request};
use super::super::said::{Refused, Said};
use super::world::{HEADER_ROOM, World, facts};
use super::{desired, identity};

fn notes(outcome: &Outcome) -> Vec<&'static str> {
    outcome.notes.iter().map(|note| note.reason).collect()
}

fn unavailable() -> Refused {
    Refused::Unavailable(Said { message: "connection refused".into(), ..Said::default() })
}

fn pump(document: Value) -> (World, Desired) {
    let twin = desired(document);
    let mut world = World::new(false);
    world.pass(&twin);
    (world, twin)
}

#[test]
fn an_adoption_that_failed_leaves_no_trace() {
    for folder in [false, true] {
        let mut world = World::with_thing(folder, json!({"attributes": {"kw": 9}}));
        let twin = desired(json!({"attributes": {"kw": 3}}));
        world.refuse = Some(unavailable());
        let outcome = world.pass(&twin);
        assert_eq!(
            (outcome.origin, outcome.reason(), outcome.applied),
            (None, Reason::BackendUnavailable, None)
        );
        // Somebody else was faster: to him it is an adoption like any other, not a mark that changed.
        let other = Identity { owner: "cluster-2".into(), ..identity() };
        world.mark = Some(Mark::of(&other, Origin::Created, "h".into()).to_json());
        assert_eq!(world.pass(&twin).reason(), Reason::NotAdoptable);
    }
}

/// The seeds of one feature, `count` of them, beside `paths` enforced attributes.
fn many(count: usize, paths: usize) -> Desired {
    let mut document = json!({});
    for i in 0..count {
        Pointer::of(["features", "f", "properties", &format!("{i:03}-property")])
            .set(&mut document, json!(i));
    }
    for i in 0..paths {
        Pointer::of(["attributes", &format!("{i:03}-attribute-with-a-long-name")])
            .set(&mut document, json!(i));
    }
    desired(document)
}

#[test]
fn a_seed_that_a_device_deleted_stays_away_however_long_the_base_is() {
    let rows = [
        ("all fits", 10, 5, "", 1),
        ("the paths do not fit beside the seeds", 80, 60, "paths", 1),
        ("not even the seeds fit", 300, 5, "seeds", 1),
        ("neither fits", 300, 60, "paths", 2),
    ];
    for (name, seeds, paths, forgotten, notes) in rows {
        let mut world = World::new(true);
        let twin = many(seeds, paths);
        world.pass(&twin);
        world.write(&json!({"features": {"f": {"properties": {"003-property": null}}}}));
        let outcome = world.pass(&twin);
        assert_eq!(
            (outcome.writes, world.at("/features/f/properties/003-property")),
            (0, Value::Null),
            "{name}"
        );
        let said: Vec<_> = outcome.notes.iter().map(|note| note.message.as_str()).collect();
        assert!(forgotten.is_empty() == said.is_empty() && said.len() <= notes, "{name}: {said:?}");
        assert!(said.first().is_none_or(|first| first.contains(forgotten)), "{name}: {said:?}");
    }
}

#[test]
fn seeds_that_no_mark_can_hold_are_not_written_into_a_thing_that_exists() {
    let mut world = World::with_thing(true, json!({}));
    let outcome = world.pass(&many(300, 5));
    assert_eq!(
        (world.at("/features"), world.at("/attributes/004-attribute-with-a-long-name")),
        (Value::Null, json!(4))
    );
    assert_eq!(notes(&outcome), ["BaseTooLong"]);
    let mut world = World::with_thing(true, json!({}));
    world.pass(&many(80, 60));
    assert_eq!(world.at("/features/f/properties/079-property"), 79, "as long as they fit, they are seeded");
}

#[test]
fn a_base_that_is_too_long_is_told_once() {
    let mut world = World::new(true);
    let twin = many(80, 60);
    world.pass(&desired(json!({"features": {"f": {"properties": {"device": 1}}}})));
    let outcome = world.pass(&twin);
    assert!(outcome.writes > 1, "several patches, each with its own look");
    assert_eq!(notes(&outcome), ["BaseTooLong"]);
}

#[test]
fn a_policy_is_looked_at_before_a_thing_is_moved_to_it() {
    let rows = [
        ("missing", None, Reason::PolicyNotAccessible, "org.acme:pumps"),
        ("lets nobody in", Some(false), Reason::PolicyNotAccessible, "org.acme:pumps"),
        ("open", Some(true), Reason::Applied, "org.acme:new"),
    ];
    let new = PolicyId::parse("org.acme:new").unwrap();
    for policy in [PolicyFact::Managed(new.clone()), PolicyFact::Unmanaged(new.clone())] {
        for (name, lets_in, reason, expected) in rows {
            let (mut world, twin) = pump(json!({"attributes": {"kw": 3}}));
            world.policies.extend(lets_in.map(|lets_in| ("org.acme:new".to_owned(), lets_in)));
            let moved = Desired { policy: PolicyName::Id(new.clone()), ..twin };
            let mut facts = facts(moved);
            facts.policy = policy.clone();
            let outcome = world.pass_with(facts);
            assert_eq!(
                (outcome.reason(), world.at("/policyId")),
                (reason, json!(expected)),
                "{name}: {policy:?}"
            );
            assert_eq!(outcome.references.is_err(), reason != Reason::Applied, "{name}");
        }
    }
}

#[test]
fn f1_a_crash_between_two_patches_of_seeds_loses_no_seed() {
    let twin = many(80, 0);
    let mut world = World::new(false);
    world.pass(&desired(json!({})));
    world.write(&json!({"features": {"f": {"properties": {"device": 1}}}}));
    // It had not been told in status that the thing is ours at all.
    world.known = Known::default();
    world.dies_after = Some(1);
    world.pass(&twin);
    assert_eq!(world.at("/features/f/properties/079-property"), Value::Null, "there is more than one patch");
    world.pass(&twin);
    let all = world.at("/features/f/properties");
    assert_eq!(all.as_object().map(serde_json::Map::len), Some(81));
}

#[test]
fn f1_a_crash_before_the_status_write_removes_nothing_twice() {
    let (mut world, _) = pump(json!({"attributes": {"a": 1, "b": 1}}));
    let without_b = desired(json!({"attributes": {"a": 1}}));
    world.dies_after = Some(1);
    world.pass(&without_b);
    assert_eq!(world.at("/attributes/b"), Value::Null, "the write came through, its status did not");
    world.write(&json!({"attributes": {"b": "the device's own"}}));
    let outcome = world.pass(&without_b);
    assert_eq!((outcome.writes, world.at("/attributes/b")), (0, json!("the device's own")));
    assert_eq!(notes(&outcome), [""; 0], "the mark tells what was written");
}

#[test]
fn a_mark_that_is_of_neither_document_removes_nothing_and_says_so() {
    let (mut world, _) = pump(json!({"attributes": {"a": 1, "b": 1}}));
    world.dies_after = Some(1);
    world.pass(&desired(json!({"attributes": {"a": 1}})));
    world.write(&json!({"attributes": {"b": "the device's own"}}));
    let third = desired(json!({"attributes": {"a": 2}}));
    let outcome = world.pass(&third);
    assert_eq!((world.at("/attributes/b"), world.at("/attributes/a")), (json!("the device's own"), json!(2)));
    assert_eq!(notes(&outcome), ["BaseLost"]);
    let outcome = world.pass(&third);
    assert_eq!((outcome.writes, notes(&outcome)), (0, vec![]), "from then on it is known again");
}

/// An edit that changes nothing in Ditto moves the mark, so that mark and status speak of one document.
#[test]
fn an_edit_that_changes_no_value_moves_the_mark() {
    let (mut world, twin) = pump(json!({"attributes": {"a": 1, "b": 1}}));
    world.write(&json!({"attributes": {"b": null}}));
    let without_b = desired(json!({"attributes": {"a": 1}}));
    assert_ne!(twin.hash(), without_b.hash());
    assert_eq!(world.pass(&without_b).writes, 1);
    assert_eq!(world.mark().hash, without_b.hash());
    let outcome = world.pass(&without_b);
    assert_eq!((outcome.writes, notes(&outcome)), (0, vec![]));
}

#[test]
fn a_lost_status_removes_nothing_and_says_so() {
    let (mut world, twin) = pump(json!({"attributes": {"a": 1, "b": 1}}));
    world.known = Known::default();
    let outcome = world.pass(&desired(json!({"attributes": {"a": 1}})));
    assert_eq!((world.at("/attributes/b"), notes(&outcome)), (json!(1), vec!["BaseLost"]));

    let (mut world, _) = pump(json!({"attributes": {"a": 1, "b": 1}}));
    world.known = Known::default();
    assert_eq!(notes(&world.pass(&twin)), [""; 0], "the document is the one that was written");
    world.pass(&desired(json!({"attributes": {"a": 1}})));
    assert_eq!(world.at("/attributes/b"), Value::Null, "so its paths are known again");
}

#[test]
fn a_lost_status_seeds_again_only_what_is_missing() {
    let (mut world, twin) = pump(json!({"features": {"f": {"properties": {"v": 1, "w": 1}}}}));
    world.write(&json!({"features": {"f": {"properties": {"v": 9, "w": null}}}}));
    world.known = Known::default();
    world.pass(&twin);
    assert_eq!(world.at("/features/f/properties"), json!({"v": 9, "w": 1}));
}

#[test]
fn drift_is_left_alone_although_status_was_lost() {
    for drift in [Drift::Report, Drift::Ignore] {
        let twin = Desired { drift, ..desired(json!({"attributes": {"kw": 3}})) };
        let mut world = World::new(false);
        world.pass(&twin);
        world.write(&json!({"attributes": {"kw": 9}}));
        world.known = Known::default();
        let outcome = world.pass(&twin);
        assert_eq!((outcome.writes, world.at("/attributes/kw")), (0, json!(9)), "{drift:?}");
        assert_eq!(outcome.drift.is_some(), drift == Drift::Report);
    }
}

#[test]
fn reported_drift_is_left_alone_while_seeds_are_written() {
    let before = Desired { drift: Drift::Report, ..desired(json!({"attributes": {"kw": 3}})) };
    let mut world = World::new(false);
    world.pass(&before);
    let with_seed = json!({"attributes": {"kw": 3}, "features": {"f": {"properties": {"v": 1}}}});
    let twin = Desired { document: with_seed, ..before };
    world.dies_after = Some(1);
    world.pass(&twin);
    // The seed is open again as far as anybody knows, and an owned path has drifted.
    world.write(&json!({"attributes": {"kw": 9}, "features": {"f": {"properties": {"v": null}}}}));
    let outcome = world.pass(&twin);
    assert_eq!((world.at("/attributes/kw"), world.at("/features/f/properties/v")), (json!(9), json!(1)));
    assert_eq!(outcome.drift.map(|drift| drift.repaired), Some(false));
}

#[test]
fn two_operators_with_disjoint_namespaces_do_not_take_a_thing_from_each_other() {
    let twin = desired(json!({"attributes": {"kw": 3}}));
    let of = |namespace: &str| {
        let mut facts = facts(twin.clone());
        (facts.identity.namespace, facts.identity.uid) = (namespace.into(), format!("uid-of-{namespace}"));
        facts.living = [facts.identity.uid.clone()].into();
        facts.watched = Watched::Only([namespace.to_owned()].into());
        facts
    };
    let mut world = World::new(false);
    assert_eq!(world.pass_with(of("north")).reason(), Reason::Applied);
    let north = std::mem::take(&mut world.known);
    let outcome = world.pass_with(of("south"));
    assert_eq!((outcome.reason(), outcome.writes), (Reason::ResourceConflict, 0));
    assert!(outcome.held().is_some_and(|held| held.message.contains("north/pump")));
    let mut greedy = of("south");
    greedy.desired = Ok(Desired { adoption: Adoption::Always, ..twin.clone() });
    world.known = Known::default();
    assert_eq!(world.pass_with(greedy).origin, Some(Origin::Adopted), "Always takes it");
    world.known = north;
    let mut robbed = of("north");
    robbed.desired = Ok(Desired { adoption: Adoption::Always, ..twin.clone() });
    assert_eq!(world.pass_with(robbed).writes, 0, "and it is not taken back and forth");
}

#[test]
fn a_takeover_with_nothing_to_write_brings_the_generation_back() {
    let (mut world, twin) = pump(json!({"attributes": {"kw": 3}}));
    let ahead = Identity { generation: 9, ..identity() };
    world.mark = Some(Mark::of(&ahead, Origin::Created, twin.hash()).to_json());
    assert_eq!(world.pass(&twin).reason(), Reason::StaleResource);
    let mut facts = facts(twin.clone());
    facts.takeover = Some(9);
    world.pass_with(facts);
    assert_eq!(world.mark().generation, identity().generation);
    assert_eq!(world.pass(&twin).reason(), Reason::AlreadyInSync, "the annotation has done its work");
}

#[test]
fn a_repair_counts_once_ditto_took_it() {
    for gone in [false, true] {
        let (mut world, twin) = pump(json!({"attributes": {"kw": 3}}));
        world.write(&json!({"attributes": {"kw": 9}}));
        if gone {
            (world.thing, world.mark) = (None, None);
        }
        world.refuse = Some(unavailable());
        let mut seen = facts(twin.clone());
        seen.originator = Some("nginx:mallory".into());
        let outcome = world.pass_with(seen.clone());
        let drift = outcome.drift.unwrap();
        assert_eq!(
            (drift.repaired, drift.originator.as_deref()),
            (false, Some("nginx:mallory")),
            "gone: {gone}"
        );
        assert_eq!(world.pass_with(seen).drift.map(|drift| drift.repaired), Some(true), "gone: {gone}");
    }
}

#[test]
fn drift_that_has_passed_at_the_second_look_is_not_told() {
    let (mut world, twin) = pump(json!({"attributes": {"kw": 3}}));
    world.write(&json!({"attributes": {"kw": 9}}));
    world.refuse = Some(Refused::Changed(Said { status: 412, ..Said::default() }));
    // Somebody sets it right while our own repair fails at its fence.
    let known = world.known.clone();
    let (mut pass, mut next) = TwinPass::start(TwinFacts { known, ..facts(twin) }, HEADER_ROOM);
    let mut asked = 0;
    let outcome = loop {
        match next {
            Next::Done(outcome) => break outcome,
            Next::Ask(request) => {
                asked += 1;
                let is_write = request.writes();
                let answer = world.answer(request);
                if is_write {
                    world.write(&json!({"attributes": {"kw": 3}}));
                }
                (pass, next) = pass.step(answer);
            }
        }
    };
    assert_eq!((outcome.drift, outcome.writes, asked), (None, 0, 3));
}

/// `exists(attributes)` is a 400, so nothing guards them; and nobody misses an empty one.
#[test]
fn empty_containers_are_not_seeded_into_a_thing_that_exists() {
    for folder in [false, true] {
        let root = vec![(Pointer::root(), Mode::Seed)];
        let document = json!({"attributes": {}, "features": {}});
        let twin = Desired { fields: root, ..desired(document) };
        let mut world = World::with_thing(folder, json!({}));
        let outcome = world.pass(&twin);
        assert_eq!((outcome.reason(), world.at("/attributes")), (Reason::Applied, Value::Null));
        assert_eq!(world.pass(&twin).writes, 0);
        let mut world = World::new(folder);
        world.pass(&twin);
        assert_eq!(world.at("/attributes"), json!({}), "a create carries them");
    }
}

#[test]
fn f15_a_thing_hidden_on_create_is_told_as_such() {
    let said = |status, code: &str| Said { status, code: code.into(), ..Said::default() };
    let refusals = [
        (Refused::Forbidden(said(403, "things:thing.notmodifiable")), Reason::Forbidden),
        (Refused::Missing(said(404, "things:thing.notmodifiable")), Reason::Forbidden),
    ];
    let twin = desired(json!({"attributes": {"kw": 3}}));
    for (refused, reason) in refusals {
        let mut world = World::new(false);
        world.refuse = Some(refused.clone());
        let outcome = world.pass(&twin);
        let held = outcome.held().unwrap();
        assert_eq!(held.reason, reason, "{refused}");
        assert!(held.message.contains("org.acme:pump is there and hidden"), "{}", held.message);
    }
    let mut world = World::new(false);
    world.refuse = Some(Refused::Missing(said(404, "policies:policy.notfound")));
    assert_eq!(world.pass(&twin).reason(), Reason::PolicyNotAccessible);
    let mut world = World::new(false);
    world.hidden = true;
    world.thing = Some(json!({"policyId": "x:y"}));
    let outcome = world.pass(&twin);
    assert_eq!(outcome.reason(), Reason::ResourceConflict);
    assert!(outcome.held().unwrap().message.contains("hidden"), "{:?}", outcome.held());
    assert!(world.asked.iter().filter(|request| matches!(request, Request::CreateThing { .. })).count() <= 2);
}

#[test]
fn a_pass_that_saw_nothing_claims_nothing() {
    let twin = desired(json!({"attributes": {"kw": 3}}));
    let mut taken = facts(twin.clone());
    taken.tenancy = Err("no".into());
    let mut world = World::new(false);
    let outcome = world.pass_with(taken);
    assert_eq!((outcome.observed, outcome.resolved), (false, false));
    world.refuse = Some(unavailable());
    let outcome = world.pass(&twin);
    assert_eq!((outcome.observed, outcome.resolved), (false, true), "the policy's resource is there");
    let outcome = world.pass(&twin);
    assert_eq!((outcome.observed, outcome.resolved), (true, true));
    let mut world = World::with_thing(false, json!({}));
    let never = Desired { adoption: Adoption::Never, ..twin };
    assert!(!world.pass(&never).observed, "what is not ours is not compared");
}

/// Names above many values count once for each of them: 100 KB of text can ask for hundreds of megabytes.
#[test]
fn long_names_above_many_values_are_refused_before_they_are_written_out() {
    let long = Pointer::of(["attributes"]).join(&Pointer::of((0..40).map(|i| format!("{i:0>256}"))));
    let mut document = json!({});
    let values = (0..2_000).map(|i| (format!("{i}"), json!(1))).collect();
    long.set(&mut document, Value::Object(values));
    let mut world = World::new(false);
    let outcome = world.pass(&desired(document));
    assert_eq!((outcome.reason(), world.asked.len()), (Reason::TooLarge, 0));
}
