//! Decides over what was seen: create, patch, or nothing.
use serde_json::json;

use super::super::adopt::{self, Case, Ours};
use super::super::call::{FoundThing, Metadata, ThingPatch};
use super::super::desired::{Desired, Drift};
use super::super::facts::PolicyFact;
use super::super::json::Pointer;
use super::super::mark::{BASE_BYTES_MAX, MARK_BYTES_MAX, Mark, Origin, ascii};
use super::super::ownership::{Declared, declared};
use super::super::plan::{self, Changes};
use super::super::reason::{Applied, Drifted, Held, Reason};
use super::super::request::{Next, Request};
use super::{PATCH_FRAME_BYTES, Pending, SEED_LOOKS_MAX, State, TwinPass};

/// A thing that may be written, and what is wanted of it.
struct Judged<'a> {
    desired: &'a Desired,
    hash: String,
    ours: Ours,
    found: &'a FoundThing,
    same_policy: bool,
}

impl TwinPass {
    pub(super) fn decide(mut self, found: Option<FoundThing>) -> (Self, Next) {
        let Some(desired) = self.desired().cloned() else { return self.broken() };
        let declared = declared(&desired);
        let Some(found) = found else { return self.missing(&desired, &declared) };
        self.outcome.revision = self.outcome.revision.or(Some(found.revision));
        let same_policy = found.policy_id.as_deref() == Some(&self.wanted_policy());
        self.outcome.resolved |= same_policy || self.policy_checked;
        let ours = match self.judge(&desired, &declared, &found, same_policy) {
            Ok(ours) => ours,
            Err(held) => return self.stop(false, held),
        };
        if ours.mark.is_some() {
            // An adoption counts only once its write was taken.
            self.outcome.origin = Some(ours.origin);
        }
        if self.is_untold(&found, ours.mark.as_ref()) {
            return self.read_status(Some(found));
        }
        let hash = desired.hash();
        let memory = self.recall(&desired, &hash, &declared, ours.mark.as_ref());
        if memory.is_lost {
            let message = "nobody remembers which paths were written last: nothing is removed in this pass";
            self.warn("BaseLost", message.into());
        }
        let room = self.guard_room(&desired, &hash);
        let changes = plan::changes(&desired, &declared, Some(&memory.base), &found.document, room);
        if let Some(path) = &changes.unseedable {
            let message = format!(
                "the path {path} is too long to be seeded safely in Ditto's 5,120 bytes of headers; shorten its keys or the credentials, or set its mode to Enforce or Ignore"
            );
            return self.stop(false, Held::new(Reason::InvalidSpec, message));
        }
        if self.is_behind(&found, &changes) {
            return self.read_status(Some(found));
        }
        let mut differing = changes.differing.clone();
        differing.extend((!same_policy).then(|| Pointer::of(["policyId"])));
        let with_owned = self.weigh_drift(desired.drift, memory.is_applied, differing, found.revision);
        if with_owned && !same_policy && !self.policy_checked {
            // Ditto takes a policy that is not there, and the thing is out of reach from then on.
            return self.check_policy(Some(Box::new(found)));
        }
        self.write(Judged { desired: &desired, hash, ours, found: &found, same_policy }, changes, with_owned)
    }

    fn judge(
        &self,
        desired: &Desired,
        declared: &Declared,
        found: &FoundThing,
        same_policy: bool,
    ) -> Result<Ours, Held> {
        adopt::judge(&Case {
            identity: &self.facts.identity,
            adoption: desired.adoption,
            note: found.mark.as_ref(),
            identical: same_policy && plan::is_satisfied(declared, &found.document),
            same_policy,
            known_ours: self.was_ours(desired),
            takeover: self.facts.takeover,
            living: &self.facts.living,
            watched: &self.facts.watched,
            folder: self.facts.folder,
        })
    }

    /// Status says that this very thing was ours before.
    pub(super) fn was_ours(&self, desired: &Desired) -> bool {
        let known = &self.facts.known;
        !self.facts.folder && known.origin.is_some() && known.id.as_deref() == Some(desired.id.as_str())
    }

    /// What the headers of one patch have left for guards. A folder's base is not known yet: its most is
    /// kept free.
    fn guard_room(&self, desired: &Desired, hash: &str) -> usize {
        let mut mark = Mark::of(&self.facts.identity, Origin::Created, hash.to_owned());
        mark.telemetry.clone_from(&desired.telemetry);
        let bytes = ascii(&mark.to_json()).len();
        let mark = if self.facts.folder { (bytes + BASE_BYTES_MAX).min(MARK_BYTES_MAX) } else { bytes };
        self.header_room.saturating_sub(mark + PATCH_FRAME_BYTES)
    }

    /// Notes drift, and says whether owned paths may be written. What differs from a document that was
    /// not written before is an edit, and no drift.
    fn weigh_drift(&mut self, mode: Drift, is_applied: bool, paths: Vec<Pointer>, revision: u64) -> bool {
        self.outcome.observed = true;
        if is_applied && !paths.is_empty() {
            return self.drifted(mode, paths, revision);
        }
        if self.outcome.writes == 0 {
            // What an earlier look of this pass showed has passed.
            self.outcome.drift = None;
        }
        true
    }

    fn drifted(&mut self, mode: Drift, paths: Vec<Pointer>, revision: u64) -> bool {
        let originator = self.facts.originator.clone();
        let drifted = Drifted { paths, revision, repaired: false, originator };
        self.outcome.drift = (mode != Drift::Ignore).then_some(drifted);
        mode == Drift::Enforce
    }

    fn write(mut self, judged: Judged<'_>, changes: Changes, with_owned: bool) -> (Self, Next) {
        let Judged { desired, hash, ours, found, same_policy } = judged;
        let mut body = changes.body(with_owned);
        if with_owned && !same_policy {
            body["policyId"] = json!(self.wanted_policy());
        }
        let mut mark = self.next_mark(desired, &hash, &ours);
        if self.facts.folder {
            self.carry(&mut mark, changes.base.clone());
        }
        let note = mark.to_json();
        let mark_due = match &ours.mark {
            None => true,
            Some(_) if self.facts.folder => found.mark.as_ref() != Some(&note),
            Some(held) => {
                let is_other = held.uid != mark.uid || held.place() != mark.place();
                is_other || held.hash != mark.hash || held.generation > mark.generation
            }
        };
        let applied = Applied { hash, base: changes.base };
        if body.as_object().is_none_or(serde_json::Map::is_empty) {
            if !mark_due {
                self.outcome.applied = Some(applied);
                return self.done();
            }
            // Ditto refuses an empty patch: say again what is there.
            body = json!({ "policyId": found.policy_id });
        }
        if !changes.guards.is_empty() {
            self.looks_max = SEED_LOOKS_MAX;
        }
        if self.looks > self.looks_max {
            return self.keeps_changing();
        }
        let look_again = !changes.guards.is_empty() || changes.postponed;
        let pending =
            Pending { applied, origin: ours.origin, repairs: with_owned, taken_from: self.taken_from(found) };
        let patch =
            ThingPatch { body, condition: ours.fence, guards: changes.guards, metadata: Metadata::Put(note) };
        let state = State::Patching { pending: Box::new(pending), look_again };
        self.ask(state, Request::PatchThing { id: desired.id.clone(), patch })
    }

    pub(super) fn keeps_changing(self) -> (Self, Next) {
        let message = "it keeps changing while TwinOps writes; the rest follows in the next pass";
        self.stop(false, Held::new(Reason::BackendUnavailable, message))
    }

    fn next_mark(&self, desired: &Desired, hash: &str, ours: &Ours) -> Mark {
        let mut mark = Mark::of(&self.facts.identity, ours.origin, hash.to_owned());
        mark.telemetry.clone_from(&desired.telemetry);
        if self.facts.folder {
            mark.generation = match &ours.mark {
                Some(held) => held.generation + i64::from(held.hash != hash),
                None => 1,
            };
        }
        mark
    }

    /// Who had the thing until now, when that is another resource.
    fn taken_from(&self, found: &FoundThing) -> Option<String> {
        let mark = found.mark.as_ref().and_then(Mark::from_json)?;
        let identity = &self.facts.identity;
        if mark.owner != identity.owner {
            return Some(format!("owner {:?} ({})", mark.owner, mark.place()));
        }
        (mark.place() != identity.place()).then(|| mark.place())
    }

    /// A thing that was written as it is declared and is not there has drifted as a whole.
    fn missing(mut self, desired: &Desired, declared: &Declared) -> (Self, Next) {
        let applied = self.facts.known.applied.as_ref();
        let is_applied = applied.is_some_and(|applied| applied.hash == desired.hash());
        if self.was_ours(desired) && is_applied && self.outcome.writes == 0 {
            self.outcome.observed = true;
            let revision = self.facts.known.revision.unwrap_or_default();
            if !self.drifted(desired.drift, vec![Pointer::root()], revision) {
                return self.done();
            }
        }
        self.create(desired, declared)
    }

    fn create(mut self, desired: &Desired, declared: &Declared) -> (Self, Next) {
        if !self.policy_checked && matches!(self.facts.policy, PolicyFact::Unmanaged(_)) {
            return self.check_policy(None);
        }
        if !self.is_blind && self.may_be_gone(desired) {
            return self.read_status(None);
        }
        let hash = desired.hash();
        let base = plan::base_after_create(declared);
        let mut mark = Mark::of(&self.facts.identity, Origin::Created, hash.clone());
        mark.telemetry.clone_from(&desired.telemetry);
        if self.facts.folder {
            mark.generation = 1;
            self.carry(&mut mark, base.clone());
        }
        let body = plan::creation(declared, &self.wanted_policy());
        let request = Request::CreateThing { id: desired.id.clone(), body, mark: mark.to_json() };
        let applied = Applied { hash, base };
        let pending = Pending { applied, origin: Origin::Created, repairs: true, taken_from: None };
        self.ask(State::Creating { pending: Box::new(pending) }, request)
    }
}
