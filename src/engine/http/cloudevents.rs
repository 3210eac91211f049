//! `POST /api/2/cloudevents`: a command of the Ditto protocol inside a cloud event. Source: Ditto 3.8, `CloudEventsRoute`.
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::super::command::Target;
use super::super::failure::Failure;
use super::super::state::Kind;
use super::handle::{Asked, command, parse_json};
use super::refusal::Refusal;
use super::request::Request;
use super::route::{self, Route};
use super::{Server, unsupported_type};

/// What the specification 1.0 demands of every event, as headers in binary mode.
const ATTRIBUTES: [&str; 4] = ["ce-specversion", "ce-id", "ce-source", "ce-type"];
const DATA_TYPES: [&str; 2] = ["application/json", "application/vnd.eclipse.ditto+json"];

/// Carries the command out; its success is a 202 without body, its failure is answered as it is.
pub async fn handle(server: &Server, asked: &Asked<'_>) -> Result<Response, Refusal> {
    check(asked.request, asked.body)?;
    let envelope = parse_json(asked.body)?;
    let (action, route, request) = read(&envelope)?;
    let method = match action {
        "create" | "modify" => "PUT",
        "merge" => "PATCH",
        "delete" => "DELETE",
        _ => "GET",
    };
    if !route.allowed().split(", ").any(|allowed| allowed == method) {
        return Err(unknown(&format!("`{action}` at this path")).into());
    }
    let target = match route {
        Route::Thing(id, place) => Target::Thing(id, place),
        Route::Policy(id, place) => Target::Policy(id, place),
        _ => return Err(unknown("the path").into()),
    };
    if action == "create" {
        refuse_existing(server, &target)?;
    }
    let value = envelope.get("value").cloned().unwrap_or_default();
    let command = command(&request, method, target, value)?;
    server.core.execute(&command, &asked.caller, &asked.request.cause(vec![])).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

fn check(request: &Request, body: &[u8]) -> Result<(), Failure> {
    let invalid = |message: String| Err(Failure::new(400, "cloudevent.unparsable", message));
    if let Some(missing) = ATTRIBUTES.iter().find(|name| request.header(name).is_none()) {
        return invalid(format!("the header `{missing}` is missing; events are taken in binary mode only"));
    }
    if !matches!(request.header("ce-specversion").as_deref(), Some("1.0" | "0.3")) {
        return invalid("ce-specversion must be 1.0 or 0.3".to_owned());
    }
    if body.is_empty() {
        return Err(Failure::new(400, "cloudevent.payload.missing", "the event has no data"));
    }
    let given = request.header("content-type").unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !DATA_TYPES.contains(&media_type.as_str()) {
        return Err(unsupported_type());
    }
    match request.header("ce-dataschema") {
        Some(schema) if !schema.starts_with("ditto:") => Err(Failure::new(
            400,
            "cloudevent.dataschema.unsupported",
            "the schema of the data must begin with `ditto:`",
        )),
        _ => Ok(()),
    }
}

/// The action, the route that the topic and path stand for, and the envelope's headers.
fn read(envelope: &Value) -> Result<(&str, Route, Request), Refusal> {
    let text = |name: &str| {
        let value = envelope.get(name).ok_or_else(|| Failure::missing_field(name))?;
        value.as_str().ok_or_else(|| Failure::bad_json(format!("`{name}` must be a JSON string")))
    };
    let topic = text("topic")?;
    let path = text("path")?;
    let parts: Vec<&str> = topic.split('/').collect();
    let (collection, namespace, name, action) = match parts.as_slice() {
        [namespace, name, "things", "twin", "commands", action] => ("things", namespace, name, *action),
        [namespace, name, "policies", "commands", action] => ("policies", namespace, name, *action),
        _ => return Err(Failure::new(400, "protocoladapter:unknown.topicpath", "no command's topic").into()),
    };
    if !matches!(action, "create" | "modify" | "merge" | "delete" | "retrieve") {
        return Err(unknown(action).into());
    }
    let id = format!("{namespace}:{name}");
    let encoded = |segment: &str| utf8_percent_encode(segment, NON_ALPHANUMERIC).to_string();
    let below = path.split('/').filter(|segment| !segment.is_empty()).map(encoded);
    let segments: Vec<String> = [collection.to_owned(), encoded(&id)].into_iter().chain(below).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let route = route::api(&segments)?;
    Ok((
        action,
        route,
        Request {
            path: String::new(),
            parameters: vec![],
            headers: headers(envelope),
            correlation_id: String::new(),
        },
    ))
}

/// Headers of the envelope that could be headers of a request; the content type is what the action says.
fn headers(envelope: &Value) -> HeaderMap {
    let given = envelope["headers"].as_object().into_iter().flatten();
    let header = |(name, value): (&String, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(text).ok()?))
    };
    given.filter_map(header).collect()
}

fn refuse_existing(server: &Server, target: &Target) -> Result<(), Failure> {
    let (kind, id, error) = match target {
        Target::Thing(id, _) => (Kind::Thing, id.as_str(), "things:thing.conflict"),
        Target::Policy(id, _) => (Kind::Policy, id.as_str(), "policies:policy.conflict"),
    };
    match server.core.state.read().get(kind, id) {
        Some(_) => Err(Failure::new(409, error, "it exists: modify it instead")),
        None => Ok(()),
    }
}

fn unknown(what: &str) -> Failure {
    Failure::new(400, "protocoladapter:unknown.command", format!("{what} is no command"))
}
