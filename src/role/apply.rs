//! `twinops apply`: one pass of a folder against any Ditto.
use std::process::ExitCode;

use serde_json::json;

use super::NOTHING_TRIED;
use crate::ports::{Policies, Refused};
use crate::settings::{Apply, Output, Prune};
use crate::source::{self, Line, Runner, Summary};

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
        let confirmed = apply.folder.prune == Prune::Confirmed;
        runner
            .prune(&snapshot, confirmed, |line| {
                print(&line, apply.output);
                lines.push(line);
            })
            .await;
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

fn unreachable(url: &str, refused: &Refused) -> String {
    match refused {
        Refused::Unauthorized(_) => format!(
            "Ditto at {url}: {refused}; set DITTO_USERNAME and DITTO_PASSWORD, DITTO_PRE_AUTHENTICATED, or DITTO_TOKEN_FILE"
        ),
        // It names the place and the flag already.
        Refused::Unavailable(said) if said.status == 0 => {
            format!("{refused}; `twinops dev` starts one on this machine")
        }
        _ => format!("Ditto at {url}: {refused}; check that --ditto-url names a Ditto"),
    }
}

fn nothing_tried(why: &impl std::fmt::Display) -> ExitCode {
    eprintln!("twinops apply: {why}");
    ExitCode::from(NOTHING_TRIED)
}
