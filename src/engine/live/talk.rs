//! What a client says on the live channel over its WebSocket: messages, commands, events, and answers to those of others.
//! Source: Ditto 3.8, `StreamingSessionActor.java`, `EdgeCommandForwarderActor.java`.
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::command::{Answer, Command, Target, Verb};
use super::super::failure::Failure;
use super::super::http::Server;
use super::super::http::request::{PATIENCE, condition};
use super::ask::{Ask, MERGE_PATCH, unknown};
use super::channel::{self, Chosen, Happened, Sent};
use super::command::{Answered, check, check_value, not_built, target, verb};
use super::event::{Action, Cause};
use super::message::{self, Address, Draft};
use super::payload::Payload;
use super::protocol::{Channel, Group};
use super::reply::{About, Asks, Reply, Told};
use crate::twin::id::ThingId;

/// How an envelope wants to be answered.
struct Terms {
    asks: Asks,
    answered: bool,
    patience: Duration,
}

fn terms(ask: &Ask) -> Result<Terms, Failure> {
    let patience = ask.request.patience(PATIENCE)?;
    let required = ask.request.response_required()?;
    let given = ask.envelope.headers.contains_key("requested-acks").then_some(&ask.requested);
    let at_once = patience.is_zero();
    let asks = Asks::of(given, required.unwrap_or(given.is_some() || !at_once));
    let answered = required.unwrap_or(!at_once);
    if at_once && (answered || !asks.is_empty()) {
        return Err(Failure::bad_header("timeout", "0 leaves no time for the answer"));
    }
    if !answered && !asks.is_empty() {
        let message = "acknowledgements cannot be requested without an answer";
        return Err(Failure::bad_header("requested-acks", message));
    }
    Ok(Terms { asks, answered, patience })
}

/// A message, or the answer to one.
pub fn message(server: &Arc<Server>, ask: Ask) -> Result<Answered, Value> {
    let id = ThingId::parse(&ask.topic.entity())
        .map_err(|error| unknown(&Failure::new(400, "things:id.invalid", error.to_string())))?;
    let path: Vec<String> = ask.path().split('/').skip(1).map(str::to_owned).collect();
    let address = Address::read(&id, &path).filter(|address| message::is_message_subject(address.subject()));
    let address = address.ok_or_else(|| {
        let message = "a message goes to `/inbox/messages/<subject>`";
        unknown(&Failure::new(400, "protocoladapter:unknown.path", message))
    })?;
    let misread = |failure: Failure| ask.misread(&failure);
    let content_type = ask.envelope.header("content-type").map(str::to_owned);
    let payload = Payload::of_value(content_type, ask.envelope.value.clone()).map_err(misread)?;
    if let Some(status) = ask.envelope.status {
        let originator = ask.originator().to_owned();
        let reply = Reply { about: About::Message, status, payload, originator };
        server.core.hub.replies.tell(id.as_str(), &ask.cause.correlation_id, reply);
        return Ok(Answered::nothing());
    }
    let Terms { asks, answered, patience } = terms(&ask).map_err(misread)?;
    let condition = ask.request.setting("condition").map(|text| condition(&text)).transpose();
    let draft = Draft {
        address,
        payload,
        cause: Cause { acks: asks.custom.clone(), ..ask.cause.clone() },
        asks,
        answered,
        patience,
        timeout: ask.cause.timeout.clone(),
        condition: condition.map_err(misread)?,
    };
    let server = Arc::clone(server);
    Ok(Answered::Later(Box::pin(async move {
        let told = message::deliver(&server.core, draft, &ask.caller).await;
        shown(&ask, told, answered)
    })))
}

/// A command, or the answer to one.
pub fn command(server: &Arc<Server>, ask: Ask, action: &str) -> Result<Answered, Value> {
    if ask.topic.group != Group::Things || (ask.topic.namespace == "_" && ask.topic.name == "_") {
        return Err(not_built(&ask, "this on the live channel"));
    }
    let target = target(&ask)?;
    if let (Target::Thing(id, place), Some(status)) = (&target, ask.envelope.status) {
        let about = About::Command(action.to_owned(), place.pointer.to_string());
        let payload = Payload { content_type: None, value: ask.envelope.value.clone() };
        let reply = Reply { about, status, payload, originator: ask.originator().to_owned() };
        server.core.hub.replies.tell(id.as_str(), &ask.cause.correlation_id, reply);
        return Ok(Answered::nothing());
    }
    let verb = verb(&ask, action)?;
    let misread = |failure: Failure| ask.misread(&failure);
    check(&ask, action, verb, &target).map_err(misread)?;
    let terms = terms(&ask).map_err(misread)?;
    let headers = ask.request.command_headers().map_err(|failure| ask.refused(&failure))?;
    let body = ask.envelope.value.clone().filter(|_| matches!(verb, Verb::Put | Verb::Patch));
    let command = Command { target, verb, body: body.unwrap_or_default(), headers };
    let server = Arc::clone(server);
    if verb == Verb::Get && terms.answered && ask.request.use_twin() {
        return Ok(Answered::Later(Box::pin(async move {
            match server.core.execute(&channel::of_twin(&command), &ask.caller, &Cause::default()).await {
                Ok(answer) => choose(&server, ask, &command, answer, terms).await,
                Err(failure) => Some(ask.refused(&failure)),
            }
        })));
    }
    let (sent, answered) = sent(&ask, action, verb, terms);
    Ok(Answered::Later(Box::pin(async move {
        let told = channel::send(&server.core, &command, sent, &ask.caller).await;
        shown(&ask, told, answered)
    })))
}

/// A read of the twin, which has told `answer` and says that a device is to be asked.
pub fn smart(server: &Arc<Server>, ask: Ask, command: Command, answer: Answer) -> Result<Answered, Value> {
    let terms = terms(&ask).map_err(|failure| ask.misread(&failure))?;
    let server = Arc::clone(server);
    Ok(Answered::Later(Box::pin(async move { choose(&server, ask, &command, answer, terms).await })))
}

/// The frame of whoever answers: on the twin's channel or on the live one, wherever the question came from.
async fn choose(
    server: &Server,
    mut ask: Ask,
    command: &Command,
    answer: Answer,
    terms: Terms,
) -> Option<Value> {
    let (sent, answered) = sent(&ask, "retrieve", Verb::Get, terms);
    match channel::choose(&server.core, command, answer, sent, ask.request.use_twin(), &ask.caller).await {
        Chosen::Twin(answer) => {
            ask.topic.channel = Channel::Twin;
            Some(ask.response("retrieve", &answer))
        }
        Chosen::Device(told) => {
            ask.topic.channel = Channel::Live;
            let mut frame = shown(&ask, told, answered)?;
            frame["headers"]["live-channel-condition-matched"] = json!(true);
            Some(frame)
        }
    }
}

/// What goes out beside the command, and whether an answer is waited for.
fn sent(ask: &Ask, action: &str, verb: Verb, terms: Terms) -> (Sent, bool) {
    let Terms { asks, answered, patience } = terms;
    let sent = Sent {
        action: action.to_owned(),
        fields: ask.envelope.fields.clone().filter(|_| verb == Verb::Get),
        cause: Cause { acks: asks.custom.clone(), ..ask.cause.clone() },
        asks,
        answered,
        patience,
    };
    (sent, answered)
}

/// An event of a device. Whoever sends one hears nothing of it, not even that it may not; on the twin it means nothing.
pub fn event(server: &Arc<Server>, ask: &Ask, action: Action) -> Result<Answered, Value> {
    if ask.envelope.revision.is_none() {
        return Err(ask.misread(&Failure::missing_field("revision")));
    }
    let target = target(ask)?;
    let verb = match action {
        Action::Created | Action::Modified => Verb::Put,
        Action::Merged => Verb::Patch,
        Action::Deleted => Verb::Delete,
    };
    check_value(ask, verb, &target).map_err(|failure| ask.misread(&failure))?;
    let Target::Thing(thing_id, place) = target else {
        return Err(not_built(ask, "an event of a policy"));
    };
    if ask.topic.channel == Channel::Live {
        let happened = Happened {
            thing_id,
            action,
            place,
            value: ask.envelope.value.clone(),
            revision: ask.envelope.revision,
            timestamp: ask.envelope.timestamp.clone(),
            cause: ask.cause.clone(),
        };
        drop(channel::tell(&server.core, happened, &ask.caller));
    }
    Ok(Answered::nothing())
}

/// The error of a device: the answer to a command or a message.
pub fn error(server: &Arc<Server>, ask: &Ask) -> Answered {
    let value = ask.envelope.value.clone();
    let told = value.as_ref().and_then(|value| value["status"].as_u64());
    let told = told.and_then(|status| u16::try_from(status).ok());
    let failed = |status: &u16| (300..600).contains(status);
    let status = ask.envelope.status.filter(failed).or_else(|| told.filter(failed));
    let payload = Payload { content_type: Some("application/json".to_owned()), value };
    let originator = ask.originator().to_owned();
    let reply = Reply { about: About::Error, status: status.unwrap_or(500), payload, originator };
    server.core.hub.replies.tell(&ask.topic.entity(), &ask.cause.correlation_id, reply);
    Answered::nothing()
}

/// The frame that tells what became of it.
fn shown(ask: &Ask, told: Result<Told, Failure>, answered: bool) -> Option<Value> {
    match told {
        Ok(Told::Nothing) => None,
        Ok(Told::Reply(reply)) => Some(replied(ask, reply)),
        Ok(Told::Acks(acks)) => Some(ask.acks(&acks)),
        Err(failure) if failure.error == "command.timeout" => Some(ask.misread(&failure)),
        Err(failure) => answered.then(|| ask.refused(&failure)),
    }
}

fn replied(ask: &Ask, reply: Reply) -> Value {
    let content_type = match (&reply.about, reply.payload.content_type) {
        (About::Message, content_type) => content_type,
        (About::Command(action, _), _) if action == "merge" => Some(MERGE_PATCH.to_owned()),
        _ => Some("application/json".to_owned()),
    };
    let mut headers = json!({
        "correlation-id": ask.cause.correlation_id,
        "ditto-originator": reply.originator,
        "channel": "live",
        "response-required": false,
    });
    if reply.about == About::Message {
        headers["status"] = json!(reply.status);
    }
    if let Some(content_type) = content_type {
        headers["content-type"] = json!(content_type);
    }
    let (topic, path) = match &reply.about {
        About::Error => (ask.topic.of("errors"), "/"),
        About::Command(action, _) => (ask.topic.of(&format!("commands/{action}")), ask.path()),
        About::Message => (ask.envelope.topic.clone(), ask.path()),
    };
    let mut frame = json!({"topic": topic, "headers": headers, "path": path});
    if let Some(value) = reply.payload.value {
        frame["value"] = value;
    }
    frame["status"] = json!(reply.status);
    frame
}
