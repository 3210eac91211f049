//! The end of a twin: delete the thing, or take the mark off and leave it.
//!
//! The id comes from the spec, never from status alone, and the mark in Ditto decides: a status edited
//! by hand deletes nothing.
use serde_json::json;

use super::super::call::{FoundThing, Metadata, ThingPatch};
use super::super::claim::Claim;
use super::super::desired::Deletion;
use super::super::facts::Going;
use super::super::id::ThingId;
use super::super::mark::{Mark, Origin};
use super::super::reason::{Held, Reason};
use super::super::request::{Answer, Next, Request};
use super::super::rql_text;
use super::super::said::Refused;
use super::{LOOKS_MAX, TwinPass};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Leaving {
    Deleting,
    /// A fence failed: see whose the thing is now.
    Looking,
    /// See which policy the thing is under, to patch it without a change.
    Releasing,
    TakingMark,
    Finalizing,
}

impl TwinPass {
    pub(super) fn leave(mut self, going: &Going) -> (Self, Next) {
        if !self.facts.has_finalizer {
            self.outcome.finished = true;
            return self.done();
        }
        let hands_off = if self.facts.paused { Some("it is suspended or paused") } else { going.hands_off };
        if let Some(why) = hands_off {
            self.warn("LeftInDitto", format!("the thing stays in Ditto with its mark, because {why}"));
            return self.finalize();
        }
        let Some(id) = self.facts.id.clone() else { return self.finalize() };
        if matches!(self.facts.claim, Claim::Taken { .. }) {
            // The other resource holds the thing: nothing is sent.
            return self.finalize();
        }
        if let Some(why) = &going.held {
            let held = Held::new(Reason::DeletionHeld, why);
            return self.stop(false, held);
        }
        if going.release {
            return self.look_to_release(id);
        }
        let uid = &self.facts.identity.uid;
        let condition = match (self.deletion(), self.facts.known.origin) {
            (Some(Deletion::Delete), _) => rql_text::marked(uid),
            (None, None | Some(Origin::Created)) => rql_text::marked_created(uid),
            (Some(Deletion::Retain), _) | (None, Some(Origin::Adopted)) => return self.look_to_release(id),
        };
        self.ask_leaving(Leaving::Deleting, Request::DeleteThing { id, condition })
    }

    fn deletion(&self) -> Option<Deletion> {
        self.facts.desired.as_ref().ok().and_then(|desired| desired.deletion)
    }

    pub(super) fn left(mut self, leaving: Leaving, answer: Answer) -> (Self, Next) {
        match (leaving, answer) {
            (Leaving::Deleting, Answer::Deleted(Ok(()))) => {
                self.outcome.writes += 1;
                self.outcome.deleted = true;
                self.finalize()
            }
            (Leaving::Deleting, Answer::Deleted(Err(Refused::Missing(_))))
            | (Leaving::TakingMark, Answer::Written(Err(Refused::Missing(_)))) => self.finalize(),
            (Leaving::Deleting, Answer::Deleted(Err(Refused::Changed(_)))) => self.look_whose(),
            (Leaving::Looking, Answer::Thing(Ok(found))) => self.whose(found.as_ref()),
            (Leaving::Releasing, Answer::Thing(Ok(found))) => self.take_mark(found.as_ref()),
            (Leaving::TakingMark, Answer::Written(Ok(_))) => {
                self.outcome.writes += 1;
                self.finalize()
            }
            // A refused fence never tells why: only another look does.
            (Leaving::TakingMark, Answer::Written(Err(Refused::Changed(_)))) if self.looks < LOOKS_MAX => {
                match self.facts.id.clone() {
                    Some(id) => self.look_to_release(id),
                    None => self.finalize(),
                }
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
                Answer::Deleted(Err(refused)) | Answer::Thing(Err(refused)) | Answer::Written(Err(refused)),
            ) => {
                let mut held = Held::refused(&refused);
                held.reason = Reason::DeletionFailed;
                self.stop(false, held)
            }
            (leaving, answer) => {
                self.fail(format!("an answer that fits no question: {answer:?} in {leaving:?}"))
            }
        }
    }

    fn look_whose(self) -> (Self, Next) {
        match self.facts.id.clone() {
            Some(id) => self.ask_leaving(Leaving::Looking, Request::FindThing { id, fields: vec![] }),
            None => self.finalize(),
        }
    }

    fn look_to_release(mut self, id: ThingId) -> (Self, Next) {
        self.looks += 1;
        self.ask_leaving(Leaving::Releasing, Request::FindThing { id, fields: vec![] })
    }

    /// Ditto answers a fenced DELETE of a hidden thing with 412, and of a missing one with 404.
    fn whose(mut self, found: Option<&FoundThing>) -> (Self, Next) {
        let Some(found) = found else {
            return self.fail(
                "it is there but hidden from TwinOps; give its subject READ and WRITE on `thing:/`".into(),
            );
        };
        match mark_of(found) {
            Some(mark) if mark.uid == self.facts.identity.uid => {
                if self.deletion().is_none() && mark.origin == Origin::Adopted {
                    return self.take_mark(Some(found));
                }
                self.fail(
                    "its fence failed although it is marked as ours; TwinOps may lack READ on part of it"
                        .into(),
                )
            }
            Some(mark) => {
                self.warn("LeftInDitto", format!("the thing stays: it is managed by {} now", mark.place()));
                self.finalize()
            }
            None => {
                self.warn("LeftInDitto", "the thing stays: it does not carry our mark".into());
                self.finalize()
            }
        }
    }

    fn take_mark(self, found: Option<&FoundThing>) -> (Self, Next) {
        let (Some(found), Some(id)) = (found, self.facts.id.clone()) else { return self.finalize() };
        if mark_of(found).is_none_or(|mark| mark.uid != self.facts.identity.uid) {
            return self.finalize();
        }
        let patch = ThingPatch {
            // Ditto refuses an empty patch: say again what is there.
            body: json!({ "policyId": found.policy_id }),
            condition: rql_text::marked(&self.facts.identity.uid),
            guards: vec![],
            metadata: Metadata::Delete,
        };
        self.ask_leaving(Leaving::TakingMark, Request::PatchThing { id, patch })
    }

    fn finalize(self) -> (Self, Next) {
        self.ask_leaving(Leaving::Finalizing, Request::RemoveFinalizer)
    }

    fn fail(mut self, message: String) -> (Self, Next) {
        self.warn("DeletionFailed", message.clone());
        self.stop(false, Held::new(Reason::DeletionFailed, message))
    }
}

fn mark_of(found: &FoundThing) -> Option<Mark> {
    found.mark.as_ref().and_then(Mark::from_json)
}
