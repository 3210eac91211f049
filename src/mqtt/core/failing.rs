//! A thing whose calls fail while those of others do not. Acknowledgements go in order, so that it holds all devices up.
//!
//! While Ditto as a whole takes no writes, those of all things fail and nothing is given up. What tells the two apart are
//! the writes of other things that Ditto takes meanwhile. Where none can come, since the broker's window is full of
//! messages that wait for this thing, another thing is written without changing anything in it. What Ditto reads proves
//! nothing: it may answer reads and refuse every write.
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::lane::{Known, Lane};
use super::{CallKind, Core};
use crate::ditto::link::What;
use crate::ports::Refused;
use crate::twin::telemetry::Reject;

/// A thing is given up after it failed alone for so long, as often as [`ALONE_MAX`] at least. Longer than Kubernetes
/// takes to start a part of Ditto elsewhere when a node is lost: 300 s before it moves a pod.
pub const GIVE_UP_AFTER: Duration = Duration::from_mins(10);
/// Failures between which Ditto took another write.
pub const ALONE_MAX: u32 = 10;
/// Of the time between two of them no more counts: Ditto as a whole may have been away.
const GAP_MAX: Duration = Duration::from_mins(1);
/// A thing that did not fail for so long starts anew.
const KEPT: Duration = Duration::from_mins(10);
/// Writes that only find out whether Ditto takes any, at most so often. Each moves the revision of a thing.
pub const PROBE_EVERY: Duration = Duration::from_secs(30);
/// Lanes looked at for the next one.
const PROBE_LANES: usize = 1_000;

/// Failures of one thing in a row.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    last: Instant,
    alone: u32,
    /// When it failed alone last, and for how long it does.
    counted: Instant,
    lasted: Duration,
    /// Writes that were taken when it failed last. `None` when values have come since it was given up: they get a second
    /// try at least.
    seen: Option<u64>,
}

/// Writes that change nothing.
#[derive(Debug, Default)]
pub struct Probes {
    sent: Option<Instant>,
    /// Where the next thing is looked for.
    next: usize,
    /// Those that Ditto took.
    taken: u64,
}

impl Core {
    /// Remembers that a call of the thing failed, and drops what waits for it when that is enough.
    pub(super) fn failed(&mut self, index: usize, refused: &Refused, now: Instant) {
        let taken = self.counts.writes + self.probes.taken;
        // One that was given up stays so until Ditto takes a write of it, however seldom it speaks.
        let is_kept = |it: &Failing| it.seen.is_none() || now.saturating_duration_since(it.last) < KEPT;
        let earlier = self.lanes[index].failing.filter(is_kept);
        let mut failing = earlier.unwrap_or(Failing {
            last: now,
            alone: 0,
            counted: now,
            lasted: Duration::ZERO,
            seen: None,
        });
        failing.last = now;
        let is_alone = failing.seen.is_some_and(|before| taken > before);
        if is_alone {
            failing.alone = failing.alone.saturating_add(1);
            failing.lasted += now.saturating_duration_since(failing.counted).min(GAP_MAX);
            failing.counted = now;
        }
        failing.seen = Some(taken);
        let is_enough = is_alone
            && failing.alone >= ALONE_MAX
            && failing.lasted >= GIVE_UP_AFTER
            && self.lanes[index].has_values();
        if is_enough {
            failing.seen = None;
        }
        let lane = &mut self.lanes[index];
        lane.failing = Some(failing);
        if !is_alone && self.acks.is_held_up() {
            self.probe(index, now);
        }
        if is_enough {
            let lane = &mut self.lanes[index];
            // What comes next is tried at once, so that it holds nobody up for long.
            (lane.attempts, lane.not_before) = (0, None);
            let why = format!("Ditto takes writes of other things, and none of this one: {refused}");
            self.drop_waiting(index, Reject::Refused, &why, now);
        }
    }

    /// Writes another thing than this one, without changing anything in it, unless that was done a moment ago. Ditto
    /// takes a merge of nothing, but for one into the whole thing. Source: Ditto 3.8, `MergeThing.java`.
    fn probe(&mut self, failing: usize, now: Instant) {
        let Some(epoch) = self.epoch else { return };
        let is_due = self.probes.sent.is_none_or(|at| now.saturating_duration_since(at) >= PROBE_EVERY);
        if !is_due || !self.window.admits(self.calls.len(), now) {
            return;
        }
        let (first, places) = (self.probes.next, self.lanes.capacity());
        let mut looked = (first..first + PROBE_LANES.min(places)).map(|at| at % places);
        let found = looked.find(|at| *at != failing && self.lanes.get(*at).is_some_and(can_be_probed));
        self.probes.next = found.map_or(first + PROBE_LANES, |at| at + 1) % places;
        let Some(index) = found else { return };
        self.probes.sent = Some(now);
        self.counts.probes += 1;
        self.send(index, epoch, CallKind::Probe, What::Merge(json!({})), now);
    }

    /// What Ditto says to such a write. Only one that it takes tells anything.
    pub(super) fn probed(&mut self, result: &Result<Value, Refused>, now: Instant) {
        match result {
            Ok(_) => {
                self.window.taken();
                self.probes.taken += 1;
            }
            Err(Refused::RateLimited { after_ms, .. }) => {
                self.window.refused(after_ms.map(Duration::from_millis), now);
            }
            Err(_) => {}
        }
    }
}

/// A thing that the bridge has written, and that nothing waits for.
fn can_be_probed(lane: &Lane) -> bool {
    lane.was_written
        && lane.is_idle()
        && lane.failing.is_none()
        && lane.rules.enabled
        && matches!(lane.known, Known::Yes(_))
}
