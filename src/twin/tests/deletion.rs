//! Twins that go, step by step: what is deleted, what is left behind, and when the finalizer comes off.
use serde_json::json;

use super::super::call::{FoundThing, Metadata};
use super::super::claim::Claim;
use super::super::desired::{Deletion, Desired};
use super::super::facts::{Going, TwinFacts};
use super::super::mark::{Mark, Origin};
use super::super::reason::Reason;
use super::super::request::{Answer, Request};
use super::super::said::{Refused, Said};
use super::identity;
use super::pass::{created, fence_failed, run, sensor, thing};
use super::world::facts;

fn going(deletion: Option<Deletion>, origin: Option<Origin>) -> TwinFacts {
    let mut facts = facts(Desired { deletion, ..sensor() });
    facts.going = Some(Going::default());
    facts.known.origin = origin;
    facts
}

#[test]
fn deletion_is_fenced_by_the_mark_and_ends_with_the_finalizer() {
    let rows = [
        (Some(Deletion::Delete), None, "eq(_metadata/twinops/uid,\"uid-1\")"),
        (
            None,
            Some(Origin::Created),
            "and(eq(_metadata/twinops/uid,\"uid-1\"),eq(_metadata/twinops/origin,\"Created\"))",
        ),
        (None, None, "and(eq(_metadata/twinops/uid,\"uid-1\"),eq(_metadata/twinops/origin,\"Created\"))"),
    ];
    for (deletion, origin, fence) in rows {
        let answers = vec![Answer::Deleted(Ok(())), Answer::Finalizer(Ok(()))];
        let (asked, outcome) = run(going(deletion, origin), answers);
        let Request::DeleteThing { condition, .. } = &asked[0] else { panic!("{asked:?}") };
        assert_eq!((condition.as_str(), outcome.finished), (fence, true));
    }
}

#[test]
fn f2_f4_deleting_what_is_gone_is_fine() {
    let missing = Refused::Missing(Said::default());
    let (asked, outcome) =
        run(going(None, None), vec![Answer::Deleted(Err(missing)), Answer::Finalizer(Ok(()))]);
    assert_eq!((asked.len(), outcome.finished), (2, true));
}

#[test]
fn f11_a_late_delete_leaves_the_new_twin_alone() {
    let mut newer = identity();
    newer.uid = "uid-2".into();
    let found = FoundThing {
        mark: Some(Mark::of(&newer, Origin::Created, "h".into()).to_json()),
        ..created(&sensor(), |_| ())
    };
    let answers = vec![Answer::Deleted(Err(fence_failed())), thing(found), Answer::Finalizer(Ok(()))];
    let (asked, outcome) = run(going(Some(Deletion::Delete), None), answers);
    assert!(matches!(asked[2], Request::RemoveFinalizer));
    assert_eq!((outcome.finished, outcome.notes[0].reason), (true, "LeftInDitto"));
}

/// Status says Created, the mark says Adopted: the mark decides.
#[test]
fn s42_a_status_edited_by_hand_deletes_nothing() {
    let found = FoundThing {
        mark: Some(Mark::of(&identity(), Origin::Adopted, "h".into()).to_json()),
        ..created(&sensor(), |_| ())
    };
    let answers = vec![
        Answer::Deleted(Err(fence_failed())),
        thing(found),
        Answer::Written(Ok(9)),
        Answer::Finalizer(Ok(())),
    ];
    let (asked, outcome) = run(going(None, Some(Origin::Created)), answers);
    let Request::PatchThing { patch, .. } = &asked[2] else { panic!("{asked:?}") };
    assert_eq!((&patch.metadata, outcome.finished), (&Metadata::Delete, true));
}

#[test]
fn retain_takes_the_mark_and_leaves_the_thing() {
    let rows = [
        going(Some(Deletion::Retain), Some(Origin::Created)),
        going(None, Some(Origin::Adopted)),
        TwinFacts { going: Some(Going { release: true, ..Going::default() }), ..going(None, None) },
    ];
    for facts in rows {
        let answers =
            vec![thing(created(&sensor(), |_| ())), Answer::Written(Ok(9)), Answer::Finalizer(Ok(()))];
        let (asked, outcome) = run(facts, answers);
        let Request::PatchThing { patch, .. } = &asked[1] else { panic!("{asked:?}") };
        assert_eq!(patch.body, json!({"policyId": "org.acme:pumps"}));
        assert_eq!((&patch.metadata, outcome.finished), (&Metadata::Delete, true));
    }
}

#[test]
fn a_loser_or_a_suspended_twin_goes_without_touching_ditto() {
    let loser = TwinFacts { claim: Claim::Taken { by: "plant/other".into() }, ..going(None, None) };
    let suspended = TwinFacts { paused: true, ..going(Some(Deletion::Delete), None) };
    for facts in [loser, suspended] {
        let (asked, outcome) = run(facts, vec![Answer::Finalizer(Ok(()))]);
        assert_eq!((asked, outcome.finished), (vec![Request::RemoveFinalizer], true));
    }
}

#[test]
fn f15_a_deletion_that_fails_says_why_and_keeps_the_finalizer() {
    let refused = [
        Refused::Forbidden(Said { status: 403, message: "no WRITE".into(), ..Said::default() }),
        Refused::Unavailable(Said { message: "connection refused".into(), ..Said::default() }),
    ];
    for refused in refused {
        let (asked, outcome) = run(going(None, None), vec![Answer::Deleted(Err(refused.clone()))]);
        assert_eq!((asked.len(), outcome.reason(), outcome.finished), (1, Reason::DeletionFailed, false));
        assert!(outcome.held().unwrap().message.contains(&refused.said().message));
    }
}
