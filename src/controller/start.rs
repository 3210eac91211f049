//! The operator's life: find out who we are, watch, work, stop.
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::backoff::wait;
use super::client::in_time;
use super::context::{Context, Desk, Ditto, Filling, PASSES_MAX, Scope, Shared, Shelf};
use super::events::{Events, Publisher};
use super::health::Health;
use super::kept::{self, Properties};
use super::lead::Lead;
use super::namespaces::Namespaces;
use super::{ControllerError, ControllerOptions, changes, lease, namespaces, resync, subjects, watch};
use crate::api::{DigitalTwin, TwinPolicy};
use crate::reconcile::Catalog;
use crate::telemetry::{Readiness, Telemetry};
use crate::twin::reason::Again;

/// How long passes that run may take after the stop; every call to Ditto or Kubernetes is safe to be
/// cut off, and the next start repeats it.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the end of the election may take: a renewal under way, and the release.
const LEAVE: Duration = Duration::from_secs(7);
/// Wake-ups of policies are about how many use them: those of one batch count once.
const POLICY_PAUSE: Duration = Duration::from_millis(200);

/// Runs until `stop`. What can heal is waited for, and `readiness` says what is missing.
pub async fn run<D: Ditto>(
    client: Client,
    ditto: D,
    options: ControllerOptions,
    (telemetry, readiness): (Telemetry, Readiness),
    stop: CancellationToken,
) -> Result<(), ControllerError> {
    let health = Health::new(readiness);
    let who = async {
        let owner = owner(&client, &health).await;
        (owner, subjects::ask_until_answered(&ditto, &health).await)
    };
    let (owner, subjects) = tokio::select! {
        who = who => who,
        () = stop.cancelled() => return Ok(()),
    };
    let dry_run = options.dry_run;
    tracing::info!(owner, ?subjects, dry_run, "TwinOps keeps twins and policies of this cluster");
    let (events, publisher) = Events::new(telemetry.clone());
    let scopes: Vec<Scope> = match options.watch_namespaces.as_slice() {
        [] => vec![None],
        names => names.iter().cloned().map(Some).collect(),
    };
    let (twins, twin_shelves) = Desk::<DigitalTwin>::new(&scopes);
    let (policies, policy_shelves) = Desk::<TwinPolicy>::new(&scopes);
    let shared = Arc::new(Shared {
        namespaces: Namespaces::new(&options.ditto_namespaces),
        catalog: Mutex::new(Catalog::default()),
        filling: Filling::new(3 * scopes.len()),
        running: Semaphore::new(PASSES_MAX.into()),
        subjects: RwLock::new(subjects),
        ask_subjects: Notify::new(),
        ready: Mutex::default(),
        deletions: Mutex::default(),
        lead: Lead::default(),
        resync_now: Notify::new(),
        heard: Mutex::default(),
        properties: Properties::default(),
        stop,
        client,
        options,
        owner,
        twins,
        policies,
        events,
        telemetry,
        health,
    });
    let context = Arc::new(Context { ditto, shared });
    let shelves = twin_shelves.into_iter().zip(policy_shelves).collect();
    work(context, shelves, publisher).await
}

async fn work<D: Ditto>(
    context: Arc<Context<D>>,
    shelves: Vec<(Shelf<DigitalTwin>, Shelf<TwinPolicy>)>,
    publisher: Publisher,
) -> Result<(), ControllerError> {
    let shared = Arc::clone(&context.shared);
    let silence = CancellationToken::new();
    let publish_with = (!shared.options.dry_run).then(|| shared.client.clone());
    let publishing = tokio::spawn(publisher.run(publish_with, shared.telemetry.clone(), silence.clone()));
    let mut tasks: JoinSet<&'static str> = JoinSet::new();
    for (twins, policies) in shelves {
        let scope = twins.scope.clone();
        shared.health.expect(&watch::watch_name::<DigitalTwin>(scope.as_deref()));
        shared.health.expect(&watch::watch_name::<TwinPolicy>(scope.as_deref()));
        shared.health.expect(&namespaces::watch_name(scope.as_deref()));
        let (one, other, third) = (Arc::clone(&context), Arc::clone(&context), Arc::clone(&shared));
        tasks.spawn(named("the controller of twins", async move {
            watch::run::<DigitalTwin, D>(one, twins, Duration::ZERO).await;
        }));
        tasks.spawn(named("the controller of policies", async move {
            watch::run::<TwinPolicy, D>(other, policies, POLICY_PAUSE).await;
        }));
        tasks.spawn(named("the watch over namespaces", async move {
            tokio::select! {
                () = namespaces::watch(Arc::clone(&third), scope) => {}
                () = third.stop.cancelled() => {}
            }
        }));
    }
    let (resyncing, listening, keeping) = (Arc::clone(&context), Arc::clone(&context), Arc::clone(&context));
    tasks.spawn(named("the resync", resync::keep(resyncing)));
    tasks.spawn(named("the ear for changes in Ditto", changes::keep(listening)));
    tasks.spawn(named("the ear for enforced properties", kept::keep(keeping)));
    let released = CancellationToken::new();
    let (electing, leaving) = (Arc::clone(&shared), released.clone());
    let mut election = tokio::spawn(async move {
        if electing.options.dry_run {
            lease::stand_beside(&electing, leaving).await;
        } else {
            lease::run(&electing, leaving).await;
        }
    });
    let (ditto, asking) = (context.ditto.clone(), Arc::clone(&shared));
    tasks.spawn(named("the question who we are", async move { subjects::keep(ditto, &asking).await }));

    let ended = tokio::select! {
        // First, because after it every part ends by itself.
        biased;
        () = shared.stop.cancelled() => None,
        _ = &mut election => Some("the election"),
        ended = tasks.join_next() => Some(ended.and_then(Result::ok).unwrap_or("a part of the operator")),
    };
    // The same end for a stop and for a part that broke: the rest drains, and nobody works alone.
    shared.stop.cancel();
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("passes were cut off at the stop; the next start repeats them");
        tasks.abort_all();
    }
    // Whoever waits for the lease may begin: nothing of ours writes any more.
    released.cancel();
    if !election.is_finished() && tokio::time::timeout(LEAVE, &mut election).await.is_err() {
        tracing::warn!("the lease was not released in time; it runs out by itself");
        election.abort();
    }
    silence.cancel();
    // Events are a comfort: a second is what they may cost at the end.
    let _ = tokio::time::timeout(Duration::from_secs(1), publishing).await;
    ended.map_or(Ok(()), |name| Err(ControllerError::Ended(name)))
}

async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

/// The name of this cluster, asked until it is known.
async fn owner(client: &Client, health: &Health) -> String {
    const NAME: &str = "namespace kube-system";
    let api: Api<Namespace> = Api::all(client.clone());
    health.expect(NAME);
    let mut failures = 0;
    loop {
        match in_time(api.get_metadata("kube-system")).await {
            Ok(found) => {
                health.fine(NAME);
                return found.uid().unwrap_or_default();
            }
            Err(error) => {
                health.failed(NAME, &(&error).into());
            }
        }
        failures += 1;
        let pause = wait(Again::Backoff, failures, DRAIN, rand::random()).unwrap_or(DRAIN);
        tokio::time::sleep(pause).await;
    }
}
