//! Carries out one envelope of a client. Source: Ditto 3.8, `DittoProtocolAdapter.java`, `StreamingSessionActor.java`.
use std::sync::Arc;

use futures::future::BoxFuture;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::super::command::{Answer, Command, Target, Verb};
use super::super::failure::Failure;
use super::super::fields::Selector;
use super::super::http::Server;
use super::super::http::refusal::Refusal;
use super::super::http::request::PATIENCE;
use super::super::http::route::{self, Route};
use super::super::precondition::Tags;
use super::super::search::{self, Item};
use super::super::{policy, thing};
use super::acks::{self, Ack, Twin};
use super::ask::{Ask, MERGE_PATCH, read, unknown};
use super::hub::Subscriber;
use super::protocol::{self, Channel, Criterion, Envelope, Group};
use super::talk;
use crate::twin::id::{PolicyId, ThingId};

/// The envelopes that answer one.
pub enum Answered {
    Now(Vec<Value>),
    /// Somebody else has to speak first.
    Later(BoxFuture<'static, Option<Value>>),
    /// Made when it is its turn, so that one of them is in memory.
    Large(Box<dyn FnOnce() -> Value + Send>),
    /// The session's searches answer it.
    Search(String, Box<Envelope>),
}

impl Answered {
    pub fn nothing() -> Self {
        Self::Now(vec![])
    }
}

/// Carries out what the frame asks for, as the subscriber.
pub async fn answer(server: &Arc<Server>, subscriber: &Subscriber, frame: &str) -> Answered {
    let ask = match read(subscriber, frame) {
        Ok(ask) => ask,
        Err(error) => return Answered::Now(vec![error]),
    };
    let live = ask.topic.channel == Channel::Live;
    let answered = match &ask.topic.criterion {
        Criterion::Command(action) if live => {
            let action = action.clone();
            talk::command(server, ask, &action)
        }
        // answers are given on the live channel alone
        Criterion::Command(_) if ask.envelope.status.is_some() => Ok(Answered::nothing()),
        Criterion::Command(action) => {
            let action = action.clone();
            command(server, ask, &action).await
        }
        Criterion::Message(_) => talk::message(server, ask),
        Criterion::Ack(label) => acknowledge(server, subscriber, &ask, label.as_deref()),
        Criterion::Search(action) => Ok(Answered::Search(action.clone(), Box::new(ask.envelope))),
        Criterion::Errors if live => Ok(talk::error(server, &ask)),
        Criterion::Errors => Ok(Answered::nothing()),
        Criterion::Event(action) => talk::event(server, &ask, *action),
        Criterion::Other => Err(not_built(&ask, "this topic")),
    };
    answered.unwrap_or_else(|error| Answered::Now(vec![error]))
}

pub fn not_built(ask: &Ask, what: &str) -> Value {
    ask.misread(&Failure::not_built(what))
}

/// What an action does to its target.
pub fn verb(ask: &Ask, action: &str) -> Result<Verb, Value> {
    match action {
        "retrieve" => Ok(Verb::Get),
        "create" | "modify" => Ok(Verb::Put),
        "merge" => Ok(Verb::Patch),
        "delete" => Ok(Verb::Delete),
        _ => Err(not_built(ask, "migrating a definition")),
    }
}

async fn command(server: &Arc<Server>, ask: Ask, action: &str) -> Result<Answered, Value> {
    if ask.topic.group == Group::Things && ask.topic.name == "_" && action == "retrieve" {
        return many(server, ask);
    }
    let target = target(&ask)?;
    let verb = verb(&ask, action)?;
    // a read that nobody waits for is not carried out
    let required = ask.request.response_required().map_err(|failure| ask.misread(&failure))?;
    if verb == Verb::Get && required == Some(false) {
        return Ok(Answered::nothing());
    }
    let waits = check(&ask, action, verb, &target).map_err(|failure| ask.misread(&failure))?;
    let body =
        ask.envelope.value.clone().filter(|_| matches!(verb, Verb::Put | Verb::Patch)).unwrap_or_default();
    let mut headers = ask.request.command_headers().map_err(|failure| ask.refused(&failure))?;
    if action == "create" {
        headers.preconditions.if_none_match = Some(Tags::Any);
    }
    let named = body.get("policyId").is_some();
    let command = Command { target, verb, body, headers };
    let wait = match &command.target {
        Target::Thing(id, _) if waits && !ask.cause.acks.is_empty() => {
            let wait = server.core.hub.acks.open(id.as_str(), &ask.cause.correlation_id);
            Some(wait.map_err(|failure| ask.refused(&failure))?)
        }
        _ => None,
    };
    let answer = server.core.execute(&command, &ask.caller, &ask.cause).await;
    if !waits {
        return Ok(Answered::nothing());
    }
    let answer = answer.map_err(|failure| match action {
        "create" if failure.status == 412 => ask.refused(&exists(&command.target, named)),
        _ => ask.refused(&failure),
    })?;
    if answer.live_condition_matched == Some(true) {
        return talk::smart(server, ask, command, answer);
    }
    if ask.requested.is_plain() {
        let created = answer.created && ask.path() == "/";
        return Ok(Answered::Now(vec![ask.response(if created { "create" } else { action }, &answer)]));
    }
    Ok(Answered::Later(Box::pin(async move {
        let twin = Twin { answer: &answer, cause: &ask.cause, originator: ask.originator(), location: None };
        let patience = ask.request.patience(PATIENCE).unwrap_or(PATIENCE);
        let acks = acks::collect(&ask.requested, twin, wait, patience).await;
        Some(ask.acks(&acks))
    })))
}

/// A create of what is there. Without a `policyId`, Ditto stumbles over the policy first.
fn exists(target: &Target, named: bool) -> Failure {
    match target {
        Target::Thing(..) if named => Failure::new(409, "things:thing.conflict", "the thing exists already"),
        Target::Thing(..) => {
            Failure::new(400, "things:thing.notcreatable", "the thing exists already, and so does its policy")
        }
        Target::Policy(..) => Failure::new(409, "policies:policy.conflict", "the policy exists already"),
    }
}

/// What a command names. The path of the envelope is read as that of a request.
pub fn target(ask: &Ask) -> Result<Target, Value> {
    let id = ask.topic.entity();
    let path = ask.path().strip_prefix('/').unwrap_or(ask.path());
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let collection = match ask.topic.group {
        Group::Things => ThingId::parse(&id).map(|_| "things").map_err(|error| ("things", error)),
        Group::Policies => PolicyId::parse(&id).map(|_| "policies").map_err(|error| ("policies", error)),
    };
    let collection = collection.map_err(|(kind, error)| {
        unknown(&Failure::new(400, format!("{kind}:id.invalid"), format!("`{id}`: {error}")))
    })?;
    let below: Vec<String> = match ask.topic.group {
        _ if path.is_empty() => vec![],
        Group::Things => path.split('/').map(encode).collect(),
        Group::Policies => path.split('/').map(str::to_owned).collect(),
    };
    let id = encode(&id);
    let segments: Vec<&str> = [collection, &id].into_iter().chain(below.iter().map(String::as_str)).collect();
    match route::api(&segments) {
        Ok(Route::Thing(id, place)) => Ok(Target::Thing(id, place)),
        Ok(Route::Policy(id, place)) => Ok(Target::Policy(id, place)),
        Err(Refusal::Failure(failure)) => Err(ask.misread(&failure)),
        _ => {
            let message = format!("`{}` is no part of a thing or policy", ask.path());
            Err(unknown(&Failure::new(400, "protocoladapter:unknown.path", message)))
        }
    }
}

/// What is wrong with a command whatever the state; `true` when an answer is waited for.
pub fn check(ask: &Ask, action: &str, verb: Verb, target: &Target) -> Result<bool, Failure> {
    if action == "create" && ask.path() != "/" {
        return Err(Failure::new(
            400,
            "protocoladapter:unknown.topicpath",
            "only whole things and policies are created",
        ));
    }
    if action == "create"
        && matches!(target, Target::Policy(..))
        && ask
            .envelope
            .value
            .as_ref()
            .is_some_and(|policy| policy.is_object() && policy["policyId"].is_null())
    {
        let message = "a policy that is created names its `policyId`";
        return Err(Failure::new(400, "policies:id.invalid", message));
    }
    if verb == Verb::Patch && ask.envelope.header("content-type") != Some(MERGE_PATCH) {
        return Err(Failure::new(
            415,
            "mediatype.unsupported",
            format!("the content-type of a merge is {MERGE_PATCH}"),
        ));
    }
    check_value(ask, verb, target)?;
    let required = ask.request.response_required()?;
    if required == Some(false) && !ask.requested.is_empty() {
        return Err(Failure::bad_header(
            "response-required",
            "acknowledgements cannot be requested without an answer",
        ));
    }
    ask.request.waits(verb)
}

/// The value must be there and look like the part it is for, where the verb takes one.
pub fn check_value(ask: &Ask, verb: Verb, target: &Target) -> Result<(), Failure> {
    if matches!(verb, Verb::Get | Verb::Delete) {
        return Ok(());
    }
    let value =
        ask.envelope.value.as_ref().ok_or_else(|| Failure::bad_json("the field `value` is missing"))?;
    let checked = match target {
        Target::Thing(id, place) => thing::check_body(id, place, verb, value),
        Target::Policy(id, place) => policy::check_body(id, place, value, ask.caller.now),
    };
    checked.map_err(|failure| match failure.error.as_ref() {
        "json.invalid" => Failure { error: "json.format.invalid".into(), ..failure },
        _ => failure,
    })
}

/// Several things at once: `{"thingIds": […]}`.
fn many(server: &Arc<Server>, ask: Ask) -> Result<Answered, Value> {
    let value = ask.envelope.value.as_ref().filter(|value| value.is_object());
    let Some(Value::Array(ids)) = value.map(|value| &value["thingIds"]) else {
        return Err(ask.unplaced(&Failure::bad_json("`thingIds` must be a JSON array")));
    };
    if ids.is_empty() {
        return Err(ask.unplaced(&Failure::new(400, "things:things.ids.missing", "`thingIds` is empty")));
    }
    let read = |id: &Value| {
        let id = id.as_str().ok_or_else(|| {
            ask.unplaced(&Failure::new(400, "json.format.invalid", "`thingIds` must hold JSON strings"))
        })?;
        ThingId::parse(id)
            .map_err(|error| unknown(&Failure::new(400, "things:id.invalid", format!("`{id}`: {error}"))))
    };
    let ids: Vec<ThingId> = ids.iter().map(read).collect::<Result<_, _>>()?;
    let fields = ask.envelope.fields.as_deref().map(Selector::parse).transpose();
    let fields = fields.map_err(|failure| ask.misread(&failure))?;
    let (state, counts) = (server.core.snapshot(), Arc::clone(&server.core.counts));
    Ok(Answered::Large(Box::new(move || match search::listed(&state, &ids, fields, &ask.caller, &counts) {
        Ok(items) => {
            let items = items.into_iter().map(Item::into_value).collect();
            ask.response("retrieve", &Answer::found(Value::Array(items), None, None))
        }
        Err(failure) => ask.unplaced(&failure),
    })))
}

/// The acknowledgement of an event the session got.
fn acknowledge(
    server: &Arc<Server>,
    subscriber: &Subscriber,
    ask: &Ask,
    label: Option<&str>,
) -> Result<Answered, Value> {
    let identified = |failure| {
        protocol::error(protocol::UNKNOWN, json!({"correlation-id": ask.cause.correlation_id}), &failure)
    };
    // an acknowledgement is a kind of answer, and every answer has a status
    let (Some(label), Some(status)) = (label, ask.envelope.status) else {
        let message = "an acknowledgement names its label in the topic, and has a `status`";
        return Err(unknown(&Failure::new(400, "protocoladapter:unknown.topicpath", message)));
    };
    if !acks::is_label(label) {
        let message = format!("`{label}` is no label");
        return Err(unknown(&Failure::new(400, "acknowledgement:label.invalid", message)));
    }
    if acks::is_built_in(label) {
        let message = format!("`{label}` is given by Ditto alone");
        return Err(unknown(&Failure::new(400, "acknowledgement:ditto.acklabel.forbidden", message)));
    }
    if !subscriber.declared.iter().any(|declared| declared == label) {
        let message = format!("declare `{label}` in the query parameter `declared-acks` of the WebSocket");
        return Err(identified(Failure::new(400, "acknowledgement:label.not.declared", message)));
    }
    let mut ack = Ack::of(label, status, ask.envelope.value.clone(), &ask.cause.correlation_id);
    if let Some(content_type) = ask.envelope.headers.get("content-type") {
        ack.headers.insert("content-type".to_owned(), content_type.clone());
    }
    server.core.hub.acks.tell(&ask.topic.entity(), &ask.cause.correlation_id, ack);
    Ok(Answered::nothing())
}
