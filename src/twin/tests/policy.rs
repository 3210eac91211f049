use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::call::{Expect, FoundPolicy};
use super::super::claim::Claim;
use super::super::desired::{Access, Adoption, Deletion, DesiredPolicy, Drift, PolicyMode};
use super::super::facts::{Going, Imports, KnownPolicy, PolicyFacts};
use super::super::id::PolicyId;
use super::super::mark::Origin;
use super::super::policy::{LABEL, lock_out, mark_of, same_policy};
use super::super::policy_pass::PolicyPass;
use super::super::reason::{Again, Outcome, Reason};
use super::super::request::{Answer, Next, Request};
use super::super::said::{Refused, Said};
use super::identity;

const NOON: i64 = 1_800_000_000;

pub fn entry(subject: &str, grant: &[&str]) -> Value {
    json!({"subjects": {subject: {"type": "user"}}, "resources": {"thing:/": {"grant": grant, "revoke": []}}, "importable": "implicit"})
}

#[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
pub fn desired(entries: Value) -> DesiredPolicy {
    DesiredPolicy {
        id: PolicyId::parse("org.acme:pumps").unwrap(),
        entries: entries.as_object().unwrap().clone(),
        imports: serde_json::Map::new(),
        access: Access::Managed,
        mode: PolicyMode::Entries,
        drift: Drift::Enforce,
        adoption: Adoption::IfUnowned,
        deletion: None,
        preserve_runtime_subjects: true,
        allow_lockout: false,
        suspend: false,
    }
}

pub fn facts(desired: DesiredPolicy) -> PolicyFacts {
    PolicyFacts {
        identity: identity(),
        id: Some(desired.id.clone()),
        desired: Ok(desired),
        claim: Claim::Ours,
        tenancy: Ok(()),
        paused: false,
        going: None,
        has_finalizer: true,
        known: KnownPolicy::default(),
        takeover: None,
        living: BTreeSet::new(),
        watched: super::super::adopt::Watched::All,
        subjects: vec!["nginx:operator".into()],
        bridge: None,
        imports: Imports::default(),
        used_by: 0,
        held_before: 0,
        now_epoch_seconds: NOON,
        folder: false,
    }
}

pub fn run(facts: PolicyFacts, answers: Vec<Answer>) -> (Vec<Request>, Outcome, PolicyPass) {
    let (mut pass, mut next) = PolicyPass::start(facts);
    let mut asked = vec![];
    let mut answers = answers.into_iter();
    loop {
        match next {
            Next::Done(outcome) => {
                assert_eq!(answers.next(), None, "an answer was not asked for");
                return (asked, *outcome, pass);
            }
            Next::Ask(request) => {
                let answer = answers.next().unwrap_or_else(|| panic!("not in the script: {request:?}"));
                asked.push(request);
                (pass, next) = pass.step(answer);
            }
        }
    }
}

pub fn found(body: &Value) -> Answer {
    Answer::Policy(Ok(Some(FoundPolicy { revision: 4, body: body.clone() })))
}

pub fn put(request: &Request) -> (&Value, Expect) {
    let Request::PutPolicy { body, expect, .. } = request else { panic!("{request:?}") };
    (body, *expect)
}

/// The policy a first pass leaves in Ditto.
pub fn created(desired: &DesiredPolicy) -> Value {
    let (asked, ..) = run(facts(desired.clone()), vec![Answer::Policy(Ok(None)), Answer::Written(Ok(1))]);
    put(&asked[1]).0.clone()
}

#[test]
fn a_created_policy_holds_what_is_declared_and_our_access() {
    let body = created(&desired(json!({"owner": entry("nginx:ditto", &["READ"])})));
    assert_eq!(body["entries"]["owner"], entry("nginx:ditto", &["READ"]));
    let ours = &body["entries"][LABEL];
    assert_eq!(ours["importable"], "never");
    assert_eq!(ours["resources"]["policy:/"]["grant"], json!(["READ", "WRITE"]));
    let mark = mark_of(&body, &["nginx:operator".into()]).unwrap();
    assert_eq!((&mark["uid"], &mark["labels"]), (&json!("uid-1"), &json!(["owner"])));
}

#[test]
fn a_second_pass_writes_nothing() {
    let desired = desired(json!({"owner": entry("nginx:ditto", &["READ", "WRITE"])}));
    let mut body = created(&desired);
    body["entries"]["owner"]["resources"]["thing:/"]["grant"] = json!(["WRITE", "READ"]);
    body["entries"]["foreign"] = entry("nginx:guest", &["READ"]);
    let (asked, outcome, _) = run(facts(desired.clone()), vec![found(&body)]);
    assert_eq!((asked.len(), outcome.writes), (1, 0), "order of grants and foreign labels are no difference");
    let mut later = facts(desired);
    later.identity.generation = 9;
    let (asked, ..) = run(later, vec![found(&body)]);
    assert_eq!(asked.len(), 1, "a new generation alone is no reason to write");
}

#[test]
fn a_label_removed_from_the_spec_is_revoked_even_if_status_was_lost() {
    let both =
        desired(json!({"owner": entry("nginx:ditto", &["READ"]), "guest": entry("nginx:guest", &["READ"])}));
    let mut body = created(&both);
    body["entries"]["foreign"] = entry("nginx:other", &["READ"]);
    let one = desired(json!({"owner": entry("nginx:ditto", &["READ"])}));
    let (asked, ..) = run(facts(one.clone()), vec![found(&body), Answer::Written(Ok(5))]);
    let (next, expect) = put(&asked[1]);
    assert_eq!((labels(next), expect), (vec!["foreign", "owner", LABEL], Expect::Revision(4)));
    let strict = DesiredPolicy { mode: PolicyMode::Authoritative, ..one };
    let (asked, ..) = run(facts(strict), vec![found(&body), Answer::Written(Ok(5))]);
    assert!(put(&asked[1]).0["entries"].get("foreign").is_none());
}

pub fn labels(body: &Value) -> Vec<&str> {
    body["entries"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

#[test]
fn run_time_subjects_and_rounded_expiries_are_kept() {
    let mut declared = entry("nginx:ditto", &["READ"]);
    declared["subjects"]["nginx:guest"] = json!({"type": "user", "expiry": "2098-12-31T23:10:00Z"});
    declared["subjects"]["nginx:late"] = json!({"type": "user", "expiry": "2001-01-01T00:00:00Z"});
    let desired = desired(json!({"owner": declared}));
    let mut body = created(&desired);
    assert!(body["entries"]["owner"]["subjects"].get("nginx:late").is_none(), "expired ones are left out");
    body["entries"]["owner"]["subjects"]["nginx:guest"]["expiry"] = json!("2099-01-01T00:00:00Z");
    body["entries"]["owner"]["subjects"]["integration:x"] =
        json!({"type": "added", "expiry": "2098-01-01T00:00:00Z"});
    let (asked, ..) = run(facts(desired.clone()), vec![found(&body)]);
    assert_eq!(asked.len(), 1, "what Ditto rounded or added is no difference");
    body["entries"]["owner"]["subjects"]["nginx:intruder"] = json!({"type": "user"});
    let (asked, ..) = run(facts(desired), vec![found(&body), Answer::Written(Ok(5))]);
    let subjects = &put(&asked[1]).0["entries"]["owner"]["subjects"];
    assert!(subjects.get("nginx:intruder").is_none() && subjects.get("integration:x").is_some());
}

#[test]
fn subjects_of_the_same_owner_are_added_never_swapped() {
    let desired = desired(json!({"owner": entry("nginx:ditto", &["READ"])}));
    let body = created(&desired);
    let mut renewed = facts(desired);
    renewed.subjects = vec!["nginx:operator-2".into()];
    let (asked, ..) = run(renewed, vec![found(&body), Answer::Written(Ok(5))]);
    let subjects = put(&asked[1]).0["entries"][LABEL]["subjects"].as_object().unwrap().clone();
    let names: Vec<&String> = subjects.keys().collect();
    assert_eq!(names, ["nginx:operator", "nginx:operator-2"]);
}

#[test]
fn the_bridge_gets_an_entry_of_its_own_when_it_is_somebody_else() {
    let desired = desired(json!({"owner": entry("nginx:ditto", &["READ"])}));
    for (bridge, expected) in [(Some("nginx:bridge"), true), (Some("nginx:operator"), false), (None, false)] {
        let mut facts = facts(desired.clone());
        facts.bridge = bridge.map(str::to_owned);
        let (asked, ..) = run(facts, vec![Answer::Policy(Ok(None)), Answer::Written(Ok(1))]);
        assert_eq!(put(&asked[1]).0["entries"].get("twinops-bridge").is_some(), expected, "{bridge:?}");
    }
}

#[test]
fn f31_s40_a_lock_out_is_refused_before_it_is_sent() {
    let own = vec!["nginx:operator".to_owned()];
    let fine = desired(json!({"owner": entry("nginx:ditto", &["READ"])}));
    assert_eq!(lock_out(&fine, &own), None, "Managed brings its own access");
    let declared = DesiredPolicy { access: Access::Declared, ..fine };
    let why = lock_out(&declared, &own).unwrap();
    assert!(why.contains("nginx:operator") && why.contains("thing:/"), "{why}");
    assert_eq!(lock_out(&DesiredPolicy { allow_lockout: true, ..declared.clone() }, &own), None);
    let mut revoking = entry("nginx:operator", &[]);
    revoking["resources"]["thing:/features"] = json!({"grant": [], "revoke": ["WRITE"]});
    let why = lock_out(&desired(json!({"x": revoking})), &own).unwrap();
    assert!(why.contains("\"x\"") && why.contains("thing:/features"), "{why}");
    let (asked, outcome, _) = run(facts(declared), vec![]);
    assert_eq!((asked.len(), outcome.reason(), outcome.again()), (0, Reason::InvalidSpec, Again::Edit));
}

#[test]
fn f32_a_policy_deleted_behind_our_back_is_made_again() {
    let desired = desired(json!({"owner": entry("nginx:ditto", &["READ"])}));
    let mut facts = facts(desired);
    facts.known = KnownPolicy {
        id: Some("org.acme:pumps".into()),
        origin: Some(Origin::Created),
        labels: ["owner".to_owned(), LABEL.to_owned()].into(),
        ..KnownPolicy::default()
    };
    let (asked, outcome, _) = run(facts, vec![Answer::Policy(Ok(None)), Answer::Written(Ok(9))]);
    assert_eq!((put(&asked[1]).1, outcome.reason()), (Expect::Absent, Reason::Applied));
}

#[test]
fn a_412_is_looked_at_again_with_the_new_revision() {
    let desired = desired(json!({"owner": entry("nginx:ditto", &["READ"])}));
    let mut body = created(&desired);
    body["entries"]["owner"]["resources"]["thing:/"]["grant"] = json!([]);
    let changed = Refused::Changed(Said { status: 412, ..Said::default() });
    let answers = vec![found(&body), Answer::Written(Err(changed)), found(&body), Answer::Written(Ok(6))];
    let (asked, outcome, _) = run(facts(desired), answers);
    assert_eq!((asked.len(), outcome.reason()), (4, Reason::Applied));
}

pub fn going(desired: DesiredPolicy) -> PolicyFacts {
    PolicyFacts { going: Some(Going::default()), ..facts(desired) }
}

#[test]
fn a_policy_in_use_waits() {
    let desired = desired(json!({"owner": entry("nginx:ditto", &["READ"])}));
    let body = created(&desired);
    let used = PolicyFacts { used_by: 2, ..going(desired.clone()) };
    let (_, outcome, _) = run(used, vec![found(&body)]);
    assert_eq!(
        (outcome.reason(), outcome.again()),
        (Reason::DeletionHeld, Again::Slowly),
        "a twin's end wakes it"
    );
    let mut imported = going(desired.clone());
    imported.imports.by = vec!["plant/other".into()];
    let (_, outcome, _) = run(imported, vec![found(&body)]);
    assert!(outcome.held().unwrap().message.contains("plant/other imports this policy"));
    assert_eq!((outcome.reason(), outcome.things), (Reason::DeletionHeld, 0));
    let (_, outcome, _) = run(going(desired.clone()), vec![Answer::Users(Ok(1)), found(&body)]);
    assert_eq!((outcome.reason(), outcome.again()), (Reason::DeletionHeld, Again::AfterMs(2_000)));
    assert_eq!(outcome.things, 1, "what the quick asks are counted by");
    let patient = PolicyFacts { held_before: 99, ..going(desired) };
    assert_eq!(run(patient, vec![Answer::Users(Ok(1)), found(&body)]).1.again(), Again::Slowly);
}

#[test]
fn a_policy_nobody_uses_is_deleted_by_its_revision() {
    let desired = desired(json!({"owner": entry("nginx:ditto", &["READ"])}));
    let body = created(&desired);
    let answers =
        vec![Answer::Users(Ok(0)), found(&body), Answer::Deleted(Ok(())), Answer::Finalizer(Ok(()))];
    let (asked, outcome, _) = run(going(desired.clone()), answers);
    assert!(matches!(asked[2], Request::DeletePolicy { expect: Expect::Revision(4), .. }), "{asked:?}");
    assert!(outcome.finished);
    let mut foreign = body;
    foreign["entries"][LABEL]["subjects"]["nginx:operator"]["type"] = json!("{\"uid\":\"somebody\"}");
    let answers = vec![Answer::Users(Ok(0)), found(&foreign), Answer::Finalizer(Ok(()))];
    let (_, outcome, _) = run(going(desired), answers);
    assert_eq!((outcome.finished, outcome.writes, outcome.notes[0].reason), (true, 0, "LeftInDitto"));
}

#[test]
fn retain_takes_our_entry_out_unless_nobody_else_could_write() {
    let desired = DesiredPolicy {
        deletion: Some(Deletion::Retain),
        ..desired(json!({"owner": entry("nginx:ditto", &["READ"])}))
    };
    let body = created(&desired);
    let answers = vec![found(&body), Answer::Written(Ok(5)), Answer::Finalizer(Ok(()))];
    let (asked, outcome, _) = run(going(desired.clone()), answers);
    assert!(put(&asked[1]).0["entries"].get(LABEL).is_none() && outcome.finished);

    let refused = Refused::Forbidden(Said { status: 403, ..Said::default() });
    let answers = vec![found(&body), Answer::Written(Err(refused)), Answer::Finalizer(Ok(()))];
    let (_, outcome, _) = run(going(desired.clone()), answers);
    assert_eq!((outcome.finished, outcome.notes[0].reason), (true, "AccessKept"));

    let answers = vec![found(&body), Answer::Written(Ok(5)), Answer::Finalizer(Ok(()))];
    let (asked, ..) = run(PolicyFacts { used_by: 1, ..going(desired) }, answers);
    let left = put(&asked[1]).0;
    assert_eq!(left["entries"][LABEL]["subjects"]["nginx:operator"]["type"], LABEL, "only the note goes");
}

/// In a folder the mark remembers what was applied, so that drift is told from an edit.
#[test]
fn reported_drift_of_a_policy_is_left_in_a_cluster_and_in_a_folder() {
    let desired =
        DesiredPolicy { drift: Drift::Report, ..desired(json!({"owner": entry("nginx:ditto", &["READ"])})) };
    let mut body = created(&desired);
    body["entries"]["owner"]["resources"]["thing:/"]["grant"] = json!(["READ", "WRITE"]);
    for folder in [false, true] {
        let mut facts = facts(desired.clone());
        facts.folder = folder;
        facts.known.hash = (!folder).then(|| desired.hash());
        let (asked, outcome, _) = run(facts.clone(), vec![found(&body)]);
        assert_eq!(
            (asked.len(), outcome.drift.map(|drift| drift.repaired)),
            (1, Some(false)),
            "folder: {folder}"
        );
        let edited = DesiredPolicy {
            entries: json!({"owner": entry("nginx:ditto", &[])}).as_object().unwrap().clone(),
            ..desired.clone()
        };
        facts.desired = Ok(edited);
        let (asked, outcome, _) = run(facts, vec![found(&body), Answer::Written(Ok(5))]);
        assert_eq!((asked.len(), outcome.drift), (2, None), "an edit is written; folder: {folder}");
    }
}

#[test]
fn policies_are_equal_as_sets() {
    let a =
        json!({"entries": {"x": {"subjects": {}, "resources": {"thing:/": {"grant": ["READ", "WRITE"]}}}}});
    let b = json!({"imports": {}, "entries": {"x": {"importable": "implicit", "subjects": {}, "resources": {"thing:/": {"grant": ["WRITE", "READ"], "revoke": []}}}}});
    assert!(same_policy(&a, &b));
    let c = json!({"entries": {"x": {"importable": "never", "subjects": {}, "resources": {}}}});
    assert!(!same_policy(&a, &c));
}
