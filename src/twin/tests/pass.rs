//! Passes step by step, each against a script of what the outside answers.
use serde_json::{Value, json};

use super::super::call::{FoundThing, Metadata};
use super::super::claim::Claim;
use super::super::desired::{Desired, Drift, Identity};
use super::super::facts::{Known, PolicyFact, Told, TwinFacts};
use super::super::id::PolicyId;
use super::super::mark::{Mark, Origin};
use super::super::ownership::declared;
use super::super::pass::TwinPass;
use super::super::plan::base_after_create;
use super::super::reason::{Again, Applied, Outcome, Reason};
use super::super::request::{Answer, Next, Request};
use super::super::rql_text;
use super::super::said::{Refused, Said};
use super::world::facts;
use super::{desired, identity};

pub fn sensor() -> Desired {
    desired(json!({"attributes": {"kw": 3}, "features": {"f": {"properties": {"v": 1}}}}))
}

/// The thing after a create of `desired`, changed by somebody.
pub fn created(desired: &Desired, change: impl Fn(&mut Value)) -> FoundThing {
    let mut document = desired.document.clone();
    change(&mut document);
    FoundThing {
        id: desired.id.to_string(),
        revision: 7,
        policy_id: Some("org.acme:pumps".into()),
        mark: Some(Mark::of(&identity(), Origin::Created, desired.hash()).to_json()),
        document,
    }
}

fn known(desired: &Desired) -> Known {
    Known {
        id: Some(desired.id.to_string()),
        origin: Some(Origin::Created),
        applied: Some(Applied { hash: desired.hash(), base: base_after_create(&declared(desired)) }),
        revision: Some(1),
    }
}

/// Runs a pass against `answers` and returns what it asked and what it came to.
pub fn run(facts: TwinFacts, answers: Vec<Answer>) -> (Vec<Request>, Outcome) {
    let (mut pass, mut next) = TwinPass::start(facts, 4_300);
    let mut asked = vec![];
    let mut answers = answers.into_iter();
    loop {
        match next {
            Next::Done(outcome) => {
                assert_eq!(answers.next(), None, "an answer was not asked for");
                return (asked, *outcome);
            }
            Next::Ask(request) => {
                let answer = answers.next().unwrap_or_else(|| panic!("not in the script: {request:?}"));
                asked.push(request);
                (pass, next) = pass.step(answer);
            }
        }
    }
}

pub fn thing(found: FoundThing) -> Answer {
    Answer::Thing(Ok(Some(found)))
}

/// The API server holds no status either.
fn untold() -> Answer {
    Answer::Status(Ok(Told::AsKnown))
}

pub fn fence_failed() -> Refused {
    Refused::Changed(Said { status: 412, ..Said::default() })
}

#[test]
fn a_missing_thing_is_created_with_its_seeds_and_its_mark() {
    let mut facts = facts(sensor());
    facts.has_finalizer = false;
    let answers = vec![Answer::Finalizer(Ok(())), Answer::Written(Ok(1))];
    let (asked, outcome) = run(facts, answers);
    assert_eq!(asked[0], Request::AddFinalizer);
    let Request::CreateThing { body, mark, .. } = &asked[1] else { panic!("{asked:?}") };
    assert_eq!(body["policyId"], "org.acme:pumps");
    assert_eq!(body["features"]["f"]["properties"]["v"], 1);
    assert_eq!(mark["uid"], "uid-1");
    assert_eq!(
        (outcome.reason(), outcome.revision, outcome.origin),
        (Reason::Applied, Some(1), Some(Origin::Created))
    );
    assert_eq!(outcome.applied.unwrap().base.seeded.len(), 1);
}

#[test]
fn the_first_create_is_the_look_and_what_it_meets_is_looked_at() {
    let mut facts = facts(sensor());
    facts.has_finalizer = false;
    let said = || Said { status: 403, ..Said::default() };
    for refused in [fence_failed(), Refused::Forbidden(said()), Refused::Missing(said())] {
        let answers = vec![
            Answer::Finalizer(Ok(())),
            Answer::Written(Err(refused)),
            thing(created(&sensor(), |_| ())),
            untold(),
        ];
        let (asked, outcome) = run(facts.clone(), answers);
        assert!(matches!(asked[2], Request::FindThing { .. }), "{asked:?}");
        assert_eq!(
            (outcome.reason(), outcome.writes),
            (Reason::AlreadyInSync, 0),
            "it is ours and as declared"
        );
    }
    // Whoever was here before looks first: what stands there may be the device's.
    facts.known = known(&sensor());
    let (asked, _) = run(facts, vec![Answer::Finalizer(Ok(())), thing(created(&sensor(), |_| ()))]);
    assert!(matches!(asked[1], Request::FindThing { .. }), "{asked:?}");
}

#[test]
fn a_second_pass_writes_nothing() {
    let sensor = sensor();
    let mut facts = facts(sensor.clone());
    facts.known = known(&sensor);
    let telemetry = created(&sensor, |d| d["features"]["f"]["properties"]["v"] = json!(99));
    let (asked, outcome) = run(facts, vec![thing(telemetry)]);
    assert!(asked.iter().all(|request| !request.writes()));
    assert_eq!((outcome.writes, outcome.revision), (0, Some(1)), "the revision does not follow telemetry");
}

#[test]
fn f1_a_crash_before_the_status_write_is_repaired_without_a_write() {
    let sensor = sensor();
    let (asked, outcome) = run(facts(sensor.clone()), vec![thing(created(&sensor, |_| ())), untold()]);
    assert!(asked.iter().all(|request| !request.writes()));
    assert_eq!(outcome.origin, Some(Origin::Created), "the mark says so");
    assert_eq!(outcome.applied, known(&sensor).applied);
    assert!(outcome.notes.is_empty(), "{:?}", outcome.notes);
}

#[test]
fn drift_is_repaired_and_told() {
    let sensor = sensor();
    let mut facts = facts(sensor.clone());
    facts.known = known(&sensor);
    let drifted = created(&sensor, |d| d["attributes"]["kw"] = json!(4));
    let (asked, outcome) = run(facts.clone(), vec![thing(drifted.clone()), Answer::Written(Ok(8))]);
    let Request::PatchThing { patch, .. } = &asked[1] else { panic!("{asked:?}") };
    assert_eq!(patch.body, json!({"attributes": {"kw": 3}}));
    assert_eq!(patch.condition, rql_text::marked_as(&Mark::of(&identity(), Origin::Created, sensor.hash())));
    assert!(matches!(patch.metadata, Metadata::Put(_)));
    let drift = outcome.drift.unwrap();
    assert_eq!((drift.paths.len(), drift.repaired, drift.revision), (1, true, 7));

    let reporting = Desired { drift: Drift::Report, ..sensor.clone() };
    facts.known = known(&reporting);
    facts.desired = Ok(reporting);
    let (asked, outcome) = run(facts.clone(), vec![thing(drifted.clone())]);
    assert_eq!((asked.len(), outcome.drift.map(|d| d.repaired)), (1, Some(false)));

    facts.desired = Ok(Desired { drift: Drift::Ignore, ..sensor });
    let (asked, outcome) = run(facts, vec![thing(drifted)]);
    assert_eq!((asked.len(), outcome.drift), (1, None));
}

#[test]
fn an_edit_is_no_drift() {
    let old = sensor();
    let new = Desired { document: json!({"attributes": {"kw": 5}}), drift: Drift::Report, ..old.clone() };
    let mut facts = facts(new);
    facts.known = known(&old);
    let (asked, outcome) = run(facts, vec![thing(created(&old, |_| ())), Answer::Written(Ok(8))]);
    let Request::PatchThing { patch, .. } = &asked[1] else { panic!("{asked:?}") };
    assert_eq!(
        patch.body,
        json!({"attributes": {"kw": 5}}),
        "the seed stays although it is no longer declared"
    );
    assert_eq!((outcome.reason(), outcome.drift), (Reason::Applied, None));
}

#[test]
fn a_guarded_seed_is_looked_at_again() {
    let old = desired(json!({"attributes": {"kw": 3}}));
    let new = sensor();
    let mut facts = facts(new.clone());
    facts.known = known(&old);
    let before = created(&old, |_| ());
    let after = created(&new, |d| d["features"]["f"]["properties"]["v"] = json!(50));
    let (asked, outcome) = run(facts, vec![thing(before), Answer::Written(Ok(8)), thing(after)]);
    let Request::PatchThing { patch, .. } = &asked[1] else { panic!("{asked:?}") };
    assert_eq!(patch.guards[0].1, "not(exists(features/f))");
    assert_eq!(outcome.applied.unwrap().base.seeded.len(), 1, "it stands, whoever wrote it");
    assert_eq!(outcome.writes, 1);
}

#[test]
fn f23_a_create_that_was_applied_although_it_timed_out_is_found_again() {
    let sensor = sensor();
    let answers = vec![
        Answer::Thing(Ok(None)),
        untold(),
        Answer::Written(Err(fence_failed())),
        thing(created(&sensor, |_| ())),
        untold(),
    ];
    let (_, outcome) = run(facts(sensor), answers);
    assert_eq!((outcome.synced, outcome.writes), (Ok(Reason::AlreadyInSync), 0));
}

#[test]
fn two_failed_fences_end_the_pass() {
    let sensor = sensor();
    let mut facts = facts(sensor.clone());
    facts.known = known(&sensor);
    let drifted = || thing(created(&sensor, |d| d["attributes"]["kw"] = json!(4)));
    let answers = vec![
        drifted(),
        Answer::Written(Err(fence_failed())),
        drifted(),
        Answer::Written(Err(fence_failed())),
    ];
    let (_, outcome) = run(facts, answers);
    assert_eq!(outcome.reason(), Reason::ResourceConflict);
}

#[test]
fn f30_nothing_is_sent_while_the_policy_is_missing_or_not_ready() {
    let rows = [
        (PolicyFact::NotFound("pumps".into()), Reason::PolicyNotFound),
        (PolicyFact::NotReady("later".into()), Reason::PolicyNotReady),
    ];
    for (policy, reason) in rows {
        let (asked, outcome) = run(TwinFacts { policy, ..facts(sensor()) }, vec![]);
        assert_eq!((asked.len(), outcome.reason()), (0, reason));
        assert!(outcome.references.is_err());
    }
}

#[test]
fn an_unmanaged_policy_must_let_us_in() {
    let unmanaged =
        TwinFacts { policy: PolicyFact::Unmanaged(PolicyId::parse("a:p").unwrap()), ..facts(sensor()) };
    let (_, outcome) = run(unmanaged.clone(), vec![Answer::Thing(Ok(None)), Answer::Policy(Ok(None))]);
    assert_eq!(outcome.reason(), Reason::PolicyNotAccessible);
    let message = outcome.held().unwrap().message.clone();
    assert!(
        message.contains("nginx:operator") && message.contains("thing:/"),
        "names the entry to add: {message}"
    );
    let open = json!({"entries": {"o": {"subjects": {"nginx:operator": {"type": "x"}}, "resources": {"thing:/": {"grant": ["READ", "WRITE"], "revoke": []}}}}});
    let found = super::super::call::FoundPolicy { revision: 1, body: open };
    let answers =
        vec![Answer::Thing(Ok(None)), Answer::Policy(Ok(Some(found))), untold(), Answer::Written(Ok(1))];
    assert_eq!(run(unmanaged, answers).1.reason(), Reason::Applied);
}

#[test]
fn what_is_found_before_sending_sends_nothing() {
    let taken = Claim::Taken { by: "plant/other".into() };
    let rows = [
        (
            TwinFacts { desired: Err("a null at /attributes/x".into()), ..facts(sensor()) },
            Reason::InvalidSpec,
            Again::Edit,
        ),
        (
            TwinFacts { tenancy: Err("no".into()), ..facts(sensor()) },
            Reason::NamespaceNotAllowed,
            Again::Edit,
        ),
        (TwinFacts { claim: taken, ..facts(sensor()) }, Reason::ResourceConflict, Again::Slowly),
    ];
    for (facts, reason, again) in rows {
        let (asked, outcome) = run(facts, vec![]);
        assert_eq!((asked.len(), outcome.reason(), outcome.again()), (0, reason, again));
    }
    let (asked, outcome) = run(TwinFacts { paused: true, ..facts(sensor()) }, vec![]);
    assert_eq!((asked.len(), outcome.paused), (0, true));
}

#[test]
fn f29_credentials_that_were_refused_are_tried_again_soon() {
    let refused = Refused::Unauthorized(Said { status: 401, ..Said::default() });
    let (_, outcome) = run(facts(sensor()), vec![Answer::Thing(Err(refused))]);
    assert_eq!((outcome.reason(), outcome.again()), (Reason::Forbidden, Again::Backoff));
}

/// In a folder the mark is the memory: an edit raises its generation, and seeds decided ride along.
#[test]
fn a_folder_remembers_in_the_mark() {
    let sensor = sensor();
    let folder = |desired: Desired| TwinFacts {
        identity: Identity { generation: 0, ..identity() },
        folder: true,
        ..facts(desired)
    };
    let (asked, _) = run(folder(sensor.clone()), vec![Answer::Thing(Ok(None)), Answer::Written(Ok(1))]);
    let Request::CreateThing { mark, .. } = &asked[1] else { panic!("{asked:?}") };
    assert_eq!((&mark["generation"], &mark["base"]["s"]), (&json!(1), &json!(["/features/f/properties/v"])));
    let stood = FoundThing { mark: Some(mark.clone()), ..created(&sensor, |_| ()) };
    let (asked, _) = run(folder(sensor.clone()), vec![thing(stood.clone())]);
    assert_eq!(asked.len(), 1, "a second run writes nothing");

    let edited = Desired { document: json!({"features": {"f": {"properties": {"v": 1}}}}), ..sensor };
    let (asked, _) = run(folder(edited), vec![thing(stood), Answer::Written(Ok(2))]);
    let Request::PatchThing { patch, .. } = &asked[1] else { panic!("{asked:?}") };
    assert_eq!(patch.body, json!({"attributes": {"kw": null}}), "removed from a fresh checkout");
    let Metadata::Put(mark) = &patch.metadata else { panic!("{patch:?}") };
    assert_eq!(mark["generation"], 2);
}
