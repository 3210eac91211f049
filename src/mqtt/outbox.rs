//! What is published to devices, until the broker has it.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::wire::{Wire, WireError, packet_bytes};

/// Messages that wait for the broker; the oldest go first when there are more. A device asks for its state anew.
const WAITING_MAX: usize = 10_000;
/// And the bytes of all of them, with those that are sent and not acknowledged.
const BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Sent and not acknowledged, whatever the broker allows.
const UNACKNOWLEDGED_MAX: u16 = 1_000;
/// A line in the log about messages that the broker does not take, at most so often.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// A letter with which so many connections in a row broke, each within [`SOON`] of its sending, is given up.
const BROKE_MAX: u32 = 3;
const SOON: Duration = Duration::from_secs(10);
/// Packet ids below this are for subscriptions.
const FIRST_ID: u16 = 16;

#[derive(Debug)]
struct Letter {
    topic: String,
    payload: Bytes,
}

impl Letter {
    fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

/// Messages on their way to the broker.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Letter>,
    /// With the ids they were sent under, over this connection or an earlier one.
    sent: VecDeque<(u16, Letter)>,
    /// So many of them, from the first, were sent over this connection.
    on_wire: usize,
    last_id: u16,
    /// Of all letters.
    bytes: usize,
    /// Messages that went because there were too many.
    pub dropped: u64,
    /// Messages that the broker did not take.
    pub refused: u64,
    /// Messages that wait and are longer than the broker takes now, and those with which the connection broke.
    pub too_large: u64,
    pub given_up: u64,
    /// The first of `sent` when a connection broke, and how many did in a row.
    suspect: Option<(u16, u32)>,
    /// When the first of `sent` went over this connection.
    first_sent: Option<Instant>,
    packet_max: usize,
    /// When the log was told of one.
    told: Option<Instant>,
    limit: u16,
}

impl Outbox {
    pub fn push(&mut self, topic: String, payload: Vec<u8>) {
        let letter = Letter { topic, payload: payload.into() };
        self.bytes += letter.bytes();
        self.waiting.push_back(letter);
        while self.waiting.len() > WAITING_MAX || self.bytes > BYTES_MAX {
            // Those that are sent are the broker's to acknowledge.
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.dropped += 1;
        }
    }

    /// A new connection: what was not acknowledged is to be sent again, as far as the broker allows so many.
    /// After one that broke over a letter it is sent alone, so that no other is blamed.
    pub fn again(&mut self, receive_maximum: u16, packet_max: usize) {
        self.limit = receive_maximum.min(UNACKNOWLEDGED_MAX);
        self.packet_max = packet_max;
        self.on_wire = 0;
        self.first_sent = None;
    }

    /// The connection has ended. Returns where a letter was to go that is given up.
    pub fn broke(&mut self, now: Instant) -> Option<String> {
        let sent = self.first_sent.take().filter(|at| now.saturating_duration_since(*at) < SOON)?;
        let id = self.sent.front().filter(|_| self.on_wire > 0 && sent <= now)?.0;
        let times = 1 + self.suspect.filter(|(suspect, _)| *suspect == id).map_or(0, |(_, times)| times);
        self.suspect = Some((id, times));
        if times < BROKE_MAX {
            return None;
        }
        self.given_up += 1;
        let topic = self.sent.front().map(|(_, letter)| letter.topic.clone());
        self.acknowledged(id);
        topic
    }

    /// Writes what may be sent, until `to` holds `most` bytes.
    pub fn send(
        &mut self,
        wire: Wire,
        most: usize,
        to: &mut BytesMut,
        now: Instant,
    ) -> Result<(), WireError> {
        loop {
            let limit = if self.suspect.is_some() { self.limit.min(1) } else { self.limit };
            if self.on_wire >= usize::from(limit) || to.len() >= most {
                break;
            }
            if let Some((id, letter)) = self.sent.get(self.on_wire) {
                if packet_bytes(&letter.topic, &letter.payload) > self.packet_max {
                    self.too_large += 1;
                    let id = *id;
                    self.acknowledged(id);
                    continue;
                }
                wire.publish(Some(*id), true, &letter.topic, &letter.payload, to)?;
            } else {
                let Some(letter) = self.waiting.pop_front() else { break };
                if packet_bytes(&letter.topic, &letter.payload) > self.packet_max {
                    self.too_large += 1;
                    self.bytes -= letter.bytes();
                    continue;
                }
                let id = self.next_id();
                wire.publish(Some(id), false, &letter.topic, &letter.payload, to)?;
                self.sent.push_back((id, letter));
            }
            self.first_sent.get_or_insert(now);
            self.on_wire += 1;
        }
        Ok(())
    }

    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(FIRST_ID).max(FIRST_ID);
            if !self.sent.iter().any(|(id, _)| *id == self.last_id) {
                return self.last_id;
            }
        }
    }

    /// The broker has it, or does not want it.
    pub fn acknowledged(&mut self, id: u16) {
        // Almost always the oldest.
        if let Some(at) = self.sent.iter().position(|(sent, _)| *sent == id) {
            let letter = self.sent.remove(at);
            self.bytes -= letter.map_or(0, |(_, letter)| letter.bytes());
            self.on_wire -= usize::from(at < self.on_wire);
            self.suspect = self.suspect.filter(|(suspect, _)| *suspect != id);
            if self.on_wire == 0 {
                self.first_sent = None;
            }
        }
    }

    /// The broker does not take it. Returns where it was to go, when that is worth a line in the log.
    pub fn refused(&mut self, id: u16, now: Instant) -> Option<String> {
        let topic = self.sent.iter().find(|(sent, _)| *sent == id).map(|(_, letter)| letter.topic.clone())?;
        self.refused += 1;
        self.acknowledged(id);
        let is_due = self.told.is_none_or(|at| now.saturating_duration_since(at) >= LINE_EVERY);
        is_due.then(|| {
            self.told = Some(now);
            topic
        })
    }

    pub fn len(&self) -> usize {
        self.waiting.len() + self.sent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::wire::Packet;
    use crate::settings::MqttVersion;

    const WIRE: Wire = Wire { version: MqttVersion::V5 };

    fn sent(bytes: &mut BytesMut) -> Vec<(u16, bool, String)> {
        let packets = std::iter::from_fn(|| WIRE.read(bytes).unwrap());
        let publish = |(packet, _)| match packet {
            Packet::Publish(it) => {
                (it.id.unwrap(), it.is_duplicate, String::from_utf8(it.topic.to_vec()).unwrap())
            }
            other => panic!("{other:?}"),
        };
        packets.map(publish).collect()
    }

    #[test]
    fn f35_what_the_broker_did_not_acknowledge_is_sent_again() {
        let (mut outbox, mut bytes) = (Outbox::default(), BytesMut::new());
        outbox.again(2, usize::MAX);
        for topic in ["a", "b", "c"] {
            outbox.push(topic.to_owned(), vec![]);
        }
        outbox.send(WIRE, usize::MAX, &mut bytes, Instant::now()).unwrap();
        let first = sent(&mut bytes);
        assert_eq!(
            first.iter().map(|(_, dup, topic)| (*dup, topic.as_str())).collect::<Vec<_>>(),
            [(false, "a"), (false, "b")]
        );
        outbox.acknowledged(first[0].0);
        outbox.acknowledged(9_999);
        // The connection breaks before anything else.
        let mut bytes = BytesMut::new();
        outbox.again(2, usize::MAX);
        outbox.send(WIRE, usize::MAX, &mut bytes, Instant::now()).unwrap();
        let again = sent(&mut bytes);
        assert_eq!(again[0], (first[1].0, true, "b".to_owned()));
        assert_eq!((again[1].1, again[1].2.as_str(), outbox.len()), (false, "c", 2));
        assert_ne!(again[1].0, again[0].0);
    }

    #[test]
    fn f35_a_letter_with_which_every_connection_breaks_is_given_up_and_the_others_go_on() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        for topic in ["large", "a", "b"] {
            outbox.push(topic.to_owned(), vec![1]);
        }
        let mut lost = vec![];
        for _ in 0..BROKE_MAX {
            outbox.again(10, usize::MAX);
            outbox.send(WIRE, usize::MAX, &mut BytesMut::new(), now).unwrap();
            lost.extend(outbox.broke(now));
        }
        assert_eq!((lost, outbox.given_up), (vec!["large".to_owned()], 1));
        let mut bytes = BytesMut::new();
        outbox.again(10, usize::MAX);
        outbox.send(WIRE, usize::MAX, &mut bytes, now).unwrap();
        let topics: Vec<String> = sent(&mut bytes).into_iter().map(|(.., topic)| topic).collect();
        assert_eq!(topics, ["a", "b"]);
    }

    #[test]
    fn what_waits_and_is_longer_than_the_next_broker_takes_is_counted_and_not_sent() {
        let (mut outbox, mut bytes) = (Outbox::default(), BytesMut::new());
        outbox.push("large".to_owned(), vec![0; 1_000]);
        outbox.push("a".to_owned(), vec![]);
        outbox.push("b".repeat(70_000), vec![]);
        outbox.again(10, 500);
        outbox.send(WIRE, usize::MAX, &mut bytes, Instant::now()).unwrap();
        assert_eq!(sent(&mut bytes).len(), 1);
        assert_eq!((outbox.too_large, outbox.len(), outbox.bytes), (2, 1, 1));
    }

    #[test]
    fn f35_a_broker_that_takes_fewer_than_before_is_sent_no_more_than_it_takes() {
        let (mut outbox, mut bytes) = (Outbox::default(), BytesMut::new());
        outbox.again(10, usize::MAX);
        for topic in ["a", "b", "c", "d", "e"] {
            outbox.push(topic.to_owned(), vec![]);
        }
        outbox.send(WIRE, usize::MAX, &mut bytes, Instant::now()).unwrap();
        let first = sent(&mut bytes);
        outbox.again(2, usize::MAX);
        outbox.push("f".to_owned(), vec![]);
        let mut again = vec![];
        while outbox.len() > 0 {
            outbox.send(WIRE, usize::MAX, &mut bytes, Instant::now()).unwrap();
            let now = sent(&mut bytes);
            assert!((1..=2).contains(&now.len()) && outbox.on_wire <= 2, "{now:?}");
            for (id, ..) in &now {
                outbox.acknowledged(*id);
            }
            again.extend(now);
        }
        let mut expected: Vec<_> = first.into_iter().map(|(id, _, topic)| (id, true, topic)).collect();
        expected.push((again.last().unwrap().0, false, "f".to_owned()));
        assert_eq!(again, expected, "in order, under the same ids");
        assert_eq!((outbox.bytes, outbox.on_wire), (0, 0));
    }

    #[test]
    fn what_the_broker_does_not_take_is_counted_told_now_and_then_and_not_sent_again() {
        let (mut outbox, mut bytes, now) = (Outbox::default(), BytesMut::new(), Instant::now());
        outbox.again(10, usize::MAX);
        for topic in ["a", "b", "c"] {
            outbox.push(topic.to_owned(), vec![1]);
        }
        outbox.send(WIRE, usize::MAX, &mut bytes, Instant::now()).unwrap();
        let ids: Vec<u16> = sent(&mut bytes).into_iter().map(|(id, ..)| id).collect();
        assert_eq!(outbox.refused(ids[0], now).as_deref(), Some("a"));
        assert_eq!(outbox.refused(ids[0], now), None, "it is gone");
        assert_eq!(outbox.refused(ids[1], now), None, "told of a moment ago");
        assert_eq!(outbox.refused(ids[2], now + LINE_EVERY).as_deref(), Some("c"));
        outbox.again(10, usize::MAX);
        outbox.send(WIRE, usize::MAX, &mut bytes, Instant::now()).unwrap();
        assert!(bytes.is_empty());
        assert_eq!((outbox.refused, outbox.len(), outbox.bytes), (3, 0, 0));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut outbox = Outbox::default();
        for number in 0..WAITING_MAX + 3 {
            outbox.push(number.to_string(), vec![]);
        }
        assert_eq!((outbox.len(), outbox.dropped), (WAITING_MAX, 3));
        assert_eq!(outbox.waiting.front().map(|letter| letter.topic.as_str()), Some("3"));
    }

    #[test]
    fn large_ones_are_bounded_in_bytes_whether_they_wait_or_are_sent() {
        let (mut outbox, mut bytes) = (Outbox::default(), BytesMut::new());
        outbox.again(2, usize::MAX);
        let large = || vec![0; BYTES_MAX / 8];
        (0..20).for_each(|number| outbox.push(number.to_string(), large()));
        assert!(outbox.bytes <= BYTES_MAX && outbox.len() == 7, "{} in {}", outbox.bytes, outbox.len());
        assert_eq!(outbox.dropped, 13);

        outbox.send(WIRE, 1, &mut bytes, Instant::now()).unwrap();
        assert_eq!(outbox.sent.len(), 1, "no more than has room");
        outbox.push("one more".to_owned(), large());
        assert!(outbox.bytes <= BYTES_MAX);
        outbox.send(WIRE, usize::MAX, &mut bytes, Instant::now()).unwrap();
        while let Some((id, _)) = outbox.sent.front() {
            let id = *id;
            outbox.acknowledged(id);
        }
        let left: usize = outbox.waiting.iter().map(Letter::bytes).sum();
        assert_eq!(outbox.bytes, left, "what is acknowledged counts no more");
    }
}
