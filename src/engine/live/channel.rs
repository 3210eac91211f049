//! Commands and events on the live channel: checked, handed out, and answered by whoever listens.
//! Source: Ditto 3.8, `SupervisorLiveChannelDispatching.java`, `SupervisorSmartChannelDispatching.java`.
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::command::{Answer, Caller, Command, Headers, Live, Target, Verb};
use super::super::core::Core;
use super::super::failure::Failure;
use super::super::http::handle::{CHANNEL, LIVE_CONDITION_MATCHED, respond};
use super::super::http::refusal::Refusal;
use super::super::http::request::{PATIENCE, Request};
use super::super::place::ThingPlace;
use super::super::thing;
use super::acks::Requested;
use super::event::{Action, Cause};
use super::message::live;
use super::reply::{About, Asks, Expecting, Reply, Told};
use super::signal::{Kind, LiveSignal};
use crate::twin::id::ThingId;

/// What a read that may be answered by the twin takes longer before it fails. Source: Ditto 3.8, `gateway.conf`.
const SMART_BUFFER: Duration = Duration::from_secs(10);

const JSON: &str = "application/json";

/// What is to be said about a command beside itself.
pub struct Sent {
    pub action: String,
    pub fields: Option<String>,
    pub cause: Cause,
    pub asks: Asks,
    pub answered: bool,
    pub patience: Duration,
}

/// Hands the command out to those who listen; answers what they say.
pub async fn send(core: &Core, command: &Command, sent: Sent, caller: &Caller) -> Result<Told, Failure> {
    let Target::Thing(id, place) = &command.target else {
        return Err(Failure::not_built("the live channel of a policy"));
    };
    let access = thing::access::command(&core.state.read(), id, place, command, caller)?;
    let path = place.pointer.to_string();
    let Sent { action, fields, cause, asks, answered, patience } = sent;
    let waits = answered || !asks.is_empty();
    let expecting =
        waits.then(|| Expecting::open(&core.hub, id.as_str(), &cause, asks.clone(), answered)).transpose()?;
    let enforcer = access.enforcer.clone();
    core.hub.send_live(LiveSignal {
        kind: Kind::Command,
        thing_id: id.clone(),
        action: action.clone(),
        place: place.pointer.clone(),
        value: matches!(command.verb, Verb::Put | Verb::Patch).then(|| command.body.clone()),
        fields,
        revision: None,
        timestamp: None,
        cause,
        asks,
        answered: Some(answered),
        originator: caller.subjects.first().cloned().unwrap_or_default(),
        thing: Some(access.thing),
        enforcer: access.enforcer,
    });
    let Some(expecting) = expecting else { return Ok(Told::Nothing) };
    let segments: Vec<&str> = place.pointer.segments().iter().map(String::as_str).collect();
    let heard = |mut reply: Reply| match &reply.about {
        About::Command(of, at) if *of == action && *at == path => {
            // a device may say more than the caller may read
            if command.verb == Verb::Get
                && let Some(value) = reply.payload.value.as_mut().filter(|value| value.is_object())
            {
                let readable = enforcer.view(&caller.subjects, "thing", &segments, value);
                *value = readable.unwrap_or_else(|| json!({}));
            }
            Some(reply)
        }
        About::Error => Some(reply),
        About::Command(..) | About::Message => None,
    };
    expecting.collect(patience, heard).await
}

/// An event a device sends about the thing at `place`.
pub struct Happened {
    pub thing_id: ThingId,
    pub action: Action,
    pub place: ThingPlace,
    pub value: Option<Value>,
    pub revision: Option<u64>,
    pub timestamp: Option<String>,
    pub cause: Cause,
}

/// Hands the event out.
pub fn tell(core: &Core, happened: Happened, caller: &Caller) -> Result<(), Failure> {
    let Happened { thing_id, action, place, value, revision, timestamp, cause } = happened;
    let access = thing::access::event(&core.state.read(), &thing_id, &place.pointer, caller)?;
    core.hub.send_live(LiveSignal {
        kind: Kind::Event(action),
        thing_id,
        action: action.word().to_owned(),
        place: place.pointer,
        value: value.filter(|_| action != Action::Deleted),
        fields: None,
        revision,
        timestamp,
        cause,
        asks: Asks::default(),
        answered: None,
        originator: caller.subjects.first().cloned().unwrap_or_default(),
        thing: Some(access.thing),
        enforcer: access.enforcer,
    });
    Ok(())
}

/// What a request says about the live channel.
struct Terms {
    asks: Asks,
    answered: bool,
    patience: Duration,
}

impl Terms {
    fn read(request: &Request) -> Result<Self, Failure> {
        let requested = request.setting("requested-acks");
        let requested = requested.map(|text| Requested::read(Some(&text))).transpose()?;
        let required = request.response_required()?;
        let patience = request.timeout()?.unwrap_or(PATIENCE);
        let at_once = patience.is_zero();
        let asks = Asks::of(requested.as_ref(), required.unwrap_or(requested.is_some() || !at_once));
        let answered = required.unwrap_or(!at_once);
        if at_once && (answered || !asks.is_empty()) {
            return Err(Failure::bad_header("timeout", "0 leaves no time for the answer"));
        }
        Ok(Self { asks, answered, patience })
    }
}

/// A command by HTTP with `channel=live`. `location` is where something is that a device says it created.
pub async fn command(
    core: &Core,
    request: &Request,
    command: Command,
    caller: &Caller,
    location: &str,
) -> Result<Response, Refusal> {
    if command.verb == Verb::Get && request.response_required()? == Some(false) {
        request.waits(Verb::Get)?;
    }
    if command.verb == Verb::Get && request.use_twin() {
        let answer = core.execute(&of_twin(&command), caller, &Cause::default()).await?;
        return smart(core, request, &command, answer, caller).await;
    }
    let terms = Terms::read(request)?;
    let answered = terms.answered;
    let at_once = !answered && terms.asks.is_empty();
    let told = send(core, &command, sent(request, &command, terms), caller).await;
    // what nobody waits for is accepted whatever becomes of it
    Ok(if at_once { StatusCode::ACCEPTED.into_response() } else { shown(told, location, answered) })
}

/// The same read, of the twin.
pub fn of_twin(command: &Command) -> Command {
    let headers = Headers { live: Live::Never, ..command.headers.clone() };
    Command { headers, ..command.clone() }
}

/// Who answers a read that is for a device first.
pub enum Chosen {
    /// Nobody spoke, and the request says that the twin does then.
    Twin(Answer),
    Device(Result<Told, Failure>),
}

/// A read of which the twin has told `answer`, asked of a device. Source: Ditto 3.8, `SupervisorSmartChannelDispatching.java`.
pub async fn choose(
    core: &Core,
    command: &Command,
    mut answer: Answer,
    sent: Sent,
    use_twin: bool,
    caller: &Caller,
) -> Chosen {
    let told = send(core, command, sent, caller).await;
    if use_twin && is_late(&told) {
        answer.live_condition_matched = Some(true);
        return Chosen::Twin(answer);
    }
    Chosen::Device(told)
}

fn is_late(told: &Result<Told, Failure>) -> bool {
    matches!(told, Err(failure) if failure.error == "command.timeout")
}

/// As [`choose`], by HTTP. What fails then fails late, as in Ditto 3.8.12.
pub async fn smart(
    core: &Core,
    request: &Request,
    command: &Command,
    answer: Answer,
    caller: &Caller,
) -> Result<Response, Refusal> {
    let terms = Terms::read(request)?;
    let answered = terms.answered;
    let sent = sent(request, command, terms);
    let told = match choose(core, command, answer, sent, request.use_twin(), caller).await {
        Chosen::Twin(answer) => return Ok(on(respond(answer, None), "twin")),
        Chosen::Device(told) => told,
    };
    if is_late(&told) {
        tokio::time::sleep(SMART_BUFFER).await;
    }
    let mut response = shown(told, "", answered);
    response.headers_mut().insert(LIVE_CONDITION_MATCHED, HeaderValue::from_static("true"));
    Ok(response)
}

fn sent(request: &Request, command: &Command, terms: Terms) -> Sent {
    let action = match command.verb {
        Verb::Get => "retrieve",
        Verb::Put => "modify",
        Verb::Patch => "merge",
        Verb::Delete => "delete",
    };
    let fields: Vec<&str> = request.all("fields").collect();
    let fields = (!fields.is_empty() && command.verb == Verb::Get).then(|| fields.join(","));
    let Terms { asks, answered, patience } = terms;
    let cause = request.cause(asks.custom.clone());
    Sent { action: action.to_owned(), fields, cause, asks, answered, patience }
}

/// What was said to a command, by HTTP.
fn shown(mut told: Result<Told, Failure>, location: &str, answered: bool) -> Response {
    let mut created = false;
    if let Ok(Told::Reply(reply)) = &mut told {
        created = reply.status == 201;
        // a command is answered with JSON, whatever the device calls it
        reply.payload.content_type = reply.payload.value.is_some().then(|| JSON.to_owned());
    }
    let mut response = live(told, answered);
    if created && let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The response, with the channel it came over.
pub fn on(mut response: Response, channel: &'static str) -> Response {
    response.headers_mut().insert(CHANNEL, HeaderValue::from_static(channel));
    response
}
