//! The transcripts are read by a second program, which shares with the reader here nothing but the description of the
//! format. Some steps are made to expect something else; both must find the same of them wrong and all others right, or one
//! of the two sees what is not there.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::engine::Engine;
use super::{AT_ONCE, read, replay};
use crate::engine::clients::installed;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
/// One step of so many is spoiled.
const EVERY: usize = 4;
/// For what must come, in milliseconds: it ends the wait.
const COMES_WITHIN: u64 = 30_000;
/// For what must not come, in milliseconds.
const QUIET: u64 = 300;

/// A step of a scenario, from 1.
type Step = (String, usize);

/// Makes the first value in it another.
fn spoil(value: &mut Value) -> bool {
    match value {
        Value::Object(members) => members.values_mut().any(spoil),
        Value::Array(items) => items.iter_mut().any(spoil),
        single => {
            *single = json!("spoiled");
            true
        }
    }
}

/// Makes a step expect, by turns, another status, another header, or another body, frame or event; whether it has such.
fn spoil_step(step: &mut Value, turn: usize) -> bool {
    let Some(response) = step.get_mut("response").and_then(Value::as_object_mut) else { return false };
    if turn == 0 {
        let status = response.get("status").and_then(Value::as_u64);
        return status
            .is_some_and(|status| response.insert("status".to_owned(), json!(status + 1)).is_some());
    }
    let parts: &[&str] = if turn == 1 { &["headers"] } else { &["body", "frames", "events"] };
    parts.iter().any(|part| response.get_mut(*part).is_some_and(spoil))
}

/// The engine needs no time: what comes is waited for, what does not come is not waited for long.
fn hurry(step: &mut Value) {
    for part in ["frames", "events"] {
        let Some(wanted) = step["request"].get(part).and_then(Value::as_u64) else { continue };
        let recorded = step["response"][part].as_array().map_or(0, Vec::len) as u64;
        let within = if wanted > 0 && wanted <= recorded { COMES_WITHIN } else { QUIET };
        step["request"]["within"] = json!(within);
    }
    if let Some(delay) = step["request"].get_mut("delayMs") {
        *delay = json!(0);
    }
}

/// Writes the transcripts to this folder, some steps spoiled; which.
fn spoil_all(folder: &Path) -> BTreeSet<Step> {
    let mut spoiled = BTreeSet::new();
    for entry in std::fs::read_dir(GOLDEN).expect("the transcripts").flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).expect("a transcript");
        let mut transcript: Value = serde_json::from_str(&text).expect("JSON");
        let scenario = transcript["scenario"].as_str().expect("a name").to_owned();
        for (index, step) in transcript["steps"].as_array_mut().expect("steps").iter_mut().enumerate() {
            hurry(step);
            if index % EVERY == 0 && step["quirk"] != true && spoil_step(step, index / EVERY % 3) {
                spoiled.insert((scenario.clone(), index + 1));
            }
        }
        std::fs::write(folder.join(entry.file_name()), transcript.to_string()).expect("a temporary folder");
    }
    spoiled
}

/// The second reader, on its way through these transcripts.
fn start(base: &str, paths: &[PathBuf]) -> Child {
    let mut command = Command::new(installed().join("py/bin/python"));
    command
        .args(["-W", "ignore", &format!("{GOLDEN}/replay.py")])
        .args(["--ws", "--search-timeout", "0", base])
        .args(paths);
    command.stdout(Stdio::piped()).spawn().expect("the clients' Python starts")
}

/// The steps it found wrong.
fn wrong(reader: Child) -> Vec<Step> {
    let output = reader.wait_with_output().expect("a child can be waited for");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.trim_end().ends_with(" failed"), "it did not come to its end:\n{text}");
    let lines = text.lines().filter_map(|line| line.strip_prefix("FAIL ")?.split_once(" #"));
    lines
        .map(|(scenario, rest)| {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).expect("something behind the step");
            (scenario.to_owned(), rest[..digits].parse().expect("a number"))
        })
        .collect()
}

#[test]
fn a_second_reader_of_the_transcripts_finds_the_same_steps_right_and_wrong() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let spoiled = spoil_all(folder.path());
    let transcripts = read(folder.path().to_str().expect("a path of text"));
    let ours: BTreeSet<Step> = replay(&transcripts, &Engine::in_memory().base, false)
        .into_iter()
        .flat_map(|(name, found)| found.into_iter().map(move |difference| (name.clone(), difference.step)))
        .collect();

    let engine = Engine::in_memory();
    let path = |scenario: &str| folder.path().join(format!("{scenario}.json"));
    let (alone, together): (Vec<_>, Vec<_>) =
        transcripts.iter().partition(|transcript| transcript.hears_all());
    let [alone, together] =
        [alone, together].map(|some| some.iter().map(|one| path(&one.scenario)).collect::<Vec<_>>());
    let readers: Vec<Child> =
        together.chunks(together.len().div_ceil(AT_ONCE)).map(|paths| start(&engine.base, paths)).collect();
    let mut theirs: BTreeSet<Step> = readers.into_iter().flat_map(wrong).collect();
    theirs.extend(wrong(start(&engine.base, &alone)));

    let disputed: Vec<_> = ours.symmetric_difference(&theirs).collect();
    assert!(disputed.is_empty(), "found wrong by one of the two alone: {disputed:?}");
    let unspoiled: Vec<_> = ours.difference(&spoiled).collect();
    assert!(unspoiled.is_empty(), "wrong as they are recorded: {unspoiled:?}");
    assert!(ours.len() * 10 > spoiled.len() * 9, "{} of {} were noticed", ours.len(), spoiled.len());
}
