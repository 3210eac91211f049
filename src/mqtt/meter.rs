//! From the core's counts to metrics, and the broker's window as it shows.
use std::time::{Duration, Instant};

use super::core::{Core, Counts};
use super::outbox::Outbox;
use crate::telemetry::Telemetry;
use crate::twin::telemetry::Reject;

/// A window below this keeps a bridge from its work; Mosquitto's default is 20.
const WINDOW_SMALL: usize = 1_000;
/// So often within [`WATCHED`] must the same most be reached and never passed.
const REACHED_MIN: u32 = 50;
/// A broker that waits for acknowledgements fills its window up again at once; devices that just talk together do not.
const AT_ONCE: Duration = Duration::from_millis(20);
const WATCHED: Duration = Duration::from_secs(10);
/// Fewer are no sign of a limit: so many devices may just talk at once.
const MOST_MIN: usize = 10;

/// The counts behind the metrics, by their labels.
type Labels = &'static [(&'static str, fn(&Counts) -> u64)];
const MESSAGES: Labels = &[
    ("received", |counts| counts.received),
    ("elsewhere", |counts| counts.elsewhere),
    ("duplicate", |counts| counts.duplicates),
    ("written", |counts| counts.written),
    ("coalesced", |counts| counts.coalesced),
];
const WRITES: Labels = &[
    ("taken", |counts| counts.writes),
    ("retried", |counts| counts.retries),
    ("question", |counts| counts.questions),
    ("created", |counts| counts.created),
    ("probe", |counts| counts.probes),
];
const COMMANDS: Labels = &[
    ("desired", |counts| counts.desired),
    ("message", |counts| counts.messages),
    ("response", |counts| counts.responses),
    ("response_unknown", |counts| counts.responses_unknown),
    ("response_missing", |counts| counts.responses_missing),
    ("too_large", |counts| counts.too_large),
];

/// Tells what was counted since the last time.
#[derive(Default)]
pub struct Meter {
    told: Counts,
    /// Commands that were too many, that the broker did not take, that were too large, and that were given up.
    told_of_outbox: (u64, u64, u64, u64),
}

impl Meter {
    pub fn tell(&mut self, core: &Core, outbox: &Outbox, telemetry: &Telemetry) {
        let told = std::mem::replace(&mut self.told, core.counts.clone());
        let now_of_outbox = (outbox.dropped, outbox.refused, outbox.too_large, outbox.given_up);
        let (dropped, refused, too_large, given_up) =
            std::mem::replace(&mut self.told_of_outbox, now_of_outbox);
        let counts = &core.counts;
        let more = |of: fn(&Counts) -> u64| of(counts) - of(&told);
        for (result, of) in MESSAGES.iter().copied() {
            telemetry.mqtt_messages(result, more(of));
        }
        for reason in Reject::ALL {
            let of = |counts: &Counts| counts.rejected.get(&reason).copied().unwrap_or_default();
            telemetry.mqtt_rejected(reason.word(), of(counts) - of(&told));
        }
        for (result, of) in WRITES.iter().copied() {
            telemetry.mqtt_writes(result, more(of));
        }
        for (kind, of) in COMMANDS.iter().copied() {
            telemetry.mqtt_commands(kind, more(of));
        }
        telemetry.mqtt_commands("refused", outbox.refused - refused);
        telemetry.mqtt_commands("too_large", outbox.too_large - too_large);
        telemetry.mqtt_commands("given_up", outbox.given_up - given_up);
        telemetry.dropped_many("dead_letters", more(|counts| counts.letters_dropped));
        telemetry.dropped_many("mqtt_commands", outbox.dropped - dropped);
        let (bytes, calls, window, unacknowledged) = core.load();
        for (what, count) in [
            ("bytes", bytes as u64),
            ("calls", calls as u64),
            ("calls_max", window),
            ("unacknowledged", unacknowledged as u64),
            ("commands", outbox.len() as u64),
        ] {
            telemetry.mqtt_waiting(what, count);
        }
        let population = core.population();
        for (state, count) in
            [("Online", population.online), ("Stale", population.stale), ("Unheard", population.unheard)]
        {
            telemetry.mqtt_devices(state, count);
        }
        telemetry.mqtt_connected("ditto", core.is_up());
        telemetry.mqtt_connected("ditto_live", core.is_live());
    }
}

/// Finds out how many messages the broker sends before the first is acknowledged: it does not say.
#[derive(Debug)]
pub struct BrokerWindow {
    since: Instant,
    most: usize,
    reached: u32,
    /// Since when it is below the most.
    left: Option<Instant>,
    is_told: bool,
}

impl BrokerWindow {
    pub fn new(now: Instant) -> Self {
        Self { since: now, most: 0, reached: 0, left: None, is_told: false }
    }

    /// So many messages are not acknowledged now. Returns the window once, when it is small.
    pub fn saw(&mut self, unacknowledged: usize, now: Instant) -> Option<usize> {
        if now.saturating_duration_since(self.since) >= WATCHED {
            *self = Self { is_told: self.is_told, ..Self::new(now) };
        }
        match unacknowledged.cmp(&self.most) {
            std::cmp::Ordering::Greater => (self.most, self.reached, self.left) = (unacknowledged, 1, None),
            std::cmp::Ordering::Equal => {
                let left = self.left.take();
                self.reached +=
                    u32::from(left.is_some_and(|at| now.saturating_duration_since(at) <= AT_ONCE));
            }
            std::cmp::Ordering::Less => {
                self.left.get_or_insert(now);
            }
        }
        let is_small = (MOST_MIN..WINDOW_SMALL).contains(&self.most) && self.reached >= REACHED_MIN;
        (is_small && !std::mem::replace(&mut self.is_told, true)).then_some(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_window_shows_by_being_reached_again_and_again() {
        let start = Instant::now();
        let mut window = BrokerWindow::new(start);
        let told: Vec<usize> =
            (0..1_000).flat_map(|_| [20, 7]).filter_map(|count| window.saw(count, start)).collect();
        assert_eq!(told, [20]);
        let mut window = BrokerWindow::new(start);
        let free = (0..10_000_usize).find_map(|round| window.saw((round * 7_919) % 500 + round / 50, start));
        assert_eq!(free, None, "a window that is never met twice is no limit");
        let mut window = BrokerWindow::new(start);
        let slow = (0..10_000_u32).find_map(|second| {
            let now = start + Duration::from_millis(u64::from(second) * 50);
            window.saw(20, now);
            window.saw(0, now)
        });
        assert_eq!(slow, None, "twenty devices that talk twenty times a second, together");
    }
}
