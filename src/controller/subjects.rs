//! As whom Ditto sees us: asked at the start, at every resync, and when Ditto refuses us.
use std::time::Duration;

use super::backoff::{spread, wait};
use super::context::{Ditto, Shared};
use super::health::Health;
use crate::ports::Refused;
use crate::twin::reason::Again;

/// Failures in a row that still lengthen the wait: with them it is 16 s, so that the end of an outage is
/// noticed soon.
const FAILURES_MAX: u32 = 5;
/// Between two questions, however many passes fail: one answer is about all of them.
const PAUSE: Duration = Duration::from_secs(5);

/// Asks until Ditto answers.
pub async fn ask_until_answered<D: Ditto>(ditto: &D, health: &Health) -> Vec<String> {
    let mut failures = 0;
    loop {
        match ditto.whoami().await {
            Ok(subjects) => {
                health.ditto(Ok(()));
                return subjects;
            }
            Err(refused) => {
                if failures == 0 {
                    tracing::warn!(error = %refused, "Ditto does not answer yet; it is asked again");
                }
                health.ditto(Err(&refused));
                failures += 1;
                pause(failures, &refused).await;
            }
        }
    }
}

/// Keeps the subjects true until the stop.
pub async fn keep<D: Ditto>(ditto: D, shared: &Shared) {
    let mut failures = 0;
    loop {
        let resync = spread(shared.options.resync, rand::random());
        tokio::select! {
            () = tokio::time::sleep(resync) => {}
            () = shared.ask_subjects.notified() => {}
            () = shared.stop.cancelled() => return,
        }
        match ditto.whoami().await {
            Ok(subjects) => {
                let is_back = std::mem::take(&mut failures) > 0;
                shared.health.ditto(Ok(()));
                let before = std::mem::replace(&mut *shared.subjects.write(), subjects.clone());
                if before != subjects {
                    tracing::info!(?subjects, "Ditto sees TwinOps differently now");
                }
                if before != subjects {
                    shared.wake_all();
                } else if is_back {
                    // What failed meanwhile need not wait for its own backoff; a resync looks at the rest.
                    shared.wake_failed();
                    shared.resync_now.notify_one();
                }
            }
            Err(refused) => {
                failures += 1;
                shared.health.ditto(Err(&refused));
                shared.ask_subjects.notify_one();
                tokio::select! {
                    () = pause(failures, &refused) => {}
                    () = shared.stop.cancelled() => return,
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

async fn pause(failures: u32, refused: &Refused) {
    let again = match refused {
        Refused::RateLimited { after_ms: Some(ms), .. } => Again::AfterMs(*ms),
        _ => Again::Backoff,
    };
    tokio::time::sleep(wait(again, failures.min(FAILURES_MAX), PAUSE, rand::random()).unwrap_or(PAUSE)).await;
}
