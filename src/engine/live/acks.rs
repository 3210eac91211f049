//! `requested-acks`: whose word an answer waits for. Source: Ditto 3.8, `AcknowledgementLabel`, `AcknowledgementAggregator`.
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use super::super::command::Answer;
use super::super::failure::Failure;
use super::event::Cause;
use super::waiting::Wait;

const NAME: &str = "requested-acks";
const TWIN: &str = "twin-persisted";
const SEARCH: &str = "search-persisted";
pub const LIVE: &str = "live-response";
/// Labels of one request; each is searched for in every word that comes in.
const LABELS_MAX: usize = 50;

/// The word of one who was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Ack {
    pub label: String,
    pub status: u16,
    pub payload: Option<Value>,
    pub headers: Map<String, Value>,
}

impl Ack {
    pub fn of(label: &str, status: u16, payload: Option<Value>, correlation_id: &str) -> Self {
        let headers = [("correlation-id", json!(correlation_id)), ("response-required", json!(false))];
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { label: label.to_owned(), status, payload, headers }
    }

    fn json(&self) -> Value {
        let mut json = json!({"status": self.status, "headers": self.headers});
        if let Some(payload) = &self.payload {
            json["payload"] = payload.clone();
        }
        json
    }

    fn succeeded(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What is said for a subscriber that declared the label and did not get the signal.
pub fn weak(label: &str, cause: &Cause) -> Ack {
    let why = "acknowledged by the engine: the subscriber that gives this acknowledgement has no use for the signal";
    let mut ack = Ack::of(label, 200, Some(json!(why)), &cause.correlation_id);
    ack.headers.insert("ditto-weak-ack".to_owned(), json!(true));
    ack
}

/// The labels a request names; none stands for `twin-persisted`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requested(Vec<String>);

impl Requested {
    /// A JSON array of strings or a comma list.
    pub fn read(text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text else { return Ok(Self::default()) };
        let labels: Option<Vec<String>> = if text.trim_start().starts_with('[') {
            serde_json::from_str(text).ok()
        } else {
            Some(text.split(',').map(|label| label.trim().to_owned()).collect())
        };
        let labels = labels.filter(|labels| labels.len() <= LABELS_MAX && labels.iter().all(|l| is_label(l)));
        labels.map(Self).ok_or_else(|| {
            Failure::bad_header(
                NAME,
                "it must list at most 50 labels of 3 to 100 letters, digits, `-`, `_` or `:`",
            )
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those only subscribers can give.
    pub fn custom(&self) -> Vec<String> {
        self.0.iter().filter(|label| !is_built_in(label)).cloned().collect()
    }

    pub fn names(&self, label: &str) -> bool {
        self.0.iter().any(|named| named == label)
    }

    pub fn is_live_only(&self) -> bool {
        self.0.iter().all(|label| label == LIVE)
    }

    /// Whether a word is asked for that only the twin gives.
    pub fn names_twin(&self) -> bool {
        self.names(TWIN) || self.names(SEARCH)
    }

    /// Whether the answer looks as if nothing was requested. Nothing answers for the live channel here.
    pub fn is_plain(&self) -> bool {
        self.0.iter().all(|label| label == TWIN || label == LIVE)
    }
}

/// Whether Ditto itself gives it.
pub fn is_built_in(label: &str) -> bool {
    [TWIN, SEARCH, LIVE].contains(&label)
}

pub fn is_label(label: &str) -> bool {
    (3..=100).contains(&label.len())
        && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':'))
}

/// What a write answers itself, under the label `twin-persisted`.
pub struct Twin<'a> {
    pub answer: &'a Answer,
    pub cause: &'a Cause,
    pub originator: &'a str,
    /// The place of what was created, for those who asked by HTTP.
    pub location: Option<&'a str>,
}

impl Twin<'_> {
    fn ack(&self) -> Ack {
        let answer = self.answer;
        let mut ack = Ack::of(TWIN, answer.status, answer.body.clone(), &self.cause.correlation_id);
        let values = [
            ("ditto-originator", Some(json!(self.originator))),
            ("entity-revision", answer.revision.map(Value::from)),
            ("etag", answer.etag.clone().map(Value::from)),
            ("timeout", self.cause.timeout.clone().map(Value::from)),
            ("location", self.location.filter(|_| answer.created).map(Value::from)),
        ];
        let present = values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        ack.headers.extend(present);
        ack
    }
}

/// The words of all who were asked, in the order asked. State and search are one here; subscribers are waited for
/// until `patience` is over.
pub async fn collect(
    requested: &Requested,
    twin: Twin<'_>,
    wait: Option<Wait<Ack>>,
    patience: Duration,
) -> Vec<Ack> {
    let given = match wait {
        Some(wait) => gather(&requested.custom(), wait, Instant::now() + patience).await,
        None => vec![],
    };
    let correlation_id = &twin.cause.correlation_id;
    let word = |label: &String| match label.as_str() {
        TWIN => Some(twin.ack()),
        SEARCH => {
            let headers = Map::from_iter([("response-required".to_owned(), json!(false))]);
            Some(Ack { label: SEARCH.to_owned(), status: 204, payload: None, headers })
        }
        LIVE => None,
        _ => Some(self::word(&given, label).unwrap_or_else(|| late(label, correlation_id))),
    };
    requested.0.iter().filter_map(word).collect()
}

/// The words of subscribers, until each of the labels has one or the time is over.
pub async fn gather(labels: &[String], mut wait: Wait<Ack>, until: Instant) -> Vec<Ack> {
    let mut open: Vec<&String> = labels.iter().collect();
    let mut given = vec![];
    while !open.is_empty()
        && let Ok(Some(ack)) = timeout_at(until, wait.word()).await
    {
        if let Some(at) = open.iter().position(|label| **label == ack.label) {
            open.swap_remove(at);
            given.push(ack);
        }
    }
    given
}

pub fn word(given: &[Ack], label: &str) -> Option<Ack> {
    given.iter().find(|ack| ack.label == label).cloned()
}

pub fn late(label: &str, correlation_id: &str) -> Ack {
    let failure =
        Failure::new(408, "acknowledgement:request.timeout", "the acknowledgement did not come in time");
    Ack::of(label, 408, Some(failure.body()), correlation_id)
}

/// All words under their labels, and the status they have together: that of the only one, 200, or 424 when one failed.
pub fn together(acks: &[Ack]) -> (u16, Value) {
    let status = match acks {
        [one] => one.status,
        _ if acks.iter().all(Ack::succeeded) => 200,
        _ => 424,
    };
    (status, acks.iter().map(|ack| (ack.label.clone(), ack.json())).collect())
}

/// As an answer by HTTP, where a single word stands alone. Whoever wanted no answer is told of failures, by status alone.
pub fn answer(acks: &[Ack], answered: bool) -> Answer {
    let (status, body) = match acks {
        [one] => (one.status, one.payload.clone().filter(|_| answered)),
        _ if answered => {
            let (status, body) = together(acks);
            (status, Some(body))
        }
        _ => {
            let bare = |ack: &Ack| (ack.label.clone(), json!({"status": ack.status, "headers": {}}));
            (together(acks).0, Some(acks.iter().map(bare).collect()))
        }
    };
    match (answered, status) {
        (false, 200..300) => Answer { status: 202, ..Answer::default() },
        _ => Answer { status, body, ..Answer::default() },
    }
}
