//! What every request passes on its way in and every answer on its way out.
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::Facade;
use super::ask::Correlation;
use super::origin;
use super::problem::Problem;
use super::reply;
use super::upstream::CORRELATION_ID;
use crate::telemetry::traces::{self, TraceContext};

/// The longest correlation id taken from a client, in bytes: Ditto's headers have room for 5,120 together.
const ID_BYTES_MAX: usize = 100;
/// Where clients send it.
static ID_NAMES: [HeaderName; 3] =
    [CORRELATION_ID, HeaderName::from_static("x-correlation-id"), HeaderName::from_static("x-request-id")];
/// Ids that begin so are the reconciler's, by which it knows its own writes: nobody else may use them.
const RESERVED: &str = "twinops-";
/// How long a browser remembers what it may do, in seconds.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("600");
const EXPOSED: HeaderValue =
    HeaderValue::from_static("etag, location, link, correlation-id, retry-after, twinops-owner");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, correlation-id, if-match, if-none-match, x-api-key",
);
const NO_SNIFF: (HeaderName, HeaderValue) =
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
/// Answers are one caller's, and may be kept by it as long as it asks whether they still hold.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");

pub async fn edge(State(facade): State<Arc<Facade>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = correlation_id(request.headers());
    let route =
        request.extensions().get::<MatchedPath>().map_or("other", |path| super::routes::label(path.as_str()));
    let method = word(request.method());
    let span = tracing::debug_span!(
        "request",
        method,
        route,
        correlation_id = id.to_str().unwrap_or_default(),
        otel.kind = "server",
        otel.name = %format_args!("{method} {route}"),
    );
    let trace = TraceContext::of(request.headers());
    if let Some(trace) = &trace {
        traces::join(&span, trace);
    }
    let allowed_origin = allowed_origin(request.headers(), &facade.origins);
    request.extensions_mut().insert(Correlation { id: id.clone(), trace });
    let mut response = match refusal(&request, &facade.origins) {
        Some(problem) => problem.into_response(),
        None if is_preflight(&request) && allowed_origin.is_some() => preflight(),
        None => next.run(request).instrument(span.clone()).await,
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = problem.answer(&id);
        allow.map(|allow| response.headers_mut().insert(header::ALLOW, allow));
        if problem.status.is_server_error() {
            span.in_scope(
                || tracing::warn!(status = problem.status.as_u16(), code = %problem.code, "not done"),
            );
        }
    }
    let headers = response.headers_mut();
    headers.insert(CORRELATION_ID, id);
    headers.insert(NO_SNIFF.0, NO_SNIFF.1);
    headers.entry(header::CACHE_CONTROL).or_insert(PRIVATE);
    if !facade.origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(origin) = allowed_origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    let status = response.status().as_u16();
    facade.telemetry.request(route, method, status, started.elapsed());
    traces::describe(&span, method, Some(route), status);
    span.in_scope(|| tracing::debug!(status, "answered"));
    response
}

/// 405; the methods there are stand in `allow`.
pub fn not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "facade:method.notallowed",
        "this route has no such method; see /docs",
    )
}

fn refusal(request: &Request, origins: &[String]) -> Option<Problem> {
    let headers = request.headers();
    if headers.contains_key(header::TRANSFER_ENCODING) && headers.contains_key(header::CONTENT_LENGTH) {
        return Some(Problem::invalid("facade:body.broken", "two lengths of one body"));
    }
    origin::check(request.method(), headers, origins).err()
}

/// The client's, where it is a plain word; a fresh one otherwise.
fn correlation_id(headers: &HeaderMap) -> HeaderValue {
    let given = ID_NAMES.iter().find_map(|name| headers.get(name));
    let plain = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=ID_BYTES_MAX).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(byte))
            && !bytes.starts_with(RESERVED.as_bytes())
    };
    given.filter(plain).cloned().unwrap_or_else(fresh_id)
}

fn fresh_id() -> HeaderValue {
    static OF_PROCESS: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("facade-{}-", &uuid::Uuid::new_v4().simple().to_string()[..12]));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut id = String::with_capacity(OF_PROCESS.len() + 20);
    id.push_str(&OF_PROCESS);
    let written = write!(id, "{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let value = written.ok().and_then(|()| HeaderValue::from_maybe_shared(Bytes::from(id)).ok());
    value.unwrap_or(HeaderValue::from_static("facade"))
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let mut response = reply::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    response
}

/// The origin of a page that is configured. Never `*`, and never with the credentials a browser keeps.
fn allowed_origin(headers: &HeaderMap, origins: &[String]) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// Of a closed list, for metrics and spans.
pub fn word(method: &Method) -> &'static str {
    const WORDS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    WORDS.iter().find(|word| **word == method.as_str()).copied().unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s5_a_correlation_id_is_a_plain_word_or_ours() {
        let long = "x".repeat(ID_BYTES_MAX + 1);
        let rows = [
            ("abc-1.2:3_4", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            ("twinops-operator-1-2", false),
            (&long, false),
        ];
        for (given, kept) in rows {
            let mut headers = HeaderMap::new();
            headers.insert("correlation-id", given.parse().unwrap());
            let id = correlation_id(&headers);
            assert_eq!(id == given, kept, "{given}");
            assert!(kept || id.to_str().unwrap().starts_with("facade-"), "{id:?}");
        }
        assert_ne!(correlation_id(&HeaderMap::new()), correlation_id(&HeaderMap::new()));
    }
}
