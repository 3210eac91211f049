//! One function per route.
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::command::{Answer, Caller, Command, Target, Verb, object};
use super::super::enforce::Permission;
use super::super::failure::Failure;
use super::super::live::{self, Address, Requested, Twin, acks};
use super::super::place::{PolicyPlace, ThingPlace};
use super::super::search::{self, Query};
use super::super::state::State;
use super::super::store::committer::Committer;
use super::cloudevents;
use super::metrics;
use super::query;
use super::refusal::Refusal;
use super::request::{PATIENCE, Request};
use super::route::{self, Route};
use super::{Server, unsupported_type};
use crate::twin::id::{PolicyId, ThingId};

pub const ENTITY_REVISION: HeaderName = HeaderName::from_static("entity-revision");
const DITTO_METADATA: HeaderName = HeaderName::from_static("ditto-metadata");
pub const CHANNEL: HeaderName = HeaderName::from_static("channel");
pub const LIVE_CONDITION_MATCHED: HeaderName = HeaderName::from_static("live-channel-condition-matched");
/// The namespace of made-up ids when none is given. Source: Ditto 3.8, `DITTO_DEFAULT_NAMESPACE`.
const DEFAULT_NAMESPACE: &str = "org.eclipse.ditto";
const API: &str = "/api/2";

/// A request with its body read and its sender known.
pub struct Asked<'r> {
    pub request: &'r Request,
    pub method: &'r str,
    pub body: &'r [u8],
    pub caller: Caller,
}

pub async fn handle(server: &Server, route: Route, asked: &Asked<'_>) -> Result<Response, Refusal> {
    let Asked { request, method, body, caller } = asked;
    match route {
        Route::Health => Ok(health(server)),
        Route::Status => Ok(Json(json!({"version": env!("CARGO_PKG_VERSION")})).into_response()),
        Route::Metrics => Ok(Json(metrics::metrics(&server.core)).into_response()),
        Route::Whoami => {
            let body = json!({"defaultSubject": caller.subjects.first(), "subjects": caller.subjects});
            Ok(Json(body).into_response())
        }
        Route::CheckPermissions => {
            check_type(request, Verb::Put)?;
            let body = permissions(&server.core.state.read(), &parse(body, Verb::Patch)?, caller)?;
            Ok(Json(body).into_response())
        }
        Route::Things if *method == "GET" => things(server, request, caller),
        Route::Things => execute(server, asked, new_thing(request, body)?).await,
        Route::Policies => execute(server, asked, new_policy(request, body)?).await,
        Route::Thing(id, place) if request.is_live() => {
            let answered = match read_command(request, method, Target::Thing(id, place), body) {
                Ok(command) => over_live(server, asked, command).await,
                Err(failure) => Err(failure.into()),
            };
            let mut response = answered.unwrap_or_else(IntoResponse::into_response);
            response.headers_mut().entry(CHANNEL).or_insert(HeaderValue::from_static("live"));
            Ok(response)
        }
        Route::Thing(id, place) => {
            execute(server, asked, read_command(request, method, Target::Thing(id, place), body)?).await
        }
        Route::Policy(id, place) => {
            execute(server, asked, read_command(request, method, Target::Policy(id, place), body)?).await
        }
        Route::Search => {
            request.waits(Verb::Get)?;
            let query = query::asked(asked)?;
            Ok(Json(search::run(&server.core.snapshot(), &query, caller)?).into_response())
        }
        Route::Count => {
            request.waits(Verb::Get)?;
            let query = query::asked(asked)?;
            Ok(Json(search::count(&server.core.snapshot(), &query, caller)?).into_response())
        }
        Route::PolicyAction => {
            Err(Failure::new(400, "policies:action.failed", "token integration needs a JSON web token")
                .into())
        }
        Route::NoMailbox | Route::Message(Address { subject: None, .. }) => Err(Refusal::NOT_FOUND),
        Route::Message(address) => Ok(live::post(&server.core, address, asked).await?),
        Route::MigrateDefinition => Err(Failure::not_built("migrating a definition").into()),
        Route::CloudEvents => cloudevents::handle(server, asked).await,
    }
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Up, unless the disk refuses writes.
fn health(server: &Server) -> Response {
    match server.core.committer.as_ref().and_then(Committer::failed) {
        None => Json(json!({"status": "UP"})).into_response(),
        Some(error) => {
            let body = json!({"status": "DOWN", "detail": error.to_string()});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

fn verb(method: &str) -> Verb {
    match method {
        "PUT" | "POST" => Verb::Put,
        "PATCH" => Verb::Patch,
        "DELETE" => Verb::Delete,
        _ => Verb::Get,
    }
}

fn read_command(request: &Request, method: &str, target: Target, body: &[u8]) -> Result<Command, Failure> {
    let verb = verb(method);
    check_type(request, verb)?;
    let body = if matches!(verb, Verb::Put | Verb::Patch) { parse(body, verb)? } else { Value::Null };
    command(request, method, target, body)
}

/// The command of a request whose body is read.
pub fn command(request: &Request, method: &str, target: Target, body: Value) -> Result<Command, Failure> {
    Ok(Command { target, verb: verb(method), body, headers: request.command_headers()? })
}

fn new_thing(request: &Request, body: &[u8]) -> Result<Command, Failure> {
    if request.is_live() {
        return Err(Failure::new(
            405,
            "things:thing.notcreatable",
            "no thing is created over the live channel",
        ));
    }
    let namespace = request.parameter("namespace").filter(|namespace| !namespace.is_empty());
    let id = format!("{}:{}", namespace.unwrap_or(DEFAULT_NAMESPACE), uuid::Uuid::new_v4());
    let id: ThingId = route::thing_id(&id)?;
    let command = read_command(request, "POST", Target::Thing(id, ThingPlace::root()), body)?;
    refuse_id(&command.body, "thingId", "things:id.notsettable")?;
    Ok(command)
}

fn new_policy(request: &Request, body: &[u8]) -> Result<Command, Failure> {
    let id = PolicyId::parse(&format!("{DEFAULT_NAMESPACE}:{}", uuid::Uuid::new_v4()));
    let id = id.map_err(|error| Failure::new(500, "internalerror", error.to_string()))?;
    let command = read_command(request, "POST", Target::Policy(id, PolicyPlace::Policy), body)?;
    refuse_id(&command.body, "policyId", "policies:id.notsettable")?;
    Ok(command)
}

fn refuse_id(body: &Value, name: &str, error: &'static str) -> Result<(), Failure> {
    match body.get(name) {
        Some(_) => {
            Err(Failure::new(400, error, format!("POST makes up the id: leave `{name}` out, or use PUT")))
        }
        None => Ok(()),
    }
}

/// PUT and POST take JSON, also unnamed; PATCH takes a merge patch and nothing else. Observed on Ditto 3.8.12.
fn check_type(request: &Request, verb: Verb) -> Result<(), Failure> {
    let given = request.header("content-type").unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let fits = match verb {
        Verb::Get | Verb::Delete => true,
        Verb::Put => matches!(media_type.as_str(), "" | "application/json" | "application/octet-stream"),
        Verb::Patch => media_type == "application/merge-patch+json",
    };
    if fits { Ok(()) } else { Err(unsupported_type()) }
}

fn parse(body: &[u8], verb: Verb) -> Result<Value, Failure> {
    if body.is_empty() && verb == Verb::Put {
        return Err(Failure::new(400, "json.format.invalid", "the body is empty"));
    }
    parse_json(body)
}

pub fn parse_json(body: &[u8]) -> Result<Value, Failure> {
    let value = super::super::parse::json(body)?;
    if holds_nul(&value) {
        return Err(Failure::bad_json("the character U+0000 is not allowed"));
    }
    Ok(value)
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

async fn over_live(server: &Server, asked: &Asked<'_>, command: Command) -> Result<Response, Refusal> {
    let location = location(asked.request, &command.target);
    live::over(&server.core, asked.request, command, &asked.caller, &location).await
}

async fn execute(server: &Server, asked: &Asked<'_>, command: Command) -> Result<Response, Refusal> {
    let request = asked.request;
    let requested = match command.verb {
        Verb::Get => Requested::default(),
        _ => Requested::read(request.setting("requested-acks").as_deref())?,
    };
    let waits = request.waits(command.verb);
    // who wants no answer and yet acknowledgements is told of failures
    let acknowledged = waits == Ok(false) && !requested.is_empty() && !requested.is_live_only();
    if waits.is_err() && !request.asks_too_late(command.verb) {
        waits.as_ref().map_err(Clone::clone)?;
    }
    let cause = request.cause(requested.custom());
    let wait = match &command.target {
        Target::Thing(id, _) if (waits == Ok(true) || acknowledged) && !cause.acks.is_empty() => {
            Some(server.core.hub.acks.open(id.as_str(), &cause.correlation_id)?)
        }
        _ => None,
    };
    let answer = server.core.execute(&command, &asked.caller, &cause).await;
    let waits = waits?;
    if !waits && !acknowledged {
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let answer = answer?;
    if answer.live_condition_matched == Some(true) {
        return live::smart(&server.core, request, &command, answer, &asked.caller).await;
    }
    let location = answer.created.then(|| location(request, &command.target));
    if requested.is_plain() && !waits {
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    if requested.is_plain() {
        let of_twin = answer.live_condition_matched.is_some();
        let response = respond(answer, location.as_deref());
        return Ok(if of_twin { live::on(response, "twin") } else { response });
    }
    let originator = asked.caller.subjects.first().map_or("", String::as_str);
    let twin = Twin { answer: &answer, cause: &cause, originator, location: location.as_deref() };
    let patience = request.patience(PATIENCE)?;
    let acks = acks::collect(&requested, twin, wait, patience).await;
    Ok(respond(acks::answer(&acks, waits), None))
}

/// Where a created entity is: the request's own path, or that of the made-up id.
fn location(request: &Request, target: &Target) -> String {
    let host = request.header("host").unwrap_or_else(|| "localhost".to_owned());
    let made_up = |collection: &str, id: &str| {
        let posted = request.path.trim_end_matches('/') == format!("{API}/{collection}");
        let path = if posted { format!("{API}/{collection}/{id}") } else { request.path.clone() };
        format!("http://{host}{}", route::normal(&path))
    };
    match target {
        Target::Thing(id, _) => made_up("things", id.as_str()),
        Target::Policy(id, _) => made_up("policies", id.as_str()),
    }
}

/// Whether an answer of this status may have a body. Source: RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
pub fn has_body(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

pub fn respond(answer: Answer, location: Option<&str>) -> Response {
    let mut headers = HeaderMap::new();
    let values = [
        (header::ETAG, answer.etag),
        (ENTITY_REVISION, answer.revision.map(|revision| revision.to_string())),
        (header::LOCATION, location.filter(|_| answer.created).map(str::to_owned)),
        (DITTO_METADATA, answer.metadata.map(|metadata| metadata.to_string())),
        (LIVE_CONDITION_MATCHED, answer.live_condition_matched.map(|matched| matched.to_string())),
    ];
    for (name, value) in values {
        if let Some(value) = value.and_then(|value| HeaderValue::from_maybe_shared(value).ok()) {
            headers.insert(name, value);
        }
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    match answer.body.filter(|_| has_body(status)) {
        Some(body) => (status, headers, Json(body)).into_response(),
        None => (status, headers).into_response(),
    }
}

/// `?ids=` answers those things in that order; without it, the first page of all things.
fn things(server: &Server, request: &Request, caller: &Caller) -> Result<Response, Refusal> {
    request.waits(Verb::Get)?;
    let lists: Vec<&str> = request.all("ids").collect();
    let state = server.core.snapshot();
    if lists.is_empty() {
        let query = Query { filters: vec![], wildcards: true, ..query::query(&request.parameters)? };
        let page = search::run(&state, &query, caller)?;
        return Ok(with_links(request, page));
    }
    let fields = request.fields()?;
    // several `ids` are taken last first, as Ditto does
    let ids = lists.iter().rev().flat_map(|list| list.split(','));
    let invalid = |failure: Failure| Failure { status: 400, error: "things:id.invalid".into(), ..failure };
    let ids = ids.map(|id| route::thing_id(id).map_err(invalid)).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(search::listed(&state, &ids, fields, caller, &server.core.counts)?).into_response())
}

fn with_links(request: &Request, page: search::Page) -> Response {
    let query: Vec<String> =
        request.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let target =
        if query.is_empty() { request.path.clone() } else { format!("{}?{}", request.path, query.join("&")) };
    let next = page.cursor.map(|cursor| format!("<{API}/things?option=cursor({cursor})>; rel=next, "));
    let links = format!("{}<{target}>; rel=canonical", next.unwrap_or_default());
    let mut response = Json(page.items).into_response();
    if let Ok(links) = HeaderValue::from_maybe_shared(links) {
        response.headers_mut().insert(header::LINK, links);
    }
    response
}

/// `{any: {resource, entityId, hasPermissions}}` → `{any: bool}`; unknown entities and permissions are `false`.
fn permissions(state: &State, body: &Value, caller: &Caller) -> Result<Value, Failure> {
    let mut answer = json!({});
    for (name, check) in object(body, "the body")? {
        let member = |name: &str| check.get(name).ok_or_else(|| Failure::missing_field(name));
        let text = |name: &str| {
            member(name)?.as_str().ok_or_else(|| Failure::bad_json(format!("`{name}` must be a JSON string")))
        };
        let (kind, path) = text("resource")?
            .split_once(':')
            .ok_or_else(|| Failure::bad_json("a resource is written like `thing:/`"))?;
        let wanted = member("hasPermissions")?.as_array();
        let wanted = wanted.ok_or_else(|| Failure::bad_json("`hasPermissions` must be a JSON array"))?;
        let id = text("entityId")?;
        let policy = state.thing(id).and_then(|thing| thing.policy_id()).unwrap_or(id);
        let path: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let held = state.enforcer(policy, caller.now).is_some_and(|enforcer| {
            let holds = |permission: &Value| {
                permission_of(permission)
                    .is_some_and(|p| enforcer.unrestricted(&caller.subjects, kind, &path, p))
            };
            !wanted.is_empty() && wanted.iter().all(holds)
        });
        answer[name] = json!(held);
    }
    Ok(answer)
}

fn permission_of(name: &Value) -> Option<Permission> {
    match name.as_str()? {
        "READ" => Some(Permission::Read),
        "WRITE" => Some(Permission::Write),
        "EXECUTE" => Some(Permission::Execute),
        _ => None,
    }
}
