//! What a run says of each resource: one line, or one JSON object.
use serde::Serialize;
use std::fmt;

use crate::reconcile::{Report, Would};
use crate::twin::reason::{Outcome, Reason};

/// How many names a message lists before it counts the rest.
const NAMES_MAX: usize = 5;

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
    WouldRelease,
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
            Self::WouldRelease => "would-release",
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
        let (verdict, reason, message) = match &report.would {
            Some(would) => (would_verdict(would.verb), "DryRun".to_owned(), would_message(would, outcome)),
            None => (verdict(outcome), reason(outcome).to_owned(), message(outcome)),
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
    pub fn says_the_same(&self, before: &Self) -> bool {
        if self.wrote > 0 || self.id != before.id {
            return false;
        }
        // What was applied is in sync from then on, and what was repaired is whole: no news.
        let settles = (before.verdict, self.verdict) == (Verdict::Applied, Verdict::InSync);
        if settles {
            return before.message.ends_with(&self.message);
        }
        (self.verdict, &self.reason, &self.message) == (before.verdict, &before.reason, &before.message)
    }
}

/// `1 thing`, `2 things`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The first few names, and how many more there are.
pub fn first_of(names: &[impl ToString]) -> String {
    let said: Vec<_> = names.iter().take(NAMES_MAX).map(ToString::to_string).collect();
    let more = names.len().saturating_sub(NAMES_MAX);
    if more > 0 { format!("{} and {more} more", said.join(", ")) } else { said.join(", ") }
}

fn would_verdict(verb: &str) -> Verdict {
    match verb {
        "create" => Verdict::WouldCreate,
        "delete" => Verdict::WouldDelete,
        "release" => Verdict::WouldRelease,
        _ => Verdict::WouldUpdate,
    }
}

fn would_message(would: &Would, outcome: &Outcome) -> String {
    let what = match would.verb {
        "update" if would.paths.is_empty() => Some("changes only the mark of TwinOps".to_owned()),
        "update" => Some(format!("changes {}", first_of(&would.paths))),
        "release" => Some("stays in Ditto without the mark of TwinOps".to_owned()),
        _ => None,
    };
    let adopts = would.adopts.then(|| "is there already and becomes ours".to_owned());
    let notes = outcome.notes.iter().map(|note| note.message.clone());
    adopts.into_iter().chain(what).chain(notes).collect::<Vec<_>>().join("; ")
}

/// A word of the closed list, or what became of a resource that has no condition any more.
fn reason(outcome: &Outcome) -> &'static str {
    match verdict(outcome) {
        Verdict::Deleted => "Deleted",
        Verdict::Released => "Released",
        Verdict::Paused => Reason::Paused.word(),
        _ => outcome.reason().word(),
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
        let what = if drift.repaired { "repaired" } else { "differs" };
        format!("{what}: {}", first_of(&drift.paths))
    });
    let held = outcome.held().map(|held| held.message.clone());
    held.into_iter().chain(drift).chain(notes).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12} {:<11} ", self.verdict.word(), self.kind)?;
        if !self.name.is_empty() {
            let place = format!("{}/{}", self.namespace, self.name);
            write!(f, "{place:<34} {:<38} ", self.id)?;
        }
        f.write_str(&self.reason)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// Counts of a run, by verdict. The JSON form is public API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Documents; lines about files and the run as a whole are not among them.
    pub resources: usize,
    pub applied: usize,
    pub in_sync: usize,
    pub deleted: usize,
    pub released: usize,
    pub paused: usize,
    pub would_create: usize,
    pub would_update: usize,
    pub would_delete: usize,
    pub would_release: usize,
    /// Files and the run as a whole are counted here too.
    pub held: usize,
    pub failed: usize,
}

impl Summary {
    pub fn of(lines: &[Line]) -> Self {
        let resources = lines.iter().filter(|line| !line.name.is_empty()).count();
        let mut summary = Self { resources, ..Self::default() };
        for line in lines {
            *match line.verdict {
                Verdict::Applied => &mut summary.applied,
                Verdict::InSync => &mut summary.in_sync,
                Verdict::Deleted => &mut summary.deleted,
                Verdict::Released => &mut summary.released,
                Verdict::Paused => &mut summary.paused,
                Verdict::WouldCreate => &mut summary.would_create,
                Verdict::WouldUpdate => &mut summary.would_update,
                Verdict::WouldDelete => &mut summary.would_delete,
                Verdict::WouldRelease => &mut summary.would_release,
                Verdict::Held => &mut summary.held,
                Verdict::Failed => &mut summary.failed,
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
        let counts = [
            (self.applied, "applied"),
            (self.in_sync, "in sync"),
            (self.would_create, "would be created"),
            (self.would_update, "would be updated"),
            (self.would_delete, "would be deleted"),
            (self.would_release, "would be released"),
            (self.deleted, "deleted"),
            (self.released, "released"),
            (self.paused, "paused"),
            (self.held, "held"),
            (self.failed, "failed"),
        ];
        let said: Vec<_> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        f.write_str(&count(self.resources, "resource"))?;
        if said.is_empty() { Ok(()) } else { write!(f, ": {}", said.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(verdict: Verdict, reason: &str, message: &str, wrote: u32) -> Line {
        let place = ("default".to_owned(), "pump".to_owned());
        Line { message: message.into(), wrote, ..Line::about("DigitalTwin", &place, verdict, reason) }
    }

    #[test]
    fn a_log_says_what_is_new_and_nothing_twice() {
        let applied = line(Verdict::Applied, "Applied", "", 1);
        let repaired = line(Verdict::Applied, "Applied", "repaired: /a; a warning", 1);
        let quiet = line(Verdict::InSync, "AlreadyInSync", "", 0);
        let held = line(Verdict::Held, "PolicyNotReady", "why", 0);
        let rows = [
            ("in sync after applied", &quiet, &applied, true),
            ("in sync again", &quiet, &quiet, true),
            (
                "whole again after a repair",
                &line(Verdict::InSync, "AlreadyInSync", "a warning", 0),
                &repaired,
                true,
            ),
            (
                "drift that is reported",
                &line(Verdict::InSync, "AlreadyInSync", "differs: /a", 0),
                &applied,
                false,
            ),
            ("in sync after drift", &quiet, &line(Verdict::InSync, "AlreadyInSync", "differs: /a", 0), false),
            ("written again", &applied, &applied, false),
            ("held", &held, &quiet, false),
            ("held as before", &held, &held, true),
            ("held for another reason", &held, &line(Verdict::Held, "PolicyNotReady", "other", 0), false),
            ("in sync after held", &quiet, &held, false),
        ];
        for (name, now, before, same) in rows {
            assert_eq!(now.says_the_same(before), same, "{name}");
        }
    }

    #[test]
    fn names_are_listed_up_to_a_few() {
        assert_eq!(first_of(&["a"]), "a");
        assert_eq!(first_of(&["a", "b", "c", "d", "e"]), "a, b, c, d, e");
        assert_eq!(first_of(&["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
        assert_eq!((count(1, "thing"), count(0, "thing")), ("1 thing".to_owned(), "0 things".to_owned()));
    }
}
