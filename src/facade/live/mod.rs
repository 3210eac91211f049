//! What changes, as it changes: events for applications over WebSocket and as an event stream, and Ditto's own protocol.
//!
//! All clients of one identity share one session with Ditto and one text per event. Each reads a ring of the last
//! [`QUEUE`] events at its own pace; who falls behind is told of the gap and never waited for.
mod ditto;
mod envelope;
mod event;
mod feed;
mod filter;
mod socket;
mod sse;
mod ws;

pub use ditto::ditto;
pub use sse::events as event_stream;
pub use ws::events as event_socket;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use tokio::time::{Instant, timeout};

use crate::telemetry::Telemetry;
pub use feed::{Feeds, Heard, Listener};
pub use socket::Dial;

/// Events kept for clients that are slower than they come.
pub const QUEUE: usize = 256;
/// Silence after which a client is pinged.
const IDLE: Duration = Duration::from_secs(30);
/// Silence after which a client is taken for gone: it answered no ping.
const SILENCE_MAX: Duration = Duration::from_secs(100);
/// A client that takes what is sent no faster than this is cut off.
const SEND_MAX: Duration = Duration::from_secs(10);
/// Frames of a client within [`IDLE`]; who sends more is up to no good.
const FRAMES_MAX: u32 = 3_000;

pub struct Live {
    pub feeds: Feeds,
    pub dial: Arc<Dial>,
}

/// Why a socket ends.
enum End {
    /// The peer has gone, or takes nothing.
    Gone,
    Close(u16, &'static str),
}

/// RFC 6455 §7.4.1.
const AWAY: u16 = 1001;
const POLICY: u16 = 1008;
const TOO_BIG: u16 = 1009;
/// Ours to choose: try again later.
const AGAIN: u16 = 1013;

/// Writes one frame, in time.
async fn put(socket: &mut WebSocket, frame: Message) -> Result<(), End> {
    timeout(SEND_MAX, socket.send(frame)).await.map_err(|_| End::Gone)?.map_err(|_| End::Gone)
}

async fn close(mut socket: WebSocket, end: End) {
    if let End::Close(code, reason) = end {
        let frame = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        drop(put(&mut socket, frame).await);
    }
}

/// When the credentials end; never where they say nothing.
async fn expiry(at: Option<SystemTime>) {
    match at {
        None => std::future::pending().await,
        Some(at) => {
            let left = at.duration_since(SystemTime::now()).unwrap_or_default();
            tokio::time::sleep(left).await;
        }
    }
}

/// Keeps an eye on a client: whether it answers, and whether it says too much.
struct Watch {
    heard: Instant,
    frames: u32,
    ticks: tokio::time::Interval,
}

impl Watch {
    fn new() -> Self {
        let mut ticks = tokio::time::interval_at(Instant::now() + IDLE, IDLE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self { heard: Instant::now(), frames: 0, ticks }
    }

    fn heard(&mut self) -> Result<(), End> {
        self.heard = Instant::now();
        self.frames += 1;
        if self.frames > FRAMES_MAX { Err(End::Close(POLICY, "too many frames")) } else { Ok(()) }
    }

    /// Once every [`IDLE`].
    async fn tick(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        self.frames = 0;
        match self.heard.elapsed() {
            silence if silence >= SILENCE_MAX => Err(End::Gone),
            silence if silence >= IDLE => put(socket, Message::Ping(vec![].into())).await,
            _ => Ok(()),
        }
    }
}

/// Counts a socket as long as it lives.
struct Open(Telemetry, &'static str);

impl Open {
    fn new(telemetry: &Telemetry, kind: &'static str) -> Self {
        telemetry.socket(kind, true);
        Self(telemetry.clone(), kind)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.socket(self.1, false);
    }
}
