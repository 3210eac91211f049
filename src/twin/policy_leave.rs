//! The end of a policy: wait until nobody uses it, then delete it, or take our entry out and leave it.
use serde_json::{Value, json};

use super::call::{Expect, FoundPolicy};
use super::claim::Claim;
use super::desired::{Access, Deletion};
use super::facts::Going;
use super::json::Pointer;
use super::mark::{Mark, Origin};
use super::policy::{self, BRIDGE_LABEL, LABEL};
use super::policy_pass::PolicyPass;
use super::reason::{Again, Held, Reason};
use super::request::{Answer, Next, Request};
use super::said::Refused;

/// How often search is asked again, in milliseconds, while it still shows users.
const ASK_AGAIN_MS: u64 = 2_000;
/// How often in a row before it is asked only rarely: the index may lag by seconds, not by minutes.
const ASK_AGAIN_MAX: u32 = 15;
/// How often a policy that changes under our hands is looked at before the next pass takes over.
const LOOKS_MAX: u32 = 4;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Leaving {
    Counting,
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
        if going.release || self.deletion() == Deletion::Retain {
            return self.ask_leaving(Leaving::LookingToRelease, Request::FindPolicy { id });
        }
        if self.facts.used_by > 0 {
            let users = self.facts.used_by;
            let message = format!("{users} twins use this policy; delete them or give them another one");
            return self.held_for_users(message);
        }
        self.ask_leaving(Leaving::Counting, Request::CountUsers { id })
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
            (Leaving::Counting, Answer::Users(Ok(things))) => self.held_for_users(format!(
                "{things} things in Ditto use this policy; delete them or give them another one"
            )),
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
        let declared = self.facts.desired.as_ref().is_ok_and(|d| d.access == Access::Declared);
        let mark = policy::mark_of(&found.body, &self.facts.subjects).and_then(|note| Mark::from_json(&note));
        match mark {
            Some(mark) => mark.uid == self.facts.identity.uid,
            // Without a mark only status can say that it was ever ours.
            None => declared && self.facts.known.origin.is_some(),
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
        let (Some(mut found), Some(id)) = (found, self.facts.id.clone()) else { return self.finalize() };
        let entry = Pointer::of(["entries", LABEL]);
        if !self.is_ours(&found) || entry.get(&found.body).is_none() {
            return self.finalize();
        }
        if self.facts.used_by > 0 {
            // Twins still need our access: only the note goes.
            let subjects = entry.child("subjects");
            let held = subjects.get(&found.body).and_then(Value::as_object).cloned().unwrap_or_default();
            for subject in held.keys() {
                subjects.child(subject).set(&mut found.body, json!({"type": LABEL}));
            }
        } else {
            entry.remove(&mut found.body);
            Pointer::of(["entries", BRIDGE_LABEL]).remove(&mut found.body);
        }
        let expect = Expect::Revision(found.revision);
        self.ask_leaving(Leaving::Releasing, Request::PutPolicy { id, body: found.body, expect })
    }

    fn held_for_users(self, message: String) -> (Self, Next) {
        let mut held = Held::new(Reason::DeletionHeld, message);
        if self.facts.held_before < ASK_AGAIN_MAX {
            held.again = Again::AfterMs(ASK_AGAIN_MS);
        }
        self.stop(held)
    }

    fn finalize(self) -> (Self, Next) {
        self.ask_leaving(Leaving::Finalizing, Request::RemoveFinalizer)
    }

    fn fail(self, message: String) -> (Self, Next) {
        self.stop(Held::new(Reason::DeletionFailed, message))
    }
}
