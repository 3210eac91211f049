//! Passes over `TwinPolicy`s.
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::runtime::controller::Action;

use super::context::{Context, Desk, Ditto, Managed, Shared, Woken, claimant, place};
use super::finalizer::{OnResource, has_ours};
use super::pass::{self, Passed, finish, show};
use crate::api::annotation::{is_paused, takeover};
use crate::api::status::DriftSeen;
use crate::api::{TwinPolicy, TwinPolicySpec, TwinPolicyStatus, standing};
use crate::reconcile::{self, Catalog, NoFinalizer, Place, PolicyCard, Standing, Would};
use crate::twin::claim::Claim;
use crate::twin::facts::{Going, KnownPolicy, PolicyFacts};
use crate::twin::id::PolicyId;
use crate::twin::reason::Note;

impl Managed for TwinPolicy {
    const KIND: &'static str = "TwinPolicy";
    const DEFINITION: &'static str = "twinpolicies.twinops.dev";
    type Spec = TwinPolicySpec;
    type Status = TwinPolicyStatus;

    fn spec(&self) -> &TwinPolicySpec {
        &self.spec
    }

    fn reported(&self) -> Option<&TwinPolicyStatus> {
        self.status.as_ref()
    }

    fn conditions(status: &TwinPolicyStatus) -> &[Condition] {
        &status.conditions
    }

    fn drift(status: &TwinPolicyStatus) -> Option<&DriftSeen> {
        status.drift.as_ref()
    }

    fn desk(shared: &Shared) -> &Desk<Self> {
        &shared.policies
    }

    fn enter(&self, shared: &Shared, catalog: &mut Catalog) -> Woken {
        let place = place(self.meta());
        let id = self.policy_id(&place.0).ok();
        // A claim that may not be made holds nobody else up.
        let may_name = |id: &PolicyId| shared.tenancy(&place.0, [id.namespace()]).is_ok();
        let id = id.filter(may_name);
        let status = shared.policies.latest.before(&place, self.meta(), self.reported()).status;
        // A dry run writes nothing; what comes after it is told as if it had.
        let standing = if shared.policies.would.lock().contains(&place) {
            Standing::Ready
        } else {
            standing(&status).map_or_else(Standing::NotReady, |()| Standing::Ready)
        };
        let card = PolicyCard {
            claimant: claimant(self.meta()),
            policy_id: id.map(|id| id.to_string()),
            imports: imports(self).filter(|id| may_name(id)).map(|id| id.to_string()).collect(),
            standing,
        };
        catalog.set_policy(&place, Some(card))
    }

    fn gone(shared: &Shared, place: &Place) {
        let woken = shared.catalog.lock().set_policy(place, None);
        shared.wake(woken);
    }

    async fn pass<D: Ditto>(&self, context: &Context<D>) -> Action {
        let (shared, started, place) = (&context.shared, Instant::now(), place(self.meta()));
        if let Some(action) = pass::unknown_grants::<Self>(shared, &place).await {
            return action;
        }
        let before = shared.policies.latest.before(&place, self.meta(), self.reported());
        let going = pass::going(shared, self).await;
        let facts = facts(shared, self, going, before.status.known());
        if shared.options.dry_run {
            let (report, _) = reconcile::policy(&context.ditto, &NoFinalizer, facts, true).await;
            let is_written = report.would.as_ref().is_some_and(Would::writes);
            if note(shared, &place, is_written) {
                shared.refresh::<Self>(&place);
            }
            return pass::told::<Self>(shared, &place, started, &report, None);
        }
        let twins = facts.used_by;
        let finalizer = OnResource::new(shared.api::<Self>(&place.0), self.meta());
        let (report, extras) = reconcile::policy(&context.ditto, &finalizer, facts, false).await;
        let mut outcome = report.outcome;
        if let Some(action) = pass::confirm_stale(shared, self, &outcome).await {
            return action;
        }
        let generation = self.meta().generation.unwrap_or_default();
        let after = before.status.after((&outcome, &extras), twins, generation, Timestamp::now());
        if before.status.observed_generation != after.observed_generation
            && let Some(message) = self.warnings().into_iter().next()
        {
            outcome.notes.push(Note { reason: "UnquotedKey", message, warning: true });
        }
        tracing::debug!(resource = %show(&place), reason = outcome.reason().word(), writes = outcome.writes, "passed");
        let passed = Passed {
            object: self,
            place: &place,
            started,
            before,
            moved: finalizer.moved(),
            after,
            outcome: &outcome,
        };
        let action = finish(shared, passed).await;
        // The twins that wait for it need not wait for the watch.
        shared.refresh::<Self>(&place);
        if extras.created {
            let twins = shared.catalog.lock().users_of(&place);
            shared.wake((twins, std::iter::empty().collect()));
        }
        action
    }
}

/// Whether a dry run would write the policy; returns whether that is news.
fn note(shared: &Shared, place: &Place, would_write: bool) -> bool {
    let mut would = shared.policies.would.lock();
    if would_write { would.insert(place.clone()) } else { would.remove(place) }
}

/// The policies it imports, as far as they can be read.
fn imports(policy: &TwinPolicy) -> impl Iterator<Item = PolicyId> {
    policy.spec.imports.keys().filter_map(|id| PolicyId::parse(id).ok())
}

fn facts(shared: &Shared, policy: &TwinPolicy, going: Option<Going>, known: KnownPolicy) -> PolicyFacts {
    let place = place(policy.meta());
    let identity = policy.identity(&shared.owner, &place.0);
    let id: Option<PolicyId> = policy.policy_id(&place.0).ok();
    let catalog = shared.catalog.lock();
    let (claim, living) = match &id {
        Some(id) => catalog.policy_claim(&identity, id.as_str()),
        None => (Claim::Ours, std::iter::empty().collect()),
    };
    let used_by = catalog.used_by(&place);
    let around = id.as_ref().map(|id| catalog.imports(&place, id.as_str())).unwrap_or_default();
    drop(catalog);
    let imports: Vec<PolicyId> = imports(policy).collect();
    let named = id.iter().chain(&imports).map(PolicyId::namespace);
    PolicyFacts {
        imports: around,
        tenancy: shared.tenancy(&place.0, named),
        desired: policy.desired(&place.0).map_err(|error| error.to_string()),
        paused: policy.spec.suspend || is_paused(policy.meta()),
        has_finalizer: has_ours(policy.meta().finalizers.as_deref().unwrap_or_default()),
        takeover: takeover(policy.meta()),
        subjects: shared.subjects.read().clone(),
        bridge: shared.options.bridge_subject.clone(),
        held_before: shared.policies.tries.held(&place),
        now_epoch_seconds: Timestamp::now().as_second(),
        watched: shared.options.watched(),
        folder: false,
        identity,
        id,
        claim,
        going,
        known,
        living,
        used_by,
    }
}
