//! Connections to the broker that did not hold, and when the next is tried.
use std::time::{Duration, Instant};

use super::link::LinkError;

/// Delay before the second try to connect; it doubles with each.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(15);
/// The least delay after another client took our name: it will do so again.
const TAKEN_OVER: Duration = Duration::from_secs(5);
/// A broker that is there and ends so many connections in a row soon after it let us in: Mosquitto does not say that
/// another client took our name.
const SHORT_MAX: u32 = 2;
/// A connection that held so long was no failure.
const HELD: Duration = Duration::from_secs(10);

/// Tries in a row.
#[derive(Debug)]
pub struct Tries {
    failed: u32,
    /// Connections in a row that were ended soon.
    short: u32,
    connected: Instant,
}

/// What came of the last one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// As the metric calls it.
    pub result: &'static str,
    pub is_taken_over: bool,
    /// Before the next, without the part of chance.
    pub delay: Duration,
}

impl Tries {
    pub fn new(now: Instant) -> Self {
        Self { failed: 0, short: 0, connected: now }
    }

    pub fn connected(&mut self, now: Instant) {
        self.connected = now;
    }

    /// What is tried next differs from what failed.
    pub fn start_over(&mut self) {
        self.failed = 0;
    }

    /// `was_open`: the broker had let us in.
    pub fn ended(&mut self, error: &LinkError, was_open: bool, now: Instant) -> Outcome {
        let held = now.saturating_duration_since(self.connected) >= HELD;
        if was_open && held {
            self.failed = 0;
        }
        let is_short = was_open && !held && matches!(error, LinkError::Ended | LinkError::Broken(_));
        self.short = if is_short { self.short + 1 } else { 0 };
        let said = matches!(error, LinkError::Said(why) if why.contains("SessionTakenOver"));
        let is_taken_over = said || self.short >= SHORT_MAX;
        let result = match error {
            _ if is_taken_over => "taken_over",
            LinkError::Refused(_) => "refused",
            LinkError::Unreached { .. } => "unreached",
            LinkError::Files(_) => "files",
            _ => "lost",
        };
        let delay = RETRY_FIRST.saturating_mul(2_u32.saturating_pow(self.failed.min(16))).min(RETRY_MAX);
        let delay = if is_taken_over { delay.max(TAKEN_OVER) } else { delay };
        self.failed = self.failed.saturating_add(1);
        Outcome { result, is_taken_over, delay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f40_a_broker_that_ends_two_connections_at_once_is_given_time() {
        let start = Instant::now();
        let mut tries = Tries::new(start);
        let outcome = |tries: &mut Tries, after: Duration| {
            tries.connected(start);
            let outcome = tries.ended(&LinkError::Ended, true, start + after);
            (outcome.result, outcome.delay)
        };
        let soon = Duration::from_secs(1);
        assert_eq!(outcome(&mut tries, soon), ("lost", RETRY_FIRST));
        assert_eq!(outcome(&mut tries, soon), ("taken_over", TAKEN_OVER));
        assert_eq!(outcome(&mut tries, HELD), ("lost", RETRY_FIRST), "one that held was no failure");
    }

    #[test]
    fn delays_double_and_end_somewhere() {
        let start = Instant::now();
        let mut tries = Tries::new(start);
        let mut delays = (0..20).map(|_| tries.ended(&LinkError::Silent, false, start).delay);
        assert_eq!([delays.next(), delays.next()], [Some(RETRY_FIRST), Some(2 * RETRY_FIRST)]);
        assert_eq!(delays.last(), Some(RETRY_MAX));
    }
}
