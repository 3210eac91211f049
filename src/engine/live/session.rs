//! One WebSocket at `/ws/2`: what comes in is answered in order, what the session wants to hear goes out beside it.
//!
//! Everything is bounded: frames, the queue of signals, answers that somebody else has to give, pings. A client that
//! does not read loses signals first and its session next; nobody waits for it.
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::extract::WebSocketUpgrade;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, close_code};
use axum::response::Response;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::super::command::Caller;
use super::super::core::Core;
use super::super::failure::Failure;
use super::super::http::Server;
use super::super::http::handle::now;
use super::super::http::request::Request;
use super::acks::Requested;
use super::command::{Answered, answer};
use super::control::{self, Control, Refused};
use super::event::Event;
use super::filter::Filter;
use super::hub::{Signal, Subscription};
use super::protocol;
use super::searches::Searches;
use super::signal::{self, Heard, Kind};
use crate::workers;

/// The largest frame and message, in bytes: a thing of 100k with its escapes fits.
const FRAME_MAX: usize = 256 * 1024;
/// Silence after which the client is pinged. Source: Ditto 3.8.
const IDLE: Duration = Duration::from_secs(30);
/// Silence after which the client is taken for gone: it answered no ping.
const SILENCE_MAX: Duration = Duration::from_secs(100);
/// A client that takes a frame no faster than this is cut off.
const SEND_MAX: Duration = Duration::from_mins(1);
/// Commands that were carried out and wait for the disk, at the same time: those of one client share a sync. More are
/// read when fewer wait.
const UNSYNCED_MAX: usize = 256;
/// Answers others have to give, at the same time. More are refused with 429.
const LATER_MAX: usize = 100;
/// Signals written before the socket is flushed; so many frames are in memory at most.
const BATCH: usize = 16;
/// Pings within [`IDLE`] that are answered; who sends more is up to no good.
const PINGS_MAX: u32 = 300;

/// Answers the upgrade; the session has its place before, so that one too many is told by HTTP.
pub fn upgrade(
    server: Arc<Server>,
    upgrade: WebSocketUpgrade,
    request: &Request,
    subjects: Vec<String>,
) -> Result<Response, Failure> {
    let declared = Requested::read(request.setting("declared-acks").as_deref())?.custom();
    let subscription = server.core.hub.subscribe(subjects, declared)?;
    let upgrade = upgrade.max_message_size(FRAME_MAX).max_frame_size(FRAME_MAX);
    let stays = workers::stay();
    Ok(upgrade.on_upgrade(move |socket| async move {
        let (replies, replied) = mpsc::channel(LATER_MAX);
        let (searches, unsynced) = (Searches::default(), FuturesOrdered::new());
        let session = Session { server, subscription, searches, unsynced, replies, pings: 0 };
        session.run(socket, replied).await;
        drop(stays);
    }))
}

/// Why a session ends.
enum End {
    /// The peer has gone, or takes nothing.
    Gone,
    Close(u16, &'static str),
}

struct Session {
    server: Arc<Server>,
    subscription: Subscription,
    searches: Searches,
    /// In the order they came; they are answered in it.
    unsynced: FuturesOrdered<BoxFuture<'static, Answered>>,
    /// Taken by those who answer later; each holds a place until its answer is sent.
    replies: mpsc::Sender<Option<Value>>,
    pings: u32,
}

impl Session {
    async fn run(mut self, mut socket: WebSocket, mut replied: mpsc::Receiver<Option<Value>>) {
        let stop = self.server.core.hub.stop.clone();
        let mut idle = interval(IDLE);
        idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let end = loop {
            let step = tokio::select! {
                () = stop.cancelled() => Err(End::Close(close_code::AWAY, "the engine is stopping")),
                frame = socket.recv(), if self.unsynced.len() < UNSYNCED_MAX => {
                    heard = Instant::now();
                    self.receive(frame, &mut socket).await
                }
                Some(answered) = self.unsynced.next() => self.answered(answered, &mut socket).await,
                Some(signal) = self.subscription.next() => self.forward(signal, &mut socket).await,
                Some(reply) = replied.recv() => match reply {
                    Some(reply) => send(&mut socket, &reply).await,
                    None => Ok(()),
                },
                _ = idle.tick() => {
                    self.pings = 0;
                    match heard.elapsed() {
                        silence if silence >= SILENCE_MAX => Err(End::Gone),
                        silence if silence >= IDLE => put(&mut socket, Frame::Ping(vec![].into())).await,
                        _ => Ok(()),
                    }
                }
            };
            if let Err(end) = step {
                break end;
            }
        };
        if let End::Close(code, reason) = end {
            let close = Frame::Close(Some(CloseFrame { code, reason: reason.into() }));
            drop(put(&mut socket, close).await);
        }
    }

    async fn receive(
        &mut self,
        frame: Option<Result<Frame, axum::Error>>,
        socket: &mut WebSocket,
    ) -> Result<(), End> {
        let frame = match frame.ok_or(End::Gone)? {
            Ok(frame) => frame,
            Err(error) => return Err(broken(&error)),
        };
        match frame {
            Frame::Text(text) => self.text(text.as_str(), socket).await,
            Frame::Ping(_) => {
                self.pings += 1;
                if self.pings > PINGS_MAX {
                    Err(End::Close(close_code::POLICY, "too many pings"))
                } else {
                    Ok(())
                }
            }
            Frame::Binary(_) | Frame::Pong(_) => Ok(()),
            Frame::Close(_) => Err(End::Gone),
        }
    }

    async fn text(&mut self, text: &str, socket: &mut WebSocket) -> Result<(), End> {
        if let Some((name, control)) = control::read(text) {
            while let Some(answered) = self.unsynced.next().await {
                self.answered(answered, socket).await?;
            }
            return match control {
                Ok(control) => self.control(name, control, socket).await,
                Err(Refused::Closes(reason)) => Err(End::Close(close_code::NORMAL, reason)),
                Err(Refused::Told(failure, correlation_id)) => {
                    let headers = correlation_id.map_or(json!({}), |id| json!({"correlation-id": id}));
                    send(socket, &protocol::error(protocol::UNKNOWN, headers, &failure)).await
                }
            };
        }
        let (server, subscriber) = (Arc::clone(&self.server), Arc::clone(&self.subscription.subscriber));
        let text = text.to_owned();
        let mut answer = async move { answer(&server, &subscriber, &text).await }.boxed();
        // The first step carries it out, all others wait for the disk: so commands keep their order.
        match futures::poll!(&mut answer) {
            Poll::Ready(answered) if self.unsynced.is_empty() => {
                return self.answered(answered, socket).await;
            }
            Poll::Ready(answered) => self.unsynced.push_back(std::future::ready(answered).boxed()),
            Poll::Pending => self.unsynced.push_back(answer),
        }
        Ok(())
    }

    async fn answered(&mut self, answered: Answered, socket: &mut WebSocket) -> Result<(), End> {
        match answered {
            Answered::Now(frames) => send_all(socket, &frames).await,
            Answered::Search(action, envelope) => {
                let mut asked = self.searches.begin(&action, *envelope);
                loop {
                    let reader = self.reader();
                    let Some(frame) = self.searches.next(&mut asked, &self.server.core, &reader) else {
                        return Ok(());
                    };
                    send(socket, &frame).await?;
                }
            }
            Answered::Large(make) => send(socket, &make()).await,
            Answered::Later(reply) => {
                let Ok(place) = self.replies.clone().try_reserve_owned() else {
                    let failure = Failure::new(429, "too.many.requests", "too many answers are waited for");
                    return send(socket, &protocol::error(protocol::UNKNOWN, json!({}), &failure)).await;
                };
                tokio::spawn(async move { drop(place.send(reply.await)) });
                Ok(())
            }
        }
    }

    async fn control(&mut self, name: &str, control: Control, socket: &mut WebSocket) -> Result<(), End> {
        let mut interests = self.subscription.interests();
        let wanted = match control {
            Control::Start(kind, filter) => Some((kind, Some(Arc::from(filter)))),
            Control::Stop(kind) => Some((kind, None)),
            Control::Token => {
                let failure = Failure::new(400, "jwt:invalid", "this engine knows no issuer of tokens");
                return send(socket, &protocol::error(protocol::UNKNOWN, json!({}), &failure)).await;
            }
        };
        match wanted {
            Some((control::Kind::Events, filter)) => interests.events = filter,
            Some((control::Kind::Messages, filter)) => interests.messages = filter,
            Some((control::Kind::LiveCommands, filter)) => interests.live_commands = filter,
            Some((control::Kind::LiveEvents, filter)) => interests.live_events = filter,
            Some((control::Kind::Announcements, _)) | None => {}
        }
        self.subscription.want(interests);
        put(socket, Frame::text(format!("{name}:ACK"))).await
    }

    fn reader(&self) -> Caller {
        Caller { subjects: self.subscription.subscriber.subjects.clone(), now: now() }
    }

    /// Writes the signal and what waits behind it.
    async fn forward(&mut self, signal: Signal, socket: &mut WebSocket) -> Result<(), End> {
        let reader = self.reader();
        let mut next = Some(signal);
        for _ in 0..BATCH {
            let Some(signal) = next.take().or_else(|| self.subscription.ready()) else { break };
            if let Some(frame) = self.shown(&signal, &reader) {
                let fed = timeout(SEND_MAX, socket.feed(Frame::text(frame.to_string()))).await;
                fed.map_err(|_| End::Gone)?.map_err(|_| End::Gone)?;
            }
        }
        timeout(SEND_MAX, socket.flush()).await.map_err(|_| End::Gone)?.map_err(|_| End::Gone)
    }

    fn shown(&self, signal: &Signal, reader: &Caller) -> Option<Value> {
        let interests = self.subscription.interests();
        let (core, declared) = (&self.server.core, &self.subscription.subscriber.declared);
        let wanted = match signal {
            Signal::Event(..) => interests.events.is_some(),
            Signal::Message(..) => interests.messages.is_some(),
            Signal::Live(live, _) if live.kind == Kind::Command => interests.live_commands.is_some(),
            Signal::Live(..) => interests.live_events.is_some(),
        };
        let shown = wanted.then(|| match signal {
            Signal::Event(event, filter) => event_frame(core, event, filter, reader, declared),
            Signal::Message(message, filter) => signal::frame(core, &**message, filter, reader, declared),
            Signal::Live(live, filter) => signal::frame(core, &**live, filter, reader, declared),
        });
        let shown = shown.flatten();
        if shown.is_none() {
            let (thing_id, cause) = match signal {
                Signal::Event(event, _) => (&event.thing_id, &event.cause),
                Signal::Message(message, _) => (message.thing_id(), message.cause()),
                Signal::Live(live, _) => (live.thing_id(), live.cause()),
            };
            core.hub.acknowledge_weakly(thing_id, cause, declared);
        }
        shown
    }
}

fn event_frame(
    core: &Core,
    event: &Event,
    filter: &Filter,
    reader: &Caller,
    declared: &[String],
) -> Option<Value> {
    let extra = filter.extra(core, event.after.as_deref(), event.enforcer.as_deref(), reader);
    filter.passes(event, extra.as_ref(), reader.now).then(|| event.envelope(extra, declared))
}

/// The close code for what no client should send. Source: RFC 6455 §7.4.1.
fn broken(error: &axum::Error) -> End {
    let text = error.to_string();
    if text.contains("too long") {
        End::Close(close_code::SIZE, "a frame has at most 256 KiB")
    } else if text.to_ascii_lowercase().contains("utf-8") {
        End::Close(close_code::INVALID, "a text frame is UTF-8")
    } else {
        End::Close(close_code::PROTOCOL, "the frame breaks the protocol")
    }
}

async fn send(socket: &mut WebSocket, frame: &Value) -> Result<(), End> {
    put(socket, Frame::text(frame.to_string())).await
}

async fn send_all(socket: &mut WebSocket, frames: &[Value]) -> Result<(), End> {
    for frame in frames {
        send(socket, frame).await?;
    }
    Ok(())
}

async fn put(socket: &mut WebSocket, frame: Frame) -> Result<(), End> {
    timeout(SEND_MAX, socket.send(frame)).await.map_err(|_| End::Gone)?.map_err(|_| End::Gone)
}
