//! `WS /ws/events`
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::{FutureExt as _, SinkExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::Facade;
use super::super::ask::{self, Query};
use super::super::auth::Caller;
use super::super::problem::Problem;
use super::feed::{Heard, Listener};
use super::filter::{Filter, PARAMETERS};
use super::{AGAIN, AWAY, End, Open, POLICY, SEND_MAX, Watch, close, expiry};
use crate::telemetry::Telemetry;
use crate::workers;

/// The largest frame of a client, in bytes: it has nothing to say here.
const FRAME_BYTES_MAX: usize = 4 * 1_024;
/// Small, because there are many sockets and most are idle.
const BUFFER: usize = 4 * 1_024;
/// Frames written before the socket is flushed.
const BATCH: usize = 64;

pub async fn events(State(facade): State<Arc<Facade>>, request: Request) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let query = Query::read(parts.uri.query().unwrap_or_default())?;
    let query = query.only(&PARAMETERS)?;
    let upgrade = super::ditto::upgrade(&mut parts).await?;
    let caller = facade.auth.caller(&parts, query.get("access_token")).await?;
    let filter = Filter::read(query)?;
    let listener = facade.live.feeds.join(&caller, &ask::correlation(&mut parts)).await?;
    let session = Session {
        listener,
        filter,
        caller,
        stop: facade.stop.clone(),
        telemetry: facade.telemetry.clone(),
        watch: Watch::new(),
    };
    let upgrade = upgrade
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER);
    let stays = workers::stay();
    Ok(upgrade.on_upgrade(move |socket| session.run(socket).map(|()| drop(stays))))
}

struct Session {
    listener: Listener,
    filter: Filter,
    caller: Caller,
    stop: CancellationToken,
    telemetry: Telemetry,
    watch: Watch,
}

impl Session {
    async fn run(mut self, mut socket: WebSocket) {
        let _open = Open::new(&self.telemetry, "events");
        let (stop, expires) = (self.stop.clone(), self.caller.expires);
        let mut expired = std::pin::pin!(expiry(expires));
        let end = loop {
            let step = tokio::select! {
                () = stop.cancelled() => Err(End::Close(AWAY, "stopping; connect again")),
                () = &mut expired => Err(End::Close(POLICY, "the credentials have ended")),
                frame = socket.recv() => match frame {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Gone),
                    Some(Ok(_)) => self.watch.heard(),
                },
                heard = self.listener.next() => self.tell(heard, &mut socket).await,
                _ = self.watch.ticks.tick() => self.watch.tick(&mut socket).await,
            };
            if let Err(end) = step {
                break end;
            }
        };
        close(socket, end).await;
    }

    /// Writes what was heard and what waits behind it.
    async fn tell(&mut self, heard: Heard, socket: &mut WebSocket) -> Result<(), End> {
        let mut next = Some(heard);
        let mut written = false;
        for _ in 0..BATCH {
            let Some(heard) = next.take().or_else(|| self.listener.ready()) else { break };
            let frame = match heard {
                Heard::Event(event) if self.filter.passes(&event) => event.frame.clone(),
                Heard::Event(_) => continue,
                Heard::Gap => gap("ditto", None).into(),
                Heard::Missed(missed) => {
                    self.telemetry.dropped("events");
                    gap("slow", Some(missed)).into()
                }
                Heard::Over => return Err(End::Close(AGAIN, "Ditto ended the session; log in again")),
            };
            written = true;
            let fed = timeout(SEND_MAX, socket.feed(Message::Text(frame))).await;
            fed.map_err(|_| End::Gone)?.map_err(|_| End::Gone)?;
        }
        if !written {
            return Ok(());
        }
        timeout(SEND_MAX, socket.flush()).await.map_err(|_| End::Gone)?.map_err(|_| End::Gone)
    }
}

/// Tells that events are missing: read the state again. `missed` is how many, where that is known; not all of them
/// would have passed the filter.
pub fn gap(reason: &str, missed: Option<u64>) -> String {
    match missed {
        Some(missed) => format!("{{\"type\":\"gap\",\"reason\":\"{reason}\",\"missed\":{missed}}}"),
        None => format!("{{\"type\":\"gap\",\"reason\":\"{reason}\"}}"),
    }
}
