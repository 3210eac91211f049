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
/// While HTTP is used, a socket is tried again so often.
const SOCKET_AGAIN: Duration = Duration::from_secs(30);
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
    dial: Dial,
    client: DittoClient,
    orders: mpsc::Receiver<Order>,
    tell: mpsc::Sender<Heard>,
    epoch: u64,
    /// In front of the number in correlation ids.
    prefix: String,
}

impl Keeper {
    pub fn new(
        dial: Dial,
        client: DittoClient,
        orders: mpsc::Receiver<Order>,
        tell: mpsc::Sender<Heard>,
    ) -> Self {
        let prefix = format!("{}ws-", client.own_prefix());
        Self { dial, client, orders, tell, epoch: 0, prefix }
    }

    pub async fn run(mut self) {
        let mut failed = 0_u32;
        loop {
            let started = Instant::now();
            let why = match self.dial.connect(&self.client).await {
                Ok(socket) => {
                    let why = self.over_socket(socket).await;
                    if started.elapsed() >= HELD {
                        failed = 0;
                    }
                    why
                }
                Err(why) if failed >= TRIES_BEFORE_HTTP && self.client.whoami().await.is_ok() => {
                    tracing::warn!(why, "no socket to Ditto: calls go over HTTP, and no commands are heard");
                    self.over_http().await
                }
                Err(why) => why,
            };
            failed = failed.saturating_add(1);
            let heard = Heard::Down { epoch: self.epoch, why };
            if self.tell.send(heard).await.is_err() {
                return;
            }
            tokio::time::sleep(delay(failed)).await;
        }
    }

    /// Until it breaks; says why.
    async fn over_socket(&mut self, mut socket: Socket) -> String {
        for text in frames::subscriptions() {
            if !matches!(timeout(SEND_DEADLINE, socket.send(Message::text(text))).await, Ok(Ok(()))) {
                return "Ditto takes no subscription".to_owned();
            }
        }
        self.epoch += 1;
        if self.tell.send(Heard::Up { epoch: self.epoch, live: true }).await.is_err() {
            return "nobody listens".to_owned();
        }
        let (sink, stream) = socket.split();
        // Both at once: a side that waits for the other to read must not keep it from being read.
        tokio::select! {
            why = write(sink, &mut self.orders, &self.tell, self.epoch, &self.prefix) => why,
            why = read(stream, &self.tell, self.epoch, &self.prefix) => why,
        }
    }

    /// Until a socket may be tried again; says why.
    async fn over_http(&mut self) -> String {
        self.epoch += 1;
        if self.tell.send(Heard::Up { epoch: self.epoch, live: false }).await.is_err() {
            return "nobody listens".to_owned();
        }
        let (places, mut calls) = (Arc::new(Semaphore::new(CALLS_MAX)), JoinSet::new());
        let end = tokio::time::sleep(SOCKET_AGAIN);
        let mut end = std::pin::pin!(end);
        loop {
            let place = tokio::select! {
                () = &mut end => break,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let order = tokio::select! {
                () = &mut end => break,
                order = self.orders.recv() => order,
                Some(_) = calls.join_next() => continue,
            };
            let (Some(order), Ok(place)) = (order, place) else { return "stopping".to_owned() };
            if order.epoch != self.epoch {
                continue;
            }
            let (client, tell) = (self.client.clone(), self.tell.clone());
            calls.spawn(async move {
                let result = http::carry(&client, &order).await;
                drop(place);
                if !matches!(order.what, What::Reply(_)) {
                    let heard = Heard::Answer { epoch: order.epoch, number: order.number, result };
                    drop(tell.send(heard).await);
                }
            });
        }
        while calls.join_next().await.is_some() {}
        "trying a socket again".to_owned()
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
            Ok(0) => return "stopping".to_owned(),
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
                    return "nobody listens".to_owned();
                }
            }
            Message::Close(_) => return "Ditto ended the session".to_owned(),
            _ => {}
        }
    }
}

/// Doubles and varies by half, so that many who lost Ditto together do not come back together.
fn delay(failed: u32) -> Duration {
    let full =
        RETRY_FIRST.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1).min(16))).min(RETRY_MAX);
    full.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}
