//! Messages to things, which their devices answer.
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde_json::Value;

use super::Facade;
use super::ask::{Ask, OfMessage, OfThing, Query, message_subject};
use super::names::Shape;
use super::problem::Problem;
use super::reply;
use super::things::JSON;
use super::upstream::{Answer, Call};
use crate::twin::id::ThingId;

/// How long an answer is waited for unless `timeout` says otherwise. Source: Ditto 3.8, `default-timeout` of messages.
const TIMEOUT: u64 = 10;
/// The longest wait, in seconds. Source: Ditto 3.8, `max-timeout` of messages.
const TIMEOUT_MAX: u64 = 60;
/// Ditto answers itself when the wait is over; this much later it is not there.
const GRACE: Duration = Duration::from_secs(5);
/// What a form in a browser can send to any site; a message is never one of these.
const FORMS: [&str; 4] = ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];

/// `POST /things/{thing_id}/messages/{subject}`: the body as it is, and the answer as it is.
pub async fn send(
    State(facade): State<Arc<Facade>>,
    OfMessage(id, subject): OfMessage,
    mut ask: Ask,
) -> Result<Response, Problem> {
    let timeout = timeout(ask.query.only(&["timeout"])?)?;
    let kind =
        ask.media_type(|kind| !FORMS.contains(&kind), "application/json or application/octet-stream")?;
    let body = ask.bytes().await?;
    let call = inbox(&id, &subject, timeout).body(kind, body);
    passed_on(facade.upstream.send(&ask.caller, &ask.id, call).await?).await
}

/// `POST /things/{thing_id}/commands` with `{"subject", "value"}`: the same, for who speaks JSON only. The bridge brings it
/// to the device as `devices/{thing_id}/commands`.
pub async fn command(
    State(facade): State<Arc<Facade>>,
    OfThing(id): OfThing,
    mut ask: Ask,
) -> Result<Response, Problem> {
    let timeout = timeout(ask.query.only(&["timeout"])?)?;
    let (_, tree) = ask.json(Shape::Command, JSON).await?;
    let subject = tree.get("subject").and_then(Value::as_str).unwrap_or_default();
    let subject = message_subject(subject)?;
    let call = inbox(&id, &subject, timeout).json(tree.get("value").unwrap_or(&Value::Null).to_string());
    passed_on(facade.upstream.send(&ask.caller, &ask.id, call).await?).await
}

/// Seconds; 0 waits for nothing.
fn timeout(query: &Query) -> Result<u64, Problem> {
    let Some(text) = query.get("timeout") else { return Ok(TIMEOUT) };
    let seconds = text.parse().ok().filter(|seconds| *seconds <= TIMEOUT_MAX);
    seconds.ok_or_else(|| {
        let detail = format!("`timeout` is a number of seconds from 0 to {TIMEOUT_MAX}");
        Problem::invalid("facade:timeout.invalid", detail)
    })
}

fn inbox(id: &ThingId, subject: &str, timeout: u64) -> Call {
    let mut call = Call::new(Method::POST, &["things", id.as_str(), "inbox", "messages", subject])
        .query("timeout", &timeout.to_string());
    call.deadline = Some(Duration::from_secs(timeout) + GRACE);
    call
}

/// The status, type and body of whoever answered the message; a refusal of Ditto's is a problem.
async fn passed_on(answer: Answer) -> Result<Response, Problem> {
    let status = answer.status;
    let code =
        |status: StatusCode| status.is_client_error() || status.is_server_error() || status.is_redirection();
    if code(status) {
        let headers = answer.headers.clone();
        let body = answer.text().await.unwrap_or_default();
        let problem = Problem::of_ditto(status, &headers, body.as_bytes());
        // Without a code of Ditto's it is the device's own word.
        let own = status.is_client_error()
            && serde_json::from_str::<Value>(&body).is_ok_and(|body| body["error"].is_null());
        return Err(if own {
            Problem::new(status, "facade:device.refused", "the device refuses the message")
        } else {
            problem
        });
    }
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::ACCEPTED) {
        return Ok(reply::empty(status));
    }
    let kind = answer.headers.get(header::CONTENT_TYPE).cloned();
    let mut response = Response::new(answer.bytes().await?.into());
    *response.status_mut() = status;
    let fallback = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind.unwrap_or(fallback));
    // What a device says is no page of ours.
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    Ok(response)
}
