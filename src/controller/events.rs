//! Kubernetes Events: what `kubectl describe` tells about a resource.
use std::time::Instant;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::MANAGER;
use super::client::in_time;
use crate::telemetry::Telemetry;

/// Events that may wait to be published. They are a comfort: a pass never waits for them.
const WAITING_MAX: usize = 1_024;
/// The longest note, in bytes. Source: Kubernetes, `events.k8s.io/v1` Event.note.
const NOTE_BYTES_MAX: usize = 1_024;

/// Good news at once, and then a second: an Event costs the API server as much as the status it is about, and
/// when thousands of twins are made, status is what people wait for. Warnings are always published.
const GOOD_NEWS_AT_ONCE: u32 = 100;
const GOOD_NEWS_PER_SECOND: u32 = 10;

/// Where passes hand their Events in.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<Announcement>,
    telemetry: Telemetry,
}

/// One Event about one resource.
#[derive(Debug)]
pub struct Announcement {
    pub about: ObjectReference,
    /// What Events fold by: within minutes a second one with this reason only counts up.
    pub reason: &'static str,
    pub note: String,
    pub is_warning: bool,
}

/// The other end of [`Events`].
pub struct Publisher(pub(super) mpsc::Receiver<Announcement>);

impl Events {
    pub fn new(telemetry: Telemetry) -> (Self, Publisher) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self { sender, telemetry }, Publisher(receiver))
    }

    pub fn announce(&self, announcement: Announcement) {
        self.telemetry.event(announcement.reason);
        if self.sender.try_send(announcement).is_err() {
            self.telemetry.dropped("kubernetes_events");
        }
    }
}

impl Publisher {
    /// Publishes until `stop`, then what waits already. Without a client nothing is published.
    pub async fn run(mut self, client: Option<Client>, telemetry: Telemetry, stop: CancellationToken) {
        let recorder = client.map(|client| Recorder::new(client, Reporter::from(MANAGER)));
        let mut allowance = Allowance::new(Instant::now());
        loop {
            let next = tokio::select! {
                next = self.0.recv() => next,
                () = stop.cancelled() => self.0.try_recv().ok(),
            };
            let Some(Announcement { about, reason, note, is_warning }) = next else { return };
            let Some(recorder) = &recorder else { continue };
            if !is_warning && !allowance.take(Instant::now()) {
                telemetry.dropped("kubernetes_events");
                continue;
            }
            let event = Event {
                type_: if is_warning { EventType::Warning } else { EventType::Normal },
                reason: reason.to_owned(),
                note: Some(short(&note).to_owned()),
                action: "Reconcile".to_owned(),
                secondary: None,
            };
            if let Err(error) = in_time(recorder.publish(&event, &about)).await {
                telemetry.dropped("kubernetes_events");
                tracing::debug!(%error, reason, "an event was not published");
            }
        }
    }
}

/// How much good news may be published now.
struct Allowance {
    left: f64,
    since: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: GOOD_NEWS_AT_ONCE.into(), since: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let fresh = now.duration_since(self.since).as_secs_f64() * f64::from(GOOD_NEWS_PER_SECOND);
        self.left = (self.left + fresh).min(GOOD_NEWS_AT_ONCE.into());
        self.since = now;
        let may = self.left >= 1.0;
        self.left -= f64::from(u8::from(may));
        may
    }
}

fn short(note: &str) -> &str {
    &note[..note.floor_char_boundary(NOTE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = "泵".repeat(NOTE_BYTES_MAX);
        assert!(short(&note).len() <= NOTE_BYTES_MAX && short(&note).len() > NOTE_BYTES_MAX - 3);
        assert_eq!(short("why"), "why");
    }

    #[test]
    fn good_news_comes_at_most_so_often() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let taken = |allowance: &mut Allowance, after: u64| {
            let now = start + Duration::from_secs(after);
            (0..1_000).filter(|_| allowance.take(now)).count()
        };
        assert_eq!(taken(&mut allowance, 0), 100);
        assert_eq!(taken(&mut allowance, 1), 10);
        assert_eq!(taken(&mut allowance, 3_600), 100, "what was not used is not saved up");
    }

    #[tokio::test]
    async fn a_full_queue_holds_nobody_up() {
        let telemetry = Telemetry::new();
        let (events, publisher) = Events::new(telemetry.clone());
        for _ in 0..=WAITING_MAX {
            let about = ObjectReference::default();
            events.announce(Announcement {
                about,
                reason: "Applied",
                note: String::new(),
                is_warning: false,
            });
        }
        assert_eq!(publisher.0.len(), WAITING_MAX);
        let text = telemetry.text().unwrap();
        assert!(text.contains("twinops_dropped_total{what=\"kubernetes_events\"} 1"), "{text}");
    }
}
