//! Whose is a policy that exists already?
use serde_json::Value;

use super::adopt::{self, Case, Ours};
use super::call::FoundPolicy;
use super::desired::{Access, Adoption, DesiredPolicy};
use super::id::PolicyId;
use super::json::Pointer;
use super::mark::{Mark, Origin};
use super::policy::{self, BRIDGE_LABEL, LABEL};
use super::policy_pass::PolicyPass;
use super::reason::{Held, Reason};

impl PolicyPass {
    pub(super) fn judge(&self, desired: &DesiredPolicy, found: &FoundPolicy) -> Result<Ours, Held> {
        if desired.access == Access::Declared {
            return self.judge_unmarked(desired, found);
        }
        let note = policy::mark_of(&found.body, &self.facts.subjects);
        let known = &self.facts.known;
        let is_known =
            !self.facts.folder && known.id.as_deref() == self.facts.id.as_ref().map(PolicyId::as_str);
        let was_marked = known.labels.contains(LABEL);
        if let (None, Some(origin)) = (&note, known.origin)
            && is_known
            && !was_marked
            && known.hash.is_some()
        {
            // It was kept without a mark, as `Declared`, until now.
            return Ok(Ours { origin, fence: String::new(), mark: None });
        }
        let unmanaged = self.composed(desired, Some(found), Origin::Adopted, None);
        adopt::judge(&Case {
            identity: &self.facts.identity,
            adoption: desired.adoption,
            note: note.as_ref(),
            identical: policy::same_policy(&without_access(&unmanaged), &without_access(&found.body)),
            same_policy: true,
            known_ours: is_known && was_marked,
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
        let identical =
            || policy::same_policy(&self.composed(desired, Some(found), Origin::Adopted, None), &found.body);
        match (self.facts.known.origin, desired.adoption) {
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
}

fn without_access(body: &Value) -> Value {
    let mut body = body.clone();
    for label in [LABEL, BRIDGE_LABEL] {
        Pointer::of(["entries", label]).remove(&mut body);
    }
    body
}
