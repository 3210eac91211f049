use super::*;
use crate::twin::mark::Origin;
use crate::twin::said::{Refused, Said};
use crate::twin::status::{READY, REFERENCES_RESOLVED};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn written() -> Outcome {
    let base = Base {
        enforced: [Pointer::parse("/attributes/a~1b")].into(),
        seeded: [Pointer::parse("/features/f/properties/p")].into(),
    };
    Outcome {
        id: Some("a:t".into()),
        policy_id: Some("a:p".into()),
        writes: 1,
        revision: Some(1),
        origin: Some(Origin::Created),
        applied: Some(Applied { hash: "h".into(), base }),
        observed: true,
        resolved: true,
        ..Outcome::new(Ok(Reason::Applied))
    }
}

/// A later pass that finds everything as the first left it.
fn quiet() -> Outcome {
    Outcome { writes: 0, synced: Ok(Reason::AlreadyInSync), ..written() }
}

fn refused(correlation_id: &str) -> Outcome {
    let said =
        Said { status: 503, code: "x".into(), message: "down".into(), correlation_id: correlation_id.into() };
    Outcome { synced: Err(Held::refused(&Refused::Unavailable(said))), ..quiet() }
}

fn drifting(revision: u64, repaired: bool) -> Outcome {
    let paths = (0..30).map(|i| Pointer::of(["attributes", &i.to_string()])).collect();
    let writes = u32::from(repaired);
    Outcome { writes, drift: Some(Drifted { paths, revision, repaired, originator: None }), ..quiet() }
}

fn first() -> DigitalTwinStatus {
    DigitalTwinStatus::default().after(&written(), 1, at(0))
}

fn find<'a>(conditions: &'a [Condition], kind: &str) -> &'a Condition {
    conditions.iter().find(|condition| condition.type_ == kind).unwrap()
}

#[test]
fn a_quiet_pass_leaves_the_status_as_it_is() {
    let status = first();
    assert_eq!(status.after(&quiet(), 1, at(100)), status);
    let mut reordered = status.clone();
    reordered.conditions.reverse();
    assert_eq!(reordered.after(&quiet(), 1, at(100)), reordered, "the order of conditions is no news");
    let read_back: DigitalTwinStatus =
        serde_json::from_value(serde_json::to_value(&status).unwrap()).unwrap();
    assert_eq!(read_back, status, "the API server gives back what was written");
    let fraction = Timestamp::from_millisecond(1_800_000_000_123).unwrap();
    assert_eq!(DigitalTwinStatus::default().after(&written(), 1, fraction), status, "whole seconds only");
}

#[test]
fn what_a_pass_remembers_comes_back() {
    let known = first().known();
    let outcome = written();
    assert_eq!(
        known,
        Known {
            id: outcome.id,
            origin: outcome.origin,
            applied: outcome.applied,
            revision: outcome.revision,
        }
    );
}

#[test]
fn a_condition_keeps_its_time_until_its_verdict_flips() {
    let ready = find(&first().conditions, READY).clone();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("True", "Applied"));

    let down = first().after(&refused("1"), 2, at(10));
    let not_ready = find(&down.conditions, READY);
    assert_eq!((not_ready.status.as_str(), not_ready.reason.as_str()), ("False", "BackendUnavailable"));
    assert_eq!(not_ready.last_transition_time, Time(at(10)));
    assert_eq!(not_ready.observed_generation, Some(2));
    assert_eq!(find(&down.conditions, REFERENCES_RESOLVED).last_transition_time, Time(at(0)));

    let mut other = refused("2");
    other.synced = Err(Held::new(Reason::ResourceConflict, "managed by n/a"));
    let held = down.after(&other, 2, at(20));
    let still = find(&held.conditions, READY);
    assert_eq!(
        (still.reason.as_str(), &still.last_transition_time),
        ("ResourceConflict", &Time(at(10))),
        "another reason is no flip"
    );
}

#[test]
fn a_row_of_equal_refusals_is_written_once() {
    let down = first().after(&refused("1"), 1, at(10));
    assert_eq!(down.last_error.as_ref().unwrap().correlation_id, "1");
    assert_eq!(down.after(&refused("2"), 1, at(20)), down);
    assert_eq!(down.after(&quiet(), 1, at(30)).last_error, None, "gone after the next success");
}

#[test]
fn the_sync_time_moves_with_writes_only() {
    let sync = |status: &DigitalTwinStatus| status.last_sync_time.clone();
    assert_eq!(sync(&first()), Some(Time(at(0))));
    let cases = [
        ("nothing to do", quiet(), at(0)),
        ("a refusal", refused("1"), at(0)),
        ("a repair", drifting(7, true), at(9)),
    ];
    for (name, outcome, expected) in cases {
        assert_eq!(sync(&first().after(&outcome, 1, at(9))), Some(Time(expected)), "{name}");
    }
    let adopted = DigitalTwinStatus::default().after(&quiet(), 1, at(5));
    assert_eq!(sync(&adopted), Some(Time(at(5))), "found in sync at first sight");
    let never = DigitalTwinStatus::default().after(&refused("1"), 1, at(5));
    assert_eq!(sync(&never), None);
}

#[test]
fn a_reported_drift_does_not_follow_telemetry() {
    let reported = first().after(&drifting(7, false), 1, at(10));
    let drift = reported.drift.clone().unwrap();
    assert_eq!((drift.count, drift.paths.len(), drift.revision), (30, DRIFT_PATHS_MAX, Some(7)));
    assert_eq!(find(&reported.conditions, DRIFTED).status, "True");
    assert_eq!(reported.after(&drifting(8, false), 1, at(20)), reported);

    let over = reported.after(&quiet(), 1, at(30));
    assert_eq!(find(&over.conditions, DRIFTED).status, "False");
    assert_eq!(over.drift, Some(drift), "it stays to be read");
    let again = over.after(&drifting(9, false), 1, at(40));
    assert_eq!(again.drift.unwrap().revision, Some(9), "the same drift once more is news");
}

#[test]
fn a_repair_that_fails_is_told_once_and_one_that_succeeds_every_time() {
    let mut failing = refused("1");
    failing.drift = drifting(7, false).drift;
    let failed = first().after(&failing, 1, at(10));
    assert_eq!(find(&failed.conditions, DRIFTED).status, "True", "it is not repaired yet");
    failing.drift = drifting(8, false).drift;
    assert_eq!(failed.after(&failing, 1, at(20)), failed);
    let repaired = failed.after(&drifting(9, true), 1, at(30)).drift.unwrap();
    assert_eq!((repaired.revision, repaired.detected_at), (Some(9), Some(Time(at(30)))));
    let settled = failed.after(&drifting(9, true), 1, at(30));
    assert_eq!(find(&settled.conditions, DRIFTED).status, "False");
    assert_eq!(settled.after(&drifting(9, true), 1, at(40)).drift.unwrap().detected_at, Some(Time(at(40))));
}

#[test]
fn who_made_the_drift_may_be_known_later_and_is_kept() {
    let by = |who: Option<&str>| {
        let mut outcome = drifting(7, false);
        outcome.drift.as_mut().unwrap().originator = who.map(str::to_owned);
        outcome
    };
    let unnamed = first().after(&by(None), 1, at(10));
    let named = unnamed.after(&by(Some("nginx:mallory")), 1, at(20));
    let drift = named.drift.clone().unwrap();
    assert_eq!((drift.originator.as_deref(), drift.detected_at), (Some("nginx:mallory"), Some(Time(at(10)))));
    assert_eq!(named.after(&by(None), 1, at(30)), named, "and no later pass forgets it");
}

#[test]
fn a_pass_that_saw_nothing_leaves_drift_and_references_as_they_were() {
    let unseen = |mut outcome: Outcome| {
        (outcome.observed, outcome.resolved) = (false, false);
        outcome
    };
    let kinds = [DRIFTED, REFERENCES_RESOLVED];
    let reported = first().after(&drifting(7, false), 1, at(10));
    let down = reported.after(&unseen(refused("1")), 2, at(20));
    for kind in kinds {
        assert_eq!(find(&down.conditions, kind), find(&reported.conditions, kind), "{kind}");
    }
    let never = DigitalTwinStatus::default().after(&unseen(refused("1")), 1, at(0));
    for kind in kinds {
        assert_eq!(find(&never.conditions, kind).status, "Unknown", "{kind}");
    }
    let seen = never.after(&quiet(), 1, at(9));
    for (kind, status) in kinds.into_iter().zip(["False", "True"]) {
        assert_eq!(find(&seen.conditions, kind).status, status, "{kind}");
    }
}

#[test]
fn a_paused_twin_keeps_what_it_said() {
    let mut paused = quiet();
    paused.paused = true;
    for before in [first(), first().after(&refused("1"), 1, at(5))] {
        let status = before.after(&paused, 2, at(10));
        assert_eq!(find(&status.conditions, "ReconciliationPaused").status, "True");
        assert_eq!(find(&status.conditions, READY), find(&before.conditions, READY));
        assert_eq!((&status.last_error, status.known()), (&before.last_error, before.known()));
    }
    let never_ran = DigitalTwinStatus::default().after(&paused, 1, at(0));
    assert_eq!(find(&never_ran.conditions, READY).reason, "Paused");
    assert_eq!(never_ran.last_sync_time, None);
}

#[test]
fn too_many_paths_are_forgotten_before_seeds_are() {
    let paths = |bytes: usize| (0..bytes / 48).map(|i| Pointer::of([format!("{i:x<60}")])).collect();
    let cases = [
        ("all fits", 1_024, 1_024, (21, Some(21)), false),
        ("the paths do not fit beside the seeds", APPLIED_BYTES_MAX, 64, (0, Some(1)), true),
        ("not even the seeds fit", 64, APPLIED_BYTES_MAX + 64, (1, None), true),
    ];
    for (name, enforced, seeded, kept, forgets) in cases {
        let base = Base { enforced: paths(enforced), seeded: paths(seeded) };
        let outcome = Outcome { applied: Some(Applied { hash: "h".into(), base }), ..written() };
        let status = first().after(&outcome, 1, at(1));
        let known = status.known().applied.unwrap().base;
        let seeds = (!known.seeds_are_forgotten()).then_some(known.seeded.len());
        assert_eq!((known.enforced.len(), seeds), kept, "{name}");
        assert!(seeds.is_some() || known.decided(&Pointer::parse("/any")), "{name}: none is written again");
        assert_eq!(status.forgets(&outcome).is_some(), forgets, "{name}");
    }
}

#[test]
fn a_policy_tells_who_uses_it_and_what_it_wrote() {
    let extras = PolicyExtras {
        hash: Some("h".into()),
        labels: ["users".to_owned(), "twinops".to_owned()].into(),
        effective_hash: Some("e".into()),
        created: true,
    };
    let old = TwinPolicyStatus::default();
    let status = old.after((&written(), &extras), 3, 1, at(0));
    assert_eq!((status.used_by, status.effective_hash.as_deref()), (Some(3), Some("e")));
    assert_eq!(find(&status.conditions, "InUse").reason, "UsedByTwins");
    assert_eq!(status.known().labels, extras.labels);
    assert_eq!(status.known().hash, extras.hash);

    let unseen = PolicyExtras { effective_hash: None, ..extras.clone() };
    assert_eq!(status.after((&quiet(), &unseen), 3, 1, at(9)), status);

    let mut going = quiet();
    going.synced = Err(Held::new(Reason::DeletionHeld, "things in Ditto use this policy"));
    going.things = 1;
    let held = status.after((&going, &unseen), 0, 1, at(9));
    assert_eq!(find(&held.conditions, "InUse").reason, "UsedByThings");
}

#[test]
fn a_policy_that_was_there_still_serves_its_twins() {
    let extras = PolicyExtras { hash: Some("h".into()), ..PolicyExtras::default() };
    let there = TwinPolicyStatus::default().after((&written(), &extras), 0, 1, at(0));
    let held = |reason| Outcome { synced: Err(Held::new(reason, "why")), ..quiet() };
    let cases = [
        (Reason::BackendUnavailable, true),
        (Reason::InvalidSpec, true),
        (Reason::DeletionHeld, true),
        (Reason::ResourceConflict, false),
        (Reason::Forbidden, false),
        (Reason::NamespaceNotAllowed, false),
    ];
    for (reason, serves) in cases {
        let status = there.after((&held(reason), &extras), 0, 1, at(1));
        assert_eq!(standing(&status).is_ok(), serves, "{}", reason.word());
        let unborn = Outcome { origin: None, ..held(reason) };
        let status = TwinPolicyStatus::default().after((&unborn, &extras), 0, 1, at(1));
        assert_eq!(standing(&status), Err(format!("{}: why", reason.word())));
    }
    assert_eq!(standing(&there), Ok(()));
    assert!(standing(&TwinPolicyStatus::default()).is_err());
}
