//! One pass over one policy, as a state machine without I/O. The manner is that of [`super::pass`].
use std::collections::BTreeSet;

use serde_json::Value;

use super::call::{Expect, FoundPolicy};
use super::claim::Claim;
use super::desired::{Access, Adoption, DesiredPolicy, Drift};
use super::facts::{PolicyFact, PolicyFacts};
use super::mark::{Mark, Origin, ascii};
use super::pass::LOOKS_MAX;
use super::policy::{self, Injected, LABEL};
use super::policy_leave::Leaving;
use super::policy_rights::{missing_entry, shut_out};
use super::policy_same::{differing, effective_hash, undeclared};
use super::reason::{Drifted, Held, Note, Outcome, Reason};
use super::request::{Answer, Next, Request};
use super::said::Refused;

const NO_ID: &str = "spec.policyId is not an id";

#[derive(Clone, Debug, PartialEq)]
enum State {
    Finalizing,
    Looking,
    Writing { origin: Origin, body: Value, expect: Expect },
    Leaving(Leaving),
}

/// What a policy's status keeps besides what every outcome has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyExtras {
    pub hash: Option<String>,
    pub labels: BTreeSet<String>,
    /// Changes whenever the policy as a whole does, whoever changed it.
    pub effective_hash: Option<String>,
    /// It was not there and is now: who uses it may be reached again.
    pub created: bool,
}

/// One pass: where it stands, and what it has come to so far.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyPass {
    pub(super) facts: PolicyFacts,
    state: State,
    pub(super) looks: u32,
    pub(super) outcome: Outcome,
    pub extras: PolicyExtras,
}

impl PolicyPass {
    pub fn start(facts: PolicyFacts) -> (Self, Next) {
        let mut outcome = Outcome::new(Ok(Reason::AlreadyInSync));
        outcome.id = facts.id.as_ref().map(ToString::to_string);
        outcome.policy_id.clone_from(&outcome.id);
        outcome.origin = facts.known.origin;
        outcome.revision = facts.known.revision;
        let extras = PolicyExtras {
            hash: facts.known.hash.clone(),
            labels: facts.known.labels.clone(),
            effective_hash: None,
            created: false,
        };
        let mut pass = Self { facts, state: State::Looking, looks: 0, outcome, extras };
        if let Some(going) = pass.facts.going.clone() {
            return pass.leave(&going);
        }
        if pass.facts.paused {
            pass.outcome.paused = true;
            return pass.done();
        }
        let obstacle = pass.obstacle().or_else(|| pass.unready_import());
        let mut imports = pass.facts.imports.named.iter();
        pass.outcome.resolved =
            obstacle.is_none() && imports.all(|(_, fact)| matches!(fact, PolicyFact::Managed(_)));
        match obstacle {
            Some((references, held)) => pass.stop_for(references, held),
            None if pass.facts.has_finalizer => pass.look(),
            None => pass.ask(State::Finalizing, Request::AddFinalizer),
        }
    }

    /// What can be told without asking anybody. `true`: it is about what the policy refers to.
    pub(super) fn obstacle(&self) -> Option<(bool, Held)> {
        let desired = match &self.facts.desired {
            Ok(desired) => desired,
            Err(why) => return Some((false, Held::new(Reason::InvalidSpec, why))),
        };
        if let Err(why) = &self.facts.tenancy {
            return Some((false, Held::new(Reason::NamespaceNotAllowed, why)));
        }
        if let Claim::Taken { by } = &self.facts.claim {
            return Some((false, Held::new(Reason::ResourceConflict, format!("managed by {by}"))));
        }
        let invalid = self.forgotten(desired).or_else(|| self.circle());
        let invalid = invalid.or_else(|| policy::lock_out(desired, &self.facts.subjects));
        invalid.map(|why| (false, Held::new(Reason::InvalidSpec, why)))
    }

    /// What a folder cannot carry out, because without a mark nothing remembers earlier passes.
    fn forgotten(&self, desired: &DesiredPolicy) -> Option<String> {
        if !self.facts.folder || desired.access != Access::Declared {
            return None;
        }
        let (field, word) = match (desired.adoption, desired.drift) {
            (Adoption::Never | Adoption::IfIdentical, _) => ("adoption", "IfUnowned"),
            (_, Drift::Report | Drift::Ignore) => ("drift", "Enforce"),
            _ => return None,
        };
        Some(format!(
            "in a folder nothing remembers a policy with spec.access: Declared, so spec.management.{field} cannot \
             be kept: set it to {word}, or use spec.access: Managed"
        ))
    }

    fn circle(&self) -> Option<String> {
        let circle = self.facts.imports.circle.as_ref()?.join(" imports ");
        Some(format!(
            "{circle}: take one of these imports out; Ditto follows one level only, so nothing is lost"
        ))
    }

    fn unready_import(&self) -> Option<(bool, Held)> {
        self.facts.imports.named.iter().find_map(|(id, fact)| match fact {
            PolicyFact::NotReady(why) => {
                Some((true, Held::new(Reason::PolicyNotReady, format!("it imports {id}: {why}"))))
            }
            _ => None,
        })
    }

    pub fn step(mut self, answer: Answer) -> (Self, Next) {
        match (self.state.clone(), answer) {
            (State::Leaving(leaving), answer) => self.left(leaving, answer),
            (State::Finalizing, Answer::Finalizer(Ok(()))) => self.look(),
            (State::Finalizing, Answer::Finalizer(Err(why))) => self.stop(Held::new(
                Reason::BackendUnavailable,
                format!("the finalizer could not be set: {why}"),
            )),
            (State::Looking, Answer::Policy(Ok(found))) => self.decide(found),
            (State::Writing { origin, body, expect }, Answer::Written(Ok(revision))) => {
                self.outcome.writes += 1;
                self.outcome.revision = Some(revision);
                self.outcome.synced = Ok(Reason::Applied);
                self.outcome.observed = true;
                let is_enforced = self.facts.desired.as_ref().is_ok_and(|d| d.drift == Drift::Enforce);
                if let Some(drift) = &mut self.outcome.drift {
                    drift.repaired = is_enforced;
                }
                self.extras.created = expect == Expect::Absent;
                self.settle(origin, &body)
            }
            (State::Writing { expect, .. }, Answer::Written(Err(refused))) => self.refused(expect, refused),
            (_, Answer::Policy(Err(refused)) | Answer::Written(Err(refused))) => {
                let held = self.shut_out_by(&refused);
                self.stop(held)
            }
            (state, answer) => {
                let message = format!("an answer that fits no question: {answer:?} in {state:?}");
                self.stop(Held::new(Reason::BackendUnavailable, message))
            }
        }
    }

    fn look(mut self) -> (Self, Next) {
        self.looks += 1;
        match self.facts.id.clone() {
            Some(id) => self.ask(State::Looking, Request::FindPolicy { id }),
            None => self.stop(Held::new(Reason::InvalidSpec, NO_ID)),
        }
    }

    /// A write was refused. What stands there is looked at again, as long as that can help.
    fn refused(self, expect: Expect, refused: Refused) -> (Self, Next) {
        let imports =
            self.facts.imports.named.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ");
        match refused {
            Refused::Missing(said) if !imports.is_empty() && self.looks > 1 => {
                let message = format!(
                    "{said}; an imported policy is missing, or hidden from TwinOps: create it or take it out of spec.imports ({imports})"
                );
                self.stop_for(true, Held::new(Reason::PolicyNotAccessible, message))
            }
            Refused::Changed(_) | Refused::Missing(_) if self.looks < LOOKS_MAX => self.look(),
            Refused::Changed(_) | Refused::Missing(_) if expect != Expect::Absent => {
                let message = "it keeps changing while TwinOps writes; the rest follows in the next pass";
                self.stop(Held::new(Reason::ResourceConflict, message))
            }
            Refused::Changed(said) | Refused::Missing(said) => {
                let held = self.shut_out_by(&Refused::Forbidden(said));
                self.stop(held)
            }
            refused => {
                let held = self.shut_out_by(&refused);
                self.stop(held)
            }
        }
    }

    /// What a refusal means. One for want of rights names the entry that gives them.
    fn shut_out_by(&self, refused: &Refused) -> Held {
        let mut held = Held::refused(refused);
        if let Refused::Forbidden(said) = refused {
            let entry = missing_entry(&self.facts.subjects, &self.note_to_add());
            held.message = format!(
                "{said}; the policy does not let TwinOps in: somebody with WRITE on `policy:/` must add this entry \
                 to it: {entry}"
            );
        }
        held
    }

    /// With its mark the policy is known again as ours; without the labels, which may be many.
    fn note_to_add(&self) -> String {
        match (&self.facts.desired, self.facts.known.origin) {
            (Ok(desired), Some(origin)) if desired.access == Access::Managed => {
                ascii(&Mark::of(&self.facts.identity, origin, desired.hash()).to_json())
            }
            _ => LABEL.to_owned(),
        }
    }

    fn decide(mut self, found: Option<FoundPolicy>) -> (Self, Next) {
        let Ok(desired) = self.facts.desired.clone() else {
            return self.stop(Held::new(Reason::InvalidSpec, "the spec could not be read"));
        };
        let Some(found) = found else {
            let body = self.composed(&desired, None, Origin::Created, None);
            return self.put(body, Expect::Absent, Origin::Created);
        };
        let body = policy::without_expired(&found.body, self.facts.now_epoch_seconds);
        let found = FoundPolicy { body, ..found };
        self.outcome.revision = self.outcome.revision.or(Some(found.revision));
        let ours = match self.judge(&desired, &found) {
            Ok(ours) => ours,
            Err(held) => return self.stop(held),
        };
        self.outcome.observed = true;
        // Under the mark that stands there: a new generation alone is no reason to write.
        let held = ours.mark.as_ref().filter(|held| self.still_fits(&desired, held));
        let mut body = self.composed(&desired, Some(&found), ours.origin, ours.mark.as_ref());
        let may_write = self.weigh_drift(&desired, &found, ours.mark.as_ref(), &body);
        let left = |body: Value| {
            if may_write { body } else { policy::with_own_entries_of(&body, &found.body) }
        };
        body = left(body);
        let is_marked = held.is_some() || desired.access == Access::Declared;
        if is_marked && policy::same_policy(&body, &found.body) {
            return self.settle(ours.origin, &body);
        }
        let mark = self.next_mark(&desired, ours.origin, ours.mark.as_ref());
        let body = left(self.composed_with(&desired, Some(&found), ours.mark.as_ref(), &mark));
        self.put(body, Expect::Revision(found.revision), ours.origin)
    }

    /// Whether the mark says of the resource what a new one would.
    fn still_fits(&self, desired: &DesiredPolicy, held: &Mark) -> bool {
        held.uid == self.facts.identity.uid
            && held.labels.as_ref() == Some(&policy::owned_names(desired))
            // In a folder the mark is the memory.
            && (!self.facts.folder || held.hash == desired.hash())
    }

    /// The policy under the mark that stands there, or under a fresh one.
    pub(super) fn composed(
        &self,
        desired: &DesiredPolicy,
        found: Option<&FoundPolicy>,
        origin: Origin,
        held: Option<&Mark>,
    ) -> Value {
        let mark = held.cloned().unwrap_or_else(|| self.next_mark(desired, origin, None));
        self.composed_with(desired, found, held, &mark)
    }

    fn composed_with(
        &self,
        desired: &DesiredPolicy,
        found: Option<&FoundPolicy>,
        held: Option<&Mark>,
        mark: &Mark,
    ) -> Value {
        let mut before = self.facts.known.labels.clone();
        before.extend(held.and_then(|held| held.labels.clone()).unwrap_or_default());
        let injected =
            Injected { mark, subjects: &self.facts.subjects, bridge: self.facts.bridge.as_deref() };
        policy::compose(desired, found.map(|f| &f.body), &before, &injected, self.facts.now_epoch_seconds)
    }

    fn next_mark(&self, desired: &DesiredPolicy, origin: Origin, held: Option<&Mark>) -> Mark {
        let mut mark = Mark::of(&self.facts.identity, origin, desired.hash());
        mark.labels = Some(policy::owned_names(desired));
        if self.facts.folder {
            mark.generation = held.map_or(1, |held| held.generation + i64::from(held.hash != mark.hash));
        }
        mark
    }

    /// Notes drift, and says whether more than our own entries may be written.
    fn weigh_drift(
        &mut self,
        desired: &DesiredPolicy,
        found: &FoundPolicy,
        mark: Option<&Mark>,
        body: &Value,
    ) -> bool {
        // In a folder the mark is the memory.
        let applied_before = if self.facts.folder {
            mark.map(|mark| mark.hash.as_str())
        } else {
            self.facts.known.hash.as_deref()
        };
        if applied_before != Some(desired.hash().as_str()) {
            return true;
        }
        let paths = differing(body, &found.body);
        if paths.is_empty() {
            return true;
        }
        if desired.drift != Drift::Ignore {
            let revision = found.revision;
            self.outcome.drift = Some(Drifted { paths, revision, repaired: false, originator: None });
        }
        desired.drift == Drift::Enforce
    }

    fn put(self, body: Value, expect: Expect, origin: Origin) -> (Self, Next) {
        let Some(id) = self.facts.id.clone() else { return self.stop(Held::new(Reason::InvalidSpec, NO_ID)) };
        let state = State::Writing { origin, body: body.clone(), expect };
        self.ask(state, Request::PutPolicy { id, body, expect })
    }

    /// The policy stands as it should. Whether it still lets TwinOps work is another matter.
    fn settle(mut self, origin: Origin, body: &Value) -> (Self, Next) {
        let Ok(desired) = self.facts.desired.clone() else { return self.done() };
        self.outcome.origin = Some(origin);
        self.extras.effective_hash = Some(effective_hash(body));
        self.extras.hash = Some(desired.hash());
        self.extras.labels = policy::owned_names(&desired);
        if desired.access == Access::Managed {
            self.extras.labels.insert(LABEL.into());
        }
        self.say_what_stays(&desired, body);
        match shut_out(body, &self.facts.subjects).filter(|_| !desired.allow_lockout) {
            Some(why) => self.stop(Held::new(Reason::Forbidden, why)),
            None => self.done(),
        }
    }

    /// Without mark and status nobody knows what was declared before.
    fn say_what_stays(&mut self, desired: &DesiredPolicy, body: &Value) {
        if !self.facts.folder || desired.access != Access::Declared {
            return;
        }
        let paths: Vec<_> = undeclared(desired, body).iter().map(ToString::to_string).collect();
        if !paths.is_empty() {
            self.note(
                "Unremembered",
                format!(
                    "it also holds {}: with spec.access: Declared a folder remembers nothing, so what is taken out \
                     of the file stays in the policy; take it out there, or use spec.access: Managed",
                    paths.join(", ")
                ),
            );
        }
    }

    /// What the pass has come to until now, for a dry run that stops before a write.
    pub fn so_far(&self) -> Outcome {
        self.outcome.clone()
    }

    pub(super) fn note(&mut self, reason: &'static str, message: String) {
        self.outcome.notes.push(Note { reason, message, warning: true });
    }

    fn ask(mut self, state: State, request: Request) -> (Self, Next) {
        self.state = state;
        (self, Next::Ask(request))
    }

    pub(super) fn ask_leaving(self, leaving: Leaving, request: Request) -> (Self, Next) {
        self.ask(State::Leaving(leaving), request)
    }

    fn stop_for(mut self, references: bool, held: Held) -> (Self, Next) {
        if references {
            self.outcome.references = Err(held.clone());
        }
        self.stop(held)
    }

    pub(super) fn stop(mut self, held: Held) -> (Self, Next) {
        self.outcome.synced = Err(held);
        self.done()
    }

    pub(super) fn done(self) -> (Self, Next) {
        let outcome = self.outcome.clone();
        (self, Next::Done(Box::new(outcome)))
    }
}
