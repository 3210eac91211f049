//! Keeps a socket open, or HTTP in its place, and carries orders and answers.
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::super::client::DittoClient;
use super::dial::{Dial, Socket};
use super::{Heard, Order, What, frames, http};
use crate::ports::{Policies, Refused, Said};

/// Delay before the second try; it doubles with each.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// A link that held so long was no failure.
const HELD: Duration = Duration::from_secs(10);
/// Tries to open a socket before HTTP is taken.
const TRIES_BEFORE_HTTP: u32 = 3;
/// From the first packet over a new socket to Ditto's agreement that it will send changes and messages.
const SUBSCRIBE_DEADLINE: Duration = Duration::from_secs(10);
/// HTTP calls at the same time.
const CALLS_MAX: usize = 64;
/// Ditto is asked for a sign of life after so much silence, and taken for gone after the second time.
const SILENCE: Duration = Duration::from_secs(15);
/// Ditto takes frames in milliseconds, or it is not there.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// The largest frame that is sent, in bytes. Who sends a larger one loses the socket, and all that is on its way with it.
const FRAME_MAX: usize = 250_000;
/// Orders written before the socket is flushed.
const BATCH: usize = 256;

pub struct Keeper {
    opener: Opener,
    orders: mpsc::Receiver<Order>,
    epoch: u64,
    /// While HTTP is used, a socket is tried again so often.
    socket_again: Duration,
}

/// What a socket is opened with, also while HTTP is used.
struct Opener {
    dial: Dial,
    client: DittoClient,
    tell: mpsc::Sender<Heard>,
    /// In front of the number in correlation ids.
    prefix: String,
}

/// Nothing can be carried out any more.
const STOPPING: &str = "stopping";
const NOBODY: &str = "nobody listens";

impl Opener {
    /// A socket over which Ditto sends changes and messages from now on.
    async fn open(&self) -> Result<Socket, String> {
        let mut socket = self.dial.connect(&self.client).await?;
        match timeout(SUBSCRIBE_DEADLINE, self.subscribe(&mut socket)).await {
            Ok(Ok(())) => Ok(socket),
            Ok(Err(why)) => Err(format!("Ditto takes no subscription: {why}")),
            Err(_) => Err(format!("Ditto takes no subscription: no answer within {SUBSCRIBE_DEADLINE:?}")),
        }
    }

    async fn subscribe(&self, socket: &mut Socket) -> Result<(), String> {
        let mut awaited = Vec::from(frames::subscriptions());
        for (ask, _) in &awaited {
            socket.send(Message::text(ask)).await.map_err(|error| error.to_string())?;
        }
        while !awaited.is_empty() {
            let text = match socket.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_))) | None => return Err("it ended the session".to_owned()),
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(error.to_string()),
            };
            awaited.retain(|(_, agreed)| agreed != text.as_str());
            if let Some(why) = frames::refusal(text.as_str()) {
                return Err(why);
            }
            // One subscription may bring something before the other is agreed to.
            if let Some(heard) = frames::read(text.as_str(), &self.prefix, 0)
                && self.tell.send(heard).await.is_err()
            {
                return Err(NOBODY.to_owned());
            }
        }
        Ok(())
    }

    /// Tries until a socket is open.
    async fn open_at_last(&self, every: Duration) -> Socket {
        loop {
            tokio::time::sleep(every).await;
            match self.open().await {
                Ok(socket) => return socket,
                Err(why) => tracing::debug!(why, "still no socket to Ditto"),
            }
        }
    }
}

impl Keeper {
    pub fn new(
        dial: Dial,
        client: DittoClient,
        orders: mpsc::Receiver<Order>,
        tell: mpsc::Sender<Heard>,
        socket_again: Duration,
    ) -> Self {
        let prefix = format!("{}ws-", client.own_prefix());
        Self { opener: Opener { dial, client, tell, prefix }, orders, epoch: 0, socket_again }
    }

    pub async fn run(mut self) {
        let mut failed = 0_u32;
        // One that was opened while HTTP was used.
        let mut next: Option<Socket> = None;
        loop {
            let opened = match next.take() {
                Some(socket) => Ok(socket),
                None => self.opener.open().await,
            };
            let started = Instant::now();
            let (held, why) = match opened {
                Ok(socket) => (true, self.over_socket(socket).await),
                Err(why) if failed >= TRIES_BEFORE_HTTP && self.opener.client.whoami().await.is_ok() => {
                    tracing::warn!(why, "no socket to Ditto: calls go over HTTP, and no commands are heard");
                    match self.over_http().await {
                        Ok(socket) => next = Some(socket),
                        Err(why) => return drop(self.down(why).await),
                    }
                    (true, "a socket is open again".to_owned())
                }
                Err(why) => (false, why),
            };
            failed = failures(failed, held.then(|| started.elapsed()));
            if self.down(&why).await.is_err() {
                return;
            }
            if next.is_none() {
                tokio::time::sleep(delay(failed.max(1))).await;
            }
        }
    }

    async fn down(&self, why: &str) -> Result<(), mpsc::error::SendError<Heard>> {
        self.opener.tell.send(Heard::Down { epoch: self.epoch, why: why.to_owned() }).await
    }

    async fn up(&mut self, live: bool) -> Result<(), mpsc::error::SendError<Heard>> {
        self.epoch += 1;
        self.opener.tell.send(Heard::Up { epoch: self.epoch, live }).await
    }

    /// Until it breaks; says why.
    async fn over_socket(&mut self, socket: Socket) -> String {
        if self.up(true).await.is_err() {
            return NOBODY.to_owned();
        }
        let (sink, stream) = socket.split();
        let Opener { tell, prefix, .. } = &self.opener;
        // Both at once: a side that waits for the other to read must not keep it from being read.
        tokio::select! {
            why = write(sink, &mut self.orders, tell, self.epoch, prefix) => why,
            why = read(stream, tell, self.epoch, prefix) => why,
        }
    }

    /// Until a socket is open; it is tried beside the calls. Those on their way are answered first: one that came to
    /// Ditto after the first order over the socket would undo it.
    async fn over_http(&mut self) -> Result<Socket, &'static str> {
        self.up(false).await.map_err(|_| NOBODY)?;
        let (places, mut calls) = (Arc::new(Semaphore::new(CALLS_MAX)), JoinSet::new());
        let opening = self.opener.open_at_last(self.socket_again);
        let mut opening = std::pin::pin!(opening);
        let socket = loop {
            let place = tokio::select! {
                socket = &mut opening => break socket,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let order = tokio::select! {
                socket = &mut opening => break socket,
                order = self.orders.recv() => order,
                Some(_) = calls.join_next() => continue,
            };
            let (Some(order), Ok(place)) = (order, place) else { return Err(STOPPING) };
            if order.epoch != self.epoch {
                continue;
            }
            let (client, tell) = (self.opener.client.clone(), self.opener.tell.clone());
            calls.spawn(async move {
                let result = http::carry(&client, &order).await;
                drop(place);
                if !matches!(order.what, What::Reply(_)) {
                    let heard = Heard::Answer { epoch: order.epoch, number: order.number, result };
                    drop(tell.send(heard).await);
                }
            });
        };
        while calls.join_next().await.is_some() {}
        Ok(socket)
    }
}

async fn write(
    mut sink: SplitSink<Socket, Message>,
    orders: &mut mpsc::Receiver<Order>,
    tell: &mpsc::Sender<Heard>,
    epoch: u64,
    prefix: &str,
) -> String {
    let mut batch = Vec::with_capacity(BATCH);
    let gone = || "Ditto takes no orders".to_owned();
    loop {
        batch.clear();
        match timeout(SILENCE, orders.recv_many(&mut batch, BATCH)).await {
            Ok(0) => return STOPPING.to_owned(),
            Ok(_) => {}
            Err(_) => match timeout(SEND_DEADLINE, sink.send(Message::Ping(vec![].into()))).await {
                Ok(Ok(())) => continue,
                _ => return gone(),
            },
        }
        let fed = async {
            for order in batch.iter().filter(|order| order.epoch == epoch) {
                let frame = frames::order(order, prefix);
                if frame.len() > FRAME_MAX {
                    let message = format!("{} bytes, and a frame has at most {FRAME_MAX}", frame.len());
                    let result = Err(Refused::TooLarge(Said { message, ..Said::default() }));
                    drop(tell.send(Heard::Answer { epoch, number: order.number, result }).await);
                    continue;
                }
                sink.feed(Message::text(frame)).await?;
            }
            sink.flush().await
        };
        match timeout(SEND_DEADLINE, fed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return format!("the socket broke: {error}"),
            Err(_) => return gone(),
        }
    }
}

async fn read(
    mut stream: SplitStream<Socket>,
    tell: &mpsc::Sender<Heard>,
    epoch: u64,
    prefix: &str,
) -> String {
    loop {
        let frame = match timeout(2 * SILENCE, stream.next()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return format!("the socket broke: {error}"),
            Ok(None) => return "Ditto ended the session".to_owned(),
            Err(_) => return format!("Ditto was silent for {:?}", 2 * SILENCE),
        };
        match frame {
            Message::Text(text) => {
                if let Some(heard) = frames::read(text.as_str(), prefix, epoch)
                    && tell.send(heard).await.is_err()
                {
                    return NOBODY.to_owned();
                }
            }
            Message::Close(_) => return "Ditto ended the session".to_owned(),
            _ => {}
        }
    }
}

/// Failures in a row, after one more try that was up for so long, if at all.
fn failures(before: u32, up: Option<Duration>) -> u32 {
    if up.is_some_and(|up| up >= HELD) { 0 } else { before.saturating_add(1) }
}

/// Doubles and varies by half, so that many who lost Ditto together do not come back together.
fn delay(failed: u32) -> Duration {
    let full =
        RETRY_FIRST.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1).min(16))).min(RETRY_MAX);
    full.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_begin_anew_after_a_link_that_held() {
        let failed = (0..20).fold(0, |failed, _| failures(failed, None));
        assert!(delay(failed) >= RETRY_MAX / 2, "{failed}");
        let failed = failures(failed, Some(Duration::from_secs(1)));
        assert!(delay(failed) >= RETRY_MAX / 2, "one that broke at once is a failure");
        assert_eq!(failures(failed, Some(HELD)), 0);
        assert!(delay(1) <= RETRY_FIRST);
    }
}
