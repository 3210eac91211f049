//! `GET /devices` on the management port.
use std::collections::HashMap;
use std::time::SystemTime;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::{Timestamp, Unit};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::bridge::Question;
use super::core::{Device, Presence};

/// Devices in one answer, unless `limit` says otherwise, and at most.
const LIMIT: usize = 1_000;
const LIMIT_MAX: usize = 10_000;

/// The route, which asks the bridge behind `questions`.
pub fn router(questions: mpsc::Sender<Question>) -> Router {
    Router::new().route("/devices", get(devices)).with_state(questions)
}

async fn devices(
    State(questions): State<mpsc::Sender<Question>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let wrong = |what: &str| (StatusCode::BAD_REQUEST, format!("{what}\n")).into_response();
    let state = match query.get("state").map(String::as_str) {
        None => None,
        Some("Online") => Some(Presence::Online),
        Some("Stale") => Some(Presence::Stale),
        Some("Unheard") => Some(Presence::Unheard),
        Some(_) => return wrong("`state` is Online, Stale or Unheard"),
    };
    let limit = match query.get("limit").map(|text| text.parse::<usize>()) {
        None => LIMIT,
        Some(Ok(limit)) if (1..=LIMIT_MAX).contains(&limit) => limit,
        Some(_) => return wrong("`limit` is a number from 1 to 10000"),
    };
    let (answer, answered) = oneshot::channel();
    let after = query.get("after").cloned().unwrap_or_default();
    let question = Question { state, after, limit, answer };
    if questions.try_send(question).is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match answered.await {
        Ok(devices) => Json(page(&devices, limit)).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// `next` is the `after` of the next page.
fn page(devices: &[Device], limit: usize) -> Value {
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH);
    let shown = devices.iter().map(|device| {
        let last_seen = device.heard_ago.and_then(|ago| now.checked_sub(ago).ok());
        let last_seen = last_seen.and_then(|at| at.round(Unit::Millisecond).ok()).map(|at| at.to_string());
        json!({
            "thingId": device.thing_id,
            "state": device.presence.word(),
            "lastSeen": last_seen,
            "staleAfterSeconds": device.stale_after.map(|limit| limit.as_secs()),
            "waiting": device.waiting,
        })
    });
    let next = (devices.len() == limit).then(|| devices.last().map(|device| device.thing_id.clone()));
    json!({"items": shown.collect::<Vec<_>>(), "next": next.flatten()})
}
