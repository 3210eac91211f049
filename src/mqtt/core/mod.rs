//! The decisions of the bridge: what is written to Ditto when, which message is acknowledged when, what is told to
//! devices. No I/O: messages, answers and the time come in, orders and publications go out.
//!
//! Each thing is a [`Lane`] with one write on its way at most. A thing that is idle is written at once; what comes
//! while its write is on its way waits in one sheet, the newest value of every path, and goes out with the next. A
//! message is acknowledged when the write that covers it was taken, and in the order the messages came.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use slab::Slab;

use crate::ditto::link::{Order, What};
use crate::settings::Replica;
use crate::twin::id::{PolicyId, ThingId};
use crate::twin::telemetry::Reject;
use crate::twin::topics::Topics;

mod acks;
mod answers;
mod commands;
mod devices;
mod failing;
mod lane;
mod rejects;
mod sweep;
mod telemetry;
mod window;

pub use acks::{Acks, Ticket};
pub use devices::{Device, Population, Presence};
pub use telemetry::Incoming;

use commands::Asked;
use failing::Probes;
use lane::{Known, Lane};
use rejects::Letters;
use sweep::Sweep;
use window::Window;

/// What waits for Ditto, in bytes of memory, before nothing more is read from the broker.
pub const WAITING_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Messages that are not acknowledged before nothing more is read from the broker. MQTT 5 keeps to the
/// `RECEIVE_MAXIMUM` it is told, which is less; MQTT 3.1.1 knows none.
pub const UNACKNOWLEDGED_MAX: usize = 20_000;
/// Things that are asked about before nothing more is read from the broker.
const LEARNING_MAX: usize = 10_000;
/// Things that are known to be missing: more are asked about again with each message.
const MISSING_MAX: usize = 10_000;
/// Things the bridge knows; beyond it new ones are refused.
const LANES_MAX: usize = 1_000_000;
/// How long a missing thing is not asked about again. One that is created is heard of before.
const MISSING_FOR: Duration = Duration::from_secs(5);
/// How long what is known of a thing counts while changes are heard, and while they are not.
const KNOWN_FOR: Duration = Duration::from_mins(10);
const KNOWN_FOR_BLIND: Duration = Duration::from_secs(30);

/// What the core is told once.
#[derive(Clone, Debug)]
pub struct CoreOptions {
    pub topics: Topics,
    pub replica: Replica,
    /// In bytes.
    pub payload_max: usize,
    /// The largest packet for the broker until it says what it takes, in bytes.
    pub packet_max: usize,
    /// Writes per second and thing, where its rules say nothing.
    pub max_rate: Option<u32>,
    pub auto_create: Option<PolicyId>,
    /// Calls on their way to Ditto.
    pub window: usize,
    /// How long an answer of Ditto's is waited for.
    pub deadline: Duration,
    pub command_subtopics: bool,
    pub dead_letter_topic: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Order(Order),
    Publish {
        topic: String,
        payload: Vec<u8>,
        /// Kept until the broker has it. Dead letters are not.
        is_command: bool,
    },
    /// A command that the broker would not take, in bytes.
    TooLarge {
        topic: String,
        bytes: usize,
    },
    /// A line for the log; at most one for each reason in a while.
    Rejected {
        reason: Reject,
        topic: String,
        why: String,
    },
}

/// What was counted since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages of the broker.
    pub received: u64,
    /// Messages of things that another replica takes.
    pub elsewhere: u64,
    /// Messages the broker sent again.
    pub duplicates: u64,
    /// Messages whose values were written, or overtaken by newer ones that were.
    pub written: u64,
    /// Messages that joined others that waited.
    pub coalesced: u64,
    pub rejected: BTreeMap<Reject, u64>,
    /// Writes that Ditto took, and tries it did not take.
    pub writes: u64,
    pub retries: u64,
    pub questions: u64,
    pub created: u64,
    /// Writes that change nothing, to find out whether Ditto takes any.
    pub probes: u64,
    /// What was told to devices.
    pub desired: u64,
    pub messages: u64,
    /// Answers of devices that came back, that came too late, and that never came.
    pub responses: u64,
    pub responses_unknown: u64,
    pub responses_missing: u64,
    /// Commands that the broker does not take, for their length.
    pub too_large: u64,
    /// Dead letters that were too many, too large for the broker, or had no connection.
    pub letters_dropped: u64,
}

/// A call on its way.
#[derive(Clone, Copy, Debug)]
struct Call {
    lane: usize,
    kind: CallKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallKind {
    Merge,
    About,
    Create,
    /// A write that changes nothing; see [`failing`].
    Probe,
}

pub struct Core {
    options: CoreOptions,
    start: Instant,
    /// Each keeps its place.
    lanes: Slab<Lane>,
    names: HashMap<ThingId, usize>,
    /// Topics that were read before.
    topics: HashMap<Arc<[u8]>, usize>,
    pub acks: Acks,
    calls: HashMap<u64, Call>,
    /// Calls in the order they went out.
    sent: VecDeque<(Instant, u64)>,
    number: u64,
    /// The link's; `None` while it is down.
    epoch: Option<u64>,
    /// Whether changes are heard.
    is_live: bool,
    window: Window,
    ready: VecDeque<usize>,
    to_ask: VecDeque<usize>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    waiting_bytes: usize,
    learning: usize,
    missing: usize,
    /// By thing and correlation id.
    asked: HashMap<(ThingId, String), Asked>,
    asked_until: BinaryHeap<Reverse<(Instant, (ThingId, String))>>,
    probes: Probes,
    /// The largest packet that the broker takes, in bytes.
    packet_max: usize,
    letters: Letters,
    sweep: Sweep,
    chance: u64,
    effects: Vec<Effect>,
    pub counts: Counts,
}

impl Core {
    /// `seed` makes delays of several bridges differ.
    pub fn new(options: CoreOptions, now: Instant, seed: u64) -> Self {
        Self {
            window: Window::new(options.window),
            packet_max: options.packet_max,
            options,
            start: now,
            lanes: Slab::new(),
            names: HashMap::new(),
            topics: HashMap::new(),
            acks: Acks::default(),
            calls: HashMap::new(),
            sent: VecDeque::new(),
            number: 0,
            epoch: None,
            is_live: false,
            ready: VecDeque::new(),
            to_ask: VecDeque::new(),
            timers: BinaryHeap::new(),
            waiting_bytes: 0,
            learning: 0,
            missing: 0,
            asked: HashMap::new(),
            asked_until: BinaryHeap::new(),
            probes: Probes::default(),
            letters: Letters::new(now),
            sweep: Sweep::new(now),
            chance: seed | 1,
            effects: vec![],
            counts: Counts::default(),
        }
    }

    /// What is to be done since the last time.
    pub fn effects(&mut self) -> std::vec::Drain<'_, Effect> {
        self.effects.drain(..)
    }

    /// Whether enough waits: nothing more is to be read from the broker until less does.
    pub fn is_full(&self) -> bool {
        self.waiting_bytes >= WAITING_BYTES_MAX
            || self.learning >= LEARNING_MAX
            || self.acks.len() >= UNACKNOWLEDGED_MAX
    }

    /// The connection to the broker has ended: what was not acknowledged comes again.
    pub fn disconnected(&mut self) {
        self.acks.forget();
        self.lanes.iter_mut().for_each(|(_, lane)| lane.forget_tickets());
        // Letters are kept for no other connection, which may take less.
        let before = self.effects.len();
        self.effects.retain(|effect| !matches!(effect, Effect::Publish { is_command: false, .. }));
        self.counts.letters_dropped += (before - self.effects.len()) as u64;
    }

    /// Does what is due, and sends what can be sent.
    pub fn turn(&mut self, now: Instant) {
        self.expire(now);
        self.expire_messages(now);
        while let Some(Reverse((at, index))) =
            self.timers.peek().copied().filter(|Reverse((at, _))| *at <= now)
        {
            self.timers.pop();
            if let Some(lane) = self.lanes.get_mut(index).filter(|lane| lane.timer == Some(at)) {
                lane.timer = None;
                self.queue(index);
            }
        }
        self.sweep(now);
        self.pump(now);
    }

    /// When [`Core::turn`] has something to do, if nothing comes before.
    pub fn next_turn(&self, now: Instant) -> Instant {
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let expiry = self.sent.front().map(|(at, _)| *at + self.options.deadline);
        let answer = self.asked_until.peek().map(|Reverse((at, _))| *at);
        let held = self.window.held(now).filter(|_| !self.ready.is_empty());
        [timer, expiry, answer, held].into_iter().flatten().fold(self.sweep.due(now), Instant::min)
    }

    fn queue(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        if lane.has_values() || lane.known == Known::No || lane.is_wanted {
            if !std::mem::replace(&mut lane.is_queued, true) {
                self.ready.push_back(index);
            }
        } else if !std::mem::replace(&mut lane.is_queued_to_ask, true) {
            self.to_ask.push_back(index);
        }
    }

    /// The next lane that may have something to do; those with values first.
    fn next_ready(&mut self) -> Option<usize> {
        if let Some(index) = self.ready.pop_front() {
            self.lanes[index].is_queued = false;
            return Some(index);
        }
        // Questions after a reconnect are many: they leave room for values.
        let room = u64::try_from(self.calls.len()).is_ok_and(|calls| 2 * calls < self.window.size());
        let index = self.to_ask.pop_front_if(|_| room || self.calls.is_empty())?;
        self.lanes[index].is_queued_to_ask = false;
        Some(index)
    }

    fn pump(&mut self, now: Instant) {
        let Some(epoch) = self.epoch else { return };
        let kept_for = if self.is_live { KNOWN_FOR } else { KNOWN_FOR_BLIND };
        while self.window.admits(self.calls.len(), now) {
            let Some(index) = self.next_ready() else { return };
            if self.lanes[index].asks(now, kept_for) {
                self.ask(index, epoch, now);
            }
            if self.lanes[index].writes(now) {
                self.write(index, epoch, now);
            }
            let lane = &mut self.lanes[index];
            let later = lane.not_before_passed(now).filter(|_| lane.has_wishes());
            if let Some(at) = later.filter(|at| lane.timer.is_none_or(|timer| timer > *at)) {
                lane.timer = Some(at);
                self.timers.push(Reverse((at, index)));
            }
        }
    }

    fn send(&mut self, index: usize, epoch: u64, kind: CallKind, what: What, now: Instant) -> u64 {
        self.number += 1;
        let number = self.number;
        let thing = self.lanes[index].thing.clone();
        self.calls.insert(number, Call { lane: index, kind });
        self.sent.push_back((now, number));
        self.effects.push(Effect::Order(Order { epoch, number, thing, what }));
        number
    }

    fn ask(&mut self, index: usize, epoch: u64, now: Instant) {
        self.counts.questions += 1;
        let number = self.send(index, epoch, CallKind::About, What::About, now);
        let lane = &mut self.lanes[index];
        lane.asking = Some(number);
        lane.is_stale = false;
    }

    fn write(&mut self, index: usize, epoch: u64, now: Instant) {
        let max_rate = self.options.max_rate;
        let lane = &mut self.lanes[index];
        self.waiting_bytes = self.waiting_bytes.saturating_sub(lane.bytes());
        lane.depart();
        let patch = lane.flight.as_ref().map(|flight| flight.sheet.patch(&lane.rules)).unwrap_or_default();
        self.waiting_bytes += lane.bytes();
        let is_empty = patch.as_object().is_none_or(serde_json::Map::is_empty);
        if let Some(rate) = lane.rules.max_rate.or(max_rate) {
            lane.not_before = Some(now + Duration::from_secs(1) / rate);
        }
        if is_empty {
            // Only members that tell an order: nothing for Ditto.
            return self.landed(index);
        }
        self.send(index, epoch, CallKind::Merge, What::Merge(patch), now);
    }

    /// The index of a thing's lane, which is made if need be; `None` when there are too many.
    fn lane_of(&mut self, thing: &ThingId) -> Option<usize> {
        if let Some(index) = self.names.get(thing) {
            return Some(*index);
        }
        if self.lanes.len() >= LANES_MAX {
            return None;
        }
        let index = self.lanes.insert(Lane::new(thing.clone()));
        self.names.insert(thing.clone(), index);
        self.learning += 1;
        Some(index)
    }

    fn know(&mut self, index: usize, known: Known) {
        let lane = &mut self.lanes[index];
        match lane.known {
            Known::No => self.learning -= 1,
            Known::Missing(_) => self.missing -= 1,
            Known::Yes(_) => {}
        }
        lane.known = known;
        match known {
            Known::No => self.learning += 1,
            Known::Missing(_) => self.missing += 1,
            Known::Yes(_) => {}
        }
    }

    fn is_ours(&self, thing: &ThingId) -> bool {
        let Replica { index, count } = self.options.replica;
        count == 1 || part_of(thing, count) == index
    }

    /// From 0 to 1, another each time. Source: Marsaglia, "Xorshift RNGs".
    fn chance(&mut self) -> f64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        let (some, all) = (u32::try_from(self.chance >> 32).unwrap_or_default(), f64::from(u32::MAX));
        f64::from(some) / all
    }

    /// What the desired properties of a thing are, by feature; what a device is told.
    fn desired_of(document: &Value) -> Value {
        let features = document["features"].as_object().into_iter().flatten();
        let desired = features.filter_map(|(id, feature)| {
            let desired = feature.get("desiredProperties").filter(|desired| !desired.is_null())?;
            Some((id.clone(), desired.clone()))
        });
        Value::Object(desired.collect())
    }
}

/// Which of `count` replicas takes the thing: the same in every process. Source: FNV-1a, 64 bits.
pub fn part_of(thing: &ThingId, count: u64) -> u64 {
    let hash = thing.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash % count
}

#[cfg(test)]
mod commands_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod law_tests;
#[cfg(test)]
mod tests;
