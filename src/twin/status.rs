//! Conditions, computed from what a pass came to. Status is computed, never edited.
use super::json::Pointer;
use super::reason::{Held, Outcome, Reason};

/// The verdict of one condition, before anybody knows when it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub kind: &'static str,
    /// `None` is Kubernetes' `Unknown`.
    pub status: Option<bool>,
    pub reason: String,
    pub message: String,
}

pub const READY: &str = "Ready";
pub const SYNCED: &str = "Synced";
pub const REFERENCES_RESOLVED: &str = "ReferencesResolved";
pub const DRIFTED: &str = "Drifted";
pub const PAUSED: &str = "ReconciliationPaused";
pub const IN_USE: &str = "InUse";
/// All of them, as status lists them.
pub const CONDITIONS: [&str; 6] = [READY, SYNCED, REFERENCES_RESOLVED, DRIFTED, PAUSED, IN_USE];
/// The reason of a condition that no pass has found out about yet.
const NOT_OBSERVED: &str = "NotObserved";

/// What a condition said until now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    pub is_true: bool,
    pub reason: String,
}

/// The conditions that a pass has something to say about; the others stay as they are. `before` gives what
/// a condition says now, so that `Applied` stays until the next write.
pub fn verdicts(outcome: &Outcome, before: &dyn Fn(&str) -> Option<Former>) -> Vec<Verdict> {
    if outcome.paused {
        return paused(before(READY).is_none() && before(SYNCED).is_none());
    }
    let synced = match (&outcome.references, &outcome.synced) {
        (Err(held), _) | (Ok(()), Err(held)) => failed(SYNCED, held),
        (Ok(()), Ok(reason)) => {
            let kept = before(SYNCED).filter(|former| former.is_true && *reason == Reason::AlreadyInSync);
            verdict(SYNCED, true, kept.as_ref().map_or(reason.word(), |former| &former.reason), "")
        }
    };
    let references = match (&outcome.references, &outcome.synced) {
        (Err(held), _) => failed(REFERENCES_RESOLVED, held),
        (Ok(()), Err(held)) if held.reason == Reason::InvalidSpec => {
            unknown(REFERENCES_RESOLVED, held.reason.word(), "not looked at: the spec is not valid")
        }
        (Ok(()), _) if outcome.resolved || outcome.observed => {
            verdict(REFERENCES_RESOLVED, true, "Resolved", "")
        }
        (Ok(()), _) => unknown(REFERENCES_RESOLVED, NOT_OBSERVED, "not looked at yet"),
    };
    let ready =
        [&references, &synced].into_iter().find(|condition| condition.status == Some(false)).map_or_else(
            || verdict(READY, true, &synced.reason, ""),
            |first| Verdict { kind: READY, ..first.clone() },
        );
    let mut verdicts =
        vec![ready, synced, references, drifted(outcome), verdict(PAUSED, false, "Running", "")];
    // A pass that saw nothing does not know better than the one before.
    verdicts.retain(|verdict| verdict.reason != NOT_OBSERVED || before(verdict.kind).is_none());
    verdicts
}

fn drifted(outcome: &Outcome) -> Verdict {
    match &outcome.drift {
        Some(drift) if !drift.repaired => {
            let paths: Vec<_> = drift.paths.iter().take(3).map(ToString::to_string).collect();
            let message = if drift.paths.iter().any(Pointer::is_root) {
                "it is gone from Ditto, or hidden from TwinOps".to_owned()
            } else {
                format!("{} owned paths differ: {}", drift.paths.len(), paths.join(", "))
            };
            verdict(DRIFTED, true, "DriftReported", &message)
        }
        _ if outcome.observed => verdict(DRIFTED, false, "NoDrift", ""),
        _ => unknown(DRIFTED, NOT_OBSERVED, "not looked at yet"),
    }
}

/// TwinPolicy's own condition. Never part of Ready.
pub fn in_use(twins: usize, things: u64) -> Verdict {
    match (twins, things) {
        (0, 0) => verdict(IN_USE, false, "Unused", ""),
        (0, things) => verdict(IN_USE, true, "UsedByThings", &format!("{things} things")),
        (twins, _) => verdict(IN_USE, true, "UsedByTwins", &format!("{twins} twins")),
    }
}

/// A paused twin keeps its other conditions; one that never ran says so.
fn paused(never_ran: bool) -> Vec<Verdict> {
    let message =
        "spec.suspend is true or the annotation twinops.dev/paused is set: nothing is read or written";
    let mut verdicts = vec![verdict(PAUSED, true, Reason::Paused.word(), message)];
    if never_ran {
        verdicts.extend([READY, SYNCED].map(|kind| verdict(kind, false, Reason::Paused.word(), message)));
    }
    verdicts
}

fn verdict(kind: &'static str, status: bool, reason: &str, message: &str) -> Verdict {
    Verdict { kind, status: Some(status), reason: reason.to_owned(), message: message.to_owned() }
}

fn unknown(kind: &'static str, reason: &str, message: &str) -> Verdict {
    Verdict { status: None, ..verdict(kind, true, reason, message) }
}

fn failed(kind: &'static str, held: &Held) -> Verdict {
    verdict(kind, false, held.reason.word(), &held.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'v>(verdicts: &'v [Verdict], kind: &str) -> &'v Verdict {
        verdicts.iter().find(|v| v.kind == kind).unwrap()
    }

    fn applied() -> Former {
        Former { is_true: true, reason: "Applied".into() }
    }

    #[test]
    fn a_pass_that_saw_nothing_says_nothing_of_drift_and_references() {
        let down = Outcome::new(Err(Held::new(Reason::BackendUnavailable, "down")));
        let kinds = |verdicts: &[Verdict]| verdicts.iter().map(|v| (v.kind, v.status)).collect::<Vec<_>>();
        assert_eq!(
            kinds(&verdicts(&down, &|_| None)),
            [
                (READY, Some(false)),
                (SYNCED, Some(false)),
                (REFERENCES_RESOLVED, None),
                (DRIFTED, None),
                (PAUSED, Some(false))
            ],
            "at first nothing is known"
        );
        assert_eq!(
            kinds(&verdicts(&down, &|_| Some(applied()))),
            [(READY, Some(false)), (SYNCED, Some(false)), (PAUSED, Some(false))],
            "later what was known stays"
        );
        let looked = Outcome { observed: true, resolved: true, ..down };
        assert_eq!(verdicts(&looked, &|_| Some(applied())).len(), 5);
    }

    #[test]
    fn applied_stays_until_the_next_write() {
        let quiet = Outcome::new(Ok(Reason::AlreadyInSync));
        let first = verdicts(&quiet, &|_| None);
        assert_eq!(find(&first, SYNCED).reason, "AlreadyInSync");
        let later = verdicts(&quiet, &|_| Some(applied()));
        assert_eq!(
            (find(&later, SYNCED).reason.as_str(), find(&later, READY).status),
            ("Applied", Some(true))
        );
    }

    #[test]
    fn ready_names_the_first_that_is_not_true() {
        let mut outcome = Outcome::new(Ok(Reason::AlreadyInSync));
        outcome.references = Err(Held::new(Reason::PolicyNotFound, "no policy"));
        let found = verdicts(&outcome, &|_| None);
        let ready = find(&found, READY);
        assert_eq!((ready.status, ready.reason.as_str()), (Some(false), "PolicyNotFound"));
        let invalid = Outcome::new(Err(Held::new(Reason::InvalidSpec, "null at /a")));
        let found = verdicts(&invalid, &|_| None);
        assert_eq!(find(&found, REFERENCES_RESOLVED).status, None);
        assert_eq!(find(&found, READY).message, "null at /a");
    }

    #[test]
    fn a_paused_twin_keeps_its_conditions() {
        let mut outcome = Outcome::new(Ok(Reason::AlreadyInSync));
        outcome.paused = true;
        assert_eq!(verdicts(&outcome, &|_| Some(applied())).len(), 1);
        assert_eq!(find(&verdicts(&outcome, &|_| None), READY).reason, "Paused");
    }
}
