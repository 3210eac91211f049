//! Whether every watch is filled and alive.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::utils::Backoff;
use kube::runtime::watcher;
use parking_lot::Mutex;

use super::error::ControllerError;
use super::{DITTO, KUBERNETES};
use crate::ports::Refused;
use crate::telemetry::Readiness;

/// Between tries of a watch that fails, at first and at most: definitions that were just installed are
/// noticed within seconds, and an API server that comes back is not stormed.
const FIRST: Duration = Duration::from_millis(800);
const LONGEST: Duration = Duration::from_secs(5);
/// A watch that starts over says nothing until something changes; without a new failure for two tries
/// it works again.
const QUIET: Duration = Duration::from_secs(10);

/// Watches by name, each with what keeps it from working. Clones share them.
#[derive(Clone, Debug)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    readiness: Readiness,
    failing: Mutex<BTreeMap<String, Failing>>,
}

#[derive(Clone, Debug, Default)]
struct Failing {
    /// `None`: not listed yet.
    error: Option<ControllerError>,
    times: u64,
}

impl Health {
    pub fn new(readiness: Readiness) -> Self {
        Self(Arc::new(Inner { readiness, failing: Mutex::default() }))
    }

    /// A watch that has to be filled before we are ready.
    pub fn expect(&self, watch: &str) {
        self.0.failing.lock().insert(watch.to_owned(), Failing::default());
        self.tell();
    }

    pub fn fine(&self, watch: &str) {
        let before = self.0.failing.lock().remove(watch);
        if before.is_some() {
            tracing::info!(watch, "watching");
            self.tell();
        }
    }

    pub fn failed(&self, watch: &str, error: &ControllerError) -> u64 {
        let mut failing = self.0.failing.lock();
        let before = failing.get(watch).cloned().unwrap_or_default();
        let is_news = before.error.as_ref() != Some(error);
        let times = before.times + 1;
        failing.insert(watch.to_owned(), Failing { error: Some(error.clone()), times });
        drop(failing);
        if is_news {
            tracing::warn!(watch, %error, "a watch does not work; it is tried again");
            self.tell();
        }
        times
    }

    /// As [`Health::failed`], for what a watch said.
    pub fn watch_failed(&self, watch: &str, error: &watcher::Error) {
        let times = self.failed(watch, &error.into());
        if matches!(error, watcher::Error::InitialListFailed(_)) {
            // Its list will show that it works.
            return;
        }
        let (health, watch) = (self.clone(), watch.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(QUIET).await;
            health.was_quiet_since(&watch, times);
        });
    }

    fn was_quiet_since(&self, watch: &str, times: u64) {
        let is_quiet = self.0.failing.lock().get(watch).is_some_and(|failing| failing.times == times);
        if is_quiet {
            self.fine(watch);
        }
    }

    fn tell(&self) {
        let failing = self.0.failing.lock();
        let worst = failing.iter().max_by_key(|(_, failing)| failing.error.is_some());
        let result = match worst {
            None => Ok(()),
            Some((watch, Failing { error: None, .. })) => Err(format!("{watch}: not listed yet")),
            Some((watch, Failing { error: Some(error), .. })) => Err(format!("{watch}: {error}")),
        };
        self.0.readiness.set(KUBERNETES, result);
    }

    /// What Ditto last answered to the question who we are.
    pub fn ditto(&self, answer: Result<(), &Refused>) {
        let answer = answer.map_err(|refused| ControllerError::Ditto(refused.clone()).to_string());
        self.0.readiness.set(DITTO, answer);
    }
}

/// The waits of a watch that fails. They are short again once it has not failed for [`QUIET`]: a watch says that it
/// begins before each list, also when no list comes of it, so what it says proves nothing.
#[derive(Debug)]
pub struct Patience {
    next: Duration,
    failed: Option<Instant>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { next: FIRST, failed: None }
    }
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.failed.is_some_and(|at| now.saturating_duration_since(at) >= QUIET) {
            self.next = FIRST;
        }
        self.failed = Some(now);
        let wait = self.next.mul_f64(0.75 + 0.25 * rand::random::<f64>());
        self.next = self.next.saturating_mul(2).min(LONGEST);
        Some(wait)
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_stumbled_is_fine_again_without_a_word() {
        let readiness = Readiness::new([KUBERNETES]);
        let health = Health::new(readiness.clone());
        health.expect("twins");
        assert!(!readiness.is_ready(), "not listed yet");
        health.fine("twins");
        assert!(readiness.is_ready());

        let first = health.failed("twins", &ControllerError::Forbidden("no".into()));
        let second = health.failed("twins", &ControllerError::Forbidden("no".into()));
        health.was_quiet_since("twins", first);
        assert!(!readiness.is_ready(), "it failed again since");
        health.was_quiet_since("twins", second);
        assert!(readiness.is_ready());
    }

    #[test]
    fn patience_grows_while_lists_fail_and_starts_over_after_a_quiet_time() {
        let mut patience = Patience::default();
        let failure = |patience: &mut Patience| {
            // Said before each list.
            patience.reset();
            patience.next().unwrap()
        };
        let waits: Vec<_> = (0..6).map(|_| failure(&mut patience)).collect();
        assert!(waits[0] <= FIRST && waits[5] <= LONGEST && waits[5] >= LONGEST * 3 / 4, "{waits:?}");
        patience.failed = Instant::now().checked_sub(QUIET);
        assert!(failure(&mut patience) <= FIRST);
    }
}
