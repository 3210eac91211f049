//! One session with Ditto per identity, whoever and however many listen.
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::ask::Correlation;
use super::super::auth::Caller;
use super::super::problem::Problem;
use super::QUEUE;
use super::event::{self, Event};
use super::socket::{Dial, NoSocket, Socket};

/// How long a client waits for the first answer of Ditto.
const JOIN_DEADLINE: Duration = Duration::from_secs(10);
/// Ditto confirms a subscription at once.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries to reach Ditto, at first and at most. Half of it is random, so that replicas come one by one.
const BACKOFF: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Ditto is pinged this often, and taken for gone after so much silence.
const PING: Duration = Duration::from_secs(15);
const SILENCE_MAX: Duration = Duration::from_secs(45);
const START: &str = "START-SEND-EVENTS";

/// What listeners hear.
#[derive(Clone)]
pub enum Signal {
    Event(Arc<Event>),
    /// Ditto was away: what happened meanwhile nobody tells.
    Gap,
}

/// Where a session stands.
#[derive(Clone, Debug)]
pub enum Standing {
    Connecting,
    Up,
    /// Ditto does not want this caller (any more).
    Refused(Problem),
}

/// The sessions that somebody listens to.
pub struct Feeds {
    dial: Arc<Dial>,
    open: Mutex<HashMap<(HeaderName, HeaderValue), Weak<Feed>>>,
}

struct Feed {
    sender: broadcast::Sender<Signal>,
    standing: watch::Receiver<Standing>,
    /// Ends the session with its last listener.
    _stop: DropGuard,
}

/// A listener's end.
pub struct Listener {
    signals: broadcast::Receiver<Signal>,
    standing: watch::Receiver<Standing>,
    _feed: Arc<Feed>,
}

/// What a listener hears next.
pub enum Heard {
    Event(Arc<Event>),
    /// So many events came faster than they were taken.
    Missed(u64),
    Gap,
    /// The session is over.
    Over,
}

impl Feeds {
    pub fn new(dial: Arc<Dial>) -> Self {
        Self { dial, open: Mutex::default() }
    }

    /// Listens as `caller`, once Ditto has confirmed that it will tell.
    pub async fn join(&self, caller: &Caller, id: &Correlation) -> Result<Listener, Problem> {
        let feed = self.feed(caller, id);
        let mut listener =
            Listener { signals: feed.sender.subscribe(), standing: feed.standing.clone(), _feed: feed };
        let settled = listener.standing.wait_for(|standing| !matches!(standing, Standing::Connecting));
        let settled = match tokio::time::timeout(JOIN_DEADLINE, settled).await {
            Ok(Ok(standing)) => standing.clone(),
            _ => return Err(Problem::unavailable()),
        };
        match settled {
            Standing::Refused(problem) => Err(problem),
            _ => Ok(listener),
        }
    }

    fn feed(&self, caller: &Caller, id: &Correlation) -> Arc<Feed> {
        let mut open = self.open.lock();
        open.retain(|_, feed| feed.strong_count() > 0);
        let known = open.get(&caller.identity()).and_then(Weak::upgrade);
        if let Some(feed) = known.filter(|feed| !matches!(*feed.standing.borrow(), Standing::Refused(_))) {
            return feed;
        }
        let (sender, _) = broadcast::channel(QUEUE);
        let (stands, standing) = watch::channel(Standing::Connecting);
        let stop = CancellationToken::new();
        let session = Session {
            dial: Arc::clone(&self.dial),
            caller: caller.clone(),
            // Many traces listen to one session.
            id: Correlation { id: id.id.clone(), trace: None },
            sender: sender.clone(),
            standing: stands,
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(session.run()));
        let feed = Arc::new(Feed { sender, standing, _stop: stop.drop_guard() });
        open.insert(caller.identity(), Arc::downgrade(&feed));
        feed
    }
}

impl Listener {
    /// Waits for what comes next.
    pub async fn next(&mut self) -> Heard {
        let over = async {
            let refused = self.standing.wait_for(|standing| matches!(standing, Standing::Refused(_)));
            drop(refused.await);
        };
        tokio::select! {
            biased;
            signal = self.signals.recv() => match signal {
                Ok(signal) => heard(signal),
                Err(broadcast::error::RecvError::Lagged(missed)) => Heard::Missed(missed),
                Err(broadcast::error::RecvError::Closed) => Heard::Over,
            },
            () = over => Heard::Over,
        }
    }

    /// What is there already.
    pub fn ready(&mut self) -> Option<Heard> {
        match self.signals.try_recv() {
            Ok(signal) => Some(heard(signal)),
            Err(broadcast::error::TryRecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(_) => None,
        }
    }
}

fn heard(signal: Signal) -> Heard {
    match signal {
        Signal::Event(event) => Heard::Event(event),
        Signal::Gap => Heard::Gap,
    }
}

struct Session {
    dial: Arc<Dial>,
    caller: Caller,
    id: Correlation,
    sender: broadcast::Sender<Signal>,
    standing: watch::Sender<Standing>,
}

impl Session {
    /// Until it is refused; whoever listens does not notice but for the gap.
    async fn run(self) {
        let (mut backoff, mut was_up) = (BACKOFF, false);
        loop {
            match self.dial.connect(&self.caller, &self.id).await {
                Ok(mut socket) => {
                    if self.start(&mut socket, was_up).await {
                        (backoff, was_up) = (BACKOFF, true);
                        self.pump(&mut socket).await;
                        tracing::warn!("Ditto's event session ended; connecting again");
                    }
                }
                Err(NoSocket::Refused(problem)) => {
                    self.standing.send_replace(Standing::Refused(problem));
                    return;
                }
                Err(NoSocket::Unreached(why)) => tracing::warn!(why, "no events of Ditto"),
            }
            tokio::time::sleep(backoff.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Whether Ditto confirmed the subscription. Whatever comes from then on is heard.
    async fn start(&self, socket: &mut Socket, was_up: bool) -> bool {
        let confirmed = async {
            if !socket.send(START).await {
                return false;
            }
            while let Some(text) = socket.next(|| {}).await {
                if text.as_str() == "START-SEND-EVENTS:ACK" {
                    return true;
                }
            }
            false
        };
        if !matches!(tokio::time::timeout(CONFIRM_DEADLINE, confirmed).await, Ok(true)) {
            tracing::warn!("Ditto does not confirm a subscription to events");
            return false;
        }
        if was_up {
            // Nobody listening is nobody to tell.
            let _ = self.sender.send(Signal::Gap);
        }
        self.standing.send_replace(Standing::Up);
        true
    }

    async fn pump(&self, socket: &mut Socket) {
        let mut heard = Instant::now();
        let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
        loop {
            let text = tokio::select! {
                text = socket.next(|| heard = Instant::now()) => text,
                _ = ping.tick() => {
                    if heard.elapsed() >= SILENCE_MAX || !socket.ping().await {
                        return;
                    }
                    continue;
                }
            };
            let Some(text) = text else { return };
            if let Some(event) = event::read(text.as_str()) {
                let _ = self.sender.send(Signal::Event(Arc::new(event)));
            }
        }
    }
}
