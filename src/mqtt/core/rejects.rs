//! Messages that are not written: counted, told now and then, and published where somebody looks at them.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::acks::Ticket;
use super::telemetry::Incoming;
use super::{Core, Effect};
use crate::mqtt::wire::packet_bytes;
use crate::twin::telemetry::{Reject, Sheet};

/// A line in the log for each reason, at most so often.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Dead letters in a second; more are counted only.
const LETTERS_MAX: u32 = 1_000;
/// The longest payload in a dead letter, in bytes; the rest is cut off.
const PAYLOAD_MAX: usize = 16 * 1_024;
/// The longest letter, in bytes, whatever the broker takes: as many as such a payload may come to, and its topic.
const LETTER_MAX: usize = 128 * 1_024;
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
            let room = self.packet_max.checked_sub(packet_bytes(&topic, &[]));
            let letter = room.filter(|_| self.letters.may_write(now)).and_then(|room| {
                let letter = json!({
                    "reason": reason.word(), "from": from, "message": why, "messages": messages, "payload": payload(),
                });
                fitted(letter, room.min(LETTER_MAX))
            });
            match letter {
                Some(payload) => self.effects.push(Effect::Publish { topic, payload, is_command: false }),
                None => self.counts.letters_dropped += 1,
            }
        }
        if self.letters.may_tell(reason, now) {
            self.effects.push(Effect::Rejected { reason, topic: from, why: why.to_owned() });
        }
    }
}

/// A letter in at most `room` bytes: of a payload that is too long, as much as fits, as a text. `None` when the rest
/// alone is too long.
fn fitted(mut letter: Value, room: usize) -> Option<Vec<u8>> {
    let whole = letter.to_string();
    if whole.len() <= room {
        return Some(whole.into_bytes());
    }
    let text = match letter["payload"].take() {
        Value::String(text) => text,
        other => other.to_string(),
    };
    letter["payload"] = json!("");
    let left = room.checked_sub(letter.to_string().len())?;
    letter["payload"] = json!(beginning(&text, left));
    Some(letter.to_string().into_bytes())
}

/// As much of a text as takes at most `room` bytes inside the quotes of JSON. Source: RFC 8259, 7; `serde_json` escapes
/// only what it must.
fn beginning(text: &str, room: usize) -> &str {
    let mut left = room;
    for (at, character) in text.char_indices() {
        let bytes = match character {
            '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2,
            '\0'..='\u{1f}' => 6,
            plain => plain.len_utf8(),
        };
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return &text[..at],
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::CoreOptions;
    use super::super::tests::{A, Bench, options};
    use super::*;

    #[test]
    fn s48_a_dead_letter_is_no_larger_than_the_broker_takes() {
        // In a letter a quote takes two bytes, and a control character six.
        let payload = "\"\u{1}ä".repeat(3_000);
        for packet_max in [1_000_000, 20_000, 1_000, 300] {
            let mut bench =
                Bench::new(CoreOptions { dead_letter_topic: Some("dead".to_owned()), ..options() });
            bench.core.set_packet_max(packet_max);
            bench.say(A, &payload);
            let (topic, letter) = bench.published.pop().expect("a letter");
            let bytes = packet_bytes(&topic, letter.to_string().as_bytes());
            assert!(bytes <= packet_max, "{bytes} of {packet_max}");
            let told = letter["payload"].as_str().expect("a text");
            assert!(payload.starts_with(told), "{told}");
            assert!(told == payload || packet_max - bytes < 6, "as much as fits: {bytes} of {packet_max}");
            assert_eq!(letter["reason"], json!("too_large"));
            assert_eq!(bench.core.counts.letters_dropped, 0);
        }
        let mut bench = Bench::new(CoreOptions { dead_letter_topic: Some("dead".to_owned()), ..options() });
        bench.core.set_packet_max(100);
        bench.say(A, &payload);
        assert_eq!((bench.published.len(), bench.core.counts.letters_dropped), (0, 1), "no room for any");
        assert_eq!(bench.acked.len(), 1);
    }

    #[test]
    fn a_payload_that_is_json_and_too_long_becomes_the_beginning_of_its_text() {
        let letter = |payload: Value, room: usize| {
            let letter = json!({"reason": "x", "payload": payload});
            let fitted = fitted(letter, room).expect("there is room");
            serde_json::from_slice::<Value>(&fitted).expect("JSON")["payload"].clone()
        };
        let payload = json!({"a": "b", "c": [1, 2, 3]});
        assert_eq!(letter(payload.clone(), 100), payload);
        assert_eq!(letter(payload, 35), json!("{\"a\":"));
    }

    #[test]
    fn a_letter_that_was_measured_for_another_connection_is_not_sent() {
        let mut bench = Bench::new(CoreOptions { dead_letter_topic: Some("dead".to_owned()), ..options() });
        let message = Incoming {
            topic: A.as_bytes(),
            payload: b"no json",
            skipped: None,
            is_duplicate: false,
            packet: Some(1),
        };
        bench.core.message(message, Instant::now());
        bench.core.disconnected();
        assert!(!bench.core.effects().any(|effect| matches!(effect, Effect::Publish { .. })));
        assert_eq!(bench.core.counts.letters_dropped, 1);
    }
}
