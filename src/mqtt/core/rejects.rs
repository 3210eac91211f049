//! Messages that are not written: counted, told now and then, and published where somebody looks at them.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::acks::Ticket;
use super::telemetry::Incoming;
use super::{Core, Effect};
use crate::twin::telemetry::{Reject, Sheet};

/// A line in the log for each reason, at most so often.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Dead letters in a second; more are counted only.
const LETTERS_MAX: u32 = 1_000;
/// The longest payload in a dead letter, in bytes; the rest is cut off.
const PAYLOAD_MAX: usize = 16 * 1_024;
/// The longest topic in a line or letter, in characters.
const TOPIC_CHARS_MAX: usize = 300;

#[derive(Debug)]
pub struct Letters {
    second: Instant,
    written: u32,
    told: BTreeMap<Reject, Instant>,
}

impl Letters {
    pub fn new(now: Instant) -> Self {
        Self { second: now, written: 0, told: BTreeMap::new() }
    }

    fn may_write(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.written) = (now, 0);
        }
        self.written += 1;
        self.written <= LETTERS_MAX
    }

    fn may_tell(&mut self, reason: Reject, now: Instant) -> bool {
        let may = self.told.get(&reason).is_none_or(|at| now.saturating_duration_since(*at) >= LINE_EVERY);
        if may {
            self.told.insert(reason, now);
        }
        may
    }
}

impl Core {
    /// One message, as it came. It is acknowledged, so that it does not come again.
    pub(super) fn reject(
        &mut self,
        reason: Reject,
        message: &Incoming<'_>,
        ticket: Option<Ticket>,
        why: &str,
        now: Instant,
    ) {
        let topic: String = String::from_utf8_lossy(message.topic).chars().take(TOPIC_CHARS_MAX).collect();
        let payload = || {
            let cut = &message.payload[..message.payload.len().min(PAYLOAD_MAX)];
            let whole =
                (cut.len() == message.payload.len()).then(|| serde_json::from_slice(cut).ok()).flatten();
            whole.unwrap_or_else(|| Value::String(String::from_utf8_lossy(cut).into_owned()))
        };
        self.note(reason, 1, topic, payload, why, now);
        self.acknowledge(ticket);
    }

    /// Messages that were merged on the way. Acknowledging them is the caller's.
    pub(super) fn reject_sheet(
        &mut self,
        index: usize,
        reason: Reject,
        sheet: &Sheet,
        messages: u64,
        why: &str,
        now: Instant,
    ) {
        let thing = self.lanes[index].thing.to_string();
        self.note(reason, messages, thing, || sheet.said(), why, now);
    }

    fn note(
        &mut self,
        reason: Reject,
        messages: u64,
        from: String,
        payload: impl Fn() -> Value,
        why: &str,
        now: Instant,
    ) {
        *self.counts.rejected.entry(reason).or_default() += messages;
        if let Some(topic) = self.options.dead_letter_topic.clone() {
            if self.letters.may_write(now) {
                let letter = json!({
                    "reason": reason.word(), "from": from, "message": why, "messages": messages, "payload": payload(),
                });
                let payload = letter.to_string().into_bytes();
                self.effects.push(Effect::Publish { topic, payload, is_command: false });
            } else {
                self.counts.letters_dropped += 1;
            }
        }
        if self.letters.may_tell(reason, now) {
            self.effects.push(Effect::Rejected { reason, topic: from, why: why.to_owned() });
        }
    }
}
