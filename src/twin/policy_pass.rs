//! One pass over one policy, as a state machine without I/O. The manner is that of [`super::pass`].
use std::collections::BTreeSet;

use serde_json::Value;

use super::adopt::{self, Case, Ours};
use super::call::{Expect, FoundPolicy};
use super::claim::Claim;
use super::desired::{Access, Adoption, DesiredPolicy, Drift, hash};
use super::facts::PolicyFacts;
use super::json::Pointer;
use super::mark::{Mark, Origin};
use super::policy::{self, Injected, LABEL};
use super::policy_leave::Leaving;
use super::reason::{Drifted, Held, Note, Outcome, Reason};
use super::request::{Answer, Next, Request};
use super::said::Refused;

/// How often one pass looks at the same policy before it leaves the rest to the next.
const LOOKS_MAX: u32 = 4;

#[derive(Clone, Debug, PartialEq)]
enum State {
    Finalizing,
    Looking,
    Writing { origin: Origin },
    Leaving(Leaving),
}

/// What a policy's status keeps besides what every outcome has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyExtras {
    pub hash: Option<String>,
    pub labels: BTreeSet<String>,
    /// Changes whenever the policy as a whole does, whoever changed it.
    pub effective_hash: Option<String>,
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
        };
        let pass = Self { facts, state: State::Looking, looks: 0, outcome, extras };
        if let Some(going) = pass.facts.going.clone() {
            return pass.leave(&going);
        }
        if pass.facts.paused {
            let mut pass = pass;
            pass.outcome.paused = true;
            return pass.done();
        }
        match pass.obstacle() {
            Some(held) => pass.stop(held),
            None if pass.facts.has_finalizer => pass.look(),
            None => pass.ask(State::Finalizing, Request::AddFinalizer),
        }
    }

    fn obstacle(&self) -> Option<Held> {
        let desired = match &self.facts.desired {
            Ok(desired) => desired,
            Err(why) => return Some(Held::new(Reason::InvalidSpec, why)),
        };
        if let Err(why) = &self.facts.tenancy {
            return Some(Held::new(Reason::NamespaceNotAllowed, why));
        }
        if let Claim::Taken { by } = &self.facts.claim {
            return Some(Held::new(Reason::ResourceConflict, format!("managed by {by}")));
        }
        policy::lock_out(desired, &self.facts.subjects).map(|why| Held::new(Reason::InvalidSpec, why))
    }

    pub fn step(mut self, answer: Answer) -> (Self, Next) {
        match (self.state.clone(), answer) {
            (State::Leaving(leaving), answer) => self.left(leaving, answer),
            (State::Finalizing, Answer::Finalizer(Ok(()))) => self.look(),
            (State::Finalizing, Answer::Finalizer(Err(why))) => self.stop(Held::new(
                Reason::BackendUnavailable,
                format!("the finalizer could not be set: {why}"),
            )),
            (State::Looking, Answer::Policy(Ok(found))) => self.decide(found.as_ref()),
            (State::Writing { origin }, Answer::Written(Ok(revision))) => {
                self.outcome.writes += 1;
                self.outcome.revision = Some(revision);
                self.outcome.origin = Some(origin);
                self.outcome.synced = Ok(Reason::Applied);
                self.outcome.observed = true;
                if let Some(drift) = &mut self.outcome.drift {
                    drift.repaired = true;
                }
                self.remember();
                self.done()
            }
            (State::Writing { .. }, Answer::Written(Err(Refused::Changed(_) | Refused::Missing(_)))) => {
                self.look_again()
            }
            (_, Answer::Policy(Err(refused)) | Answer::Written(Err(refused))) => {
                self.stop(Held::refused(&refused))
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
            None => self.stop(Held::new(Reason::InvalidSpec, "spec.policyId is not an id")),
        }
    }

    fn look_again(self) -> (Self, Next) {
        if self.looks < LOOKS_MAX {
            return self.look();
        }
        let message = "it keeps changing, or exists but is hidden from TwinOps: its entries must give TwinOps READ \
                       and WRITE on `policy:/`";
        self.stop(Held::new(Reason::ResourceConflict, message))
    }

    fn decide(mut self, found: Option<&FoundPolicy>) -> (Self, Next) {
        let Ok(desired) = self.facts.desired.clone() else { return self.look_again() };
        let Some(found) = found else {
            let body = self.composed(&desired, None, Origin::Created, None);
            return self.put(body, Expect::Absent, Origin::Created);
        };
        self.outcome.revision = self.outcome.revision.or(Some(found.revision));
        let ours = match self.judge(&desired, found) {
            Ok(ours) => ours,
            Err(held) => return self.stop(held),
        };
        self.outcome.origin = Some(ours.origin);
        self.outcome.observed = true;
        // Under the mark that stands there: a new generation alone is no reason to write.
        let held = ours.mark.as_ref().filter(|held| {
            held.uid == self.facts.identity.uid
                && held.labels.as_ref() == Some(&policy::owned_names(&desired))
        });
        let unmarked = desired.access == Access::Declared;
        if held.is_some() || unmarked {
            let body = self.composed(&desired, Some(found), ours.origin, ours.mark.as_ref());
            if policy::same_policy(&body, &found.body) {
                self.extras.effective_hash = Some(hash(&found.body));
                self.remember();
                return self.done();
            }
        }
        if !self.weigh_drift(&desired, found, ours.mark.as_ref()) {
            return self.done();
        }
        let mark = self.next_mark(&desired, ours.origin, ours.mark.as_ref());
        let body = self.composed_with(&desired, Some(found), ours.mark.as_ref(), &mark);
        self.put(body, Expect::Revision(found.revision), ours.origin)
    }

    fn judge(&self, desired: &DesiredPolicy, found: &FoundPolicy) -> Result<Ours, Held> {
        if desired.access == Access::Declared {
            return self.judge_unmarked(desired, found);
        }
        let note = policy::mark_of(&found.body, &self.facts.subjects);
        let unmanaged = self.composed(desired, Some(found), Origin::Adopted, None);
        let without_access = |body: &Value| {
            let mut body = body.clone();
            for label in [LABEL, policy::BRIDGE_LABEL] {
                Pointer::of(["entries", label]).remove(&mut body);
            }
            body
        };
        adopt::judge(&Case {
            identity: &self.facts.identity,
            adoption: desired.adoption,
            note: note.as_ref(),
            identical: policy::same_policy(&without_access(&unmanaged), &without_access(&found.body)),
            same_policy: true,
            known_ours: !self.facts.folder
                && self.facts.known.labels.contains(LABEL)
                && self.facts.known.id.as_deref() == self.facts.id.as_ref().map(super::id::PolicyId::as_str),
            takeover: self.facts.takeover,
            living: &self.facts.living,
            watched: &self.facts.watched,
            folder: self.facts.folder,
        })
    }

    /// Without a mark status decides; a policy under another resource's mark stays with it.
    fn judge_unmarked(&self, desired: &DesiredPolicy, found: &FoundPolicy) -> Result<Ours, Held> {
        let foreign = policy::mark_of(&found.body, &[]).and_then(|note| Mark::from_json(&note));
        if let Some(mark) = foreign.filter(|mark| mark.uid != self.facts.identity.uid)
            && desired.adoption != Adoption::Always
        {
            let message = format!("it is managed by owner {:?} ({})", mark.owner, mark.place());
            return Err(Held::new(Reason::NotAdoptable, message));
        }
        let known = self.facts.known.origin;
        let identical =
            || policy::same_policy(&self.composed(desired, Some(found), Origin::Adopted, None), &found.body);
        match (known, desired.adoption) {
            (Some(origin), _) => Ok(Ours { origin, fence: String::new(), mark: None }),
            (None, Adoption::Never) => Err(Held::new(
                Reason::NotAdoptable,
                "it exists already, and spec.management.adoption is Never",
            )),
            (None, Adoption::IfIdentical) if !identical() => Err(Held::new(
                Reason::NotAdoptable,
                "it exists and differs from what is declared, and spec.management.adoption is IfIdentical",
            )),
            (None, _) => Ok(Ours { origin: Origin::Adopted, fence: String::new(), mark: None }),
        }
    }

    /// The policy under the mark that stands there, or under a fresh one.
    fn composed(
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

    /// Notes drift, and says whether the policy may be written.
    fn weigh_drift(&mut self, desired: &DesiredPolicy, found: &FoundPolicy, mark: Option<&Mark>) -> bool {
        // In a folder the mark is the memory.
        let applied_before = if self.facts.folder {
            mark.map(|mark| mark.hash.as_str())
        } else {
            self.facts.known.hash.as_deref()
        };
        if applied_before != Some(desired.hash().as_str()) {
            return true;
        }
        let body = self.composed(desired, Some(found), Origin::Created, None);
        let paths: Vec<Pointer> = desired
            .entries
            .keys()
            .map(|label| Pointer::of(["entries", label]))
            .filter(|path| {
                let wrap = |body: &Value| serde_json::json!({"entries": {"x": path.get(body)}});
                path.get(&found.body).is_none() || !policy::same_policy(&wrap(&body), &wrap(&found.body))
            })
            .collect();
        if paths.is_empty() {
            return true;
        }
        if desired.drift != Drift::Ignore {
            let revision = found.revision;
            self.outcome.drift = Some(Drifted { paths, revision, repaired: false, originator: None });
        }
        desired.drift == Drift::Enforce
    }

    fn put(mut self, body: Value, expect: Expect, origin: Origin) -> (Self, Next) {
        let Some(id) = self.facts.id.clone() else { return self.look_again() };
        self.extras.effective_hash = Some(hash(&body));
        self.ask(State::Writing { origin }, Request::PutPolicy { id, body, expect })
    }

    fn remember(&mut self) {
        if let Ok(desired) = &self.facts.desired {
            self.extras.hash = Some(desired.hash());
            self.extras.labels = policy::owned_names(desired);
            if desired.access == Access::Managed {
                self.extras.labels.insert(LABEL.into());
            }
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

    pub(super) fn stop(mut self, held: Held) -> (Self, Next) {
        self.outcome.synced = Err(held);
        self.done()
    }

    pub(super) fn done(self) -> (Self, Next) {
        let outcome = self.outcome.clone();
        (self, Next::Done(Box::new(outcome)))
    }
}
