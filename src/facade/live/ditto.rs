//! `WS /ws/ditto`: the Ditto Protocol, as its caller.
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::super::Facade;
use super::super::ask::{self, Query};
use super::super::auth::Caller;
use super::super::problem::Problem;
use super::envelope;
use super::socket::{NoSocket, Socket};
use super::{AGAIN, AWAY, End, Open, POLICY, TOO_BIG, Watch, close, expiry, put};
use crate::telemetry::Telemetry;
use crate::workers;

/// The largest frame of a client, in bytes: a thing of 100k characters with its escapes fits.
const FRAME_BYTES_MAX: usize = 256 * 1_024;
const BUFFER: usize = 8 * 1_024;

/// 426 for what is no upgrade.
pub async fn upgrade(parts: &mut Parts) -> Result<WebSocketUpgrade, Problem> {
    WebSocketUpgrade::from_request_parts(parts, &()).await.map_err(|_| {
        let detail = "this route takes WebSocket upgrades only";
        Problem::new(StatusCode::UPGRADE_REQUIRED, "facade:upgrade.required", detail)
    })
}

pub async fn ditto(State(facade): State<Arc<Facade>>, request: Request) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let query = Query::read(parts.uri.query().unwrap_or_default())?;
    let query = query.only(&["access_token"])?;
    let upgrade = upgrade(&mut parts).await?;
    let caller = facade.auth.caller(&parts, query.get("access_token")).await?;
    let ditto = match facade.live.dial.connect(&caller, &ask::correlation(&mut parts)).await {
        Ok(ditto) => ditto,
        Err(NoSocket::Refused(problem)) => return Err(problem),
        Err(NoSocket::Unreached(why)) => {
            tracing::warn!(why, "no session with Ditto");
            return Err(Problem::unavailable());
        }
    };
    let session = Session { caller, stop: facade.stop.clone(), telemetry: facade.telemetry.clone() };
    let upgrade = upgrade
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER);
    let stays = workers::stay();
    Ok(upgrade.on_upgrade(move |socket| session.run(socket, ditto).map(|()| drop(stays))))
}

struct Session {
    caller: Caller,
    stop: CancellationToken,
    telemetry: Telemetry,
}

impl Session {
    /// A side that does not take what comes holds up the other: nothing is queued here.
    async fn run(self, mut socket: WebSocket, mut ditto: Socket) {
        let _open = Open::new(&self.telemetry, "ditto");
        let mut expired = std::pin::pin!(expiry(self.caller.expires));
        let mut watch = Watch::new();
        let end = loop {
            let step = tokio::select! {
                () = self.stop.cancelled() => Err(End::Close(AWAY, "stopping; connect again")),
                () = &mut expired => Err(End::Close(POLICY, "the credentials have ended")),
                frame = socket.recv() => match watch.heard() {
                    Ok(()) => from_client(frame, &mut socket, &mut ditto).await,
                    Err(end) => Err(end),
                },
                text = ditto.next(|| {}) => match text {
                    None => Err(End::Close(AGAIN, "Ditto ended the session; connect again")),
                    Some(text) => match envelope::to_client(text.as_str()) {
                        Some(text) => put(&mut socket, Message::Text(text.into())).await,
                        None => Ok(()),
                    },
                },
                _ = watch.ticks.tick() => watch.tick(&mut socket).await,
            };
            if let Err(end) = step {
                break end;
            }
        };
        ditto.close().await;
        close(socket, end).await;
    }
}

async fn from_client(
    frame: Option<Result<Message, axum::Error>>,
    socket: &mut WebSocket,
    ditto: &mut Socket,
) -> Result<(), End> {
    match frame {
        Some(Ok(Message::Text(text))) => match envelope::from_client(text.as_str()) {
            Ok(passed) => {
                let sent = ditto.send(passed.into_owned()).await;
                sent.then_some(()).ok_or(End::Close(AGAIN, "Ditto ended the session; connect again"))
            }
            Err(problem) => put(socket, Message::Text(envelope::refusal(&problem).into())).await,
        },
        Some(Ok(Message::Close(_))) | None => Err(End::Gone),
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) if error.to_string().contains("too long") => {
            Err(End::Close(TOO_BIG, "a frame has at most 256 KiB"))
        }
        Some(Err(_)) => Err(End::Gone),
    }
}
