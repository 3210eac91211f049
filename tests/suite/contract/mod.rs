//! Ditto's API, as recorded from Ditto 3.8.12, against our engine: or against any Ditto named by `DITTO_URL`
//! (with pre-authentication on, and an empty database: revisions are compared).
mod access;
mod channel;
mod compare;
mod durability;
pub mod engine;
mod full_disk;
mod live;
mod pending;
mod second_reader;
mod streams;
mod transcript;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use engine::Engine;
use transcript::{Difference, Transcript};

/// Conversations at the same time; they do not touch each other.
const AT_ONCE: usize = 4;

fn transcripts() -> Vec<Transcript> {
    read("tests/golden")
}

fn read(folder: &str) -> Vec<Transcript> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.expect("a readable folder").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().map(|path| Transcript::read(path)).collect()
}

fn replay(transcripts: &[Transcript], base: &str, patient: bool) -> BTreeMap<String, Vec<Difference>> {
    let (alone, together): (Vec<_>, Vec<_>) =
        transcripts.iter().partition(|transcript| transcript.hears_all());
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    let replay = |transcript: &Transcript| {
        let differences = transcript.replay(base, patient);
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        results.insert(transcript.scenario.clone(), differences);
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(transcript) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
                    replay(transcript);
                }
            });
        }
    });
    alone.into_iter().for_each(replay);
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn check(results: &BTreeMap<String, Vec<Difference>>, pending: &[(&str, &[usize])]) {
    let mut report = String::new();
    let listed = |scenario: &str| -> BTreeSet<usize> {
        pending
            .iter()
            .filter(|(name, _)| *name == scenario)
            .flat_map(|(_, steps)| steps.iter().copied())
            .collect()
    };
    for (scenario, differences) in results {
        let listed = listed(scenario);
        for difference in differences.iter().filter(|difference| !listed.contains(&difference.step)) {
            let _ = writeln!(report, "{scenario}#{} {}", difference.step, difference.text);
        }
        let failed: BTreeSet<usize> = differences.iter().map(|difference| difference.step).collect();
        for step in listed.difference(&failed) {
            let _ = writeln!(
                report,
                "{scenario}#{step} answers as Ditto does now: take it off the list in pending.rs"
            );
        }
    }
    for (scenario, _) in pending.iter().filter(|(scenario, _)| !results.contains_key(*scenario)) {
        let _ = writeln!(report, "{scenario} is listed in pending.rs and is no transcript");
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn the_engine_answers_as_ditto_does() {
    let all: Vec<Transcript> = transcripts();
    if let Ok(url) = std::env::var("DITTO_URL") {
        check(&replay(&all, url.trim_end_matches('/'), true), &[]);
    } else {
        let engine = Engine::in_memory();
        check(&replay(&all, &engine.base, false), pending::STEPS);
    }
}

#[test]
fn the_engine_answers_what_no_transcript_shows_as_the_source_of_ditto_has_it() {
    let engine = Engine::in_memory();
    check(&replay(&read("tests/transcripts"), &engine.base, false), &[]);
}

#[test]
fn what_an_engine_on_disk_answers_it_answers_after_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let before = {
        let engine = Engine::on_disk(folder.path());
        let all: Vec<Transcript> = transcripts();
        check(&replay(&all, &engine.base, false), pending::STEPS);
        everything(&engine)
    };
    assert!(before.len() > 10_000, "the transcripts left next to nothing behind: {before}");
    assert_eq!(everything(&Engine::on_disk(folder.path())), before);
}

/// All that the two most common users of the transcripts can find.
fn everything(engine: &Engine) -> String {
    let subjects = [("x-ditto-pre-authenticated".to_owned(), "nginx:ditto,nginx:alice".to_owned())];
    let fields =
        "thingId,policyId,definition,attributes,features,_revision,_created,_modified,_metadata,_policy";
    let target = format!("/api/2/search/things?option=size(200)&fields={fields}");
    let reply = wire::send(&engine.base, "GET", &target, &subjects, None);
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(!reply.text.contains("cursor"), "more than one page: read them all");
    reply.text
}

#[test]
fn what_the_reconciler_needs_is_not_on_the_list() {
    const NEEDED: [&str; 21] = [
        "reconcile-fence",
        "reconcile-policy-missing",
        "things-put-create-replace",
        "things-ids-query",
        "things-fields",
        "merge-basics",
        "metadata-put-get",
        "conditional-etag-things",
        "conditional-rql",
        "conditional-if-equal",
        "conditional-merge-patch-conditions",
        "policies-crud",
        "policies-conditional",
        "policies-subject-expiry",
        "enforcement-grants",
        "enforcement-revokes",
        "enforcement-policy-change",
        "numbers-equality",
        "errors-ids",
        "errors-bodies",
        "errors-size",
    ];
    let all: BTreeSet<String> = transcripts().into_iter().map(|t| t.scenario).collect();
    for scenario in NEEDED {
        assert!(all.contains(scenario), "{scenario} is no transcript");
        assert!(pending::STEPS.iter().all(|(pending, _)| *pending != scenario), "{scenario} is on the list");
    }
}
