//! What others say to a message or to a command on the live channel, and who waits for it.
//! Source: Ditto 3.8, `AcknowledgementAggregatorActor.java`, `AbstractCommandAckRequestSetter.java`,
//! `CommandAndCommandResponseMatchingValidator.java`.
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::super::failure::Failure;
use super::acks::{self, Ack, LIVE, Requested};
use super::event::Cause;
use super::hub::Hub;
use super::payload::Payload;
use super::waiting::Wait;

/// What an answer is the answer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    Message,
    /// The action of the command and the path it named.
    Command(String, String),
    /// An error answers everything.
    Error,
}

/// The answer of a subscriber.
#[derive(Clone, Debug)]
pub struct Reply {
    pub about: About,
    pub status: u16,
    pub payload: Payload,
    pub originator: String,
}

impl Reply {
    /// As the word `live-response` among acknowledgements.
    fn ack(&self, correlation_id: &str) -> Ack {
        let mut ack = Ack::of(LIVE, self.status, self.payload.value.clone(), correlation_id);
        ack.headers.insert("channel".to_owned(), json!("live"));
        ack.headers.insert("ditto-originator".to_owned(), json!(self.originator));
        if let Some(content_type) = &self.payload.content_type {
            ack.headers.insert("content-type".to_owned(), json!(content_type));
        }
        ack
    }
}

/// The words a live signal waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// Labels only subscribers give.
    pub custom: Vec<String>,
    /// Whether an answer is one of the words.
    pub response: bool,
}

impl Asks {
    /// From `requested-acks` and `response-required`. Labels of the twin mean nothing here; where one is named, the
    /// answer is not added to the others, as in Ditto.
    pub fn of(requested: Option<&Requested>, required: bool) -> Self {
        let Some(requested) = requested else { return Self { custom: vec![], response: required } };
        let custom = requested.custom();
        let response = match (requested.names_twin(), required) {
            (true, _) => requested.names(LIVE),
            (false, required) => required && !requested.is_empty(),
        };
        Self { custom, response }
    }

    pub fn is_empty(&self) -> bool {
        self.custom.is_empty() && !self.response
    }

    /// `requested-acks` as a subscriber is shown it that gives the acknowledgements `declared`: those alone, and none of
    /// Ditto's own. Absent when it is those alone that are asked for.
    pub fn shown(&self, declared: &[String]) -> Option<Value> {
        let shown: Vec<&String> = self.custom.iter().filter(|label| declared.contains(label)).collect();
        (!shown.is_empty() || !self.response).then(|| json!(shown))
    }
}

/// What became of a live signal.
#[derive(Debug)]
pub enum Told {
    Nothing,
    Reply(Reply),
    Acks(Vec<Ack>),
}

/// Places kept for the words, opened before the signal goes out.
pub struct Expecting {
    reply: Option<Wait<Reply>>,
    acks: Option<Wait<Ack>>,
    asks: Asks,
    correlation_id: String,
}

impl Expecting {
    /// `answered`: somebody waits for the answer, be it asked for as a word or not.
    pub fn open(
        hub: &Hub,
        thing_id: &str,
        cause: &Cause,
        asks: Asks,
        answered: bool,
    ) -> Result<Self, Failure> {
        let correlation_id = cause.correlation_id.clone();
        let of_acks = !asks.custom.is_empty();
        let of_reply = asks.response || (answered && !of_acks);
        Ok(Self {
            reply: of_reply.then(|| hub.replies.open(thing_id, &correlation_id)).transpose()?,
            acks: of_acks.then(|| hub.acks.open(thing_id, &correlation_id)).transpose()?,
            asks,
            correlation_id,
        })
    }

    /// Waits until everybody has spoken, at most `patience`. `heard` is what of an answer is passed on, be it alone or as a
    /// word among others; `None` for one that does not fit.
    pub async fn collect(
        self,
        patience: Duration,
        heard: impl Fn(Reply) -> Option<Reply>,
    ) -> Result<Told, Failure> {
        let Self { reply, acks, asks, correlation_id } = self;
        let until = Instant::now() + patience;
        let answering = async {
            let mut wait = reply?;
            loop {
                let Ok(Some(reply)) = timeout_at(until, wait.word()).await else { return None };
                if let Some(reply) = heard(reply) {
                    return Some(reply);
                }
            }
        };
        let acknowledging = async {
            match acks {
                Some(wait) => acks::gather(&asks.custom, wait, until).await,
                None => vec![],
            }
        };
        if asks.custom.is_empty() {
            let late = || Failure::new(408, "command.timeout", "nobody answered in time");
            return answering.await.map(Told::Reply).ok_or_else(late);
        }
        let (reply, given) = tokio::join!(answering, acknowledging);
        let mut words: Vec<Ack> = asks
            .custom
            .iter()
            .map(|label| acks::word(&given, label).unwrap_or_else(|| acks::late(label, &correlation_id)))
            .collect();
        if asks.response {
            let late = || acks::late(LIVE, &correlation_id);
            words.push(reply.map_or_else(late, |reply| reply.ack(&correlation_id)));
        }
        Ok(Told::Acks(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_asked_for_are_those_of_ditto() {
        let asks = |custom: &[&str], response| Asks {
            custom: custom.iter().map(|label| (*label).to_owned()).collect(),
            response,
        };
        let rows = [
            (None, true, asks(&[], true)),
            (None, false, asks(&[], false)),
            (Some("[]"), true, asks(&[], false)),
            (Some("my:ack"), true, asks(&["my:ack"], true)),
            (Some("my:ack"), false, asks(&["my:ack"], false)),
            (Some("live-response"), true, asks(&[], true)),
            (Some("live-response,my:ack"), false, asks(&["my:ack"], false)),
            (Some("twin-persisted"), true, asks(&[], false)),
            (Some("my:ack,twin-persisted"), true, asks(&["my:ack"], false)),
            (Some("live-response,twin-persisted"), true, asks(&[], true)),
        ];
        for (text, required, expected) in rows {
            let requested = text.map(|text| Requested::read(Some(text)).unwrap());
            assert_eq!(Asks::of(requested.as_ref(), required), expected, "{text:?} {required}");
        }
    }

    #[test]
    fn a_subscriber_is_shown_the_acknowledgements_it_gives() {
        let declared = ["a:a".to_owned()];
        let rows = [
            (&["a:a", "b:b"][..], true, Some(json!(["a:a"]))),
            (&["b:b"][..], true, None),
            (&["b:b"][..], false, Some(json!([]))),
            (&[][..], true, None),
            (&[][..], false, Some(json!([]))),
        ];
        for (custom, response, expected) in rows {
            let custom = custom.iter().map(|label| (*label).to_owned()).collect();
            assert_eq!(Asks { custom, response }.shown(&declared), expected);
        }
    }
}
