//! The bridge at work: one task that reads the broker and the link to Ditto, and does what the core decides.
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::bridge::{CHECKS, Question};
use super::core::{Core, CoreOptions, Effect, Incoming};
use super::letters::Letters;
use super::link::{Link, LinkError};
use super::meter::{BrokerWindow, Meter};
use super::outbox::Outbox;
use super::tries::Tries;
use super::wire::{Packet, Welcome, Wire};
use crate::ditto::link::{self, Heard};
use crate::settings::{Mqtt, Qos};
use crate::telemetry::{Readiness, Telemetry};
use crate::tls;
use crate::twin::topics::Topics;

/// Bytes that wait for the broker before nothing more is read from it, and no dead letter is written.
const UNSENT_MAX: usize = 1_024 * 1_024;
/// How often metrics are told, and files looked at.
const TICK: Duration = Duration::from_secs(1);
const LOOK_EVERY: u32 = 5;
/// What is taken from Ditto before the broker has its turn.
const HEARD_AT_ONCE: usize = 1_024;
const SUBSCRIPTION: u16 = 1;
/// A line in the log about commands that are too large, at most so often, and the characters of the topic in it.
const LINE_EVERY: Duration = Duration::from_secs(10);
const TOPIC_CHARS_MAX: usize = 300;

type Opening = BoxFuture<'static, Result<(Link, Welcome), LinkError>>;

/// The bridge with all that it holds.
pub struct Driver {
    core: Core,
    mqtt: Arc<Mqtt>,
    subscriptions: Vec<(String, Qos)>,
    link: Option<Link>,
    outbox: Outbox,
    ditto: link::Link,
    telemetry: Telemetry,
    readiness: Readiness,
    asked: mpsc::Receiver<Question>,
    has_subscribed: bool,
    tries: Tries,
    letters: Letters,
    window: BrokerWindow,
    meter: Meter,
    ticks: u32,
    /// When the log was told of a command that was too large.
    told: Option<Instant>,
}

impl Driver {
    pub fn new(
        core: CoreOptions,
        mqtt: Mqtt,
        ditto: link::Link,
        asked: mpsc::Receiver<Question>,
        telemetry: Telemetry,
        readiness: Readiness,
    ) -> Self {
        let now = Instant::now();
        Self {
            subscriptions: subscriptions(&core.topics, mqtt.qos),
            core: Core::new(core, now, rand::random()),
            mqtt: Arc::new(mqtt),
            link: None,
            outbox: Outbox::default(),
            ditto,
            telemetry,
            readiness,
            asked,
            has_subscribed: false,
            tries: Tries::new(now),
            letters: Letters::default(),
            window: BrokerWindow::new(now),
            meter: Meter::default(),
            ticks: 0,
            told: None,
        }
    }

    /// Until `stop`. What waits for the broker then still goes out.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut opening: Option<Opening> = Some(self.open(Duration::ZERO));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let wake = tokio::time::sleep(Duration::ZERO);
        let mut wake = std::pin::pin!(wake);
        loop {
            let due = self.core.next_turn(Instant::now());
            if wake.deadline().into_std() != due {
                wake.as_mut().reset(due.into());
            }
            let may_read = self.may_read();
            let step = tokio::select! {
                () = stop.cancelled() => break,
                heard = self.ditto.heard.recv() => { self.read_ditto(heard); Ok(()) }
                turned = turn(&mut self.link, may_read) => turned,
                opened = opened(&mut opening) => { opening = None; self.welcome(opened) }
                Some(question) = self.asked.recv() => { self.answer(question); Ok(()) }
                _ = tick.tick() => self.tick(may_read),
                () = &mut wake => Ok(()),
            };
            let step = step.and_then(|()| self.read_broker()).and_then(|()| self.act());
            if let Err(error) = step {
                let delay = self.lost(&error);
                opening = Some(self.open(delay));
            }
        }
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }

    fn open(&self, delay: Duration) -> Opening {
        let (mqtt, telemetry) = (Arc::clone(&self.mqtt), self.telemetry.clone());
        async move {
            tokio::time::sleep(delay).await;
            // Also of one that the broker will refuse: then it is wanted most.
            let shown = mqtt.tls.as_ref().and_then(|tls| tls.identity.as_ref());
            let chain = shown.and_then(|(certificate, _)| tls::certificates(certificate).ok());
            if let Some(end) = chain.and_then(|chain| tls::not_after(&chain)) {
                telemetry.tls_not_after("bridge", end);
            }
            Link::open(&mqtt).await
        }
        .boxed()
    }

    fn may_read(&self) -> bool {
        !self.core.is_full() && self.link.as_ref().is_some_and(|link| link.unsent() < UNSENT_MAX)
    }

    /// A connection. What is not acknowledged of ours goes out again, and what is not acknowledged of theirs comes again.
    fn welcome(&mut self, opened: Result<(Link, Welcome), LinkError>) -> Result<(), LinkError> {
        let (link, welcome) = opened?;
        let link = self.link.insert(link);
        let (wire, to) = link.outgoing();
        // A session that is there may be of other settings, so the first connection always subscribes. Later ones do
        // not: 3.1.1 would send all that is retained once more.
        if !welcome.session_present {
            // What was subscribed went with it, and this connection may break before the broker hears of it anew.
            self.has_subscribed = false;
        }
        if !self.has_subscribed {
            wire.subscribe(SUBSCRIPTION, &self.subscriptions, to)?;
        }
        let packet_max = welcome.packet_max.unwrap_or(self.mqtt.packet_max);
        self.outbox.again(welcome.receive_maximum, packet_max);
        self.core.set_packet_max(packet_max);
        self.tries.connected(Instant::now());
        self.letters.connected(Instant::now());
        self.telemetry.mqtt_connection("connected");
        self.telemetry.mqtt_connected("broker", true);
        self.readiness.set(CHECKS[0], Ok(()));
        tracing::info!(
            broker = self.mqtt.host,
            session_present = welcome.session_present,
            "connected to the broker"
        );
        Ok(())
    }

    /// Forgets the connection. Returns how long to wait before the next.
    fn lost(&mut self, error: &LinkError) -> Duration {
        let was_open = self.link.take().is_some();
        self.core.disconnected();
        // No command is blamed for what a letter may have done.
        let is_over_letter = self.letters.ended(Instant::now());
        let given_up = if is_over_letter { None } else { self.outbox.broke(Instant::now()) };
        if let Some(topic) = given_up {
            tracing::warn!(
                topic,
                "each connection broke when this command was sent: it is given up; see the broker's log and its limits"
            );
        }
        let outcome = self.tries.ended(error, was_open, Instant::now());
        self.telemetry.mqtt_connection(outcome.result);
        self.telemetry.mqtt_connected("broker", false);
        let hint = if is_over_letter {
            "it may be over a dead letter: see that the broker lets the bridge write to --dead-letter-topic, and takes packets as large as --mqtt-packet-max"
        } else if outcome.is_taken_over {
            "it seems that another client has our client id: give each bridge its own --mqtt-client-id or --replica"
        } else {
            ""
        };
        tracing::warn!(%error, hint, "no connection to the broker; trying again");
        self.readiness.set(CHECKS[0], Err(error.to_string()));
        outcome.delay.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    /// Takes what was read.
    fn read_broker(&mut self) -> Result<(), LinkError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let now = Instant::now();
        while let Some(packet) = link.packet()? {
            match packet {
                Packet::Publish(publish) => {
                    let incoming = Incoming {
                        topic: &publish.topic,
                        payload: &publish.payload,
                        skipped: publish.skipped,
                        is_duplicate: publish.is_duplicate,
                        packet: publish.id,
                    };
                    self.core.message(incoming, now);
                }
                Packet::PubAck { id, refused: None } => self.outbox.acknowledged(id),
                Packet::PubAck { id, refused: Some(why) } => {
                    if let Some(topic) = self.outbox.refused(id, now) {
                        tracing::warn!(
                            topic,
                            why,
                            "the broker does not take a command, and its device does not hear it: check the broker's ACL"
                        );
                    }
                }
                Packet::SubAck(granted) => {
                    if let Some(at) = granted.iter().position(|granted| !granted) {
                        let filter = self.subscriptions.get(at).map_or("", |(filter, _)| filter);
                        return Err(LinkError::Refused(format!("it may not subscribe to {filter}")));
                    }
                    self.has_subscribed = true;
                }
                Packet::Disconnect(why) => return Err(LinkError::Said(why)),
                Packet::Welcome(_) | Packet::Pong | Packet::Other => {}
            }
        }
        if let Some(most) = self.window.saw(self.core.acks.len(), now) {
            tracing::warn!(
                most,
                "the broker never has more messages on their way: raise its window (Mosquitto: max_inflight_messages 16384)"
            );
        }
        Ok(())
    }

    fn read_ditto(&mut self, heard: Option<Heard>) {
        let now = Instant::now();
        let Some(heard) = heard else { return };
        self.take(heard, now);
        for _ in 0..HEARD_AT_ONCE {
            let Ok(heard) = self.ditto.heard.try_recv() else { return };
            self.take(heard, now);
        }
    }

    fn take(&mut self, heard: Heard, now: Instant) {
        match &heard {
            Heard::Up { live, .. } => {
                self.readiness.set(CHECKS[1], Ok(()));
                tracing::info!(commands = live, "connected to Ditto");
            }
            Heard::Down { why, .. } => {
                tracing::warn!(why, "no connection to Ditto; trying again");
                self.readiness.set(CHECKS[1], Err(why.clone()));
            }
            _ => {}
        }
        self.core.heard(heard, now);
    }

    /// Lets the core decide, and does what it decides.
    fn act(&mut self) -> Result<(), LinkError> {
        self.core.turn(Instant::now());
        let mut nowhere = BytesMut::new();
        let (wire, to) = match &mut self.link {
            Some(link) => {
                let (wire, to) = link.outgoing();
                (Some(wire), to)
            }
            None => (None, &mut nowhere),
        };
        // Before the letters: a message whose turn it is does not come again when the connection ends over its letter.
        if wire.is_some() {
            while let Some(id) = self.core.acks.due() {
                Wire::acknowledge(id, to);
            }
        }
        let mut letters_dropped = 0;
        for effect in self.core.effects() {
            match effect {
                Effect::Order(order) => {
                    // The window keeps it from being full; what is lost is found out at its deadline.
                    if self.ditto.orders.try_send(order).is_err() {
                        self.telemetry.dropped("orders");
                    }
                }
                Effect::Publish { topic, payload, is_command: true } => self.outbox.push(topic, payload),
                Effect::Publish { topic, payload, is_command: false } => match wire {
                    Some(wire) if to.len() < UNSENT_MAX && self.letters.may_write(Instant::now()) => {
                        wire.publish(None, false, &topic, &payload.into(), to)?;
                    }
                    _ => letters_dropped += 1,
                },
                Effect::TooLarge { topic, bytes } => {
                    let now = Instant::now();
                    if self.told.is_none_or(|at| now.saturating_duration_since(at) >= LINE_EVERY) {
                        self.told = Some(now);
                        let topic: String = topic.chars().take(TOPIC_CHARS_MAX).collect();
                        tracing::warn!(
                            topic,
                            bytes,
                            "a command is larger than the broker takes, and its device does not hear it: send less, or raise the broker's limit (Mosquitto: max_packet_size) and, with MQTT 3.1.1, --mqtt-packet-max"
                        );
                    }
                }
                Effect::Rejected { reason, topic, why } => {
                    tracing::warn!(reason = reason.word(), from = topic, why, "a message was not written");
                }
            }
        }
        self.core.counts.letters_dropped += letters_dropped;
        if let Some(wire) = wire {
            self.outbox.send(wire, UNSENT_MAX, to, Instant::now())?;
        }
        Ok(())
    }

    fn answer(&self, question: Question) {
        let Question { state, after, limit, answer } = question;
        let wanted = |presence| state.is_none_or(|state| state == presence);
        drop(answer.send(self.core.devices(Instant::now(), wanted, &after, limit)));
    }

    fn tick(&mut self, may_read: bool) -> Result<(), LinkError> {
        let now = Instant::now();
        self.meter.tell(&self.core, &self.outbox, &self.telemetry);
        self.ticks = self.ticks.wrapping_add(1);
        let Some(link) = &mut self.link else { return Ok(()) };
        if self.ticks.is_multiple_of(LOOK_EVERY) && link.is_outdated(&self.mqtt) {
            self.tries.start_over();
            return Err(LinkError::Files("its files changed: connecting anew with them".to_owned()));
        }
        link.tick(may_read, now)
    }
}

fn subscriptions(topics: &Topics, qos: Qos) -> Vec<(String, Qos)> {
    let telemetry = topics.telemetry_filters();
    let filters = topics.filters().into_iter().enumerate();
    filters.map(|(at, filter)| (filter, if at < telemetry { qos } else { Qos::AtLeastOnce })).collect()
}

async fn turn(link: &mut Option<Link>, may_read: bool) -> Result<(), LinkError> {
    match link {
        Some(link) => link.turn(may_read).await,
        None => std::future::pending().await,
    }
}

async fn opened(opening: &mut Option<Opening>) -> Result<(Link, Welcome), LinkError> {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}
