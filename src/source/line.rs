//! What a run says of each resource: one line, or one JSON object.
use serde::Serialize;
use std::fmt;

use crate::reconcile::Report;
use crate::twin::reason::{Outcome, Reason};

/// What became of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Written in this run.
    Applied,
    /// Nothing to write.
    InSync,
    Deleted,
    /// Given up without a delete: the mark is off, or it was not ours.
    Released,
    Paused,
    WouldCreate,
    WouldUpdate,
    WouldDelete,
    /// It waits for something or somebody; see the reason.
    Held,
    /// It was refused, or the file is wrong.
    Failed,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::InSync => "in-sync",
            Self::Deleted => "deleted",
            Self::Released => "released",
            Self::Paused => "paused",
            Self::WouldCreate => "would-create",
            Self::WouldUpdate => "would-update",
            Self::WouldDelete => "would-delete",
            Self::Held => "held",
            Self::Failed => "failed",
        }
    }

    /// Whether a run with this line is not all well.
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::Held | Self::Failed)
    }
}

/// One resource's line. The JSON form is public API.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    /// The thing's or policy's id in Ditto; empty when the spec has none.
    pub id: String,
    pub verdict: Verdict,
    pub reason: String,
    pub message: String,
    /// Writes that Ditto took.
    pub wrote: u32,
}

impl Line {
    /// A line that has no pass behind it: the file is wrong, or a resource is not deleted.
    pub fn about(
        kind: &'static str,
        (namespace, name): &(String, String),
        verdict: Verdict,
        reason: &str,
    ) -> Self {
        Self {
            kind,
            namespace: namespace.clone(),
            name: name.clone(),
            id: String::new(),
            verdict,
            reason: reason.to_owned(),
            message: String::new(),
            wrote: 0,
        }
    }

    /// A line about the run as a whole.
    pub fn held(kind: &'static str, reason: &str, message: String) -> Self {
        Self { message, ..Self::about(kind, &(String::new(), String::new()), Verdict::Held, reason) }
    }

    pub fn of(kind: &'static str, place: &(String, String), report: &Report) -> Self {
        let outcome = &report.outcome;
        let (verdict, reason, message) = match report.would {
            Some(verb) => (would(verb), "DryRun".to_owned(), String::new()),
            None => (verdict(outcome), outcome.reason().word().to_owned(), message(outcome)),
        };
        Self {
            id: outcome.id.clone().unwrap_or_default(),
            reason,
            message,
            wrote: outcome.writes,
            ..Self::about(kind, place, verdict, "")
        }
    }

    /// Whether a reader of a running log has seen this already.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let settled = |line: &Self| !matches!(line.verdict, Verdict::Applied | Verdict::InSync);
        (self.verdict == other.verdict || !(settled(self) || settled(other)))
            && (&self.reason, &self.message, &self.id) == (&other.reason, &other.message, &other.id)
            && self.wrote == 0
    }
}

fn would(verb: &str) -> Verdict {
    match verb {
        "create" => Verdict::WouldCreate,
        "delete" => Verdict::WouldDelete,
        _ => Verdict::WouldUpdate,
    }
}

fn verdict(outcome: &Outcome) -> Verdict {
    if outcome.finished {
        return if outcome.deleted { Verdict::Deleted } else { Verdict::Released };
    }
    if outcome.paused {
        return Verdict::Paused;
    }
    match outcome.held().map(|held| held.reason) {
        None if outcome.writes > 0 => Verdict::Applied,
        None => Verdict::InSync,
        Some(
            Reason::PolicyNotFound
            | Reason::PolicyNotReady
            | Reason::PolicyNotAccessible
            | Reason::ResourceConflict
            | Reason::NotAdoptable
            | Reason::MarkChanged
            | Reason::StaleResource
            | Reason::DeletionHeld,
        ) => Verdict::Held,
        Some(_) => Verdict::Failed,
    }
}

fn message(outcome: &Outcome) -> String {
    let notes = outcome.notes.iter().map(|note| note.message.clone());
    let drift = outcome.drift.as_ref().map(|drift| {
        let paths: Vec<_> = drift.paths.iter().take(3).map(ToString::to_string).collect();
        let what = if drift.repaired { "repaired" } else { "differs" };
        format!("{what}: {}", paths.join(", "))
    });
    let held = outcome.held().map(|held| held.message.clone());
    held.into_iter().chain(drift).chain(notes).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = format!("{}/{}", self.namespace, self.name);
        write!(
            f,
            "{:<12} {:<11} {place:<34} {:<38} {}",
            self.verdict.word(),
            self.kind,
            self.id,
            self.reason
        )?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// Counts of a run, by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub resources: usize,
    pub applied: usize,
    pub in_sync: usize,
    pub deleted: usize,
    pub held: usize,
    pub failed: usize,
    pub other: usize,
}

impl Summary {
    pub fn of(lines: &[Line]) -> Self {
        let mut summary = Self { resources: lines.len(), ..Self::default() };
        for line in lines {
            *match line.verdict {
                Verdict::Applied => &mut summary.applied,
                Verdict::InSync => &mut summary.in_sync,
                Verdict::Deleted => &mut summary.deleted,
                Verdict::Held => &mut summary.held,
                Verdict::Failed => &mut summary.failed,
                _ => &mut summary.other,
            } += 1;
        }
        summary
    }

    /// 0 when all is well, 1 when at least one resource failed or is held.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.held + self.failed > 0)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resources, applied, in_sync, deleted, held, failed, other } = self;
        write!(f, "{resources} resources: {applied} applied, {in_sync} in sync")?;
        for (count, word) in [(deleted, "deleted"), (held, "held"), (failed, "failed"), (other, "other")] {
            if *count > 0 {
                write!(f, ", {count} {word}")?;
            }
        }
        Ok(())
    }
}
