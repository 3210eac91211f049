//! Compares everything with Ditto from time to time, because a change there may have gone unseen.
//!
//! A resync looks and writes nothing: twins in batches, policies by conditional GET. What differs, or was
//! not in an answer, is handed to a pass of its own. So a quiet fleet costs one call for each batch.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;

use super::backoff::{spread, wait};
use super::context::{Context, Ditto, Managed, Shared, place};
use super::pass;
use super::strays::Strays;
use super::twins;
use crate::api::annotation::is_paused;
use crate::api::{DigitalTwin, TwinPolicy};
use crate::ports::Refused;
use crate::reconcile::{self, Look, Place, Seen};
use crate::twin::id::PolicyId;
use crate::twin::reason::Again;
use crate::twin::status::PAUSED;

/// Looks prepared at a time: about what one call can hold.
const PREPARED_MAX: usize = 256;
/// Failures in a row that still lengthen the wait before a round is tried again.
const FAILURES_MAX: u32 = 6;

/// Resyncs until the stop, as long as we lead.
pub async fn keep<D: Ditto>(context: Arc<Context<D>>) {
    let shared = &context.shared;
    let (mut policies, mut strays) = (Revisions::default(), Strays::default());
    let mut failures = 0;
    // Operators that start together do not resync together.
    let mut pause = shared.options.resync.mul_f64(rand::random());
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.resync_now.notified() => {}
            () = shared.stop.cancelled() => return,
        }
        let started = Instant::now();
        let round = async {
            shared.filling.done().await;
            shared.lead.begins().await;
            shared.lead.during(whole_round(&context, &mut policies, &mut strays)).await
        };
        let ended = tokio::select! {
            ended = round => ended,
            () = shared.stop.cancelled() => return,
        };
        pause = spread(shared.options.resync, rand::random());
        let result = match ended {
            Some(Ok(differing)) => {
                failures = 0;
                tracing::debug!(differing, took = ?started.elapsed(), "resynced");
                "whole"
            }
            Some(Err(refused)) => {
                failures += 1;
                tracing::warn!(error = %refused, "a resync broke off; it is tried again");
                shared.ask_subjects.notify_one();
                let again = wait(Again::Backoff, failures.min(FAILURES_MAX), pause, rand::random());
                pause = again.map_or(pause, |again| again.min(pause));
                "failed"
            }
            None => "cut_off",
        };
        shared.telemetry.resync(result, started.elapsed());
    }
}

async fn whole_round<D: Ditto>(
    context: &Context<D>,
    policies: &mut Revisions,
    strays: &mut Strays,
) -> Result<usize, Refused> {
    let differing = round(context, policies).await?;
    // A search that is away holds no comparison up: strays stay where they are until the next round.
    if let Err(refused) = strays.round(context).await {
        tracing::debug!(error = %refused, "nobody can tell whether there are things without a resource");
        context.shared.telemetry.dropped("searches_for_strays");
    }
    Ok(differing)
}

/// Returns how many differ.
pub(super) async fn round<D: Ditto>(
    context: &Context<D>,
    policies: &mut Revisions,
) -> Result<usize, Refused> {
    Ok(policies.round(context).await? + twins_round(context).await?)
}

async fn twins_round<D: Ditto>(context: &Context<D>) -> Result<usize, Refused> {
    let (shared, room) = (&context.shared, context.ditto.header_room());
    let mut places: Vec<Place> = shared.twins.all(None).iter().map(|twin| place(twin.meta())).collect();
    // Neighbours by name are often alike, and then one selector fits them all. From the end, it is `pop`.
    places.sort_unstable_by(|one, other| other.cmp(one));
    let mut looks: Vec<Look<Place>> = vec![];
    let mut differing = 0;
    loop {
        while looks.len() < PREPARED_MAX
            && let Some(place) = places.pop()
        {
            let Some(facts) = settled_twin(shared, &place).map(|twin| twins::facts_of(shared, &twin)) else {
                if is_forgotten_twin(shared, &place) {
                    shared.wake(([place].into(), [].into()));
                    differing += 1;
                }
                continue;
            };
            match reconcile::look(place, facts, room) {
                Ok(look) => looks.push(look),
                Err((place, seen)) => differing += usize::from(wake_unless_quiet(shared, &place, &seen)),
            }
        }
        if looks.is_empty() {
            return Ok(differing);
        }
        for (place, seen) in reconcile::look_at(&context.ditto, &mut looks).await? {
            differing += usize::from(wake_unless_quiet(shared, &place, &seen));
        }
    }
}

/// A twin that is as declared as far as its last pass knows: all others have a time of their own.
fn settled_twin(shared: &Shared, place: &Place) -> Option<DigitalTwin> {
    let twin = shared.twins.find(place)?.0.ok()?;
    let is_quiet = twin.spec.suspend || is_paused(twin.meta());
    (!is_quiet && is_settled(shared, &twin)).then_some(twin)
}

fn is_settled<K: Managed>(shared: &Shared, object: &K) -> bool {
    let meta = object.meta();
    let before = K::desk(shared).latest.before(&place(meta), meta, object.reported());
    let ready: Option<&Condition> = pass::ready(K::conditions(&before.status));
    meta.deletion_timestamp.is_none()
        && before.is_saved
        && ready.is_some_and(|c| c.status == "True" && c.observed_generation == meta.generation)
}

fn is_forgotten_twin(shared: &Shared, place: &Place) -> bool {
    let found = shared.twins.find(place);
    let twin = found.as_ref().and_then(|found| found.0.as_ref().ok());
    twin.is_some_and(|twin| is_forgotten(shared, twin, twin.spec.suspend || is_paused(twin.meta())))
}

/// Its status is gone or about another generation, and not because a pass is still to come: a backup came
/// back, or an operator that had stood still wrote what it knew. No event tells, and no time is set.
fn is_forgotten<K: Managed>(shared: &Shared, object: &K, is_paused: bool) -> bool {
    let meta = object.meta();
    let before = K::desk(shared).latest.before(&place(meta), meta, object.reported());
    // One that is paused keeps what it said before, and says that it is paused.
    let status = if is_paused { "True" } else { "False" };
    let last = K::conditions(&before.status).iter().find(|condition| condition.type_ == PAUSED);
    meta.deletion_timestamp.is_none()
        && before.is_saved
        && last.is_none_or(|c| c.observed_generation != meta.generation || c.status != status)
}

/// How many use it is no longer what its status says.
fn is_miscounted(shared: &Shared, policy: &TwinPolicy, place: &Place) -> bool {
    let status = shared.policies.latest.before(place, policy.meta(), policy.reported()).status;
    !shared.policies.lacks.has("usedBy")
        && status.used_by != i64::try_from(shared.catalog.lock().used_by(place)).ok()
}

/// Returns whether it was woken.
fn wake_unless_quiet(shared: &Shared, place: &Place, seen: &Seen) -> bool {
    let says_the_same = match seen {
        Seen::NeedsPass => false,
        Seen::Quiet(outcome) => settled_twin(shared, place).is_none_or(|twin| {
            let before = shared.twins.latest.before(place, twin.meta(), twin.reported()).status;
            let generation = twin.meta().generation.unwrap_or_default();
            let after = before.after(outcome, generation, Timestamp::now());
            shared.twins.lacks.same(&before, &after)
        }),
    };
    if !says_the_same {
        shared.wake(([place.clone()].into(), [].into()));
    }
    !says_the_same
}

/// At which revision each policy was when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Revisions(HashMap<Place, u64>);

impl Revisions {
    async fn round<D: Ditto>(&mut self, context: &Context<D>) -> Result<usize, Refused> {
        let shared = &context.shared;
        let policies = shared.policies.all(None);
        let mut before = std::mem::take(&mut self.0);
        let mut differing = 0;
        for policy in &policies {
            let Ok(policy) = &policy.read().0 else { continue };
            let place = place(policy.meta());
            let is_paused = policy.spec.suspend || is_paused(policy.meta());
            if is_paused && !is_forgotten(shared, policy, true) {
                continue;
            }
            if is_forgotten(shared, policy, is_paused)
                || is_settled(shared, policy) && is_miscounted(shared, policy, &place)
            {
                shared.wake(([].into(), [place].into()));
                differing += 1;
                continue;
            }
            if !is_settled(shared, policy) {
                continue;
            }
            let Some((id, known)) = id_and_revision(shared, policy, &place) else {
                shared.wake(([].into(), [place].into()));
                continue;
            };
            let seen = before.remove(&place).filter(|seen| *seen > known).unwrap_or(known);
            match context.ditto.policy_moved(&id, seen).await {
                Ok(None) => {
                    self.0.insert(place, seen);
                }
                Ok(Some(now)) => {
                    self.0.insert(place.clone(), now);
                    shared.wake(([].into(), [place].into()));
                    differing += 1;
                }
                Err(Refused::Missing(_)) => {
                    shared.wake(([].into(), [place].into()));
                    differing += 1;
                }
                Err(refused) => return Err(refused),
            }
        }
        Ok(differing)
    }
}

fn id_and_revision(shared: &Shared, policy: &TwinPolicy, place: &Place) -> Option<(PolicyId, u64)> {
    let status = shared.policies.latest.before(place, policy.meta(), policy.reported()).status;
    let id = PolicyId::parse(status.policy_id.as_deref()?).ok()?;
    Some((id, u64::try_from(status.revision?).ok()?))
}
