//! Hands events and messages to their subscribers. Never waits for one.
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use futures::future::Shared;
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::core::Stats;
use super::super::failure::Failure;
use super::super::store::committer;
use super::acks::{Ack, weak};
use super::event::{Cause, Event};
use super::filter::Filter;
use super::message::Message;
use super::reply::Reply;
use super::signal::{Heard, Kind, LiveSignal};
use super::waiting::Waiting;
use crate::twin::id::ThingId;

/// Signals that wait for one subscriber. Source: Ditto 3.8, `WS_SUBSCRIBER_BACKPRESSURE`.
pub const SUBSCRIBER_QUEUE: usize = 100;
/// Events of writes that are not on disk yet or not handed out yet; as many as writes may wait for the disk.
const UNPUBLISHED_MAX: usize = 4096;
/// Sockets and event streams together, so that requests still find a connection; more are refused with 429.
pub const SUBSCRIBERS_MAX: usize = 500;

/// Names a socket or an event stream.
pub type SessionId = u64;

/// When a write is on disk, or why it never will be.
pub type Durable = Shared<committer::Durable>;

/// What a subscriber gets, with the filter it was wanted by.
#[derive(Clone)]
pub enum Signal {
    Event(Arc<Event>, Arc<Filter>),
    Message(Arc<Message>, Arc<Filter>),
    Live(Arc<LiveSignal>, Arc<Filter>),
}

/// What one subscriber wants to hear of.
#[derive(Clone, Default)]
pub struct Interests {
    pub events: Option<Arc<Filter>>,
    pub messages: Option<Arc<Filter>>,
    pub live_commands: Option<Arc<Filter>>,
    pub live_events: Option<Arc<Filter>>,
}

pub struct Subscriber {
    pub id: SessionId,
    pub subjects: Vec<String>,
    /// Acknowledgements it gives.
    pub declared: Vec<String>,
    interests: RwLock<Interests>,
    /// The first event it may hear of: those before were enqueued when it did not listen yet.
    since: AtomicU64,
    queue: mpsc::Sender<Signal>,
}

/// An event with its place in the order of all, and when its write is durable (`None`: it is).
type Enqueued = (u64, Event, Option<Durable>);

pub struct Hub {
    pub stop: CancellationToken,
    counts: Arc<Stats>,
    pub acks: Arc<Waiting<Ack>>,
    pub replies: Arc<Waiting<Reply>>,
    order: mpsc::Sender<Enqueued>,
    /// Events enqueued so far.
    enqueued: AtomicU64,
    subscribers: RwLock<Vec<Arc<Subscriber>>>,
    /// Subscribers that want events; without one, none is made.
    listening: AtomicUsize,
    next: AtomicU64,
}

impl Hub {
    /// Starts the task that hands out events; it ends with the hub.
    pub fn start(stop: CancellationToken, counts: Arc<Stats>) -> Arc<Self> {
        let (order, unpublished) = mpsc::channel(UNPUBLISHED_MAX);
        let hub = Arc::new(Self {
            stop,
            counts,
            acks: Arc::default(),
            replies: Arc::default(),
            order,
            enqueued: AtomicU64::new(0),
            subscribers: RwLock::default(),
            listening: AtomicUsize::new(0),
            next: AtomicU64::new(0),
        });
        tokio::spawn(publish_all(unpublished, Arc::downgrade(&hub)));
        hub
    }

    /// Sockets and event streams that are open.
    pub fn subscribers(&self) -> usize {
        self.subscribers.read().len()
    }

    /// Whether anybody has a use for the event of a write.
    pub fn wants(&self, cause: &Cause) -> bool {
        self.listening.load(Ordering::Relaxed) > 0 || !cause.acks.is_empty()
    }

    /// Takes the event of a write, to be handed out once it is durable (`None`: it is). Call it under the lock that
    /// orders the writes.
    pub fn enqueue(&self, event: Event, durable: Option<Durable>) {
        let place = self.enqueued.fetch_add(1, Ordering::SeqCst);
        if self.order.try_send((place, event, durable)).is_err() {
            self.counts.unpublished.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn publish(&self, place: u64, event: Event) {
        let readers = event.readers();
        let event = Arc::new(event);
        for subscriber in self.subscribers.read().iter() {
            let filter = subscriber.interests.read().events.clone();
            let sent = filter.is_some_and(|filter| {
                place >= subscriber.since.load(Ordering::SeqCst)
                    && event.cause.session != Some(subscriber.id)
                    && filter.covers(&event.thing_id)
                    && subscriber.subjects.iter().any(|subject| readers.contains(subject))
                    && self.offer(subscriber, Signal::Event(Arc::clone(&event), filter))
            });
            if !sent {
                self.acknowledge_weakly(&event.thing_id, &event.cause, &subscriber.declared);
            }
        }
    }

    /// Says for a subscriber that did not get a signal that it has nothing to say.
    pub fn acknowledge_weakly(&self, thing_id: &ThingId, cause: &Cause, declared: &[String]) {
        for label in cause.acks.iter().filter(|label| declared.contains(label)) {
            self.acks.tell(thing_id.as_str(), &cause.correlation_id, weak(label, cause));
        }
    }

    /// Hands the message to whoever may read it and wants it.
    pub fn send(&self, message: Message) {
        let message = Arc::new(message);
        self.hand(
            &*message,
            |wants| wants.messages.clone(),
            |filter| Signal::Message(Arc::clone(&message), filter),
        );
    }

    /// As [`Self::send`], for a live command or event.
    pub fn send_live(&self, signal: LiveSignal) {
        let signal = Arc::new(signal);
        let wanted = |wants: &Interests| match signal.kind {
            Kind::Command => wants.live_commands.clone(),
            Kind::Event(_) => wants.live_events.clone(),
        };
        self.hand(&*signal, wanted, |filter| Signal::Live(Arc::clone(&signal), filter));
    }

    fn hand(
        &self,
        heard: &impl Heard,
        wanted: impl Fn(&Interests) -> Option<Arc<Filter>>,
        signal: impl Fn(Arc<Filter>) -> Signal,
    ) {
        let (thing_id, cause) = (heard.thing_id(), heard.cause());
        for subscriber in self.subscribers.read().iter() {
            let filter = wanted(&subscriber.interests.read());
            let sent = filter.is_some_and(|filter| {
                cause.session != Some(subscriber.id)
                    && filter.covers(thing_id)
                    && heard.readable(&subscriber.subjects)
                    && self.offer(subscriber, signal(filter))
            });
            if !sent {
                self.acknowledge_weakly(thing_id, cause, &subscriber.declared);
            }
        }
    }

    fn offer(&self, subscriber: &Subscriber, signal: Signal) -> bool {
        let taken = subscriber.queue.try_send(signal).is_ok();
        if !taken {
            self.counts.overflowed.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// A label somebody else has declared is a 409, as in Ditto 3.8.
    pub fn subscribe(
        self: &Arc<Self>,
        subjects: Vec<String>,
        declared: Vec<String>,
    ) -> Result<Subscription, Failure> {
        let mut subscribers = self.subscribers.write();
        if subscribers.len() >= SUBSCRIBERS_MAX {
            self.counts.turned_away.fetch_add(1, Ordering::Relaxed);
            return Err(Failure::new(
                429,
                "too.many.requests",
                "too many sockets and event streams are open",
            ));
        }
        if subscribers.iter().any(|other| other.declared.iter().any(|label| declared.contains(label))) {
            return Err(Failure::new(
                409,
                "acknowledgement:label.not.unique",
                "another session has declared one of the acknowledgements",
            ));
        }
        let (queue, signals) = mpsc::channel(SUBSCRIBER_QUEUE);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let interests = RwLock::default();
        let since = AtomicU64::new(0);
        let subscriber = Arc::new(Subscriber { id, subjects, declared, interests, since, queue });
        subscribers.push(Arc::clone(&subscriber));
        Ok(Subscription { hub: Arc::clone(self), subscriber, signals })
    }
}

async fn publish_all(mut unpublished: mpsc::Receiver<Enqueued>, hub: Weak<Hub>) {
    while let Some((place, event, durable)) = unpublished.recv().await {
        let is_durable = match durable {
            Some(durable) => matches!(durable.await, Ok(Ok(()))),
            None => true,
        };
        let Some(hub) = hub.upgrade() else { return };
        if is_durable {
            hub.publish(place, event);
        }
    }
}

/// A place among the subscribers, left when dropped.
pub struct Subscription {
    hub: Arc<Hub>,
    pub subscriber: Arc<Subscriber>,
    signals: mpsc::Receiver<Signal>,
}

impl Subscription {
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub fn interests(&self) -> Interests {
        self.subscriber.interests.read().clone()
    }

    pub fn want(&self, interests: Interests) {
        let mut held = self.subscriber.interests.write();
        match (held.events.is_some(), interests.events.is_some()) {
            (false, true) => {
                self.hub.listening.fetch_add(1, Ordering::Relaxed);
                self.subscriber.since.store(self.hub.enqueued.load(Ordering::SeqCst), Ordering::SeqCst);
            }
            (true, false) => drop(self.hub.listening.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        *held = interests;
    }

    pub async fn next(&mut self) -> Option<Signal> {
        self.signals.recv().await
    }

    /// What is there already.
    pub fn ready(&mut self) -> Option<Signal> {
        self.signals.try_recv().ok()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.want(Interests::default());
        self.hub.subscribers.write().retain(|other| other.id != self.subscriber.id);
    }
}
