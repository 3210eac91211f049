//! A look at all things, a few in each turn: those that are missing are forgotten, and the others counted.
use std::time::{Duration, Instant};

use super::Core;
use super::devices::Population;
use super::lane::{Known, Lane};

/// How often all lanes are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// Lanes looked at in one turn: well below a millisecond, so that no message waits for it.
pub const SWEEP_LANES: usize = 1_000;

/// How far the look at all lanes is.
#[derive(Debug)]
pub struct Sweep {
    began: Instant,
    /// Where it goes on; `None` when it is done.
    next: Option<usize>,
    counting: Population,
    /// As the last look found it.
    pub population: Population,
}

impl Sweep {
    pub fn new(now: Instant) -> Self {
        Self { began: now, next: None, counting: Population::default(), population: Population::default() }
    }

    /// When there is something to look at.
    pub fn due(&self, now: Instant) -> Instant {
        if self.next.is_some() { now } else { self.began + SWEEP }
    }

    /// Where to look in this turn.
    fn place(&mut self, now: Instant) -> Option<usize> {
        if self.next.is_none() && now.saturating_duration_since(self.began) >= SWEEP {
            (self.began, self.next, self.counting) = (now, Some(0), Population::default());
        }
        self.next
    }
}

impl Core {
    /// Looks at the next lanes, when it is time.
    pub(super) fn sweep(&mut self, now: Instant) {
        let Some(first) = self.sweep.place(now) else { return };
        let places = self.lanes.capacity();
        let end = (first + SWEEP_LANES).min(places);
        for index in first..end {
            let Some(lane) = self.lanes.get(index) else { continue };
            self.sweep.counting.count(lane, now);
            if is_gone(lane, now) {
                self.forget(index);
            }
        }
        self.sweep.next = (end < places).then_some(end);
        if self.sweep.next.is_none() {
            self.sweep.population = self.sweep.counting;
        }
    }

    /// Nothing else names the lane: nothing of it waits, and nothing is on its way.
    fn forget(&mut self, index: usize) {
        let lane = self.lanes.remove(index);
        self.names.remove(&lane.thing);
        for topic in lane.topics {
            self.topics.remove(&topic);
        }
        self.missing -= 1;
    }
}

fn is_gone(lane: &Lane, now: Instant) -> bool {
    matches!(lane.known, Known::Missing(until) if until <= now) && lane.is_idle()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::super::CoreOptions;
    use super::super::tests::{Bench, options, said, value};
    use super::*;
    use crate::ditto::link::What;
    use crate::ports::Refused;

    fn topic(number: usize) -> String {
        format!("devices/a:t{number}/telemetry")
    }

    /// So many things that are missing.
    fn missing(count: usize) -> Bench {
        let mut bench = Bench::new(CoreOptions { window: 10_000, ..options() });
        for number in 0..count {
            bench.say(&topic(number), r#"{"t": 1}"#);
            assert_eq!(bench.answer(Err(Refused::Missing(said(404)))), What::About);
        }
        assert_eq!(bench.core.lanes.len(), count);
        bench
    }

    #[test]
    fn one_turn_looks_at_so_many_lanes_and_the_next_goes_on_at_once() {
        let more = SWEEP_LANES / 2;
        let mut bench = missing(3 * SWEEP_LANES + more);
        let lanes = |bench: &Bench| bench.core.lanes.len();
        bench.later(Duration::from_mins(1));
        assert_eq!(lanes(&bench), 2 * SWEEP_LANES + more);
        assert_eq!(bench.core.next_turn(bench.now()), bench.now(), "no wait between two turns");
        // A message between them is taken as ever; its turn looks on, too.
        bench.say("devices/a:new/telemetry", r#"{"t": 1}"#);
        assert_eq!(bench.orders[0].thing.as_str(), "a:new");
        assert_eq!(lanes(&bench), SWEEP_LANES + more + 1);
        (0..10).for_each(|_| bench.later(Duration::ZERO));
        assert_eq!((lanes(&bench), bench.core.missing, bench.core.topics.len()), (1, 0, 1));
        assert!(bench.core.next_turn(bench.now()) > bench.now(), "done until the next time");
    }

    #[test]
    fn devices_are_counted_when_all_were_looked_at() {
        let count = 2 * SWEEP_LANES + 1;
        let mut bench = Bench::new(CoreOptions { window: 10_000, ..options() });
        for number in 0..count {
            bench.say(&topic(number), r#"{"t": 1}"#);
            bench.learn(json!(null), json!({}));
            bench.merged(value("t", 1));
        }
        let online = |bench: &Bench| bench.core.population().online;
        bench.later(SWEEP);
        assert_eq!(online(&bench), 0, "no half of them is told");
        (0..10).for_each(|_| bench.later(Duration::ZERO));
        assert_eq!(online(&bench), count as u64);
    }

    #[test]
    fn the_place_of_a_thing_that_was_forgotten_is_anothers_and_its_topic_is_not() {
        let mut bench = missing(10);
        bench.later(Duration::from_mins(1));
        for number in (0..20).rev() {
            bench.say(&topic(number), r#"{"t": 1}"#);
        }
        let core = &bench.core;
        assert_eq!((core.lanes.len(), core.names.len(), core.topics.len()), (20, 20, 20));
        for (topic, index) in &core.topics {
            let thing = core.lanes[*index].thing.as_str();
            assert!(String::from_utf8_lossy(topic).contains(&format!("/{thing}/")), "{thing}");
        }
        let asked: BTreeSet<&str> = bench.orders.iter().map(|order| order.thing.as_str()).collect();
        assert_eq!(asked.len(), 20, "each is asked about by its own name");
    }
}
