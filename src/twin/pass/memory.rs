//! What earlier passes left to know: which paths are ours, and whether this document was written before.
//!
//! The mark changes in one step with the thing, so its hash says what was written last. In a cluster the
//! paths to that hash are in status, which is written later and may be older, or lost.
use serde_json::Value;

use super::super::call::FoundThing;
use super::super::desired::Desired;
use super::super::facts::Told;
use super::super::json::Pointer;
use super::super::mark::{Base, Mark, Origin};
use super::super::ownership::Declared;
use super::super::plan::{self, Changes};
use super::super::reason::{Held, Reason};
use super::super::request::{Next, Request};
use super::{State, TwinPass};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Memory {
    pub base: Base,
    /// This very document was written before: what differs now was changed by somebody else.
    pub is_applied: bool,
    /// Paths were written that nobody remembers: they stay.
    pub is_lost: bool,
}

impl TwinPass {
    /// Status, as far as it is known, does not tell of the write that the mark tells of. Another leader may have told it
    /// since, or the thing may be another resource's by now: what was written must not be written again, and what was
    /// given up must not be taken.
    pub(super) fn is_untold(&self, found: &FoundThing, mark: Option<&Mark>) -> bool {
        let told = self.facts.known.applied.as_ref().map(|applied| applied.hash.as_str());
        let is_told = |mark: &Mark| mark.uid == self.facts.identity.uid && Some(mark.hash.as_str()) == told;
        self.is_unasked(Some(found)) && !mark.is_some_and(is_told)
    }

    /// Nothing is there although it was, or may have been: perhaps because the resource is gone, and our view of that old.
    pub(super) fn may_be_gone(&self, desired: &Desired) -> bool {
        // One that has just been given its finalizer was never passed over before.
        let was_here = self.facts.has_finalizer || self.was_ours(desired);
        was_here && self.is_unasked(None)
    }

    /// After a write seeds are missing still: somebody else was faster, or a device has taken them away since.
    pub(super) fn is_behind(&self, found: &FoundThing, changes: &Changes) -> bool {
        self.outcome.writes > 0 && !changes.guards.is_empty() && self.is_unasked(Some(found))
    }

    /// One answer holds for what was seen with it: who stands still afterwards finds something else, and asks again.
    fn is_unasked(&self, found: Option<&FoundThing>) -> bool {
        !self.facts.folder && self.asked_about != Some(about(found))
    }

    pub(super) fn read_status(mut self, seen: Option<FoundThing>) -> (Self, Next) {
        self.asked_about = Some(about(seen.as_ref()));
        self.ask(State::ReadingStatus { seen: seen.map(Box::new) }, Request::ReadStatus)
    }

    /// Goes on with what status says now; if that is another, what it names must be looked at.
    pub(super) fn told(mut self, seen: Option<Box<FoundThing>>, told: Result<Told, String>) -> (Self, Next) {
        match told {
            Ok(Told::AsKnown) => self.decide(seen.map(|seen| *seen)),
            Ok(Told::Anew(_)) if self.looks > self.looks_max => self.keeps_changing(),
            Ok(Told::Anew(known)) => {
                (self.outcome.origin, self.outcome.revision) = (known.origin, known.revision);
                self.outcome.applied.clone_from(&known.applied);
                self.facts.known = known;
                self.look()
            }
            Ok(Told::Moved) => {
                self.outcome.overtaken = true;
                self.done()
            }
            Err(why) => {
                let message =
                    format!("its status cannot be read, which may tell what was written already: {why}");
                self.stop(false, Held::new(Reason::BackendUnavailable, message))
            }
        }
    }

    /// `mark` is the one that stands there, when it is ours already.
    pub(super) fn recall(
        &self,
        desired: &Desired,
        hash: &str,
        declared: &Declared,
        mark: Option<&Mark>,
    ) -> Memory {
        let is_applied = mark.is_some_and(|mark| mark.hash == hash);
        if self.facts.folder {
            let base = self.remembered_in(desired, hash, declared, mark);
            return Memory { base, is_applied, is_lost: false };
        }
        let status = self.facts.known.applied.as_ref();
        let seeded = status.map(|applied| applied.base.seeded.clone()).unwrap_or_default();
        let whole = plan::base_after_create(declared).enforced;
        let (enforced, is_lost) = match (mark, status) {
            (None, _) => (std::iter::empty().collect(), false),
            (Some(mark), Some(status)) if mark.hash == status.hash => (status.base.enforced.clone(), false),
            // Written, and status not told: what was to be removed is removed. Seeds may still be open.
            (Some(_), _) if is_applied => (whole, false),
            (Some(_), _) => (std::iter::empty().collect(), true),
        };
        Memory { base: Base { enforced, seeded }, is_applied, is_lost }
    }

    /// A folder's memory. Seeds that no mark can hold are never written into a thing that exists: the
    /// next run would not know that a device has taken one away.
    fn remembered_in(&self, desired: &Desired, hash: &str, declared: &Declared, mark: Option<&Mark>) -> Base {
        let all_seeds = Base { seeded: [Pointer::root()].into(), ..Base::default() };
        let mut base = mark.map_or_else(Base::default, |mark| mark.base.clone().unwrap_or(all_seeds));
        let mut probe = Mark::of(&self.facts.identity, Origin::Created, hash.to_owned());
        probe.telemetry.clone_from(&desired.telemetry);
        probe.carry(Base { seeded: plan::base_after_create(declared).seeded, ..Base::default() });
        if probe.base.is_some_and(|base| base.seeds_are_forgotten()) {
            base.seeded.insert(Pointer::root());
        }
        base
    }

    /// Puts `base` into a folder's mark, and says what did not fit.
    pub(super) fn carry(&mut self, mark: &mut Mark, base: Base) {
        let has_paths = !base.enforced.is_empty();
        mark.carry(base);
        let Some(carried) = mark.base.as_ref() else { return };
        let (no_paths, no_seeds) = (has_paths && carried.enforced.is_empty(), carried.seeds_are_forgotten());
        if no_paths {
            let message = "too many paths to remember in the mark: paths taken out of the file are not \
                           removed from the thing";
            self.warn("BaseTooLong", message.into());
        }
        if no_seeds {
            let message = "too many seeds to remember in the mark: those that are missing from a thing that \
                           exists are not written";
            self.warn("BaseTooLong", message.into());
        }
    }
}

/// What of a look an answer of the API server holds for.
fn about(found: Option<&FoundThing>) -> (Option<u64>, Option<Value>) {
    (found.map(|found| found.revision), found.and_then(|found| found.mark.clone()))
}
