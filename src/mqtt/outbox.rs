//! What is published to devices, until the broker has it.
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::wire::{Wire, WireError};

/// Messages that wait for the broker; the oldest go first when there are more. A device asks for its state anew.
const WAITING_MAX: usize = 10_000;
/// And the bytes of all of them, with those that are sent and not acknowledged.
const BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Sent and not acknowledged, whatever the broker allows.
const UNACKNOWLEDGED_MAX: u16 = 1_000;
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
    /// With the ids they were sent under.
    sent: VecDeque<(u16, Letter)>,
    last_id: u16,
    /// Of all letters.
    bytes: usize,
    /// Messages that went because there were too many.
    pub dropped: u64,
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

    /// A new connection: what was not acknowledged is sent again.
    pub fn again(&mut self, receive_maximum: u16, wire: Wire, to: &mut BytesMut) -> Result<(), WireError> {
        self.limit = receive_maximum.min(UNACKNOWLEDGED_MAX);
        for (id, letter) in &self.sent {
            wire.publish(Some(*id), true, &letter.topic, &letter.payload, to)?;
        }
        Ok(())
    }

    /// Writes what may be sent, until `to` holds `most` bytes.
    pub fn send(&mut self, wire: Wire, most: usize, to: &mut BytesMut) -> Result<(), WireError> {
        while self.sent.len() < usize::from(self.limit) && to.len() < most {
            let Some(letter) = self.waiting.pop_front() else { break };
            let id = self.next_id();
            wire.publish(Some(id), false, &letter.topic, &letter.payload, to)?;
            self.sent.push_back((id, letter));
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

    pub fn acknowledged(&mut self, id: u16) {
        // Almost always the oldest.
        if let Some(at) = self.sent.iter().position(|(sent, _)| *sent == id) {
            let letter = self.sent.remove(at);
            self.bytes -= letter.map_or(0, |(_, letter)| letter.bytes());
        }
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
        outbox.again(2, WIRE, &mut bytes).unwrap();
        for topic in ["a", "b", "c"] {
            outbox.push(topic.to_owned(), vec![]);
        }
        outbox.send(WIRE, usize::MAX, &mut bytes).unwrap();
        let first = sent(&mut bytes);
        assert_eq!(
            first.iter().map(|(_, dup, topic)| (*dup, topic.as_str())).collect::<Vec<_>>(),
            [(false, "a"), (false, "b")]
        );
        outbox.acknowledged(first[0].0);
        outbox.acknowledged(9_999);
        // The connection breaks before anything else.
        let mut bytes = BytesMut::new();
        outbox.again(2, WIRE, &mut bytes).unwrap();
        outbox.send(WIRE, usize::MAX, &mut bytes).unwrap();
        let again = sent(&mut bytes);
        assert_eq!(again[0], (first[1].0, true, "b".to_owned()));
        assert_eq!((again[1].1, again[1].2.as_str(), outbox.len()), (false, "c", 2));
        assert_ne!(again[1].0, again[0].0);
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
        outbox.again(2, WIRE, &mut bytes).unwrap();
        let large = || vec![0; BYTES_MAX / 8];
        (0..20).for_each(|number| outbox.push(number.to_string(), large()));
        assert!(outbox.bytes <= BYTES_MAX && outbox.len() == 7, "{} in {}", outbox.bytes, outbox.len());
        assert_eq!(outbox.dropped, 13);

        outbox.send(WIRE, 1, &mut bytes).unwrap();
        assert_eq!(outbox.sent.len(), 1, "no more than has room");
        outbox.push("one more".to_owned(), large());
        assert!(outbox.bytes <= BYTES_MAX);
        outbox.send(WIRE, usize::MAX, &mut bytes).unwrap();
        while let Some((id, _)) = outbox.sent.front() {
            let id = *id;
            outbox.acknowledged(id);
        }
        let left: usize = outbox.waiting.iter().map(Letter::bytes).sum();
        assert_eq!(outbox.bytes, left, "what is acknowledged counts no more");
    }
}
