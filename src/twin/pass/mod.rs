//! One pass over one twin, as a state machine without I/O.
//!
//! [`TwinPass::start`] and [`TwinPass::step`] choose the next call; the loop in `reconcile/` carries it
//! out. Everything is observed before anything is decided, and after a write nothing is decided on
//! what was seen before it.
mod decide;
mod leave;
mod memory;

use serde_json::{Value, json};

use self::leave::Leaving;
use super::call::FoundThing;
use super::claim::Claim;
use super::desired::Desired;
use super::facts::{PolicyFact, TwinFacts};
use super::json::Pointer;
use super::json::pointer_bytes;
use super::mark::Origin;
use super::ownership::declared;
use super::plan;
use super::reason::{Applied, Held, Note, Outcome, Reason};
use super::request::{Answer, Next, Request};
use super::said::Refused;

/// What a patch's headers hold besides mark and guards, in bytes: their names, the fence, and the frame of
/// `put-metadata`.
const PATCH_FRAME_BYTES: usize = 640;
/// The paths of all declared values together, in bytes. Ditto's largest thing has some 10,000 values; but long
/// names above many of them would take hundreds of megabytes to write out.
const PATHS_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// How often one pass looks at the same thing before it leaves the rest to the next.
pub const LOOKS_MAX: u32 = 4;
/// As [`LOOKS_MAX`], when each look moved some of many seeds closer.
pub const SEED_LOOKS_MAX: u32 = 64;

#[derive(Clone, Debug, PartialEq)]
enum State {
    Finalizing,
    CheckingPolicy { seen: Option<Box<FoundThing>> },
    Looking,
    ReadingStatus { seen: Option<Box<FoundThing>> },
    Creating { pending: Box<Pending> },
    Patching { pending: Box<Pending>, look_again: bool },
    Leaving(Leaving),
}

/// What holds once Ditto took the write under way, and not before.
#[derive(Clone, Debug, PartialEq)]
struct Pending {
    applied: Applied,
    origin: Origin,
    /// It sets back what drifted.
    repairs: bool,
    /// The resource that had the thing until now.
    taken_from: Option<String>,
}

/// One pass: where it stands, and what it has come to so far.
#[derive(Clone, Debug, PartialEq)]
pub struct TwinPass {
    facts: TwinFacts,
    state: State,
    looks: u32,
    looks_max: u32,
    failed_fences: u32,
    policy_checked: bool,
    /// What the API server was asked about: the revision of what was there, and its mark.
    asked_about: Option<(Option<u64>, Option<Value>)>,
    /// A create that nobody looked before: a refusal of it is what the look would have shown.
    is_blind: bool,
    header_room: usize,
    outcome: Outcome,
}

impl TwinPass {
    /// `header_room`: what is left of Ditto's limit on headers for those of one patch, in bytes.
    pub fn start(facts: TwinFacts, header_room: usize) -> (Self, Next) {
        let mut outcome = Outcome::new(Ok(Reason::AlreadyInSync));
        outcome.origin = facts.known.origin;
        outcome.applied.clone_from(&facts.known.applied);
        outcome.revision = facts.known.revision;
        if let Ok(desired) = &facts.desired {
            outcome.id = Some(desired.id.to_string());
        }
        if let PolicyFact::Managed(id) | PolicyFact::Unmanaged(id) = &facts.policy {
            outcome.policy_id = Some(id.to_string());
        }
        let state = State::Looking;
        let mut pass = Self {
            facts,
            state,
            looks: 0,
            looks_max: LOOKS_MAX,
            failed_fences: 0,
            policy_checked: false,
            asked_about: None,
            is_blind: false,
            header_room,
            outcome,
        };
        if let Some(going) = pass.facts.going.clone() {
            return pass.leave(&going);
        }
        if pass.facts.paused {
            return pass.paused();
        }
        let obstacle = pass.obstacle();
        pass.outcome.resolved = obstacle.is_none() && matches!(pass.facts.policy, PolicyFact::Managed(_));
        match obstacle {
            Some((references, held)) => pass.stop(references, held),
            None if pass.facts.has_finalizer => pass.look(),
            None => pass.ask(State::Finalizing, Request::AddFinalizer),
        }
    }

    /// What can be told without asking anybody. `true`: it is about what the twin refers to.
    fn obstacle(&self) -> Option<(bool, Held)> {
        let facts = &self.facts;
        if let Err(why) = &facts.desired {
            return Some((false, Held::new(Reason::InvalidSpec, why)));
        }
        let paths = facts.desired.as_ref().map_or(0, |desired| pointer_bytes(&desired.document));
        if paths > PATHS_BYTES_MAX {
            let message = format!(
                "the paths of all declared values are {paths} bytes together, and {PATHS_BYTES_MAX} may be: shorten \
                 the names above many values, or take levels out"
            );
            return Some((false, Held::new(Reason::TooLarge, message)));
        }
        if let Err(why) = &facts.tenancy {
            return Some((false, Held::new(Reason::NamespaceNotAllowed, why)));
        }
        if let Claim::Taken { by } = &facts.claim {
            return Some((false, Held::new(Reason::ResourceConflict, format!("managed by {by}"))));
        }
        match &facts.policy {
            PolicyFact::NotFound(name) => Some((
                true,
                Held::new(
                    Reason::PolicyNotFound,
                    format!(
                        "there is no TwinPolicy {name:?} in namespace {:?}; create it, or fix spec.policyRef.name",
                        facts.identity.namespace
                    ),
                ),
            )),
            PolicyFact::NotReady(why) => Some((true, Held::new(Reason::PolicyNotReady, why))),
            PolicyFact::Managed(_) | PolicyFact::Unmanaged(_) => None,
        }
    }

    /// Takes the answer to the last call and chooses the next. An answer of the wrong shape is a
    /// mistake in the loop, and ends the pass as if nothing had come back.
    pub fn step(mut self, answer: Answer) -> (Self, Next) {
        match (self.state.clone(), answer) {
            (State::Leaving(leaving), answer) => self.left(leaving, answer),
            (State::Finalizing, Answer::Finalizer(Ok(()))) => self.begin(),
            (State::Finalizing, Answer::Finalizer(Err(why))) => self.stop(
                false,
                Held::new(Reason::BackendUnavailable, format!("the finalizer could not be set: {why}")),
            ),
            (State::Looking, Answer::Thing(Ok(found))) => self.decide(found),
            (State::CheckingPolicy { seen }, Answer::Policy(Ok(policy))) => {
                if let Some(held) = self.policy_obstacle(policy.as_ref().map(|found| &found.body)) {
                    return self.stop(true, held);
                }
                self.policy_checked = true;
                self.decide(seen.map(|found| *found))
            }
            (State::ReadingStatus { seen }, Answer::Status(read)) => self.told(seen, read),
            (State::Creating { pending }, Answer::Written(result)) => self.created(*pending, result),
            (State::Patching { pending, look_again }, Answer::Written(result)) => {
                self.patched(*pending, look_again, result)
            }
            (_, Answer::Thing(Err(refused)) | Answer::Policy(Err(refused))) => {
                self.stop(false, Held::refused(&refused))
            }
            (state, answer) => {
                let message = format!("an answer that fits no question: {answer:?} in {state:?}");
                self.stop(false, Held::new(Reason::BackendUnavailable, message))
            }
        }
    }

    fn desired(&self) -> Option<&Desired> {
        self.facts.desired.as_ref().ok()
    }

    fn wanted_policy(&self) -> String {
        self.outcome.policy_id.clone().unwrap_or_default()
    }

    /// A resource that nobody has passed over mostly has no thing yet. `If-None-Match: *` sees whether it has,
    /// in the same step.
    fn begin(mut self) -> (Self, Next) {
        let is_new = self.facts.known.applied.is_none() && self.facts.known.id.is_none();
        let is_managed = matches!(self.facts.policy, PolicyFact::Managed(_));
        if !is_new || !is_managed || self.facts.folder {
            return self.look();
        }
        self.is_blind = true;
        self.decide(None)
    }

    fn look(mut self) -> (Self, Next) {
        self.looks += 1;
        let Some(desired) = self.desired() else { return self.broken() };
        let declared = declared(desired);
        // A folder's base is in the mark, unseen before the first look: read all that could be in it.
        let fields = if self.facts.folder {
            ["definition", "attributes", "features"].map(|part| Pointer::of([part])).to_vec()
        } else {
            let base = self.facts.known.applied.as_ref().map(|applied| &applied.base);
            plan::needed(&declared, base)
        };
        let id = desired.id.clone();
        self.ask(State::Looking, Request::FindThing { id, fields })
    }

    fn check_policy(self, seen: Option<Box<FoundThing>>) -> (Self, Next) {
        let (PolicyFact::Managed(id) | PolicyFact::Unmanaged(id)) = self.facts.policy.clone() else {
            return self.broken();
        };
        self.ask(State::CheckingPolicy { seen }, Request::FindPolicy { id })
    }

    fn policy_obstacle(&self, policy: Option<&Value>) -> Option<Held> {
        let id = self.wanted_policy();
        let subject = self.facts.subjects.first().map_or("nginx:ditto", String::as_str);
        let what = match policy {
            None => format!("policy {id} is missing, or hidden from TwinOps"),
            Some(body) if super::policy::admits(body, &self.facts.subjects) => return None,
            Some(_) => format!("policy {id} does not let TwinOps manage things"),
        };
        let entry = json!({"twinops": {
            "subjects": { subject: {"type": "twinops"} },
            "resources": {
                "thing:/": {"grant": ["READ", "WRITE"], "revoke": []},
                "policy:/": {"grant": ["READ"], "revoke": []},
            },
        }});
        Some(Held::new(Reason::PolicyNotAccessible, format!("{what}; add this entry to it: {entry}")))
    }

    fn created(mut self, pending: Pending, result: Result<u64, Refused>) -> (Self, Next) {
        let was_blind = std::mem::take(&mut self.is_blind);
        match result {
            Err(Refused::Changed(_) | Refused::Forbidden(_) | Refused::Missing(_)) if was_blind => {
                self.look()
            }
            Ok(revision) => {
                self.wrote(revision, pending);
                self.done()
            }
            Err(Refused::Changed(_)) => {
                let message = self.hidden();
                self.fence_failed(&message)
            }
            Err(refused @ Refused::Missing(_)) if !refused.said().code.starts_with("things:") => {
                let mut held = Held::refused(&refused);
                held.reason = Reason::PolicyNotAccessible;
                held.message = format!("policy {} is missing, or hidden from TwinOps", self.wanted_policy());
                self.stop(true, held)
            }
            Err(refused @ (Refused::Forbidden(_) | Refused::Missing(_))) => {
                let mut held = Held::refused(&refused);
                let policy = self.wanted_policy();
                held.message = format!(
                    "{refused}; policy {policy} does not let TwinOps create it, or {}",
                    self.hidden()
                );
                self.stop(false, held)
            }
            Err(refused) => self.stop(false, Held::refused(&refused)),
        }
    }

    /// Ditto shows no thing and takes none: one is there.
    fn hidden(&self) -> String {
        let id = self.outcome.id.as_deref().unwrap_or_default();
        let subject = self.facts.subjects.first().map_or("TwinOps", String::as_str);
        format!(
            "a thing {id} is there and hidden from TwinOps: give {subject} READ and WRITE on `thing:/` in the policy \
             of that thing"
        )
    }

    fn patched(mut self, pending: Pending, look_again: bool, result: Result<u64, Refused>) -> (Self, Next) {
        match result {
            Ok(revision) => {
                self.wrote(revision, pending);
                self.failed_fences = 0;
                if look_again { self.look_after_write() } else { self.done() }
            }
            // A patch with `If-Match: *` of a thing that went meanwhile.
            Err(Refused::Changed(_) | Refused::Missing(_)) => self.fence_failed(
                "its fence failed twice although it looks ours: somebody writes at the same time, or TwinOps lacks \
                 READ on `thing:/`",
            ),
            Err(refused) => self.stop(false, Held::refused(&refused)),
        }
    }

    /// From here on status would say what was written: later looks of this pass build on it.
    fn wrote(&mut self, revision: u64, pending: Pending) {
        self.outcome.writes += 1;
        self.outcome.revision = Some(revision);
        self.outcome.synced = Ok(Reason::Applied);
        self.outcome.origin = Some(pending.origin);
        self.outcome.observed = true;
        self.outcome.resolved = true;
        if let Some(drift) = self.outcome.drift.as_mut().filter(|_| pending.repairs) {
            drift.repaired = true;
        }
        if let Some(who) = pending.taken_from {
            self.tell("TakenOver", format!("taken over from {who}"), false);
        }
        self.outcome.applied = Some(pending.applied.clone());
        self.facts.known.applied = Some(pending.applied);
    }

    fn look_after_write(mut self) -> (Self, Next) {
        self.facts.known.origin = self.outcome.origin;
        self.facts.known.id.clone_from(&self.outcome.id);
        self.look()
    }

    /// A 412 never tells why: look again and decide anew, twice at most.
    fn fence_failed(mut self, message: &str) -> (Self, Next) {
        const FAILED_FENCES_MAX: u32 = 2;
        self.failed_fences += 1;
        if self.failed_fences < FAILED_FENCES_MAX {
            return self.look();
        }
        self.stop(false, Held::new(Reason::ResourceConflict, message))
    }

    fn paused(mut self) -> (Self, Next) {
        self.outcome.paused = true;
        (self.clone(), Next::Done(Box::new(self.outcome)))
    }

    fn broken(self) -> (Self, Next) {
        self.stop(false, Held::new(Reason::InvalidSpec, "the spec could not be read"))
    }

    /// What the pass has come to until now, for a dry run that stops before a write.
    pub fn so_far(&self) -> Outcome {
        self.outcome.clone()
    }

    fn warn(&mut self, reason: &'static str, message: String) {
        self.tell(reason, message, true);
    }

    /// Once, however often this pass looks.
    fn tell(&mut self, reason: &'static str, message: String, warning: bool) {
        let note = Note { reason, message, warning };
        if !self.outcome.notes.contains(&note) {
            self.outcome.notes.push(note);
        }
    }

    fn ask(mut self, state: State, request: Request) -> (Self, Next) {
        self.state = state;
        (self, Next::Ask(request))
    }

    fn ask_leaving(self, leaving: Leaving, request: Request) -> (Self, Next) {
        self.ask(State::Leaving(leaving), request)
    }

    fn stop(mut self, references: bool, held: Held) -> (Self, Next) {
        if references {
            self.outcome.references = Err(held.clone());
        }
        self.outcome.synced = Err(held);
        self.done()
    }

    fn done(self) -> (Self, Next) {
        let outcome = self.outcome.clone();
        (self, Next::Done(Box::new(outcome)))
    }
}
