//! A thing whose calls fail while those of others do not. Acknowledgements go in order, so that it holds all devices up.
//!
//! While Ditto as a whole is away, calls of all things fail and nothing is given up. What tells the two apart are the
//! writes of other things that Ditto takes meanwhile.
use std::time::{Duration, Instant};

use super::Core;
use crate::ports::Refused;
use crate::twin::telemetry::Reject;

/// A thing is given up after it failed alone for so long, as often as [`ALONE_MAX`] at least. Longer than a part of
/// Ditto takes to start again.
pub const GIVE_UP_AFTER: Duration = Duration::from_mins(2);
/// Failures between which Ditto took a write of another thing.
pub const ALONE_MAX: u32 = 10;
/// After so many of them the fault is the thing's: its failures say no more about Ditto.
const ALONE_SURE: u32 = 3;
/// A thing that did not fail for so long starts anew.
const KEPT: Duration = Duration::from_mins(10);

/// Failures of one thing in a row.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    since: Instant,
    last: Instant,
    alone: u32,
    /// The core's counts when it failed last: writes that were taken, and failures that may be Ditto's. `None` when
    /// values have come since it was given up: they get a second try at least.
    seen: Option<(u64, u64)>,
}

impl Core {
    /// Remembers that a call of the thing failed, and drops what waits for it when that is enough.
    pub(super) fn failed(&mut self, index: usize, refused: &Refused, now: Instant) {
        let is_held_up = self.acks.is_held_up();
        let (taken, failures) = (self.counts.writes, self.failures);
        let earlier = self.lanes[index].failing.filter(|it| now.saturating_duration_since(it.last) < KEPT);
        let mut failing = earlier.unwrap_or(Failing { since: now, last: now, alone: 0, seen: None });
        failing.last = now;
        let is_alone = failing.seen.is_some_and(|(taken_before, failures_before)| {
            // Nothing else is asked of Ditto when the broker's window is full of messages that wait for this thing.
            let speaks_alone = is_held_up && failures == failures_before && failing.alone >= ALONE_SURE;
            taken > taken_before || speaks_alone
        });
        failing.alone = failing.alone.saturating_add(is_alone.into());
        if failing.alone < ALONE_SURE {
            self.failures += 1;
        }
        failing.seen = Some((taken, self.failures));
        let is_enough = is_alone
            && failing.alone >= ALONE_MAX
            && now.saturating_duration_since(failing.since) >= GIVE_UP_AFTER
            && self.lanes[index].has_values();
        if is_enough {
            failing.seen = None;
        }
        let lane = &mut self.lanes[index];
        lane.failing = Some(failing);
        if is_enough {
            // What comes next is tried at once, so that it holds nobody up for long.
            (lane.attempts, lane.not_before) = (0, None);
            let why = format!("Ditto takes writes of other things, and of this one none: {refused}");
            self.drop_waiting(index, Reject::Refused, &why, now);
        }
    }
}
