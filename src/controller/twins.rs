//! Passes over `DigitalTwin`s.
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::runtime::controller::Action;

use super::changes::Heard;
use super::context::{Context, Desk, Ditto, Managed, Shared, Woken, claimant, place};
use super::finalizer::{OfTwin, OnResource, has_ours};
use super::kept;
use super::pass::{self, Passed, finish, show};
use crate::api::annotation::{CONFIRM_DELETION, is_paused, is_set, takeover};
use crate::api::status::DriftSeen;
use crate::api::{DigitalTwin, DigitalTwinSpec, DigitalTwinStatus};
use crate::reconcile::{self, Catalog, Place, TwinCard, Would};
use crate::twin::claim::Claim;
use crate::twin::desired::PolicyName;
use crate::twin::facts::{Going, Known, PolicyFact, TwinFacts};
use crate::twin::id::{PolicyId, ThingId};
use crate::twin::reason::{Note, Outcome, Reason};

impl Managed for DigitalTwin {
    const KIND: &'static str = "DigitalTwin";
    const DEFINITION: &'static str = "digitaltwins.twinops.dev";
    type Spec = DigitalTwinSpec;
    type Status = DigitalTwinStatus;

    fn spec(&self) -> &DigitalTwinSpec {
        &self.spec
    }

    fn reported(&self) -> Option<&DigitalTwinStatus> {
        self.status.as_ref()
    }

    fn conditions(status: &DigitalTwinStatus) -> &[Condition] {
        &status.conditions
    }

    fn drift(status: &DigitalTwinStatus) -> Option<&DriftSeen> {
        status.drift.as_ref()
    }

    fn desk(shared: &Shared) -> &Desk<Self> {
        &shared.twins
    }

    fn enter(&self, shared: &Shared, catalog: &mut Catalog) -> Woken {
        let place = place(self.meta());
        let id = self.thing_id(&place.0).ok();
        // A claim that may not be made holds nobody else up.
        let id = id.filter(|id| shared.tenancy(&place.0, [id.namespace()]).is_ok());
        let card = TwinCard {
            claimant: claimant(self.meta()),
            thing_id: id.map(|id| id.to_string()),
            policy: policy(self),
        };
        shared.properties.set(&place, kept::enforced(self, &place.0));
        catalog.set_twin(&place, Some(card))
    }

    fn gone(shared: &Shared, place: &Place) {
        let woken = shared.catalog.lock().set_twin(place, None);
        shared.wake(woken);
        shared.heard.lock().remove(place);
        shared.properties.set(place, vec![]);
        tell_ready(shared, place, false);
    }

    async fn pass<D: Ditto>(&self, context: &Context<D>) -> Action {
        let (shared, started, place) = (&context.shared, Instant::now(), place(self.meta()));
        if let Some(action) = pass::unknown_grants::<Self>(shared, &place).await {
            return action;
        }
        let heard = shared.heard.lock().remove(&place);
        let before = shared.twins.latest.before(&place, self.meta(), self.reported());
        let going = pass::going(shared, self).await.map(|going| breaker(shared, self, going));
        let mut facts = facts(shared, self, going, before.status.known());
        facts.originator = heard.as_ref().and_then(|heard| heard.originator.clone());
        let resource = &OnResource::new(shared.api::<Self>(&place.0), self.meta());
        let of_twin = OfTwin {
            resource,
            twin: self,
            before: &before,
            lacks: &shared.twins.lacks,
            dry_run: shared.options.dry_run,
        };
        if shared.options.dry_run {
            // What would be made must be looked for: a create that nobody sends finds nothing out.
            facts.has_finalizer |= facts.going.is_none();
            let report = reconcile::twin(&context.ditto, &of_twin, facts, true).await;
            let after = report.would.as_ref().is_some_and(Would::writes) && waits_for_policy(shared, &place);
            return pass::told::<Self>(shared, &place, started, &report, after.then_some("its policy"));
        }
        let mut outcome = reconcile::twin(&context.ditto, &of_twin, facts, false).await.outcome;
        let overtaken = pass::overtaken(shared, self, &outcome, started);
        if let Some(action) = overtaken.or(pass::confirm_stale(shared, self, &outcome).await) {
            hear_again(shared, &place, heard);
            return action;
        }
        if outcome.deleted && !is_set(self.meta(), CONFIRM_DELETION) {
            shared.deletions.lock().went(&place, Instant::now());
        }
        let generation = self.meta().generation.unwrap_or_default();
        let after = before.status.after(&outcome, generation, Timestamp::now());
        if after != before.status {
            outcome.notes.extend(remarks(self, &before.status, &after, &outcome));
        }
        if is_out_of_reach(&outcome) {
            // Its policy may be gone: then nobody sees the thing until the policy is there again.
            let policies = shared.catalog.lock().policies_of(&place);
            shared.wake((std::iter::empty().collect(), policies));
        }
        let is_ready = !outcome.finished
            && shared.twins.kept(&place).is_some()
            && pass::ready(&after.conditions).is_some_and(|c| c.status == "True");
        tell_ready(shared, &place, is_ready);
        if let Some(heard) = heard {
            if !outcome.observed && outcome.held().is_some() {
                hear_again(shared, &place, Some(heard));
            } else {
                shared.telemetry.change_seen(heard.since.elapsed());
            }
        }
        tracing::debug!(resource = %show(&place), reason = outcome.reason().word(), writes = outcome.writes, "passed");
        finish(
            shared,
            Passed {
                object: self,
                place: &place,
                started,
                before,
                moved: resource.moved(),
                after,
                outcome: &outcome,
            },
        )
        .await
    }
}

/// It could not look: whose change it was is told by the pass that can.
fn hear_again(shared: &Shared, place: &Place, heard: Option<Heard>) {
    if let Some(heard) = heard.filter(|_| shared.twins.kept(place).is_some()) {
        shared.heard.lock().entry(place.clone()).or_insert(heard);
    }
}

/// Its policy, too, is only written by an operator that is no dry run.
fn waits_for_policy(shared: &Shared, place: &Place) -> bool {
    let policies = shared.catalog.lock().policies_of(place);
    let would = shared.policies.would.lock();
    policies.iter().any(|policy| would.contains(policy))
}

/// The policy a twin names, as far as it can be read.
fn policy(twin: &DigitalTwin) -> Option<PolicyName> {
    let by_name = twin.spec.policy_ref.as_ref().map(|reference| PolicyName::Resource(reference.name.clone()));
    let by_id = || PolicyId::parse(twin.spec.policy_id.as_deref()?).ok().map(PolicyName::Id);
    by_name.or_else(by_id)
}

fn breaker(shared: &Shared, twin: &DigitalTwin, mut going: Going) -> Going {
    if going.held.is_none() && !is_set(twin.meta(), CONFIRM_DELETION) {
        let catalog = shared.catalog.lock();
        let counts = (catalog.going(), catalog.twins());
        let breaker = shared.options.breaker;
        going.held = shared.deletions.lock().judge(breaker, &place(twin.meta()), counts, Instant::now());
    }
    going
}

/// What a pass over a twin that stays would know.
pub fn facts_of(shared: &Shared, twin: &DigitalTwin) -> TwinFacts {
    let before = shared.twins.latest.before(&place(twin.meta()), twin.meta(), twin.reported());
    facts(shared, twin, None, before.status.known())
}

fn facts(shared: &Shared, twin: &DigitalTwin, going: Option<Going>, known: Known) -> TwinFacts {
    let (namespace, _) = place(twin.meta());
    let identity = twin.identity(&shared.owner, &namespace);
    let id: Option<ThingId> = twin.thing_id(&namespace).ok();
    let named = policy(twin);
    let catalog = shared.catalog.lock();
    let (claim, living) = match &id {
        Some(id) => catalog.thing_claim(&identity, id.as_str()),
        None => (Claim::Ours, std::iter::empty().collect()),
    };
    let policy = named
        .as_ref()
        .map_or_else(|| PolicyFact::NotFound(String::new()), |named| catalog.policy_fact(&namespace, named));
    drop(catalog);
    let foreign = named.as_ref().and_then(|named| match named {
        PolicyName::Id(id) => Some(id.namespace()),
        PolicyName::Resource(_) => None,
    });
    TwinFacts {
        tenancy: shared.tenancy(&namespace, id.as_ref().map(ThingId::namespace).into_iter().chain(foreign)),
        desired: twin.desired(&namespace).map_err(|error| error.to_string()),
        paused: twin.spec.suspend || is_paused(twin.meta()),
        has_finalizer: has_ours(twin.meta().finalizers.as_deref().unwrap_or_default()),
        takeover: takeover(twin.meta()),
        subjects: shared.subjects.read().clone(),
        watched: shared.options.watched(),
        originator: None,
        folder: false,
        identity,
        id,
        claim,
        policy,
        going,
        known,
        living,
    }
}

fn is_out_of_reach(outcome: &Outcome) -> bool {
    let reasons = [Reason::Forbidden, Reason::PolicyNotAccessible, Reason::DeletionFailed];
    outcome.held().is_some_and(|held| reasons.contains(&held.reason))
}

/// What the resource itself should be told beside the verdict.
fn remarks(
    twin: &DigitalTwin,
    before: &DigitalTwinStatus,
    after: &DigitalTwinStatus,
    outcome: &Outcome,
) -> Vec<Note> {
    let mut notes = vec![];
    if let Some(message) = after.forgets(outcome) {
        notes.push(Note { reason: "BaseTooLong", message: message.to_owned(), warning: true });
    }
    if before.observed_generation != after.observed_generation
        && let Some(message) = twin.warnings().into_iter().next()
    {
        notes.push(Note { reason: "UnquotedKey", message, warning: true });
    }
    notes
}

/// Only who leads knows: the others have passed over none.
fn tell_ready(shared: &Shared, place: &Place, is_ready: bool) {
    if !shared.lead.holds() {
        return;
    }
    let mut ready = shared.ready.lock();
    if is_ready {
        ready.insert(place.clone());
    } else {
        ready.remove(place);
    }
    let (ready, all) = (ready.len(), shared.catalog.lock().twins());
    shared.telemetry.twins(ready, all.saturating_sub(ready));
}
