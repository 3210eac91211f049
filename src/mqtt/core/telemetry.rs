//! Messages of the broker.
use std::sync::Arc;
use std::time::Instant;

use super::acks::Ticket;
use super::lane::Known;
use super::{Core, MISSING_MAX};
use crate::twin::telemetry::{Payload, Reject};
use crate::twin::topics::Arrived;

/// Topics that are remembered: reading them again takes longer than all the rest.
const TOPICS_MAX: usize = 1_000_000;

/// A message of the broker.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'m> {
    pub topic: &'m [u8],
    pub payload: &'m [u8],
    /// The length of a payload that was not taken, because it was too long.
    pub skipped: Option<usize>,
    /// The broker has sent it before.
    pub is_duplicate: bool,
    /// What it is to be acknowledged with, if at all.
    pub packet: Option<u16>,
}

impl Core {
    /// Takes a message. [`Core::turn`] sends what comes of it.
    pub fn message(&mut self, message: Incoming<'_>, now: Instant) {
        self.counts.received += 1;
        self.counts.duplicates += u64::from(message.is_duplicate);
        let ticket = message.packet.map(|packet| self.acks.take(packet));
        if let Some(index) = self.topics.get(message.topic).copied() {
            return self.telemetry(index, None, &message, ticket, now);
        }
        let arrived =
            std::str::from_utf8(message.topic).ok().and_then(|topic| self.options.topics.read(topic));
        let Some(arrived) = arrived else {
            return self.reject(Reject::BadTopic, &message, ticket, "the topic names no thing", now);
        };
        let thing = match &arrived {
            Arrived::Telemetry { thing, .. } | Arrived::Get { thing } | Arrived::Response { thing, .. } => {
                thing
            }
        };
        if !self.is_ours(thing) {
            self.counts.elsewhere += 1;
            return self.acknowledge(ticket);
        }
        if let Arrived::Response { thing, correlation } = &arrived {
            if message.skipped.is_none() {
                self.response(thing, correlation, message.payload, now);
            }
            return self.acknowledge(ticket);
        }
        let Some(index) = self.lane_of(thing) else {
            return self.reject(Reject::RateLimited, &message, ticket, "too many things", now);
        };
        match arrived {
            Arrived::Telemetry { feature, .. } => {
                if feature.is_none() && self.topics.len() < TOPICS_MAX {
                    let topic: Arc<[u8]> = message.topic.into();
                    self.lanes[index].topics.push(Arc::clone(&topic));
                    self.topics.insert(topic, index);
                }
                self.telemetry(index, feature.as_deref(), &message, ticket, now);
            }
            Arrived::Get { .. } | Arrived::Response { .. } => {
                self.wanted(index, now);
                self.acknowledge(ticket);
            }
        }
    }

    fn telemetry(
        &mut self,
        index: usize,
        feature: Option<&str>,
        message: &Incoming<'_>,
        ticket: Option<Ticket>,
        now: Instant,
    ) {
        if let Known::Missing(until) = self.lanes[index].known {
            if until > now && self.missing <= MISSING_MAX {
                return self.reject(
                    Reject::UnknownTwin,
                    message,
                    ticket,
                    "Ditto does not know the thing",
                    now,
                );
            }
            self.know(index, Known::No);
        }
        let length = message.skipped.unwrap_or(message.payload.len());
        if length > self.options.payload_max {
            let why = format!("{length} bytes, and {} are taken", self.options.payload_max);
            return self.reject(Reject::TooLarge, message, ticket, &why, now);
        }
        let mut payload = match Payload::read(message.payload, feature) {
            Ok(payload) => payload,
            Err(reason) => return self.reject(reason, message, ticket, "see docs/mqtt.md, payloads", now),
        };
        let age = now.saturating_duration_since(self.start);
        let lane = &mut self.lanes[index];
        lane.heard = Some(now);
        let is_known = matches!(lane.known, Known::Yes(_));
        if is_known && !lane.rules.enabled {
            let why = "spec.telemetry.enabled is false";
            return self.reject(Reject::Disabled, message, ticket, why, now);
        }
        let order = if is_known { payload.order(&lane.rules) } else { payload.told_order(&lane.rules) };
        let is_overtaken = !lane.guard.admits(order, age);
        if is_known && is_overtaken {
            *self.counts.rejected.entry(Reject::Outdated).or_default() += 1;
            // Acknowledged with the newer one: after a crash it must come again before that.
            return self.cover(index, ticket);
        }
        if payload.is_empty() {
            self.queue(index);
            return self.cover(index, ticket);
        }
        self.counts.coalesced += u64::from(!lane.waiting.is_empty());
        let before = lane.bytes();
        lane.take(payload, is_overtaken);
        self.waiting_bytes = (self.waiting_bytes + lane.bytes()).saturating_sub(before);
        lane.tickets.extend(ticket);
        lane.messages += 1;
        self.queue(index);
    }

    /// A device asks for its commands.
    fn wanted(&mut self, index: usize, now: Instant) {
        if let Known::Missing(until) = self.lanes[index].known {
            if until > now {
                return;
            }
            self.know(index, Known::No);
        }
        self.lanes[index].heard = Some(now);
        self.lanes[index].is_wanted = true;
        self.queue(index);
    }

    pub(super) fn cover(&mut self, index: usize, ticket: Option<Ticket>) {
        if !self.lanes[index].cover(ticket) {
            self.acknowledge(ticket);
        }
    }

    pub(super) fn acknowledge(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.acks.done(ticket);
        }
    }
}
