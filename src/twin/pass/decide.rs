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
use super::{PATCH_FRAME_BYTES, SEED_LOOKS_MAX, State, TwinPass};

impl TwinPass {
    pub(super) fn decide(mut self, found: Option<FoundThing>) -> (Self, Next) {
        let Some(desired) = self.desired().cloned() else { return self.broken() };
        let declared = declared(&desired);
        let Some(found) = found else { return self.create(&desired, &declared) };
        self.outcome.revision = self.outcome.revision.or(Some(found.revision));
        let hash = desired.hash();
        let mark = found.mark.as_ref().and_then(Mark::from_json);
        let base = self.base(mark.as_ref(), &hash, &declared);
        let room = self.guard_room(&desired, &hash);
        let mut changes = plan::changes(&desired, &declared, base.as_ref(), &found.document, room);
        let same_policy = found.policy_id.as_deref() == Some(&self.wanted_policy());
        let case = Case {
            identity: &self.facts.identity,
            adoption: desired.adoption,
            note: found.mark.as_ref(),
            identical: changes.differing.is_empty() && same_policy,
            same_policy,
            known_ours: !self.facts.folder
                && self.facts.known.origin.is_some()
                && self.facts.known.id.as_deref() == Some(desired.id.as_str()),
            takeover: self.facts.takeover,
            living: &self.facts.living,
            folder: self.facts.folder,
        };
        let ours = match adopt::judge(&case) {
            Ok(ours) => ours,
            Err(held) => return self.stop(false, held),
        };
        if let Some(path) = &changes.unseedable {
            let message = format!(
                "the path {path} is too long to be seeded safely in Ditto's 5,120 bytes of headers; shorten its keys or the credentials, or set its mode to Enforce or Ignore"
            );
            return self.stop(false, Held::new(Reason::InvalidSpec, message));
        }
        if !same_policy && !self.policy_checked && matches!(self.facts.policy, PolicyFact::Unmanaged(_)) {
            return self.check_policy(Some(Box::new(found)));
        }
        if ours.mark.is_some() {
            // An adoption counts only once its write was taken.
            self.outcome.origin = Some(ours.origin);
        }
        self.adopting = Some(ours.origin);
        if base.is_none() && ours.mark.is_some() && !self.facts.folder {
            self.note(
                "BaseLost",
                "status no longer says what was written before: nothing is removed in this pass".into(),
            );
        }
        let with_owned = self.weigh_drift(&desired, &hash, mark.as_ref(), &mut changes, &found, same_policy);
        self.write(&desired, hash, &ours, changes, &found, (with_owned, same_policy))
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

    /// Notes drift, and says whether owned paths may be written.
    fn weigh_drift(
        &mut self,
        desired: &Desired,
        hash: &str,
        mark: Option<&Mark>,
        changes: &mut Changes,
        found: &FoundThing,
        same_policy: bool,
    ) -> bool {
        let applied_before = if self.facts.folder {
            mark.map(|mark| mark.hash.as_str())
        } else {
            self.facts.known.applied.as_ref().map(|applied| applied.hash.as_str())
        };
        let mut paths = changes.differing.clone();
        if !same_policy {
            paths.push(Pointer::of(["policyId"]));
        }
        if applied_before != Some(hash) || paths.is_empty() || self.outcome.writes > 0 {
            return true;
        }
        if desired.drift != Drift::Ignore {
            let repaired = desired.drift == Drift::Enforce;
            self.outcome.drift = Some(Drifted { paths, revision: found.revision, repaired });
        }
        desired.drift == Drift::Enforce
    }

    fn write(
        mut self,
        desired: &Desired,
        hash: String,
        ours: &Ours,
        changes: Changes,
        found: &FoundThing,
        (with_owned, same_policy): (bool, bool),
    ) -> (Self, Next) {
        let mut body = changes.body(with_owned);
        if with_owned && !same_policy {
            body["policyId"] = json!(self.wanted_policy());
        }
        let mut mark = self.next_mark(desired, &hash, ours);
        if self.facts.folder && !mark.carry(changes.base.clone()) {
            self.note("BaseTooLong", "too many paths to remember in the mark: paths taken out of the file are not removed from the thing".into());
        }
        let note = mark.to_json();
        let mark_due = match (&ours.mark, self.facts.folder) {
            (None, _) => true,
            (Some(_), true) => found.mark.as_ref() != Some(&note),
            (Some(held), false) => {
                held.uid != mark.uid || held.place() != mark.place() || held.telemetry != mark.telemetry
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
            let message = "it keeps changing while TwinOps writes; the rest follows in the next pass";
            return self.stop(false, Held::new(Reason::BackendUnavailable, message));
        }
        let look_again = !changes.guards.is_empty() || changes.postponed;
        let patch = ThingPatch {
            body,
            condition: ours.fence.clone(),
            guards: changes.guards,
            metadata: Metadata::Put(note),
        };
        let id = desired.id.clone();
        self.ask(
            State::Patching { applied: Box::new(applied), look_again },
            Request::PatchThing { id, patch },
        )
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

    fn create(mut self, desired: &Desired, declared: &Declared) -> (Self, Next) {
        if !self.policy_checked && matches!(self.facts.policy, PolicyFact::Unmanaged(_)) {
            return self.check_policy(None);
        }
        let mut mark = Mark::of(&self.facts.identity, Origin::Created, desired.hash());
        mark.telemetry.clone_from(&desired.telemetry);
        if self.facts.folder {
            mark.generation = 1;
            if !mark.carry(plan::base_after_create(declared)) {
                self.note("BaseTooLong", "too many paths to remember in the mark: paths taken out of the file are not removed from the thing".into());
            }
        }
        let body = plan::creation(declared, &self.wanted_policy());
        let request = Request::CreateThing { id: desired.id.clone(), body, mark: mark.to_json() };
        self.ask(State::Creating, request)
    }
}
