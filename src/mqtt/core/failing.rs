//! A thing whose calls fail while those of others do not. Acknowledgements go in order, so that it holds all devices up.
//!
//! While Ditto as a whole is away, calls of all things fail and nothing is given up. What tells the two apart are the
//! writes of other things that Ditto takes meanwhile; where none can come, since the broker's window is full of messages
//! that wait for this thing, what is read of it.
use std::time::{Duration, Instant};

use super::Core;
use crate::ports::Refused;
use crate::twin::telemetry::Reject;

/// A thing is given up after it failed alone for so long, as often as [`ALONE_MAX`] at least. Longer than Kubernetes
/// takes to start a part of Ditto elsewhere when a node is lost: 300 s before it moves a pod.
pub const GIVE_UP_AFTER: Duration = Duration::from_mins(10);
/// Failures between which Ditto answered something else.
pub const ALONE_MAX: u32 = 10;
/// Of the time between two of them no more counts: Ditto as a whole may have been away.
const GAP_MAX: Duration = Duration::from_mins(1);
/// A thing that did not fail for so long starts anew.
const KEPT: Duration = Duration::from_mins(10);

/// Failures of one thing in a row.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    last: Instant,
    alone: u32,
    /// When it failed alone last, and for how long it does.
    counted: Instant,
    lasted: Duration,
    /// Writes that were taken and questions that were answered when it failed last. `None` when values have come since
    /// it was given up: they get a second try at least.
    seen: Option<(u64, u64)>,
}

impl Core {
    /// Remembers that a call of the thing failed, and drops what waits for it when that is enough.
    pub(super) fn failed(&mut self, index: usize, refused: &Refused, now: Instant) {
        let is_held_up = self.acks.is_held_up();
        let (taken, answered) = (self.counts.writes, self.answered);
        let earlier = self.lanes[index].failing.filter(|it| now.saturating_duration_since(it.last) < KEPT);
        let mut failing = earlier.unwrap_or(Failing {
            last: now,
            alone: 0,
            counted: now,
            lasted: Duration::ZERO,
            seen: None,
        });
        failing.last = now;
        let is_alone = failing.seen.is_some_and(|(taken_before, answered_before)| {
            taken > taken_before || is_held_up && answered > answered_before
        });
        if is_alone {
            failing.alone = failing.alone.saturating_add(1);
            failing.lasted += now.saturating_duration_since(failing.counted).min(GAP_MAX);
            failing.counted = now;
        }
        failing.seen = Some((taken, answered));
        let is_enough = is_alone
            && failing.alone >= ALONE_MAX
            && failing.lasted >= GIVE_UP_AFTER
            && self.lanes[index].has_values();
        if is_enough {
            failing.seen = None;
        }
        let lane = &mut self.lanes[index];
        lane.failing = Some(failing);
        // Nothing else may be asked of Ditto now: with the next try the thing is read, too.
        lane.is_stale |= is_held_up;
        if is_enough {
            // What comes next is tried at once, so that it holds nobody up for long.
            (lane.attempts, lane.not_before) = (0, None);
            let why = format!("Ditto answers, and takes no write of this thing: {refused}");
            self.drop_waiting(index, Reject::Refused, &why, now);
        }
    }
}
