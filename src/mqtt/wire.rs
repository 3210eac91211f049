//! Packets of MQTT 3.1.1 and 5 as bytes. Of rumqttc only the codec is used: see docs/architecture.md.
use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::mqttbytes::{self as bytes4, QoS as Qos4};
use rumqttc::v5::mqttbytes::{self as bytes5, QoS as Qos5, v5};

use crate::settings::{MqttVersion, Qos};

/// The largest packet that is taken whole, in bytes; of a larger message only topic and length are. Not announced to
/// the broker, which would drop such a message without a word.
pub const PACKET_MAX: usize = 2 * 1_024 * 1_024;
/// Messages that the broker may send before the first is acknowledged. MQTT 3.1.1 cannot say so.
pub const RECEIVE_MAXIMUM: u16 = 16_384;
/// Of a message beside topic and payload, at most: kind, length, the topic's length, id, and length of the properties.
const PACKET_HEAD_MAX: usize = 1 + 4 + 2 + 2 + 1;
/// The longest topic. Source: MQTT 5, 1.5.4.
const TOPIC_MAX: usize = 65_535;
const PUBLISH: u8 = 3;

/// The length of a message's packet in bytes, at most; with a topic that no packet can hold, more than any limit.
pub fn packet_bytes(topic: &str, payload: &[u8]) -> usize {
    if topic.len() > TOPIC_MAX { usize::MAX } else { PACKET_HEAD_MAX + topic.len() + payload.len() }
}

/// What a broker says.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    Welcome(Welcome),
    Publish(Publish),
    /// The broker has what we published under this id, or says why it does not take it.
    PubAck {
        id: u16,
        refused: Option<String>,
    },
    /// By filter: whether it may be subscribed to.
    SubAck(Vec<bool>),
    Pong,
    /// The broker ends the connection; why.
    Disconnect(String),
    Other,
}

/// The answer to a CONNECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Welcome {
    /// Why we are not let in.
    pub refused: Option<String>,
    /// The broker remembers us: what was subscribed to is, and what was not acknowledged comes again.
    pub session_present: bool,
    /// Messages we may send before the first is acknowledged.
    pub receive_maximum: u16,
    /// The largest packet the broker takes, in bytes, if it says so. MQTT 3.1.1 cannot.
    pub packet_max: Option<usize>,
    /// Seconds, when the broker wants another time than ours.
    pub keep_alive: Option<u16>,
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    pub topic: Bytes,
    pub payload: Bytes,
    /// The length of a payload that was too long to be taken.
    pub skipped: Option<usize>,
    pub is_duplicate: bool,
    /// To be acknowledged with.
    pub id: Option<u16>,
}

/// Why bytes are no packet, or a packet no bytes.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("the broker does not keep to MQTT 5: {0}")]
    V5(#[from] bytes5::Error),
    #[error("the broker does not keep to MQTT 3.1.1: {0}")]
    V4(#[from] bytes4::Error),
    #[error("the broker does not keep to MQTT: {0}")]
    Malformed(&'static str),
}

/// What a client says first.
#[derive(Clone, Debug)]
pub struct Hello<'h> {
    pub client_id: &'h str,
    pub login: Option<(&'h str, &'h str)>,
    /// Seconds.
    pub keep_alive: u16,
    pub session_expiry: u32,
}

/// Reads and writes packets of one version.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    pub version: MqttVersion,
}

impl Wire {
    /// The next packet in `from`, if all of it is there; and how many bytes after it are to be skipped.
    pub fn read(self, from: &mut BytesMut) -> Result<Option<(Packet, usize)>, WireError> {
        if let Some((kind, head, body)) = header(from)?
            && head + body > PACKET_MAX
        {
            return if kind == PUBLISH {
                Self::long(from, head, body)
            } else {
                Err(WireError::Malformed("a long packet"))
            };
        }
        let packet = match self.version {
            MqttVersion::V5 => match v5::Packet::read(from, None) {
                Ok(packet) => packet5(packet),
                Err(bytes5::Error::InsufficientBytes(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            },
            MqttVersion::V311 => match v4::Packet::read(from, PACKET_MAX) {
                Ok(packet) => packet4(packet),
                Err(bytes4::Error::InsufficientBytes(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            },
        };
        Ok(Some((packet, 0)))
    }

    /// The head of a message too long to be taken. Source: MQTT 5, 3.3.1 and 3.3.2.
    fn long(from: &mut BytesMut, head: usize, body: usize) -> Result<Option<(Packet, usize)>, WireError> {
        let flags = from[0];
        let Some(length) =
            from.get(head..head + 2).map(|two| usize::from(u16::from_be_bytes([two[0], two[1]])))
        else {
            return Ok(None);
        };
        let has_id = flags & 0b0110 != 0;
        let taken = head + 2 + length + if has_id { 2 } else { 0 };
        if taken > head + body {
            return Err(WireError::Malformed("a topic longer than its packet"));
        }
        if from.len() < taken {
            return Ok(None);
        }
        let bytes = from.split_to(taken).freeze();
        let id = has_id.then(|| u16::from_be_bytes([bytes[taken - 2], bytes[taken - 1]]));
        let rest = head + body - taken;
        let publish = Publish {
            topic: bytes.slice(head + 2..head + 2 + length),
            payload: Bytes::new(),
            skipped: Some(rest),
            is_duplicate: flags & 0b1000 != 0,
            id,
        };
        Ok(Some((Packet::Publish(publish), rest)))
    }

    pub fn connect(self, hello: &Hello, to: &mut BytesMut) -> Result<(), WireError> {
        match self.version {
            MqttVersion::V5 => {
                let properties = v5::ConnectProperties {
                    session_expiry_interval: Some(hello.session_expiry),
                    receive_maximum: Some(RECEIVE_MAXIMUM),
                    ..v5::ConnectProperties::new()
                };
                let connect = v5::Connect {
                    keep_alive: hello.keep_alive,
                    client_id: hello.client_id.to_owned(),
                    clean_start: false,
                    properties: Some(properties),
                };
                let login = hello.login.map(|(user, password)| v5::Login::new(user, password));
                v5::Packet::Connect(connect, None, login).write(to, None)?;
            }
            MqttVersion::V311 => {
                let mut connect = v4::Connect::new(hello.client_id);
                connect.keep_alive = hello.keep_alive;
                connect.clean_session = false;
                connect.login = hello.login.map(|(user, password)| v4::Login::new(user, password));
                v4::Packet::Connect(connect).write(to, usize::MAX)?;
            }
        }
        Ok(())
    }

    /// All filters with one packet. What is retained comes once for each session, not with each subscription.
    pub fn subscribe(self, id: u16, filters: &[(String, Qos)], to: &mut BytesMut) -> Result<(), WireError> {
        match self.version {
            MqttVersion::V5 => {
                let filters = filters.iter().map(|(filter, qos)| v5::Filter {
                    qos: match qos {
                        Qos::AtMostOnce => Qos5::AtMostOnce,
                        Qos::AtLeastOnce => Qos5::AtLeastOnce,
                    },
                    nolocal: true,
                    retain_forward_rule: v5::RetainForwardRule::OnNewSubscribe,
                    ..v5::Filter::new(filter.as_str(), Qos5::AtMostOnce)
                });
                let subscribe = v5::Subscribe { pkid: id, filters: filters.collect(), properties: None };
                v5::Packet::Subscribe(subscribe).write(to, None)?;
            }
            MqttVersion::V311 => {
                let filters = filters.iter().map(|(filter, qos)| {
                    let qos = match qos {
                        Qos::AtMostOnce => Qos4::AtMostOnce,
                        Qos::AtLeastOnce => Qos4::AtLeastOnce,
                    };
                    v4::SubscribeFilter::new(filter.clone(), qos)
                });
                let mut subscribe = v4::Subscribe::new_many(filters);
                subscribe.pkid = id;
                v4::Packet::Subscribe(subscribe).write(to, usize::MAX)?;
            }
        }
        Ok(())
    }

    /// With an id it is to be acknowledged.
    pub fn publish(
        self,
        id: Option<u16>,
        is_duplicate: bool,
        topic: &str,
        payload: &Bytes,
        to: &mut BytesMut,
    ) -> Result<(), WireError> {
        match self.version {
            MqttVersion::V5 => {
                let qos = if id.is_some() { Qos5::AtLeastOnce } else { Qos5::AtMostOnce };
                let mut publish = v5::Publish::new(topic, qos, payload.clone(), None);
                (publish.pkid, publish.dup) = (id.unwrap_or_default(), is_duplicate);
                v5::Packet::Publish(publish).write(to, None)?;
            }
            MqttVersion::V311 => {
                let qos = if id.is_some() { Qos4::AtLeastOnce } else { Qos4::AtMostOnce };
                let mut publish = v4::Publish::new(topic, qos, payload.to_vec());
                (publish.pkid, publish.dup) = (id.unwrap_or_default(), is_duplicate);
                v4::Packet::Publish(publish).write(to, usize::MAX)?;
            }
        }
        Ok(())
    }

    /// The same four bytes in both versions. Source: MQTT 5, 3.4.2.1.
    pub fn acknowledge(id: u16, to: &mut BytesMut) {
        let [high, low] = id.to_be_bytes();
        to.extend_from_slice(&[0x40, 2, high, low]);
    }

    pub fn ping(to: &mut BytesMut) {
        to.extend_from_slice(&[0xc0, 0]);
    }

    /// The session stays.
    pub fn disconnect(to: &mut BytesMut) {
        to.extend_from_slice(&[0xe0, 0]);
    }
}

/// Kind, length of the fixed header, and of what follows; `None` while it is not there. Source: MQTT 5, 2.1.
fn header(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, WireError> {
    let Some(first) = bytes.first() else { return Ok(None) };
    let mut length = 0;
    for (at, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((first >> 4, at + 2, length)));
        }
    }
    if bytes.len() > 4 { Err(WireError::Malformed("a length of more than four bytes")) } else { Ok(None) }
}

fn packet5(packet: v5::Packet) -> Packet {
    match packet {
        v5::Packet::ConnAck(ack) => {
            let properties = ack.properties;
            let reason = properties.as_ref().and_then(|found| found.reason_string.clone());
            let refused = (ack.code != v5::ConnectReturnCode::Success)
                .then(|| reason.unwrap_or_else(|| format!("{:?}", ack.code)));
            Packet::Welcome(Welcome {
                refused,
                session_present: ack.session_present,
                receive_maximum: properties.as_ref().and_then(|found| found.receive_max).unwrap_or(u16::MAX),
                packet_max: properties
                    .as_ref()
                    .and_then(|found| found.max_packet_size)
                    .map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
                keep_alive: properties.and_then(|found| found.server_keep_alive),
            })
        }
        v5::Packet::Publish(publish) => Packet::Publish(Publish {
            id: (publish.qos != Qos5::AtMostOnce).then_some(publish.pkid),
            topic: publish.topic,
            payload: publish.payload,
            skipped: None,
            is_duplicate: publish.dup,
        }),
        v5::Packet::PubAck(ack) => Packet::PubAck { id: ack.pkid, refused: refused5(ack) },
        v5::Packet::SubAck(ack) => Packet::SubAck(
            ack.return_codes.iter().map(|code| matches!(code, v5::SubscribeReasonCode::Success(_))).collect(),
        ),
        v5::Packet::PingResp(_) => Packet::Pong,
        v5::Packet::Disconnect(disconnect) => {
            let said = disconnect.properties.and_then(|found| found.reason_string);
            Packet::Disconnect(said.unwrap_or_else(|| format!("{:?}", disconnect.reason_code)))
        }
        _ => Packet::Other,
    }
}

/// Why a message is not taken; with `None` it is, also when nobody hears it. Source: MQTT 5, 3.4.2.1.
fn refused5(ack: v5::PubAck) -> Option<String> {
    if matches!(ack.reason, v5::PubAckReason::Success | v5::PubAckReason::NoMatchingSubscribers) {
        return None;
    }
    let said = ack.properties.and_then(|found| found.reason_string);
    Some(said.unwrap_or_else(|| format!("{:?}", ack.reason)))
}

fn packet4(packet: v4::Packet) -> Packet {
    match packet {
        v4::Packet::ConnAck(ack) => Packet::Welcome(Welcome {
            refused: (ack.code != v4::ConnectReturnCode::Success).then(|| format!("{:?}", ack.code)),
            session_present: ack.session_present,
            receive_maximum: u16::MAX,
            packet_max: None,
            keep_alive: None,
        }),
        v4::Packet::Publish(publish) => Packet::Publish(Publish {
            id: (publish.qos != Qos4::AtMostOnce).then_some(publish.pkid),
            topic: publish.topic.into(),
            payload: publish.payload,
            skipped: None,
            is_duplicate: publish.dup,
        }),
        // MQTT 3.1.1 has no way to refuse.
        v4::Packet::PubAck(ack) => Packet::PubAck { id: ack.pkid, refused: None },
        v4::Packet::SubAck(ack) => Packet::SubAck(
            ack.return_codes.iter().map(|code| matches!(code, v4::SubscribeReasonCode::Success(_))).collect(),
        ),
        v4::Packet::PingResp => Packet::Pong,
        v4::Packet::Disconnect => Packet::Disconnect("the broker said goodbye".to_owned()),
        _ => Packet::Other,
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
