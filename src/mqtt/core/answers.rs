//! What Ditto says.
use std::time::{Duration, Instant};

use serde_json::Value;

use super::lane::{Flight, Known};
use super::{Call, CallKind, Core, MISSING_FOR};
use crate::ditto::link::{Heard, What};
use crate::ports::{Refused, Said};
use crate::twin::telemetry::{Reject, Rules, Sheet};

/// A thing that is there when asked and missing when written, so often in a row, may be read and not written; one that
/// is missing when asked and there when made is hidden.
pub(super) const CONTRADICTIONS_MAX: u32 = 3;

impl Core {
    /// Takes what the link says. [`Core::turn`] sends what comes of it.
    pub fn heard(&mut self, heard: Heard, now: Instant) {
        match heard {
            Heard::Up { epoch, live } => {
                self.epoch = Some(epoch);
                self.is_live = live;
                // Changes may have been missed.
                for index in 0..self.lanes.capacity() {
                    let Some(lane) = self.lanes.get_mut(index) else { continue };
                    lane.is_stale |= matches!(lane.known, Known::Yes(_));
                    self.queue(index);
                }
            }
            Heard::Down { .. } => self.down(),
            Heard::Answer { epoch, number, result } => {
                if self.epoch == Some(epoch)
                    && let Some(call) = self.calls.remove(&number)
                {
                    self.answered(call, result, now);
                }
            }
            Heard::Changed { thing } => {
                if self.is_ours(&thing)
                    && let Some(index) = self.lane_of(&thing)
                {
                    self.lanes[index].is_stale = true;
                    if let Known::Missing(_) = self.lanes[index].known {
                        self.know(index, Known::No);
                    }
                    self.queue(index);
                }
            }
            Heard::Message(message) => {
                if self.is_ours(&message.thing) {
                    self.live_message(message, now);
                }
            }
        }
    }

    /// Everything on its way may have been carried out, or not: it is sent again, which changes nothing if it was.
    fn down(&mut self) {
        self.epoch = None;
        self.sent.clear();
        for call in std::mem::take(&mut self.calls).into_values() {
            if call.kind == CallKind::Probe {
                continue;
            }
            self.undo(call);
            self.queue(call.lane);
        }
    }

    fn undo(&mut self, call: Call) {
        let lane = &mut self.lanes[call.lane];
        if call.kind != CallKind::Merge {
            lane.asking = None;
            lane.is_stale |= call.kind == CallKind::About;
        } else if let Some(flight) = lane.flight.take() {
            let before = lane.bytes();
            lane.put_back(flight);
            self.waiting_bytes = (self.waiting_bytes + lane.bytes()).saturating_sub(before);
        }
    }

    /// Calls that were not answered in time.
    pub(super) fn expire(&mut self, now: Instant) {
        let deadline = self.options.deadline;
        while let Some((at, number)) = self.sent.front().copied() {
            let is_answered = !self.calls.contains_key(&number);
            if !is_answered && now.saturating_duration_since(at) < deadline {
                return;
            }
            self.sent.pop_front();
            if let Some(call) = self.calls.remove(&number) {
                let message = format!("no answer within {deadline:?}");
                self.answered(call, Err(Refused::Unavailable(Said { message, ..Said::default() })), now);
            }
        }
    }

    fn answered(&mut self, call: Call, result: Result<Value, Refused>, now: Instant) {
        let index = call.lane;
        match (call.kind, result) {
            // Its lane may have been forgotten.
            (CallKind::Probe, result) => return self.probed(&result, now),
            (
                _,
                Err(
                    refused @ (Refused::Unavailable(_)
                    | Refused::Unauthorized(_)
                    | Refused::RateLimited { .. }),
                ),
            ) => {
                let after = match &refused {
                    Refused::RateLimited { after_ms, .. } => after_ms.map(Duration::from_millis),
                    _ => None,
                };
                self.window.refused(after, now);
                self.counts.retries += 1;
                self.undo(call);
                let chance = self.chance();
                self.lanes[index].wait_longer(now, chance);
                // The others are about all things, or pass.
                if matches!(refused, Refused::Unavailable(_)) {
                    self.failed(index, &refused, now);
                }
            }
            (CallKind::Merge, Ok(_)) => {
                self.window.taken();
                self.counts.writes += 1;
                self.lanes[index].was_written = true;
                return self.landed(index);
            }
            (CallKind::Merge, Err(refused)) => self.write_refused(index, &refused, now),
            (CallKind::About, Ok(document)) => {
                self.window.taken();
                self.learned(index, &document, now);
            }
            (CallKind::About, Err(_)) => {
                self.lanes[index].asking = None;
                self.not_found(index, now);
            }
            (CallKind::Create, Ok(_)) => {
                self.counts.created += 1;
                self.lanes[index].asking = None;
                self.know(index, Known::No);
            }
            // Somebody else has just made it, or it is hidden from us: then it is missing again when asked.
            (CallKind::Create, Err(Refused::Changed(_)))
                if self.lanes[index].contradictions < CONTRADICTIONS_MAX =>
            {
                self.lanes[index].contradictions += 1;
                self.lanes[index].asking = None;
                self.know(index, Known::No);
            }
            (CallKind::Create, Err(refused)) => self.create_refused(index, &refused, now),
        }
        self.queue(index);
    }

    fn create_refused(&mut self, index: usize, refused: &Refused, now: Instant) {
        self.lanes[index].asking = None;
        self.lanes[index].contradictions = 0;
        self.know(index, Known::Missing(now + MISSING_FOR));
        let why = match refused {
            Refused::Changed(_) => {
                "it is there and hidden from the bridge: its policy gives no READ".to_owned()
            }
            refused => format!("it was not created: {refused}"),
        };
        self.drop_waiting(index, Reject::Refused, &why, now);
    }

    /// A write was taken: its messages are done.
    pub(super) fn landed(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        (lane.attempts, lane.contradictions, lane.failing) = (0, 0, None);
        let Some(flight) = lane.flight.take() else { return };
        lane.written = flight.guard;
        self.finish(index, flight);
        if self.lanes[index].has_values() {
            self.queue(index);
        }
    }

    /// Acknowledges what a write covers. One that is a part is done when all parts are.
    fn finish(&mut self, index: usize, flight: Flight) {
        for ticket in flight.tickets {
            self.acks.done(ticket);
        }
        self.counts.written += flight.messages;
        let lane = &mut self.lanes[index];
        if flight.is_part && lane.parts.is_empty() {
            self.counts.written += std::mem::take(&mut lane.part_messages);
            for ticket in std::mem::take(&mut lane.part_tickets) {
                self.acks.done(ticket);
            }
        }
    }

    /// Never tried again as it is. Of several names the one that is at fault is found by trying each alone, so that
    /// the others are written.
    fn write_refused(&mut self, index: usize, refused: &Refused, now: Instant) {
        let contradicts = matches!(refused, Refused::Missing(_));
        let lane = &mut self.lanes[index];
        let Some(mut flight) = lane.flight.take() else { return };
        if contradicts && lane.contradictions < CONTRADICTIONS_MAX {
            lane.contradictions += 1;
            let before = lane.bytes();
            lane.put_back(flight);
            self.waiting_bytes = (self.waiting_bytes + lane.bytes()).saturating_sub(before);
            return self.know(index, Known::No);
        }
        if !contradicts && flight.sheet.names() > 1 {
            let apart = std::mem::take(&mut flight.sheet).apart();
            self.waiting_bytes += apart.iter().map(Sheet::bytes).sum::<usize>();
            apart.into_iter().rev().for_each(|part| lane.parts.push_front(part));
            lane.part_tickets.append(&mut flight.tickets);
            lane.part_messages += flight.messages;
            return;
        }
        (lane.attempts, lane.contradictions) = (0, 0);
        let reason = match refused {
            Refused::TooLarge(_) => Reject::TooLarge,
            Refused::Missing(_) => Reject::UnknownTwin,
            _ => Reject::Refused,
        };
        // The messages of parts count when all are tried.
        let messages = if flight.is_part { 1 } else { flight.messages };
        self.reject_sheet(index, reason, &flight.sheet, messages, &refused.to_string(), now);
        flight.messages = 0;
        self.finish(index, flight);
    }

    fn learned(&mut self, index: usize, document: &Value, now: Instant) {
        let was_known = matches!(self.lanes[index].known, Known::Yes(_));
        self.know(index, Known::Yes(now));
        let lane = &mut self.lanes[index];
        lane.asking = None;
        let rules = Rules::read(&document["_metadata"]["twinops"]["telemetry"]);
        let is_ordered = rules.orders_as(&lane.rules);
        lane.rules = rules;
        // Values that failed keep their delay, and those that were written their rate.
        if !lane.has_values() && lane.flight.is_none() {
            lane.attempts = 0;
        }
        let is_enabled = lane.rules.enabled;
        if !was_known {
            self.settle_order(index, is_ordered);
        }
        self.tell_desired(index, document);
        if !is_enabled {
            self.drop_waiting(index, Reject::Disabled, "spec.telemetry.enabled is false", now);
        }
    }

    /// What waited for the rules is put in order as they say.
    fn settle_order(&mut self, index: usize, is_ordered: bool) {
        let lane = &mut self.lanes[index];
        let before = lane.bytes();
        let overtaken = lane.settle_order(is_ordered);
        self.waiting_bytes = (self.waiting_bytes + lane.bytes()).saturating_sub(before);
        if overtaken == 0 {
            return;
        }
        *self.counts.rejected.entry(Reject::Outdated).or_default() += overtaken;
        if lane.waiting.is_empty() {
            // Older than what was written before, or is being written.
            lane.messages = 0;
            for ticket in std::mem::take(&mut lane.tickets) {
                self.cover(index, Some(ticket));
            }
        }
    }

    /// The thing is not there, or hidden.
    fn not_found(&mut self, index: usize, now: Instant) {
        let lane = &mut self.lanes[index];
        if lane.is_stale {
            // It changed while it was asked about, perhaps from missing to there.
            return self.know(index, Known::No);
        }
        lane.told = None;
        lane.is_wanted = false;
        lane.rules = Rules::default();
        if let (Some(policy), Some(epoch), true) =
            (self.options.auto_create.clone(), self.epoch, lane.has_values())
        {
            let number = self.send(index, epoch, CallKind::Create, What::Create(policy), now);
            self.lanes[index].asking = Some(number);
            return;
        }
        self.know(index, Known::Missing(now + MISSING_FOR));
        self.drop_waiting(index, Reject::UnknownTwin, "Ditto does not know the thing", now);
    }

    /// What waits is not written any more.
    pub(super) fn drop_waiting(&mut self, index: usize, reason: Reject, why: &str, now: Instant) {
        let lane = &mut self.lanes[index];
        self.waiting_bytes = self.waiting_bytes.saturating_sub(lane.bytes());
        lane.forget_order();
        lane.guard = lane.flight.as_ref().map_or(lane.written, |flight| flight.guard);
        if !lane.has_values() {
            return;
        }
        let mut sheet = std::mem::take(&mut lane.waiting);
        let mut tickets = std::mem::take(&mut lane.tickets);
        let mut messages = std::mem::take(&mut lane.messages);
        if !lane.parts.is_empty() {
            let mut parts = lane.parts.drain(..).fold(Sheet::default(), |mut all, part| {
                all.absorb(part);
                all
            });
            parts.absorb(sheet);
            sheet = parts;
        }
        if lane.flight.as_ref().is_none_or(|flight| !flight.is_part) {
            tickets.append(&mut lane.part_tickets);
            messages += std::mem::take(&mut lane.part_messages);
        }
        self.reject_sheet(index, reason, &sheet, messages, why, now);
        for ticket in tickets {
            self.acks.done(ticket);
        }
    }
}
