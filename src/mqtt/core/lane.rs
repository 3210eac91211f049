//! What the bridge knows of one thing, and what waits to be written to it.
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::acks::Ticket;
use super::failing::Failing;
use crate::twin::id::ThingId;
use crate::twin::telemetry::{Guard, Payload, Rules, Sheet};

/// Delay before a write that failed is tried again; it doubles with each.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The values of one write, in bytes of memory: more are written in parts. A frame of Ditto's takes 256 KiB.
const WRITE_BYTES_MAX: usize = 64 * 1_024;

/// What is known of a thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Known {
    /// Nothing yet.
    No,
    /// Since then.
    Yes(Instant),
    /// It is not there, and not asked for again before then.
    Missing(Instant),
}

/// A write on its way, and the messages it covers.
#[derive(Debug)]
pub struct Flight {
    pub sheet: Sheet,
    /// The order of messages up to it.
    pub guard: Guard,
    pub tickets: Vec<Ticket>,
    /// Those without a ticket count, too.
    pub messages: u64,
    /// One of several, because all together were refused or are too many.
    pub is_part: bool,
}

/// One thing.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked alone")]
pub struct Lane {
    pub thing: ThingId,
    /// Those that are remembered to lead here.
    pub topics: Vec<Arc<[u8]>>,
    pub known: Known,
    pub rules: Rules,
    /// The number of the question that is on its way.
    pub asking: Option<u64>,
    /// What is known may have changed.
    pub is_stale: bool,
    /// The device wants its commands, changed or not.
    pub is_wanted: bool,
    /// The desired properties the device was told.
    pub told: Option<Value>,
    pub waiting: Sheet,
    /// While it is not known whether the twin's rules take away what tells the order of messages: the same as `waiting`
    /// in the order the messages came, once one was older than another. See [`Lane::overtaken`].
    pub as_came: Option<Sheet>,
    /// Messages that are in `as_came` alone.
    pub overtaken: u64,
    pub tickets: Vec<Ticket>,
    pub messages: u64,
    pub flight: Option<Flight>,
    /// What is left of a write that is done in parts, and the messages it covers.
    pub parts: VecDeque<Sheet>,
    pub part_tickets: Vec<Ticket>,
    pub part_messages: u64,
    /// Failed tries in a row.
    pub attempts: u32,
    /// Ditto took a write of it since the bridge started.
    pub was_written: bool,
    /// Failed tries beside what Ditto did for other things.
    pub failing: Option<Failing>,
    /// No write before then: its rate, or a try that failed.
    pub not_before: Option<Instant>,
    /// Times in a row that the thing was there when asked and missing when written.
    pub contradictions: u32,
    /// It stands in the queue of those with values, and in that of those to ask about.
    pub is_queued: bool,
    pub is_queued_to_ask: bool,
    /// It is looked at again then.
    pub timer: Option<Instant>,
    pub guard: Guard,
    /// The same, up to the last write that was taken.
    pub written: Guard,
    pub heard: Option<Instant>,
}

impl Lane {
    pub fn new(thing: ThingId) -> Self {
        Self {
            thing,
            topics: vec![],
            known: Known::No,
            rules: Rules::default(),
            asking: None,
            is_stale: false,
            is_wanted: false,
            told: None,
            waiting: Sheet::default(),
            as_came: None,
            overtaken: 0,
            tickets: vec![],
            messages: 0,
            flight: None,
            parts: VecDeque::new(),
            part_tickets: vec![],
            part_messages: 0,
            attempts: 0,
            was_written: false,
            failing: None,
            not_before: None,
            contradictions: 0,
            is_queued: false,
            is_queued_to_ask: false,
            timer: None,
            guard: Guard::default(),
            written: Guard::default(),
            heard: None,
        }
    }

    /// Whether a question about the thing should go out.
    pub fn asks(&self, now: Instant, kept_for: Duration) -> bool {
        if self.asking.is_some() || self.not_before_passed(now).is_some() && self.attempts > 0 {
            return false;
        }
        match self.known {
            Known::No => true,
            Known::Yes(since) => {
                self.is_stale
                    || self.is_wanted
                    || self.has_values() && now.saturating_duration_since(since) >= kept_for
            }
            Known::Missing(until) => (self.is_stale || self.is_wanted) && until <= now,
        }
    }

    /// Whether values may be written now.
    pub fn writes(&self, now: Instant) -> bool {
        matches!(self.known, Known::Yes(_))
            && self.flight.is_none()
            && self.has_values()
            && self.not_before_passed(now).is_none()
    }

    pub fn has_values(&self) -> bool {
        !self.parts.is_empty() || !self.waiting.is_empty()
    }

    /// When it may be looked at again, if that is not now.
    pub fn not_before_passed(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|at| *at > now)
    }

    /// Whether it has something to do, now or later.
    pub fn has_wishes(&self) -> bool {
        self.has_values() || self.is_stale || self.is_wanted || self.known == Known::No
    }

    /// Nothing waits and nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.flight.is_none()
            && self.asking.is_none()
            && !self.has_values()
            && self.as_came.is_none()
            && !self.is_queued
            && !self.is_queued_to_ask
    }

    /// How much memory what waits takes, about.
    pub fn bytes(&self) -> usize {
        let as_came = self.as_came.as_ref().map_or(0, Sheet::bytes);
        self.waiting.bytes() + as_came + self.parts.iter().map(Sheet::bytes).sum::<usize>()
    }

    /// Adds a message without values of its own to whatever is written next, and says whether there is any such write.
    pub fn cover(&mut self, ticket: Option<Ticket>) -> bool {
        let (tickets, messages) = if !self.waiting.is_empty() {
            (&mut self.tickets, &mut self.messages)
        } else if !self.parts.is_empty() || self.flight.as_ref().is_some_and(|flight| flight.is_part) {
            (&mut self.part_tickets, &mut self.part_messages)
        } else if let Some(flight) = &mut self.flight {
            (&mut flight.tickets, &mut flight.messages)
        } else {
            return false;
        };
        tickets.extend(ticket);
        *messages += 1;
        true
    }

    /// Takes values of a message; with `is_overtaken` those of one that is older than another.
    pub fn take(&mut self, payload: Payload, is_overtaken: bool) {
        if is_overtaken {
            self.as_came.get_or_insert_with(|| self.waiting.clone());
            self.overtaken += 1;
        }
        match &mut self.as_came {
            Some(sheet) if is_overtaken => sheet.take(payload),
            Some(sheet) => {
                sheet.take(payload.clone());
                self.waiting.take(payload);
            }
            None => self.waiting.take(payload),
        }
    }

    /// The rules are known: with `is_ordered` the members that were taken for the order of messages are that, and those
    /// that were overtaken stay out. Returns how many.
    pub fn settle_order(&mut self, is_ordered: bool) -> u64 {
        if !is_ordered {
            self.forget_order();
        }
        self.as_came = None;
        std::mem::take(&mut self.overtaken)
    }

    /// What waits is what came, in the order it came; the next message is the first.
    pub fn forget_order(&mut self) {
        if let Some(sheet) = self.as_came.take() {
            self.waiting = sheet;
        }
        self.overtaken = 0;
        self.guard = Guard::default();
    }

    /// The connection has ended: tickets of it mean nothing.
    pub fn forget_tickets(&mut self) {
        let of_flight = self.flight.as_mut().map(|flight| &mut flight.tickets);
        for tickets in [&mut self.tickets, &mut self.part_tickets].into_iter().chain(of_flight) {
            *tickets = vec![];
        }
    }

    /// Takes the next write out of what waits.
    pub fn depart(&mut self) {
        if self.parts.is_empty() && self.waiting.bytes() > WRITE_BYTES_MAX {
            self.parts = std::mem::take(&mut self.waiting).chunks(WRITE_BYTES_MAX).into();
            self.part_tickets.append(&mut self.tickets);
            self.part_messages += std::mem::take(&mut self.messages);
        }
        let flight = match self.parts.pop_front() {
            Some(sheet) => Flight { sheet, guard: self.guard, tickets: vec![], messages: 0, is_part: true },
            None => Flight {
                sheet: std::mem::take(&mut self.waiting),
                guard: self.guard,
                tickets: std::mem::take(&mut self.tickets),
                messages: std::mem::take(&mut self.messages),
                is_part: false,
            },
        };
        self.flight = Some(flight);
    }

    /// A write that was not taken waits again, under what came meanwhile.
    pub fn put_back(&mut self, mut flight: Flight) {
        if flight.is_part {
            self.parts.push_front(flight.sheet);
            return;
        }
        if let Some(as_came) = &mut self.as_came {
            let mut all = flight.sheet.clone();
            all.absorb(std::mem::take(as_came));
            *as_came = all;
        }
        flight.sheet.absorb(std::mem::take(&mut self.waiting));
        self.waiting = flight.sheet;
        flight.tickets.append(&mut self.tickets);
        self.tickets = flight.tickets;
        self.messages += flight.messages;
    }

    /// A try has failed: the next is later, each time, and not all lanes at once. `chance` is from 0 to 1.
    pub fn wait_longer(&mut self, now: Instant, chance: f64) {
        let full = RETRY_FIRST.saturating_mul(2_u32.saturating_pow(self.attempts.min(16))).min(RETRY_MAX);
        self.attempts = self.attempts.saturating_add(1);
        self.not_before = Some(now + full.mul_f64(0.5 + chance / 2.0));
    }
}
