//! From what a pass came to, to the status that says so, and back to what later passes must remember.
//!
//! Status is computed whole each time, because server-side apply removes what is left out. Where
//! nothing differs the result equals what stands there, so that nothing is written.
use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::status::{AppliedPolicy, AppliedThing, DigitalTwinStatus, DriftSeen, LastError, TwinPolicyStatus};
use crate::twin::facts::{Known, KnownPolicy};
use crate::twin::json::Pointer;
use crate::twin::mark::{Base, fold, unfold};
use crate::twin::policy_pass::PolicyExtras;
use crate::twin::reason::{Applied, Drifted, Held, Outcome, Reason};
use crate::twin::status::{CONDITIONS, DRIFTED, Former, SYNCED, Verdict, in_use, verdicts};

/// The paths in `lastApplied`, in bytes. Enough for every thing that Ditto takes by default, see
/// `docs/architecture.md`; with the largest spec and its `managedFields` the resource stays below the
/// 1.5 MiB that etcd takes.
pub const APPLIED_BYTES_MAX: usize = 256 * 1_024;
/// Longer lists are written with each name once, for nobody reads them any more.
const PLAIN_BYTES_MAX: usize = 16 * 1_024;
/// How many paths of a drift are named.
pub const DRIFT_PATHS_MAX: usize = 20;
/// The message of one condition, in characters: what Ditto says may quote a whole request.
const MESSAGE_MAX: usize = 2_048;

impl DigitalTwinStatus {
    /// The status after a pass over `generation` of the twin.
    #[must_use]
    pub fn after(&self, outcome: &Outcome, generation: i64, now: Timestamp) -> Self {
        let now = seconds(now);
        let old = Before::of(&self.conditions, self.drift.as_ref(), self.last_error.as_ref());
        Self {
            conditions: old.conditions(old.verdicts(outcome), generation, now),
            observed_generation: Some(generation),
            thing_id: outcome.id.clone().or_else(|| self.thing_id.clone()),
            policy_id: outcome.policy_id.clone().or_else(|| self.policy_id.clone()),
            origin: outcome.origin.map(Into::into),
            revision: revision(outcome.revision),
            last_applied: outcome.applied.as_ref().map(applied),
            last_sync_time: sync_time(self.last_sync_time.as_ref(), outcome, now),
            drift: old.drift(outcome, now),
            last_error: old.error(outcome, now),
        }
    }

    /// What earlier passes left to know.
    pub fn known(&self) -> Known {
        Known {
            id: self.thing_id.clone(),
            origin: self.origin.map(Into::into),
            applied: self.last_applied.as_ref().and_then(remembered),
            revision: self.revision.and_then(|revision| u64::try_from(revision).ok()),
        }
    }

    /// What of the last write was too much to be kept here, and what follows from that.
    pub fn forgets(&self, outcome: &Outcome) -> Option<&'static str> {
        let (kept, written) = (self.last_applied.as_ref()?, &outcome.applied.as_ref()?.base);
        if kept.paths.len() < written.enforced.len() {
            return Some(
                "too many paths to remember in status: a path that is taken out of the spec stays in the thing",
            );
        }
        (kept.seeded.len() < written.seeded.len())
            .then_some("too many seeds to remember in status: none that is declared later is written")
    }
}

impl TwinPolicyStatus {
    /// The status after a pass over `generation` of the policy, which `twins` of this cluster use.
    #[must_use]
    pub fn after(
        &self,
        (outcome, extras): (&Outcome, &PolicyExtras),
        twins: usize,
        generation: i64,
        now: Timestamp,
    ) -> Self {
        let now = seconds(now);
        let old = Before::of(&self.conditions, self.drift.as_ref(), self.last_error.as_ref());
        let mut verdicts = old.verdicts(outcome);
        verdicts.push(in_use(twins, outcome.things));
        Self {
            conditions: old.conditions(verdicts, generation, now),
            observed_generation: Some(generation),
            policy_id: outcome.id.clone().or_else(|| self.policy_id.clone()),
            origin: outcome.origin.map(Into::into),
            revision: revision(outcome.revision),
            last_applied: extras
                .hash
                .clone()
                .map(|hash| AppliedPolicy { hash, labels: extras.labels.iter().cloned().collect() }),
            last_sync_time: sync_time(self.last_sync_time.as_ref(), outcome, now),
            drift: old.drift(outcome, now),
            last_error: old.error(outcome, now),
            used_by: i64::try_from(twins).ok(),
            effective_hash: extras.effective_hash.clone().or_else(|| self.effective_hash.clone()),
        }
    }

    /// What earlier passes left to know.
    pub fn known(&self) -> KnownPolicy {
        let applied = self.last_applied.as_ref();
        KnownPolicy {
            id: self.policy_id.clone(),
            origin: self.origin.map(Into::into),
            hash: applied.map(|applied| applied.hash.clone()),
            labels: applied.map_or_else(BTreeSet::new, |a| a.labels.iter().cloned().collect()),
            revision: self.revision.and_then(|revision| u64::try_from(revision).ok()),
        }
    }
}

/// What stood in status until now, as far as both kinds share it.
struct Before<'a> {
    conditions: &'a [Condition],
    drift: Option<&'a DriftSeen>,
    error: Option<&'a LastError>,
}

impl<'a> Before<'a> {
    fn of(conditions: &'a [Condition], drift: Option<&'a DriftSeen>, error: Option<&'a LastError>) -> Self {
        Self { conditions, drift, error }
    }

    fn find(&self, kind: &str) -> Option<&'a Condition> {
        self.conditions.iter().find(|condition| condition.type_ == kind)
    }

    fn is_true(&self, kind: &str) -> bool {
        self.find(kind).is_some_and(|condition| condition.status == "True")
    }

    fn verdicts(&self, outcome: &Outcome) -> Vec<Verdict> {
        verdicts(outcome, &|kind| {
            let condition = self.find(kind)?;
            Some(Former { is_true: condition.status == "True", reason: condition.reason.clone() })
        })
    }

    /// In the order that stands there already, so that equal means equal. What no verdict is about stays.
    fn conditions(&self, verdicts: Vec<Verdict>, generation: i64, now: Timestamp) -> Vec<Condition> {
        let ours = self.conditions.iter().filter(|condition| CONDITIONS.contains(&condition.type_.as_str()));
        let mut conditions: Vec<Condition> = ours.cloned().collect();
        for verdict in verdicts {
            let fresh = self.condition(verdict, generation, now);
            match conditions.iter_mut().find(|condition| condition.type_ == fresh.type_) {
                Some(condition) => *condition = fresh,
                None => conditions.push(fresh),
            }
        }
        let place = |condition: &Condition| {
            let found = self.conditions.iter().position(|old| old.type_ == condition.type_);
            found.unwrap_or(usize::MAX)
        };
        conditions.sort_by_key(place);
        conditions
    }

    fn condition(&self, verdict: Verdict, generation: i64, now: Timestamp) -> Condition {
        let status = match verdict.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let same = self.find(verdict.kind).filter(|old| old.status == status);
        Condition {
            type_: verdict.kind.to_owned(),
            status: status.to_owned(),
            reason: verdict.reason,
            message: verdict.message.chars().take(MESSAGE_MAX).collect(),
            observed_generation: Some(generation),
            last_transition_time: same.map_or(Time(now), |old| old.last_transition_time.clone()),
        }
    }

    /// A drift that stands there already is no news, although telemetry has moved the revision since.
    fn drift(&self, outcome: &Outcome, now: Timestamp) -> Option<DriftSeen> {
        let Some(seen) = &outcome.drift else { return self.drift.cloned() };
        let fresh = drift_seen(seen, now);
        let is_known = !seen.repaired && self.is_true(DRIFTED);
        let same = self.drift.filter(|old| is_known && old.count == fresh.count && old.paths == fresh.paths);
        let Some(same) = same.cloned() else { return Some(fresh) };
        // Who it was may be known later than that it was.
        Some(DriftSeen { originator: same.originator.or(fresh.originator), ..same })
    }

    /// The first of a row of equal refusals: a retry that fails the same way is no news.
    fn error(&self, outcome: &Outcome, now: Timestamp) -> Option<LastError> {
        if outcome.paused {
            return self.error.cloned();
        }
        let said = outcome.held().and_then(|held: &Held| held.said.as_ref())?;
        let fresh = LastError {
            code: said.code.clone(),
            http_status: (said.status != 0).then_some(i32::from(said.status)),
            correlation_id: said.correlation_id.clone(),
            time: Some(Time(now)),
        };
        let same = self.error.filter(|old| old.code == fresh.code && old.http_status == fresh.http_status);
        Some(same.cloned().unwrap_or(fresh))
    }
}

fn drift_seen(drift: &Drifted, now: Timestamp) -> DriftSeen {
    DriftSeen {
        count: i64::try_from(drift.paths.len()).unwrap_or(i64::MAX),
        paths: drift.paths.iter().take(DRIFT_PATHS_MAX).map(ToString::to_string).collect(),
        revision: revision(Some(drift.revision)),
        originator: drift.originator.clone(),
        detected_at: Some(Time(now)),
    }
}

/// What fits of it; see [`Base::within`] for what is forgotten first.
fn applied(applied: &Applied) -> AppliedThing {
    let bytes = |texts: &[String]| texts.iter().map(|text| text.len() + "\"\",".len()).sum::<usize>();
    let fits = |base: &Base| bytes(&texts(&base.enforced)) + bytes(&texts(&base.seeded)) <= APPLIED_BYTES_MAX;
    let base = applied.base.clone().within(fits);
    AppliedThing { hash: applied.hash.clone(), paths: texts(&base.enforced), seeded: texts(&base.seeded) }
}

/// Plain pointers as long as somebody might read them.
fn texts(paths: &BTreeSet<Pointer>) -> Vec<String> {
    let plain: Vec<String> = paths.iter().map(ToString::to_string).collect();
    let bytes: usize = plain.iter().map(String::len).sum();
    if bytes <= PLAIN_BYTES_MAX { plain } else { fold(paths) }
}

/// `None` when somebody damaged it.
fn remembered(applied: &AppliedThing) -> Option<Applied> {
    let paths = |texts: &[String]| unfold(texts.iter().map(String::as_str));
    let base = Base { enforced: paths(&applied.paths)?, seeded: paths(&applied.seeded)? };
    Some(Applied { hash: applied.hash.clone(), base })
}

fn sync_time(before: Option<&Time>, outcome: &Outcome, now: Timestamp) -> Option<Time> {
    let first = before.is_none() && outcome.synced.is_ok() && outcome.references.is_ok() && !outcome.paused;
    if outcome.writes > 0 || first { Some(Time(now)) } else { before.cloned() }
}

fn revision(revision: Option<u64>) -> Option<i64> {
    revision.and_then(|revision| i64::try_from(revision).ok())
}

/// Kubernetes keeps whole seconds.
fn seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Whether a policy with this status is in Ditto and lets its twins in; otherwise why not, in its own
/// words. A policy that was there before and cannot be updated now still serves the twins it has.
pub fn standing(status: &TwinPolicyStatus) -> Result<(), String> {
    let Some(synced) = status.conditions.iter().find(|condition| condition.type_ == SYNCED) else {
        return Err("TwinOps has not looked at it yet".to_owned());
    };
    let lost = [
        Reason::ResourceConflict,
        Reason::NotAdoptable,
        Reason::MarkChanged,
        Reason::Forbidden,
        Reason::NamespaceNotAllowed,
    ];
    let was_there = status.origin.is_some();
    if synced.status == "True" || was_there && !lost.iter().any(|reason| reason.word() == synced.reason) {
        return Ok(());
    }
    Err(format!("{}: {}", synced.reason, synced.message))
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "capacity_tests.rs"]
mod capacity;
