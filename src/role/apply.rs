//! `twinops apply`: one pass of a folder against any Ditto.
use std::process::ExitCode;

use serde_json::json;

use super::NOTHING_TRIED;
use crate::ditto::DittoClient;
use crate::ports::{Policies, Refused};
use crate::settings::{Apply, Output, Prune};
use crate::source::{self, Line, Runner, Snapshot, Summary};

pub async fn run(apply: Apply) -> anyhow::Result<ExitCode> {
    let snapshot = match source::read(&apply.folder.paths, apply.folder.recursive) {
        Ok(snapshot) => snapshot,
        Err(error) => return Ok(nothing_tried(&error)),
    };
    let ditto = super::ditto::client(&apply.ditto, "apply")?;
    let subjects = match ditto.whoami().await {
        Ok(subjects) => subjects,
        Err(refused) => return Ok(nothing_tried(&unreachable(&apply.ditto.url, &refused))),
    };
    for skipped in &snapshot.skipped {
        eprintln!("skipped {skipped}");
    }
    let runner = Runner { ditto, owner: apply.folder.owner.clone(), subjects, dry_run: apply.dry_run };
    let mut lines = vec![];
    runner
        .run(&snapshot, |line| {
            print(&line, apply.output);
            lines.push(line);
        })
        .await;
    if apply.folder.prune != Prune::Never {
        prune(&runner, &snapshot, &apply, &mut lines).await;
    }
    let summary = Summary::of(&lines);
    match apply.output {
        Output::Text => println!("{summary}"),
        Output::Json => println!("{:#}", json!({"resources": lines, "summary": summary})),
    }
    Ok(ExitCode::from(summary.exit_code()))
}

fn print(line: &Line, output: Output) {
    if matches!(output, Output::Text) {
        println!("{line}");
    }
}

/// Deletes what earlier runs left, once it is clear that the files say so.
async fn prune(runner: &Runner<DittoClient>, snapshot: &Snapshot, apply: &Apply, lines: &mut Vec<Line>) {
    let held = |message: String| Line::held("Folder", "PruneHeld", message);
    if let Some(problem) = snapshot.problems.first() {
        let why = format!("nothing is pruned while a file cannot be read: {problem}");
        return say(held(why), apply.output, lines);
    }
    if snapshot.is_empty() {
        let why = "nothing is pruned: a folder declares nothing at all; to delete everything, delete the things in Ditto";
        return say(held(why.into()), apply.output, lines);
    }
    let left = match runner.leftovers(snapshot).await {
        Ok(left) => left,
        Err(refused) => return say(held(format!("nothing is pruned: {refused}")), apply.output, lines),
    };
    if left.is_unusual() && apply.folder.prune != Prune::Confirmed {
        let why = format!(
            "{} of {} things of owner {:?} would go: run again with --yes to delete them",
            left.things.len(),
            left.of_owner,
            runner.owner
        );
        return say(held(why), apply.output, lines);
    }
    if matches!(apply.output, Output::Text) {
        for (id, mark) in &left.things {
            println!("prune        {id} ({}), which no file declares", mark.place());
        }
    }
    let output = apply.output;
    runner.prune(left, |line| say(line, output, lines)).await;
}

fn say(line: Line, output: Output, lines: &mut Vec<Line>) {
    print(&line, output);
    lines.push(line);
}

fn unreachable(url: &str, refused: &Refused) -> String {
    let next = match refused {
        Refused::Unauthorized(_) => {
            "set DITTO_USERNAME and DITTO_PASSWORD, DITTO_PRE_AUTHENTICATED, or DITTO_TOKEN_FILE"
        }
        _ => "start it (`twinops dev`), or name it with --ditto-url",
    };
    format!("Ditto at {url}: {refused}; {next}")
}

fn nothing_tried(why: &impl std::fmt::Display) -> ExitCode {
    eprintln!("twinops apply: {why}");
    ExitCode::from(NOTHING_TRIED)
}
