//! Kubernetes Events: what `kubectl describe` tells about a resource.
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
    /// Publishes until `stop`, then what waits already.
    pub async fn run(mut self, client: Client, telemetry: Telemetry, stop: CancellationToken) {
        let recorder = Recorder::new(client, Reporter::from(MANAGER));
        loop {
            let next = tokio::select! {
                next = self.0.recv() => next,
                () = stop.cancelled() => self.0.try_recv().ok(),
            };
            let Some(Announcement { about, reason, note, is_warning }) = next else { return };
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

fn short(note: &str) -> &str {
    &note[..note.floor_char_boundary(NOTE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = "泵".repeat(NOTE_BYTES_MAX);
        assert!(short(&note).len() <= NOTE_BYTES_MAX && short(&note).len() > NOTE_BYTES_MAX - 3);
        assert_eq!(short("why"), "why");
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
