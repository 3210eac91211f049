//! Answers that are at hand as soon as the head of a request is read: GET of things as text.
use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;

use super::super::command::{Caller, Headers, Verb};
use super::super::thing::{self, Text};
use super::handle::{ENTITY_REVISION, now};
use super::refusal::Refusal;
use super::route::Route;
use super::{Asking, Server, Way};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What [`handle`](super::handle::handle) would answer; `None` when only that can tell.
pub fn answer(server: &Server, asking: &Asking, body: &Body) -> Option<Result<Response, Refusal>> {
    let Way::Command(Route::Thing(id, place)) = &asking.way else { return None };
    let request = &asking.request;
    if asking.method != Method::GET
        || !body.is_end_stream()
        || request.headers.contains_key(header::CONTENT_ENCODING)
    {
        return None;
    }
    let headers = if request.is_plain() {
        Headers::default()
    } else {
        match request.command_headers() {
            Ok(headers) if request.waits(Verb::Get).is_ok() => headers,
            _ => return None,
        }
    };
    let caller = Caller { subjects: asking.subjects.clone(), now: now() };
    let text = thing::text(&server.core.state.read(), id.as_str(), place, &headers, &caller)?;
    Some(text.map(respond).map_err(Refusal::from))
}

fn respond(text: Text) -> Response {
    let mut response = Response::new(Body::from(text.json));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    if let Ok(etag) = HeaderValue::try_from(text.etag) {
        headers.insert(header::ETAG, etag);
    }
    if let Ok(revision) = HeaderValue::try_from(text.revision.to_string()) {
        headers.insert(ENTITY_REVISION, revision);
    }
    response
}
