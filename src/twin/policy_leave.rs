//! The end of a policy: wait until nobody uses it, then delete it, or take our entry out and leave it.
use serde_json::{Value, json};

use super::call::{Expect, FoundPolicy};
use super::claim::Claim;
use super::desired::{Access, Deletion};
use super::facts::Going;
use super::json::Pointer;
use super::mark::{Mark, Origin};
use super::pass::LOOKS_MAX;
use super::policy::{self, BRIDGE_LABEL, LABEL};
use super::policy_pass::PolicyPass;
use super::reason::{Again, Held, Reason};
use super::request::{Answer, Next, Request};
use super::said::Refused;

/// How often search is asked again, in milliseconds, while it still shows users.
const ASK_AGAIN_MS: u64 = 2_000;
/// How often in a row before it is asked only rarely: the index may lag by seconds, not by minutes.
const ASK_AGAIN_MAX: u32 = 15;
/// Why a folder keeps its hands off a policy without a mark.
const NOTHING_TELLS: &str = "with spec.access: Declared it carries no mark, and a folder remembers nothing else that would say it is ours";

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Leaving {
    Counting,
    /// It is held for those who use it: see whether it is there for them.
    LookingForUsers(Box<Held>),
    /// It was gone, and what is under it out of reach.
    Recreating(Box<Held>),
    LookingToDelete,
    Deleting,
    LookingToRelease,
    Releasing,
    Finalizing,
}

impl PolicyPass {
    pub(super) fn leave(mut self, going: &Going) -> (Self, Next) {
        if !self.facts.has_finalizer {
            self.outcome.finished = true;
            return self.done();
        }
        let hands_off = if self.facts.paused { Some("it is suspended or paused") } else { going.hands_off };
        if let Some(why) = hands_off {
            self.note("LeftInDitto", format!("the policy stays in Ditto with its mark, because {why}"));
            return self.finalize();
        }
        let Some(id) = self.facts.id.clone() else { return self.finalize() };
        if matches!(self.facts.claim, Claim::Taken { .. }) {
            return self.finalize();
        }
        if let Some(why) = &going.held {
            let held = Held::new(Reason::DeletionHeld, why);
            return self.stop(held);
        }
        if self.facts.folder && self.is_declared() {
            self.note(
                "LeftInDitto",
                format!("the policy stays: {NOTHING_TELLS}; delete it in Ditto if nobody needs it"),
            );
            return self.finalize();
        }
        if going.release || self.deletion() == Deletion::Retain {
            return self.ask_leaving(Leaving::LookingToRelease, Request::FindPolicy { id });
        }
        // A twin or policy that goes wakes this one.
        if self.facts.used_by > 0 {
            let users = self.facts.used_by;
            let message = format!("{users} twins use this policy; delete them or give them another one");
            return self.hold(Held::new(Reason::DeletionHeld, message));
        }
        if let Some(by) = self.facts.imports.by.first() {
            let message = format!("TwinPolicy {by} imports this policy; delete it or take the import out");
            return self.hold(Held::new(Reason::DeletionHeld, message));
        }
        self.ask_leaving(Leaving::Counting, Request::CountUsers { id })
    }

    fn is_declared(&self) -> bool {
        self.facts.desired.as_ref().is_ok_and(|desired| desired.access == Access::Declared)
    }

    /// Without a mark nothing proves that the policy was created here: `Declared` keeps it unless told.
    fn deletion(&self) -> Deletion {
        let desired = self.facts.desired.as_ref().ok();
        match (desired.and_then(|d| d.deletion), desired.map(|d| d.access), self.facts.known.origin) {
            (Some(deletion), _, _) => deletion,
            (None, Some(Access::Declared), _) | (None, _, Some(Origin::Adopted)) => Deletion::Retain,
            (None, _, _) => Deletion::Delete,
        }
    }

    pub(super) fn left(mut self, leaving: Leaving, answer: Answer) -> (Self, Next) {
        match (leaving, answer) {
            (Leaving::Counting, Answer::Users(Ok(0))) => self.look_to_delete(),
            (Leaving::Counting, Answer::Users(Ok(things))) => self.hold_for_things(things),
            (Leaving::LookingForUsers(held), Answer::Policy(Ok(Some(_)) | Err(_)))
            | (Leaving::Recreating(held), Answer::Written(Err(Refused::Changed(_)))) => self.stop(*held),
            (Leaving::LookingForUsers(held), Answer::Policy(Ok(None))) => self.recreate(held),
            (Leaving::Recreating(held), Answer::Written(Ok(revision))) => {
                self.recreated(revision);
                self.stop(*held)
            }
            (Leaving::LookingToDelete, Answer::Policy(Ok(found))) => self.delete(found.as_ref()),
            (Leaving::LookingToRelease, Answer::Policy(Ok(found))) => self.release(found),
            (Leaving::Deleting, Answer::Deleted(Ok(()))) => {
                self.outcome.writes += 1;
                self.outcome.deleted = true;
                self.finalize()
            }
            (Leaving::Deleting, Answer::Deleted(Err(Refused::Missing(_)))) => self.finalize(),
            (Leaving::Deleting, Answer::Deleted(Err(Refused::Changed(_)))) if self.looks < LOOKS_MAX => {
                self.look_to_delete()
            }
            (Leaving::Releasing, Answer::Written(Ok(_))) => {
                self.outcome.writes += 1;
                self.finalize()
            }
            (Leaving::Releasing, Answer::Written(Err(Refused::Forbidden(said)))) => {
                // Nobody else may write `policy:/`: without our entry the policy would belong to no one.
                self.note("AccessKept", format!("the entry {LABEL} stays in the policy: {said}"));
                self.finalize()
            }
            (Leaving::Finalizing, Answer::Finalizer(Ok(()))) => {
                self.outcome.finished = true;
                self.done()
            }
            (Leaving::Finalizing, Answer::Finalizer(Err(why))) => {
                self.fail(format!("the finalizer could not be taken off: {why}"))
            }
            (
                _,
                Answer::Deleted(Err(refused))
                | Answer::Policy(Err(refused))
                | Answer::Written(Err(refused))
                | Answer::Users(Err(refused)),
            ) => {
                let mut held = Held::refused(&refused);
                held.reason = Reason::DeletionFailed;
                self.stop(held)
            }
            (leaving, answer) => {
                self.fail(format!("an answer that fits no question: {answer:?} in {leaving:?}"))
            }
        }
    }

    fn look_to_delete(mut self) -> (Self, Next) {
        self.looks += 1;
        match self.facts.id.clone() {
            Some(id) => self.ask_leaving(Leaving::LookingToDelete, Request::FindPolicy { id }),
            None => self.finalize(),
        }
    }

    fn is_ours(&self, found: &FoundPolicy) -> bool {
        let mark = policy::mark_of(&found.body, &self.facts.subjects).and_then(|note| Mark::from_json(&note));
        match mark {
            Some(mark) => mark.uid == self.facts.identity.uid,
            // Without a mark only status can say that it was ever ours.
            None => self.is_declared() && self.facts.known.origin.is_some(),
        }
    }

    fn delete(mut self, found: Option<&FoundPolicy>) -> (Self, Next) {
        let (Some(found), Some(id)) = (found, self.facts.id.clone()) else { return self.finalize() };
        if !self.is_ours(found) {
            self.note("LeftInDitto", "the policy stays: it does not carry our mark".into());
            return self.finalize();
        }
        let mark = policy::mark_of(&found.body, &self.facts.subjects).and_then(|note| Mark::from_json(&note));
        let adopted = mark.is_some_and(|mark| mark.origin == Origin::Adopted);
        if adopted && self.facts.desired.as_ref().ok().and_then(|d| d.deletion).is_none() {
            return self.release(Some(found.clone()));
        }
        let expect = Expect::Revision(found.revision);
        self.ask_leaving(Leaving::Deleting, Request::DeletePolicy { id, expect })
    }

    fn release(self, found: Option<FoundPolicy>) -> (Self, Next) {
        let Some(id) = self.facts.id.clone() else { return self.finalize() };
        let entry = Pointer::of(["entries", LABEL]);
        let is_used = self.facts.used_by > 0;
        let (mut body, expect) = match found {
            Some(found) if self.is_ours(&found) => {
                let expect = Expect::Revision(found.revision);
                (policy::without_expired(&found.body, self.facts.now_epoch_seconds), expect)
            }
            // Its twins need it to be reached at all.
            None if is_used => match self.anew() {
                Some(body) => (body, Expect::Absent),
                None => return self.finalize(),
            },
            _ => return self.finalize(),
        };
        if expect != Expect::Absent && entry.get(&body).is_none() {
            return self.finalize();
        }
        if is_used {
            // Twins still need our access: only the note goes.
            let subjects = entry.child("subjects");
            let held = subjects.get(&body).and_then(Value::as_object).cloned().unwrap_or_default();
            for subject in held.keys() {
                subjects.child(subject).set(&mut body, json!({"type": LABEL}));
            }
        } else {
            entry.remove(&mut body);
            Pointer::of(["entries", BRIDGE_LABEL]).remove(&mut body);
        }
        self.ask_leaving(Leaving::Releasing, Request::PutPolicy { id, body, expect })
    }

    /// The policy as it would be made today; `None` when the spec does not allow that.
    fn anew(&self) -> Option<Value> {
        let desired = self.facts.desired.as_ref().ok().filter(|_| self.obstacle().is_none())?;
        Some(self.composed(desired, None, Origin::Created, None))
    }

    /// Held, and there for those who use it: under a policy that is missing Ditto shows and deletes nothing.
    fn hold(self, held: Held) -> (Self, Next) {
        match self.facts.id.clone() {
            Some(id) => {
                self.ask_leaving(Leaving::LookingForUsers(Box::new(held)), Request::FindPolicy { id })
            }
            None => self.stop(held),
        }
    }

    fn hold_for_things(mut self, things: u64) -> (Self, Next) {
        self.outcome.things = things;
        let message = "things in Ditto use this policy; delete them or give them another one";
        let mut held = Held::new(Reason::DeletionHeld, message);
        // Their end wakes nobody, and search may lag.
        if self.facts.held_before < ASK_AGAIN_MAX {
            held.again = Again::AfterMs(ASK_AGAIN_MS);
        }
        self.hold(held)
    }

    fn recreate(self, mut held: Box<Held>) -> (Self, Next) {
        let (Some(id), Some(body)) = (self.facts.id.clone(), self.anew()) else {
            held.message.push_str(
                "; it is missing in Ditto and cannot be made again from this spec: repair the spec",
            );
            return self.stop(*held);
        };
        let expect = Expect::Absent;
        self.ask_leaving(Leaving::Recreating(held), Request::PutPolicy { id, body, expect })
    }

    fn recreated(&mut self, revision: u64) {
        self.outcome.writes += 1;
        self.outcome.revision = Some(revision);
        self.outcome.origin = Some(Origin::Created);
        self.extras.created = true;
        self.note(
            "Recreated",
            "the policy was missing in Ditto while it was in use: it was made again, until nobody uses it"
                .into(),
        );
    }

    fn finalize(self) -> (Self, Next) {
        self.ask_leaving(Leaving::Finalizing, Request::RemoveFinalizer)
    }

    fn fail(self, message: String) -> (Self, Next) {
        self.stop(Held::new(Reason::DeletionFailed, message))
    }
}
