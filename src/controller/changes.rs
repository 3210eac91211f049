//! Hears of changes in Ditto, and has the twins looked at that they are about.
//!
//! Only a name is taken from a change: what to do about it is decided on an observation of its own.
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;

use super::backoff::wait;
use super::context::{Context, Ditto, Shared};
use crate::ports::{Change, Refused};
use crate::twin::reason::Again;

/// Failures in a row that still lengthen the wait: with them it is 8 s, so that a drift is not left for long.
const FAILURES_MAX: u32 = 4;
/// A stream that lasted as long as this has worked, and the next wait is short again.
const LASTING: Duration = Duration::from_secs(30);

/// A twin that a change in Ditto woke.
#[derive(Clone, Debug)]
pub struct Heard {
    pub since: Instant,
    /// The subject that changed it, where Ditto says so.
    pub originator: Option<String>,
}

/// Listens until the stop, as long as we lead.
pub async fn keep<D: Ditto>(context: Arc<Context<D>>) {
    let shared = &context.shared;
    shared.telemetry.listens(false);
    let ended = |ended: Option<(Refused, u32)>| {
        shared.telemetry.listens(false);
        match ended {
            Some((reason, 1)) => tracing::info!(%reason, "the stream of changes ended; it is opened again"),
            Some((reason, _)) => {
                tracing::warn!(%reason, "no stream of changes; until it is there a resync finds what changed");
            }
            None => {}
        }
    };
    anew_while_leading(shared, || listen(&context), ended).await;
}

/// Listens again and again until the stop, as long as we lead. `ended` is told each time why it ended, and how often
/// in a row it did; nothing when we lead no more.
pub(super) async fn anew_while_leading<F: Future<Output = Refused>>(
    shared: &Shared,
    listen: impl Fn() -> F,
    ended: impl Fn(Option<(Refused, u32)>),
) {
    let mut failures = 0;
    loop {
        tokio::select! {
            () = async { shared.filling.done().await; shared.lead.begins().await } => {}
            () = shared.stop.cancelled() => return,
        }
        let started = Instant::now();
        let refused = tokio::select! {
            refused = shared.lead.during(listen()) => refused,
            () = shared.stop.cancelled() => return,
        };
        let Some(refused) = refused else {
            ended(None);
            continue;
        };
        failures = if started.elapsed() >= LASTING { 1 } else { failures + 1 };
        ended(Some((refused, failures)));
        let pause = wait(Again::Backoff, failures.min(FAILURES_MAX), LASTING, rand::random());
        tokio::select! {
            () = tokio::time::sleep(pause.unwrap_or(LASTING)) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

/// Listens until the stream ends; tells why it did.
async fn listen<D: Ditto>(context: &Context<D>) -> Refused {
    let shared = &context.shared;
    let mut changes = match context.ditto.changes().await {
        Ok(changes) => changes,
        Err(refused) => return refused,
    };
    tracing::debug!("listening to changes in Ditto");
    shared.telemetry.listens(true);
    // Nothing is replayed: what changed while nobody listened is found by looking.
    shared.resync_now.notify_one();
    loop {
        match changes.next().await {
            Some(Ok(change)) => heard(shared, &change),
            Some(Err(refused)) => return refused,
            None => return Refused::Unavailable(crate::ports::Said::default()),
        }
    }
}

pub(super) fn heard(shared: &Shared, change: &Change) {
    let claimants = shared.catalog.lock().claimants(&change.thing_id);
    if claimants.is_empty() {
        return shared.telemetry.change("of_others");
    }
    shared.telemetry.change("of_twins");
    let now = Instant::now();
    let mut all = shared.heard.lock();
    for place in &claimants {
        let heard = all.entry(place.clone()).or_insert(Heard { since: now, originator: None });
        heard.originator.clone_from(&change.originator);
    }
    drop(all);
    shared.wake((claimants, [].into()));
}
