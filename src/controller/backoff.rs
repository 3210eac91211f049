//! When a resource is looked at again.
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use kube::runtime::controller::Action;
use parking_lot::Mutex;

use crate::reconcile::Place;
use crate::twin::reason::{Again, Outcome};

/// The first wait after a failure: a blip is over by then.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait after a row of failures: an outage that ends is noticed within minutes.
const LONGEST: Duration = Duration::from_mins(5);
/// The wait while somebody else must change something outside that wakes nobody.
const SLOW: Duration = Duration::from_mins(2);
/// The longest wait that Ditto may ask for.
const ASKED_MAX: Duration = Duration::from_hours(1);

/// How long to wait; `None` means until the resource is edited, or until a resync finds a difference.
/// `jitter` is from 0 to 1 and spreads what started together.
pub fn wait(again: Again, failures: u32, resync: Duration, jitter: f64) -> Option<Duration> {
    match again {
        Again::Resync | Again::Edit => None,
        Again::Backoff => {
            let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
            Some(doubled.min(LONGEST).mul_f64(0.75 + 0.25 * jitter))
        }
        Again::AfterMs(ms) => Some(Duration::from_millis(ms).min(ASKED_MAX).mul_f64(1.0 + 0.1 * jitter)),
        Again::Slowly => Some(spread(SLOW.min(resync), jitter)),
    }
}

/// A tenth shorter to a tenth longer.
pub fn spread(time: Duration, jitter: f64) -> Duration {
    time.mul_f64(0.9 + 0.2 * jitter)
}

/// What the API server asks for when it has too much to do. Source: Kubernetes, API Priority and Fairness.
fn asked(error: &kube::Error) -> Again {
    let seconds = match error {
        kube::Error::Api(status) if status.code == 429 => {
            status.details.as_ref().map_or(0, |details| details.retry_after_seconds)
        }
        _ => 0,
    };
    if seconds > 0 { Again::AfterMs(u64::from(seconds) * 1_000) } else { Again::Backoff }
}

/// How often in a row each resource failed.
#[derive(Debug, Default)]
pub struct Tries(Mutex<HashMap<Place, Tally>>);

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    failures: u32,
    held: u32,
}

impl Tries {
    /// Counts what a pass came to, and says when the next one is due.
    pub fn next(&self, place: &Place, outcome: &Outcome, resync: Duration) -> Action {
        let again = if outcome.paused { Again::Resync } else { outcome.again() };
        self.count(place, again, outcome.things > 0, resync)
    }

    /// A pass that could not be carried to its end.
    pub fn failed(&self, place: &Place) -> Action {
        self.count(place, Again::Backoff, false, Duration::ZERO)
    }

    /// As [`Tries::failed`], because Kubernetes refused; it may have asked for patience.
    pub fn refused(&self, place: &Place, error: &kube::Error) -> Action {
        self.count(place, asked(error), false, Duration::ZERO)
    }

    fn count(&self, place: &Place, again: Again, is_held: bool, resync: Duration) -> Action {
        let mut tallies = self.0.lock();
        let mut tally = tallies.get(place).copied().unwrap_or_default();
        tally.failures = if again == Again::Backoff { tally.failures.saturating_add(1) } else { 0 };
        tally.held = if is_held { tally.held.saturating_add(1) } else { 0 };
        if tally.failures == 0 && tally.held == 0 {
            tallies.remove(place);
        } else {
            tallies.insert(place.clone(), tally);
        }
        drop(tallies);
        wait(again, tally.failures, resync, rand::random()).map_or_else(Action::await_change, Action::requeue)
    }

    /// How often in a row a deletion was held by things that search shows.
    pub fn held(&self, place: &Place) -> u32 {
        self.0.lock().get(place).map_or(0, |tally| tally.held)
    }

    /// Its last pass failed, and the next has its time.
    pub fn is_failing(&self, place: &Place) -> bool {
        self.0.lock().get(place).is_some_and(|tally| tally.failures > 0)
    }

    /// All whose last pass failed.
    pub fn failing(&self) -> BTreeSet<Place> {
        self.0.lock().iter().filter(|(_, tally)| tally.failures > 0).map(|(place, _)| place.clone()).collect()
    }

    pub fn forget(&self, place: &Place) {
        self.0.lock().remove(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::reason::{Held, Reason};

    const RESYNC: Duration = Duration::from_mins(10);

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<_> =
            (1..=12).map(|n| wait(Again::Backoff, n, RESYNC, 1.0).unwrap().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(wait(Again::Backoff, u32::MAX, RESYNC, 1.0), Some(LONGEST));
    }

    #[test]
    fn jitter_stays_within_its_bounds() {
        let seconds = |again, jitter| wait(again, 3, RESYNC, jitter).unwrap().as_millis();
        let cases = [
            ("a backoff is never longer than doubled", Again::Backoff, 3_000, 4_000),
            ("Ditto's wish is never undercut", Again::AfterMs(2_000), 2_000, 2_200),
            ("slowly is slow", Again::Slowly, 108_000, 132_000),
        ];
        for (name, again, low, high) in cases {
            assert_eq!((seconds(again, 0.0), seconds(again, 1.0)), (low, high), "{name}");
        }
        assert_eq!(wait(Again::Edit, 1, RESYNC, 0.5), None);
        assert_eq!(wait(Again::Resync, 1, RESYNC, 0.5), None, "a resync looks at all of them at once");
        let resyncs = [0.0, 1.0].map(|jitter| spread(RESYNC, jitter).as_secs());
        assert_eq!(resyncs, [540, 660], "a resync is spread by a tenth both ways");
        let asked = wait(Again::AfterMs(u64::MAX), 0, RESYNC, 0.0);
        assert_eq!(asked, Some(ASKED_MAX), "nobody can make us wait forever");
    }

    #[test]
    fn a_success_ends_the_row() {
        let (tries, place) = (Tries::default(), ("n".to_owned(), "t".to_owned()));
        let held = |reason| Outcome::new(Err(Held::new(reason, "why")));
        for things in [0, 1, 0, 1, 2, 1] {
            tries.next(&place, &Outcome { things, ..held(Reason::DeletionHeld) }, RESYNC);
        }
        assert_eq!(tries.held(&place), 3, "held by twins or the breaker, search was not asked");
        tries.next(&place, &Outcome::new(Ok(Reason::AlreadyInSync)), RESYNC);
        assert_eq!((tries.held(&place), tries.0.lock().len()), (0, 0));
        assert_eq!(
            tries.next(&place, &held(Reason::InvalidSpec), RESYNC),
            Action::await_change(),
            "an invalid spec waits for an edit"
        );
    }
}
