//! The management port: health and metrics, apart from whatever the process serves to its users.
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Readiness, Telemetry, VERSION};

/// How long open requests may take when the process stops: every answer is ready at once, so whoever
/// needs longer is a client that does not read.
const DRAIN: Duration = Duration::from_secs(1);

/// The management server while it runs.
#[derive(Debug)]
pub struct Management {
    /// Where it listens; tells the port when 0 was asked for.
    pub address: SocketAddr,
    /// Ends soon after `stop`.
    pub task: JoinHandle<()>,
}

/// Why there is no management port.
#[derive(Debug, thiserror::Error)]
#[error(
    "--management-listen: cannot listen on {address}: {cause}; choose another address, or stop what listens there"
)]
pub struct NoManagement {
    address: SocketAddr,
    cause: io::Error,
}

/// Serves `/livez`, `/readyz`, `/health` and `/metrics` until `stop`.
///
/// # Errors
/// The address is taken or not ours.
pub async fn serve(
    listen: SocketAddr,
    telemetry: Telemetry,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<Management, NoManagement> {
    serve_with(listen, telemetry, readiness, Router::new(), stop).await
}

/// As [`serve`], and what `more` serves.
///
/// # Errors
/// The address is taken or not ours.
pub async fn serve_with(
    listen: SocketAddr,
    telemetry: Telemetry,
    readiness: Readiness,
    more: Router,
    stop: CancellationToken,
) -> Result<Management, NoManagement> {
    let failed = |cause| NoManagement { address: listen, cause };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/health", get(health))
        .with_state(readiness)
        .route("/metrics", get(metrics).with_state(telemetry))
        .merge(more);
    let task = tokio::spawn(async move {
        let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::select! {
            ended = async { server.await } => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the management server ended");
                }
            }
            () = async { stop.cancelled().await; tokio::time::sleep(DRAIN).await } => {}
        }
    });
    Ok(Management { address, task })
}

fn status(readiness: &Readiness) -> StatusCode {
    if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, String) {
    let failed = readiness.checks().into_iter().filter_map(|(name, result)| {
        let reason = result.err()?;
        Some(format!("{name}: {reason}\n"))
    });
    let reasons: String = failed.collect();
    if reasons.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons)
    }
}

/// `{"status": "UP" | "DOWN", "version", "<check>": {"status", "reason"?}…}`, in Ditto's words.
async fn health(State(readiness): State<Readiness>) -> (StatusCode, Json<Value>) {
    let code = status(&readiness);
    let mut body = Map::new();
    body.insert("status".into(), if code.is_success() { "UP" } else { "DOWN" }.into());
    body.insert("version".into(), VERSION.into());
    for (name, result) in readiness.checks() {
        let check = match result {
            Ok(()) => json!({"status": "UP"}),
            Err(reason) => json!({"status": "DOWN", "reason": reason}),
        };
        body.insert(name.into(), check);
    }
    (code, Json(body.into()))
}

async fn metrics(State(telemetry): State<Telemetry>) -> Response {
    match telemetry.text() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
