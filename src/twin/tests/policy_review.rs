//! What a policy remembers, and what it does not do behind anybody's back.
use serde_json::{Value, json};

use super::super::call::Expect;
use super::super::desired::{Access, Adoption, Deletion, DesiredPolicy, Drift, PolicyMode};
use super::super::facts::{KnownPolicy, PolicyFact};
use super::super::id::PolicyId;
use super::super::mark::Origin;
use super::super::policy::LABEL;
use super::super::reason::Reason;
use super::super::request::{Answer, Request};
use super::super::said::{Refused, Said};
use super::policy::{created, desired, entry, facts, found, going, labels, put, run};

fn owner() -> Value {
    json!({"owner": entry("nginx:ditto", &["READ"])})
}

/// What status remembers of a policy that is as `desired` says.
fn applied(desired: &DesiredPolicy) -> KnownPolicy {
    let answers = vec![Answer::Policy(Ok(None)), Answer::Written(Ok(1))];
    let (_, outcome, pass) = run(facts(desired.clone()), answers);
    KnownPolicy {
        id: outcome.id,
        origin: outcome.origin,
        hash: pass.extras.hash,
        labels: pass.extras.labels,
        revision: outcome.revision,
    }
}

fn forbidden() -> Refused {
    Refused::Forbidden(Said { status: 403, ..Said::default() })
}

#[test]
fn a_failed_adoption_leaves_no_trace() {
    let theirs = json!({"imports": {}, "entries": {"theirs": entry("nginx:other", &["READ"])}});
    let (_, outcome, pass) =
        run(facts(desired(owner())), vec![found(&theirs), Answer::Written(Err(forbidden()))]);
    assert_eq!((outcome.reason(), outcome.origin), (Reason::Forbidden, None));
    assert_eq!((pass.extras.hash, pass.extras.effective_hash), (None, None));
    let (_, outcome, _) = run(facts(desired(owner())), vec![found(&theirs), Answer::Written(Ok(5))]);
    assert_eq!(outcome.origin, Some(Origin::Adopted));
}

/// An entry that lets the operator in without an entry of its own.
fn declared() -> DesiredPolicy {
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    let mut own = entry("nginx:operator", &["READ", "WRITE"]);
    own["resources"]["policy:/"] = all;
    DesiredPolicy { access: Access::Declared, ..desired(json!({"own": own})) }
}

fn body_of(desired: &DesiredPolicy) -> Value {
    json!({"imports": desired.imports, "entries": desired.entries})
}

#[test]
fn without_a_mark_status_decides_what_a_deletion_deletes() {
    let body = body_of(&declared());
    let delete = DesiredPolicy { deletion: Some(Deletion::Delete), ..declared() };
    let known = applied(&delete);
    let ours = |desired: &DesiredPolicy, known: &KnownPolicy| {
        let mut facts = going(desired.clone());
        facts.known = known.clone();
        facts
    };
    let finalized = || Answer::Finalizer(Ok(()));

    let answers = vec![Answer::Users(Ok(0)), found(&body), Answer::Deleted(Ok(())), finalized()];
    let (_, outcome, _) = run(ours(&delete, &known), answers);
    assert!(outcome.deleted, "told to, and status says it is ours");

    let answers = vec![Answer::Users(Ok(0)), found(&body), finalized()];
    let (_, outcome, _) = run(ours(&delete, &KnownPolicy::default()), answers);
    assert!(!outcome.deleted && outcome.finished, "told to, and nothing says it was ever ours");
    assert_eq!(outcome.notes[0].reason, "LeftInDitto");

    let unset = DesiredPolicy { deletion: None, ..delete.clone() };
    let (_, outcome, _) = run(ours(&unset, &known), vec![found(&body), finalized()]);
    assert!(!outcome.deleted && outcome.finished, "unset means Retain");

    let mut theirs = created(&desired(owner()));
    theirs["entries"][LABEL]["subjects"]["nginx:operator"]["type"] = json!(
        r#"{"v":1,"owner":"o","uid":"u","generation":1,"namespace":"n","name":"n","origin":"Created","hash":"h"}"#
    );
    let answers = vec![Answer::Users(Ok(0)), found(&theirs), finalized()];
    let (_, outcome, _) = run(ours(&delete, &known), answers);
    assert!(!outcome.deleted, "somebody marked it since");
}

#[test]
fn a_folder_never_deletes_a_policy_without_a_mark_and_says_so() {
    for deletion in [None, Some(Deletion::Delete), Some(Deletion::Retain)] {
        let mut facts = going(DesiredPolicy { deletion, ..declared() });
        facts.folder = true;
        let (asked, outcome, _) = run(facts, vec![Answer::Finalizer(Ok(()))]);
        assert_eq!(asked, [Request::RemoveFinalizer], "{deletion:?}");
        let said = &outcome.notes[0].message;
        assert!(outcome.finished && said.contains("access: Declared") && said.contains("folder"), "{said}");
    }
}

#[test]
fn a_folder_refuses_what_it_cannot_remember_without_a_mark() {
    let rows = [
        ("adoption", DesiredPolicy { adoption: Adoption::Never, ..declared() }),
        ("adoption", DesiredPolicy { adoption: Adoption::IfIdentical, ..declared() }),
        ("drift", DesiredPolicy { drift: Drift::Report, ..declared() }),
        ("drift", DesiredPolicy { drift: Drift::Ignore, ..declared() }),
    ];
    for (field, desired) in rows {
        let mut facts = facts(desired.clone());
        facts.folder = true;
        let (asked, outcome, _) = run(facts.clone(), vec![]);
        let message = outcome.held().map(|held| held.message.clone()).unwrap_or_default();
        assert_eq!((asked.len(), outcome.reason()), (0, Reason::InvalidSpec), "{field}");
        assert!(
            message.contains(&format!("spec.management.{field}")) && message.contains("Managed"),
            "{message}"
        );
        facts.folder = false;
        let (_, outcome, _) = run(facts, vec![Answer::Policy(Ok(None)), Answer::Written(Ok(1))]);
        assert_eq!(outcome.reason(), Reason::Applied, "a cluster remembers in status");
    }
}

#[test]
fn a_folder_names_what_stays_because_nothing_remembers_it() {
    let mut body = body_of(&declared());
    body["entries"]["guest"] = entry("nginx:guest", &["READ"]);
    body["entries"]["own"]["subjects"]["nginx:late"] = json!({"type": "x", "expiry": "2099-01-01T00:00:00Z"});
    let mut facts = facts(declared());
    facts.folder = true;
    let (asked, outcome, _) = run(facts.clone(), vec![found(&body)]);
    assert_eq!((asked.len(), outcome.writes), (1, 0));
    let said = &outcome.notes[0].message;
    assert!(said.contains("/entries/guest") && said.contains("/entries/own/subjects/nginx:late"), "{said}");
    let (_, outcome, _) = run(facts, vec![found(&body_of(&declared()))]);
    assert_eq!(outcome.notes, [], "nothing stays, nothing is said");
}

#[test]
fn a_declared_subject_with_an_expiry_goes_when_the_spec_drops_it() {
    let later = json!({"type": "user", "expiry": "2099-01-01T00:00:00Z"});
    let mut with = owner();
    with["owner"]["subjects"]["nginx:guest"] = later.clone();
    with["owner"]["subjects"]["integration:declared"] = json!({"type": "user"});
    let (with, without) = (desired(with), desired(owner()));
    let mut body = created(&with);
    body["entries"]["owner"]["subjects"]["integration:added"] = later.clone();
    for status in ["lost", "kept"] {
        let mut facts = facts(without.clone());
        if status == "kept" {
            facts.known = applied(&with);
        }
        let (asked, ..) = run(facts, vec![found(&body), Answer::Written(Ok(5))]);
        let subjects = put(&asked[1]).0["entries"]["owner"]["subjects"].as_object().unwrap();
        let names: Vec<&str> = subjects.keys().map(String::as_str).collect();
        assert_eq!(names, ["nginx:ditto", "integration:added"], "status {status}");
    }
    let declared = DesiredPolicy { access: Access::Declared, allow_lockout: true, ..with.clone() };
    let mut facts = facts(DesiredPolicy { access: Access::Declared, allow_lockout: true, ..without.clone() });
    facts.known = applied(&declared);
    let (asked, ..) = run(facts, vec![found(&body_of(&declared)), Answer::Written(Ok(5))]);
    let left = &put(&asked[1]).0["entries"]["owner"]["subjects"];
    assert_eq!(left.as_object().map(serde_json::Map::len), Some(1), "without a mark status remembers");
    let mut body = created(&without);
    body["entries"]["owner"]["subjects"]["nginx:guest"] = later;
    let (asked, ..) = run(super::policy::facts(without), vec![found(&body)]);
    assert_eq!(asked.len(), 1, "once dropped, the same subject may come back at run time");
}

#[test]
fn a_subject_stays_until_the_expiry_that_ditto_rounded_up() {
    // NOON is 2027-01-15T08:00:00Z.
    let mut entries = owner();
    entries["owner"]["subjects"]["nginx:guest"] = json!({"type": "user", "expiry": "2027-01-15T07:59:00Z"});
    let desired = desired(entries);
    let mut body = created(&desired);
    assert!(body["entries"]["owner"]["subjects"].get("nginx:guest").is_none(), "an expired one is not sent");
    let rows = [
        ("rounded up by Ditto, and not over yet", "2027-01-15T12:00:00Z", 1),
        ("rounded up by Ditto, and over: Ditto is about to remove it", "2027-01-15T08:00:00Z", 1),
        ("moved by somebody else", "2027-01-16T09:30:00Z", 2),
    ];
    for (name, held, calls) in rows {
        body["entries"]["owner"]["subjects"]["nginx:guest"] = json!({"type": "user", "expiry": held});
        let answers = [found(&body), Answer::Written(Ok(5))].into_iter().take(calls).collect();
        let (asked, outcome, _) = run(facts(desired.clone()), answers);
        assert_eq!(asked.len(), calls, "{name}");
        assert_eq!(outcome.drift, None, "{name}");
    }
}

#[test]
fn an_announcement_is_equal_with_the_defaults_that_ditto_adds() {
    let later = |announcement: Value| json!({"type": "user", "expiry": "2099-01-01T00:00:00Z", "announcement": announcement});
    let rows = [
        (json!({"beforeExpiry": "1h"}), json!({"beforeExpiry": "1h", "whenDeleted": false}), true),
        (json!({}), json!({"whenDeleted": false}), true),
        (json!({"requestedAcks": {"labels": []}}), json!({"whenDeleted": false}), true),
        (json!({"beforeExpiry": "1h"}), json!({"beforeExpiry": "1h", "whenDeleted": true}), false),
        (json!({"requestedAcks": {"labels": ["a:b"]}}), json!({"whenDeleted": false}), false),
        (json!({"beforeExpiry": "90s"}), json!({"beforeExpiry": "120s", "whenDeleted": false}), true),
        (json!({"beforeExpiry": "0m"}), json!({"beforeExpiry": "1m", "whenDeleted": false}), true),
        (json!({"beforeExpiry": "090"}), json!({"beforeExpiry": "120", "whenDeleted": false}), true),
        (json!({"beforeExpiry": "90s"}), json!({"beforeExpiry": "180s", "whenDeleted": false}), false),
        (
            json!({"randomizationInterval": "05m"}),
            json!({"randomizationInterval": "5m", "whenDeleted": false}),
            true,
        ),
    ];
    for (declared, held, is_equal) in rows {
        let mut entries = owner();
        entries["owner"]["subjects"]["nginx:guest"] = later(declared.clone());
        let desired = desired(entries);
        let mut body = created(&desired);
        body["entries"]["owner"]["subjects"]["nginx:guest"] = later(held.clone());
        let answers = if is_equal { vec![found(&body)] } else { vec![found(&body), Answer::Written(Ok(5))] };
        run(facts(desired), answers);
    }
}

#[test]
fn the_effective_hash_names_what_stands_and_not_how_it_is_written() {
    let desired = desired(owner());
    let answers = vec![Answer::Policy(Ok(None)), Answer::Written(Err(forbidden()))];
    let (_, _, refused) = run(facts(desired.clone()), answers);
    assert_eq!(refused.extras.effective_hash, None, "nothing was written");
    let answers = vec![Answer::Policy(Ok(None)), Answer::Written(Ok(1))];
    let (_, _, written) = run(facts(desired.clone()), answers);
    let mut body = created(&desired);
    body["policyId"] = json!("org.acme:pumps");
    let resource = &mut body["entries"][LABEL]["resources"]["thing:/"];
    *resource = json!({"revoke": [], "grant": ["WRITE", "READ"]});
    let (_, _, seen) = run(facts(desired.clone()), vec![found(&body)]);
    assert_eq!(seen.extras.effective_hash, written.extras.effective_hash);
    assert!(seen.extras.effective_hash.is_some());
    body["entries"]["foreign"] = entry("nginx:other", &["READ"]);
    let (_, _, changed) = run(facts(desired), vec![found(&body)]);
    assert_ne!(changed.extras.effective_hash, seen.extras.effective_hash, "whoever changed it");
}

#[test]
fn what_nobody_declared_goes_from_an_authoritative_policy_as_drift_says() {
    for drift in [Drift::Report, Drift::Ignore, Drift::Enforce] {
        let strict = DesiredPolicy { mode: PolicyMode::Authoritative, drift, ..desired(owner()) };
        let mut body = created(&strict);
        body["entries"]["foreign"] = entry("nginx:other", &["READ"]);
        body["imports"] = json!({"org.acme:base": {"entries": []}});
        for folder in [false, true] {
            let mut facts = facts(strict.clone());
            facts.folder = folder;
            if !folder {
                facts.known = applied(&strict);
            }
            let enforced = drift == Drift::Enforce;
            let answers = [found(&body), Answer::Written(Ok(5))].into_iter().take(1 + usize::from(enforced));
            let (asked, outcome, _) = run(facts, answers.collect());
            let paths: Option<Vec<String>> =
                outcome.drift.map(|drift| drift.paths.iter().map(ToString::to_string).collect());
            let expected = ["/entries/foreign", "/imports/org.acme:base"].map(str::to_owned).to_vec();
            assert_eq!(paths, (drift != Drift::Ignore).then_some(expected), "{drift:?} folder: {folder}");
            if enforced {
                let (written, expect) = put(&asked[1]);
                assert_eq!((labels(written), expect), (vec!["owner", LABEL], Expect::Revision(4)));
                assert_eq!(written["imports"], json!({}));
            }
        }
    }
}

#[test]
fn our_own_entry_is_put_right_even_where_drift_is_left() {
    let lenient = DesiredPolicy { drift: Drift::Report, ..desired(owner()) };
    let mut body = created(&lenient);
    body["entries"]["owner"]["resources"]["thing:/"]["grant"] = json!(["READ", "WRITE"]);
    body["entries"][LABEL]["resources"]["thing:/"]["grant"] = json!(["READ"]);
    let mut facts = facts(lenient.clone());
    facts.known = applied(&lenient);
    let (asked, outcome, _) = run(facts, vec![found(&body), Answer::Written(Ok(5))]);
    let written = put(&asked[1]).0;
    assert_eq!(written["entries"][LABEL]["resources"]["thing:/"]["grant"], json!(["READ", "WRITE"]));
    assert_eq!(written["entries"]["owner"], body["entries"]["owner"], "the drift itself is left");
    assert_eq!(outcome.drift.map(|drift| drift.repaired), Some(false));
}

/// A policy that is gone leaves its things unreachable: neither they nor their twins could ever end.
#[test]
fn f32_a_leaving_policy_that_is_missing_is_made_again_for_those_who_use_it() {
    let desired = desired(owner());
    let users: [(&str, usize, u64); 2] = [("twins", 1, 0), ("things", 0, 1)];
    for (who, twins, things) in users {
        let mut facts = going(desired.clone());
        facts.used_by = twins;
        let count = (twins == 0).then_some(Answer::Users(Ok(things)));
        let answers = [Answer::Policy(Ok(None)), Answer::Written(Ok(7))];
        let (asked, outcome, pass) = run(facts.clone(), count.clone().into_iter().chain(answers).collect());
        let (body, expect) = put(asked.last().unwrap());
        assert_eq!((expect, labels(body)), (Expect::Absent, vec!["owner", LABEL]), "{who}");
        assert_eq!((outcome.reason(), outcome.writes, outcome.finished), (Reason::DeletionHeld, 1, false));
        assert!(pass.extras.created, "those who use it are woken");
        let raced = Answer::Written(Err(Refused::Changed(Said::default())));
        let answers = [Answer::Policy(Ok(None)), raced];
        let (_, outcome, _) = run(facts.clone(), count.clone().into_iter().chain(answers).collect());
        assert_eq!((outcome.reason(), outcome.writes), (Reason::DeletionHeld, 0), "somebody else made it");
        facts.desired = Err("no".into());
        let (_, outcome, _) = run(facts, count.into_iter().chain([Answer::Policy(Ok(None))]).collect());
        assert!(outcome.held().unwrap().message.contains("repair the spec"), "{who}");
    }
    let retain = DesiredPolicy { deletion: Some(Deletion::Retain), ..desired };
    let mut facts = going(retain.clone());
    facts.used_by = 1;
    let answers = vec![Answer::Policy(Ok(None)), Answer::Written(Ok(7)), Answer::Finalizer(Ok(()))];
    let (asked, outcome, _) = run(facts, answers);
    assert_eq!(put(&asked[1]).0["entries"][LABEL]["subjects"]["nginx:operator"]["type"], LABEL);
    assert!(outcome.finished, "retained, and there for its twins");
    let (asked, ..) = run(going(retain), vec![Answer::Policy(Ok(None)), Answer::Finalizer(Ok(()))]);
    assert_eq!(asked.len(), 2, "nobody needs it: it stays gone");
}

#[test]
fn f31_who_shuts_us_out_afterwards_is_told_the_entry_to_add() {
    let desired = desired(owner());
    let body = created(&desired);
    let missing = || Refused::Changed(Said { status: 412, ..Said::default() });
    let mut less = body.clone();
    less["entries"]["owner"]["resources"] = json!({});
    let hidden = [Answer::Policy(Ok(None)), Answer::Written(Err(missing()))];
    let rows: [(&str, Vec<Answer>); 3] = [
        ("READ and WRITE are gone", vec![Answer::Policy(Ok(None)), Answer::Written(Err(forbidden()))]),
        ("WRITE is gone", vec![found(&less), Answer::Written(Err(forbidden()))]),
        ("READ is gone", [hidden.clone(), hidden.clone(), hidden.clone(), hidden].concat()),
    ];
    for (name, answers) in rows {
        let mut facts = facts(desired.clone());
        facts.known = applied(&desired);
        let (_, outcome, _) = run(facts, answers);
        let held = outcome.held().unwrap();
        assert_eq!(
            (held.reason, outcome.again()),
            (Reason::Forbidden, super::super::reason::Again::Slowly),
            "{name}"
        );
        let entry = r#"{"twinops":{"subjects":{"nginx:operator":"#;
        assert!(held.message.contains(entry), "{name}: {}", held.message);
        let (_, entry) = held.message.split_once("to it: ").unwrap();
        let mut mended = body.clone();
        mended["entries"][LABEL] = serde_json::from_str::<Value>(entry).unwrap()[LABEL].take();
        let mut facts = super::policy::facts(desired.clone());
        facts.known = applied(&desired);
        let (_, outcome, _) = run(facts, vec![found(&mended), Answer::Written(Ok(8))]);
        assert_eq!(outcome.reason(), Reason::Applied, "{name}: who adds the entry has it back as ours");
    }
    let mut revoking = entry("nginx:operator", &[]);
    revoking["resources"]["thing:/"] = json!({"grant": [], "revoke": ["WRITE"]});
    let mut body = body;
    body["entries"]["evil"] = revoking;
    let (asked, outcome, _) = run(facts(desired.clone()), vec![found(&body)]);
    assert_eq!((asked.len(), outcome.reason()), (1, Reason::Forbidden), "nothing of ours differs");
    let message = &outcome.held().unwrap().message;
    assert!(message.contains("\"evil\"") && message.contains("thing:/"), "{message}");
    let accepted = DesiredPolicy { allow_lockout: true, ..desired.clone() };
    assert_eq!(run(facts(accepted), vec![found(&body)]).1.reason(), Reason::AlreadyInSync);
    let strict = DesiredPolicy { mode: PolicyMode::Authoritative, ..desired };
    let (_, outcome, _) = run(facts(strict), vec![found(&body), Answer::Written(Ok(5))]);
    assert_eq!(outcome.reason(), Reason::Applied, "an authoritative policy takes it out itself");
}

#[test]
fn an_importing_policy_waits_for_the_one_it_imports() {
    let mut importing = desired(owner());
    importing.imports.insert("org.acme:base".into(), json!({"entries": []}));
    let base = PolicyId::parse("org.acme:base").unwrap();
    let with = |fact: PolicyFact| {
        let mut facts = facts(importing.clone());
        facts.imports.named = vec![("org.acme:base".into(), fact)];
        facts
    };
    let (asked, outcome, _) =
        run(with(PolicyFact::NotReady("TwinPolicy \"base\" is not ready".into())), vec![]);
    assert_eq!((asked.len(), outcome.reason()), (0, Reason::PolicyNotReady));
    assert!(outcome.references.is_err_and(|held| held.message.contains("org.acme:base")));
    let created = || vec![Answer::Policy(Ok(None)), Answer::Written(Ok(1))];
    let (asked, outcome, _) = run(with(PolicyFact::Managed(base.clone())), created());
    assert_eq!(outcome.reason(), Reason::Applied);
    assert_eq!(put(&asked[1]).0["imports"], json!({"org.acme:base": {"entries": []}}));
    let missing = || Refused::Missing(Said { status: 404, ..Said::default() });
    let refused = [Answer::Policy(Ok(None)), Answer::Written(Err(missing()))];
    let (_, outcome, _) = run(with(PolicyFact::Unmanaged(base)), [refused.clone(), refused].concat());
    assert_eq!(outcome.reason(), Reason::PolicyNotAccessible, "Ditto takes no import of what is missing");
    assert!(outcome.references.is_err_and(|held| held.message.contains("org.acme:base")));
}

#[test]
fn s40_a_circle_of_imports_is_refused_before_it_is_sent() {
    let mut facts = facts(desired(owner()));
    facts.imports.circle = Some(["a:a", "a:b", "a:a"].map(str::to_owned).to_vec());
    let (asked, outcome, _) = run(facts, vec![]);
    assert_eq!((asked.len(), outcome.reason()), (0, Reason::InvalidSpec));
    assert!(outcome.held().unwrap().message.starts_with("a:a imports a:b imports a:a"));
}

#[test]
fn a_policy_that_gets_a_mark_only_now_is_no_adoption() {
    let unmarked = DesiredPolicy { deletion: None, ..declared() };
    let managed = DesiredPolicy { access: Access::Managed, adoption: Adoption::Never, ..unmarked.clone() };
    let mut facts = facts(managed);
    facts.known = applied(&unmarked);
    let (asked, outcome, _) = run(facts, vec![found(&body_of(&unmarked)), Answer::Written(Ok(5))]);
    assert!(put(&asked[1]).0["entries"].get(LABEL).is_some());
    assert_eq!(outcome.origin, Some(Origin::Created));
}
