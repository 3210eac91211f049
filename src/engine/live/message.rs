//! Messages to and from things: handed to those who listen now, never stored.
//! Source: Ditto 3.8, `MessagesRoute.java`, `LiveSignalEnforcement.java`.
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::command::Caller;
use super::super::core::Core;
use super::super::enforce::{Enforcer, Permission};
use super::super::failure::Failure;
use super::super::http::handle::{Asked, CHANNEL, has_body, respond};
use super::super::http::request;
use super::super::place::ThingPart;
use super::super::state::{Document, Kind};
use super::super::{thing, time};
use super::acks::{self, Requested};
use super::event::Cause;
use super::payload::Payload;
use super::reply::{About, Asks, Expecting, Reply, Told};
use super::signal::Heard;
use crate::rql::Expr;
use crate::twin::id::{ThingId, is_subject};

const MESSAGE: &str = "message";
const CLAIM: &str = "claim";
/// The longest `timeout` of a claim. Source: Ditto 3.8, `ditto.gateway.claim-message`, whose `default-timeout` nobody reads there.
const CLAIM_PATIENCE_MAX: Duration = Duration::from_mins(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    To,
    From,
}

impl Direction {
    fn mailbox(self) -> &'static str {
        match self {
            Self::To => "inbox",
            Self::From => "outbox",
        }
    }
}

/// A mailbox of a thing or feature, and what a message there is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    pub thing: ThingId,
    pub feature: Option<String>,
    pub direction: Direction,
    /// Slashes included; `None` in streams of every subject.
    pub subject: Option<String>,
    /// Asks a thing for rights, and so needs none.
    pub claim: bool,
}

impl Address {
    /// Reads `[features/<id>/](inbox|outbox)/messages[/<subject>]` or `inbox/claim`, decoded; `None` for anything else.
    pub fn read(thing: &ThingId, path: &[String]) -> Option<Self> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let (feature, rest) = match path.as_slice() {
            ["features", id, rest @ ..] => (Some((*id).to_owned()), rest),
            rest => (None, rest),
        };
        let at = |direction, subject| {
            Some(Self { thing: thing.clone(), feature: feature.clone(), direction, subject, claim: false })
        };
        match rest {
            ["inbox", "claim"] if feature.is_none() => {
                at(Direction::To, Some(CLAIM.to_owned())).map(|address| Self { claim: true, ..address })
            }
            [mailbox @ ("inbox" | "outbox"), "messages", subject @ ..] => {
                let direction = if *mailbox == "inbox" { Direction::To } else { Direction::From };
                at(direction, (!subject.is_empty()).then(|| subject.join("/")))
            }
            _ => None,
        }
    }

    pub fn subject(&self) -> &str {
        self.subject.as_deref().unwrap_or_default()
    }

    /// As the Ditto Protocol writes it.
    pub fn path(&self) -> String {
        let feature = self.feature.as_ref().map(|id| format!("/features/{id}")).unwrap_or_default();
        format!("{feature}/{}/messages/{}", self.direction.mailbox(), self.subject())
    }

    /// Whether `self` is this mailbox, or names one of its subjects.
    pub fn is_within(&self, stream: &Self) -> bool {
        self.thing == stream.thing
            && self.feature == stream.feature
            && self.direction == stream.direction
            && stream.subject.as_ref().is_none_or(|subject| self.subject.as_ref() == Some(subject))
    }

    fn resource(&self) -> Vec<String> {
        self.path().split('/').skip(1).map(str::to_owned).collect()
    }
}

pub struct Message {
    pub address: Address,
    pub payload: Payload,
    pub cause: Cause,
    pub originator: String,
    pub asks: Asks,
    /// Whether an answer is waited for.
    pub answered: bool,
    /// The time as subscribers are told it.
    pub timeout: Option<String>,
    pub at: i64,
    /// The thing as it is now, for extra fields.
    pub thing: Option<Document>,
    pub enforcer: Option<Arc<Enforcer>>,
}

impl Heard for Message {
    fn thing_id(&self) -> &ThingId {
        &self.address.thing
    }

    fn cause(&self) -> &Cause {
        &self.cause
    }

    fn thing(&self) -> Option<&Value> {
        self.thing.as_deref()
    }

    fn enforcer(&self) -> Option<&Enforcer> {
        self.enforcer.as_deref()
    }

    /// Who receives a message needs READ on it.
    fn readable(&self, subjects: &[String]) -> bool {
        let resource = self.address.resource();
        let path: Vec<&str> = resource.iter().map(String::as_str).collect();
        self.enforcer.as_ref().is_some_and(|enforcer| enforcer.hears(subjects, MESSAGE, &path))
    }

    fn topic(&self) -> String {
        let id = &self.address.thing;
        format!("{}/{}/things/live/messages/{}", id.namespace(), id.name(), self.address.subject())
    }

    fn names(&self) -> (&'static str, &str) {
        ("messages", self.address.subject())
    }

    fn path(&self) -> String {
        self.address.path()
    }

    fn envelope(&self, extra: Option<Value>, declared: &[String]) -> Value {
        let address = &self.address;
        let direction = if address.direction == Direction::To { "TO" } else { "FROM" };
        let mut headers = json!({
            "channel": "live",
            "response-required": self.answered,
            "ditto-originator": self.originator,
            "ditto-message-direction": direction,
            "ditto-message-subject": address.subject(),
            "ditto-message-thing-id": address.thing.as_str(),
            "correlation-id": self.cause.correlation_id,
            "timestamp": time::print(self.at),
            "version": 2,
        });
        if let Some(timeout) = &self.timeout {
            headers["timeout"] = json!(timeout);
        }
        if let Some(acks) = self.asks.shown(declared) {
            headers["requested-acks"] = acks;
        }
        if let Some(feature) = &address.feature {
            headers["ditto-message-feature-id"] = json!(feature);
        }
        if let Some(content_type) = &self.payload.content_type {
            headers["content-type"] = json!(content_type);
        }
        let mut envelope = json!({"topic": self.topic(), "headers": headers, "path": address.path()});
        if let Some(value) = &self.payload.value {
            envelope["value"] = value.clone();
        }
        if let Some(extra) = extra {
            envelope["extra"] = extra;
        }
        envelope
    }
}

/// A message on its way, before anybody looked at the thing.
pub struct Draft {
    pub address: Address,
    pub payload: Payload,
    pub cause: Cause,
    pub asks: Asks,
    pub answered: bool,
    /// How long somebody may take to speak.
    pub patience: Duration,
    /// The time as subscribers are told it.
    pub timeout: Option<String>,
    pub condition: Option<Expr>,
}

/// Checks the sender's rights and the condition, and sends; answers what subscribers say to it.
pub async fn deliver(core: &Core, draft: Draft, caller: &Caller) -> Result<Told, Failure> {
    let Draft { address, payload, cause, asks, answered, patience, timeout, condition } = draft;
    let (document, enforcer) = {
        let state = core.state.read();
        let document = state.get(Kind::Thing, address.thing.as_str());
        let policy = document.as_ref().and_then(|thing| thing["policyId"].as_str());
        let enforcer = policy.and_then(|policy| state.enforcer(policy, caller.now));
        (document, enforcer)
    };
    if !address.claim {
        let (Some(document), Some(enforcer)) = (&document, &enforcer) else {
            return Err(ThingPart::Thing.not_found());
        };
        let resource = address.resource();
        let path: Vec<&str> = resource.iter().map(String::as_str).collect();
        if !enforcer.unrestricted(&caller.subjects, MESSAGE, &path, Permission::Write) {
            return Err(Failure::new(403, "messages:send.notallowed", "WRITE is missing on this message"));
        }
        thing::check_condition(condition.as_ref(), document, enforcer, caller)?;
    }
    let waits = answered || !asks.is_empty();
    let expecting = waits
        .then(|| Expecting::open(&core.hub, address.thing.as_str(), &cause, asks.clone(), answered))
        .transpose()?;
    let originator = caller.subjects.first().cloned().unwrap_or_default();
    let at = caller.now;
    core.hub.send(Message {
        address,
        payload,
        cause,
        originator,
        asks,
        answered,
        timeout,
        at,
        thing: document,
        enforcer,
    });
    match expecting {
        Some(expecting) => {
            let heard = |reply: Reply| matches!(reply.about, About::Message | About::Error).then_some(reply);
            expecting.collect(patience, heard).await
        }
        None => Ok(Told::Nothing),
    }
}

/// POST of a message. What waits for no answer is accepted whatever becomes of it, as in Ditto 3.8.
pub async fn post(core: &Core, address: Address, asked: &Asked<'_>) -> Result<Response, Failure> {
    let Asked { request, body, caller, .. } = asked;
    if !is_message_subject(address.subject()) {
        return Err(Failure::new(
            400,
            "messages:subject.invalid",
            "a message needs a subject after `messages/`",
        ));
    }
    let patience = request.patience(if address.claim { CLAIM_PATIENCE_MAX } else { request::PATIENCE })?;
    let payload = Payload::of_bytes(request.header("content-type"), body)?;
    let requested = request.setting("requested-acks");
    let requested = requested.map(|text| Requested::read(Some(&text))).transpose()?;
    let required = request.response_required()?;
    let asks = Asks::of(requested.as_ref(), required.unwrap_or(requested.is_some() || !patience.is_zero()));
    let answered = required.unwrap_or(!patience.is_zero());
    if patience.is_zero() && (answered || !asks.is_empty()) {
        return Ok(live(Err(Failure::bad_header("timeout", "0 leaves no time for the answer")), true));
    }
    let cause = request.cause(asks.custom.clone());
    let condition = request.setting("condition").map(|text| request::condition(&text)).transpose();
    // in whole seconds without a unit, as Ditto prints it
    let timeout = match patience.subsec_millis() {
        0 => patience.as_secs().to_string(),
        _ => format!("{}ms", patience.as_millis()),
    };
    let waits = answered || !asks.is_empty();
    let draft = |condition| Draft {
        address,
        payload,
        cause,
        asks,
        answered,
        patience,
        timeout: Some(timeout),
        condition,
    };
    let delivered = match condition {
        Ok(condition) => deliver(core, draft(condition), caller).await,
        Err(failure) => Err(failure),
    };
    if waits { Ok(live(delivered, answered)) } else { Ok(StatusCode::ACCEPTED.into_response()) }
}

pub fn is_message_subject(subject: &str) -> bool {
    !subject.is_empty() && (is_subject(subject) || subject.chars().all(|c| c > '\u{1f}'))
}

/// What was said to a live signal, passed on. A 502 would look like a fault of the engine and becomes 200, as in Ditto.
/// Where no answer is waited for, a success says nothing but that it is one, and acknowledgements nothing but their status.
pub fn live(told: Result<Told, Failure>, answered: bool) -> Response {
    let mut response = match told {
        Ok(Told::Reply(reply)) => {
            let status = if reply.status == 502 { 200 } else { reply.status };
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            let body = if has_body(status) { reply.payload.bytes() } else { vec![] };
            let mut response = (status, body).into_response();
            response.headers_mut().remove(header::CONTENT_TYPE);
            let content_type = reply.payload.content_type.filter(|_| has_body(status));
            if let Some(value) = content_type.and_then(|text| HeaderValue::from_str(&text).ok()) {
                response.headers_mut().insert(header::CONTENT_TYPE, value);
            }
            response
        }
        Ok(Told::Acks(acks)) => respond(acks::answer(&acks, answered), None),
        Ok(Told::Nothing) => StatusCode::ACCEPTED.into_response(),
        Err(failure) => super::super::http::refusal::Refusal::from(failure).into_response(),
    };
    if !answered && response.status().is_success() {
        return StatusCode::ACCEPTED.into_response();
    }
    response.headers_mut().insert(CHANNEL, HeaderValue::from_static("live"));
    response
}
