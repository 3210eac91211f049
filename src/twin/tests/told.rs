//! Two leaders for a moment: what one has written and told, and the other does not know yet.
use serde_json::json;

use super::super::desired::Desired;
use super::super::facts::{Known, Told, TwinFacts};
use super::super::pass::TwinPass;
use super::super::reason::{Outcome, Reason};
use super::super::request::{Answer, Next, Request};
use super::desired;
use super::world::{HEADER_ROOM, World, facts};

/// A pass that stands still as soon as `is_there` says so of it and of what it would ask next.
fn stands_still(
    world: &mut World,
    facts: TwinFacts,
    is_there: impl Fn(&TwinPass, &Request) -> bool,
) -> (TwinPass, Next) {
    let (mut pass, mut next) = TwinPass::start(facts, HEADER_ROOM);
    loop {
        match next {
            Next::Ask(request) if !is_there(&pass, &request) => {
                (pass, next) = pass.step(world.answer(request));
            }
            next => return (pass, next),
        }
    }
}

fn is_patch(_: &TwinPass, request: &Request) -> bool {
    matches!(request, Request::PatchThing { .. })
}

/// The rest of a pass that stood still.
fn goes_on(world: &mut World, mut pass: TwinPass, mut next: Next) -> Outcome {
    loop {
        match next {
            Next::Done(outcome) => return *outcome,
            Next::Ask(request) => (pass, next) = pass.step(world.answer(request)),
        }
    }
}

/// A twin with two seeds, as another leader left it and a device used it since.
fn left_by_another(first: &Desired, twin: &Desired) -> (World, Known) {
    let mut world = World::new(false);
    world.pass(first);
    let known = world.known.clone();
    world.pass(twin);
    world.write(&json!({"features": {"f": {"properties": {"v": 9, "w": null}}}}));
    (world, known)
}

#[test]
fn f13_an_old_leader_writes_no_seed_that_another_has_told() {
    let seeds = json!({"features": {"f": {"properties": {"v": 1, "w": 1}}}});
    let (plain, twin) = (desired(json!({})), desired(seeds));
    for (name, first) in [("created", &twin), ("added by an edit", &plain)] {
        let (mut world, before) = left_by_another(first, &twin);
        let known = if first == &twin { Known::default() } else { before };
        world.told = Some(std::mem::replace(&mut world.known, known));
        let outcome = world.pass(&twin);
        assert_eq!((outcome.writes, world.at("/features/f/properties")), (0, json!({"v": 9})), "{name}");
        assert_eq!(world.known, world.told.clone().unwrap(), "{name}");
        assert_eq!(world.pass(&twin).writes, 0, "{name}");
        assert!(!world.asked.contains(&Request::ReadStatus), "{name}: who knows does not ask");
    }
}

/// It had decided before it stood still: the fence lets through only what was decided over the mark that stands there.
#[test]
fn f13_what_an_old_leader_decided_over_an_older_mark_is_refused() {
    let seeds = json!({"features": {"f": {"properties": {"v": 1, "w": 1}}}});
    let (first, twin) = (desired(json!({})), desired(seeds));
    let of = |generation| {
        let mut facts = facts(twin.clone());
        facts.identity.generation = generation;
        facts
    };
    let mut world = World::new(false);
    let mut older = facts(first);
    older.identity.generation = 1;
    world.pass_with(older);
    let known = world.known.clone();
    let (pass, next) = stands_still(&mut world, TwinFacts { known, ..of(2) }, is_patch);
    assert!(matches!(next, Next::Ask(Request::PatchThing { .. })), "it has decided: {next:?}");
    world.pass_with(of(2));
    world.write(&json!({"features": {"f": {"properties": {"w": null}}}}));
    world.told = Some(world.known.clone());
    let outcome = goes_on(&mut world, pass, next);
    assert_eq!((outcome.writes, world.at("/features/f/properties")), (0, json!({"v": 1})));
    assert_eq!(outcome.reason(), Reason::AlreadyInSync);
}

/// One pass whose question for status has this `answer`.
fn pass_when_told(world: &mut World, facts: TwinFacts, answer: &Result<Told, String>) -> Outcome {
    let (mut pass, mut next) = TwinPass::start(facts, HEADER_ROOM);
    loop {
        match next {
            Next::Done(outcome) => return *outcome,
            Next::Ask(Request::ReadStatus) => (pass, next) = pass.step(Answer::Status(answer.clone())),
            Next::Ask(request) => (pass, next) = pass.step(world.answer(request)),
        }
    }
}

#[test]
fn who_cannot_know_what_was_written_writes_nothing() {
    for answer in [Ok(Told::Moved), Err("503 from the API server".to_owned())] {
        let twin = desired(json!({"features": {"f": {"properties": {"v": 1}}}}));
        let mut world = World::new(false);
        world.pass(&twin);
        world.write(&json!({"features": {"f": {"properties": {"v": null}}}}));
        let outcome = pass_when_told(&mut world, facts(twin), &answer);
        assert_eq!(
            (outcome.overtaken, outcome.held().is_some()),
            (answer.is_ok(), answer.is_err()),
            "{answer:?}"
        );
        assert_eq!((outcome.writes, world.at("/features/f/properties")), (0, json!({})));
    }
}

/// The twin was deleted and made again, or another one of the same owner claims the thing now.
#[test]
fn f13_an_old_leader_takes_no_thing_from_the_one_that_came_after() {
    for (name, uid) in [("pump", "uid-2"), ("renamed", "uid-3")] {
        let twin = desired(json!({"attributes": {"kw": 3}, "features": {"f": {"properties": {"v": 1}}}}));
        let mut world = World::new(false);
        world.pass(&twin);
        let mut note = world.mark.take().unwrap();
        (note["uid"], note["name"]) = (json!(uid), json!(name));
        world.mark = Some(note);
        world.write(&json!({"attributes": {"kw": 9}, "features": {"f": {"properties": {"v": null}}}}));
        let outcome = pass_when_told(&mut world, facts(twin), &Ok(Told::Moved));
        assert!(outcome.overtaken && outcome.writes == 0, "{name}");
        assert_eq!((world.mark().uid.as_str(), world.at("/attributes/kw")), (uid, json!(9)), "{name}");
    }
}

/// It had asked, and stands still with the adoption in its hand: what it finds then is another mark.
#[test]
fn f13_who_has_asked_asks_again_over_another_mark() {
    let twin = desired(json!({"features": {"f": {"properties": {"v": 1, "w": 1}}}}));
    let mut world = World::with_thing(false, json!({}));
    let (pass, next) = stands_still(&mut world, facts(twin.clone()), is_patch);
    assert_eq!(world.pass(&twin).writes, 1, "another leader adopts it");
    world.write(&json!({"features": {"f": {"properties": {"w": null}}}}));
    world.told = Some(world.known.clone());
    let outcome = goes_on(&mut world, pass, next);
    assert_eq!((outcome.writes, world.at("/features/f/properties")), (0, json!({"v": 1})));
}

#[test]
fn f13_an_old_leader_makes_nothing_again_and_adopts_nothing_when_its_twin_is_gone() {
    let twin = desired(json!({"attributes": {"kw": 3}}));
    for is_there in [false, true] {
        let mut world = World::with_thing(false, json!({}));
        world.pass(&twin);
        world.mark = None;
        world.thing = world.thing.filter(|_| is_there);
        let mut facts = facts(twin.clone());
        facts.known = if is_there { Known::default() } else { world.known.clone() };
        let before = world.thing.clone();
        let outcome = pass_when_told(&mut world, facts, &Ok(Told::Moved));
        assert!(outcome.overtaken && outcome.writes == 0, "{is_there}");
        assert_eq!(world.thing, before);
    }
}

/// It has adopted the thing, and stands still before it looks whether its seeds are there.
#[test]
fn f13_seeds_that_are_missing_after_a_write_are_asked_about() {
    let twin = desired(json!({"features": {"f": {"properties": {"v": 1, "w": 1}}}}));
    let mut world = World::with_thing(false, json!({}));
    let has_written = |pass: &TwinPass, _: &Request| pass.so_far().writes > 0;
    let (pass, next) = stands_still(&mut world, facts(twin.clone()), has_written);
    assert_eq!(world.pass(&twin).writes, 0, "another leader finds all as declared, and tells");
    world.write(&json!({"features": {"f": {"properties": {"w": null}}}}));
    world.told = Some(world.known.clone());
    let outcome = goes_on(&mut world, pass, next);
    assert_eq!((outcome.writes, world.at("/features/f/properties")), (1, json!({"v": 1})));
}
