//! Enforced properties: what is declared of them, and ears for writes to them.
//!
//! The stream of changes leaves out what is written below a feature's properties, for that is telemetry.
//! Properties that a twin enforces are the exception. They are few and mostly the same for all twins of a
//! kind, so streams of their own are told their paths and values, and Ditto sorts the rest out.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll, select_all};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;

use super::backoff::wait;
use super::changes::heard;
use super::context::{Context, Ditto, Shared};
use crate::api::DigitalTwin;
use crate::ports::{Change, Kept, Refused};
use crate::reconcile::Place;
use crate::twin::desired::{Drift, Mode};
use crate::twin::json::{Pointer, same};
use crate::twin::ownership::declared;
use crate::twin::reason::Again;

/// Streams at the same time. Each holds some dozens of properties; what does not fit is found by resync.
const STREAMS_MAX: usize = 4;
/// Edits that come together open the streams anew once.
const PAUSE: Duration = Duration::from_secs(1);
/// Failures in a row that still lengthen the wait, as for the stream of all changes.
const FAILURES_MAX: u32 = 4;
const LASTING: Duration = Duration::from_secs(30);

/// What twins enforce below properties.
#[derive(Debug, Default)]
pub struct Properties {
    by_twin: Mutex<HashMap<Place, Vec<(Pointer, Value)>>>,
    changed: Notify,
}

impl Properties {
    /// A watch showed the twin, or it went with an empty list.
    pub fn set(&self, place: &Place, enforced: Vec<(Pointer, Value)>) {
        let mut by_twin = self.by_twin.lock();
        if by_twin.get(place).map_or(&[][..], Vec::as_slice) == enforced {
            return;
        }
        if enforced.is_empty() {
            by_twin.remove(place);
        } else {
            by_twin.insert(place.clone(), enforced);
        }
        drop(by_twin);
        self.changed.notify_one();
    }

    /// Each path once. Where twins differ about the value, no value tells whether a write is of interest.
    fn all(&self) -> Vec<Kept> {
        let by_twin = self.by_twin.lock();
        let mut paths: BTreeMap<&Pointer, Option<&Value>> = BTreeMap::new();
        for (path, value) in by_twin.values().flatten() {
            let agreed = paths.entry(path).or_insert(Some(value));
            *agreed = agreed.filter(|agreed| same(agreed, value));
        }
        paths.into_iter().map(|(path, value)| Kept { path: path.clone(), value: value.cloned() }).collect()
    }
}

/// What a twin enforces below the properties of its features, and would have to repair or report.
pub fn enforced(twin: &DigitalTwin, namespace: &str) -> Vec<(Pointer, Value)> {
    let management = &twin.spec.management;
    // Without such a mode every property is the device's, and nothing need be worked out.
    if !management.fields.iter().any(|field| Mode::from(field.mode) == Mode::Enforce) {
        return vec![];
    }
    let Ok(desired) = twin.desired(namespace) else { return vec![] };
    if desired.drift == Drift::Ignore {
        return vec![];
    }
    let is_property = |path: &Pointer| {
        let segments = path.segments();
        segments.len() > 3 && segments[0] == "features" && segments[2] == "properties"
    };
    declared(&desired).enforced.into_iter().filter(|(path, _)| is_property(path)).collect()
}

/// Listens until the stop, as long as we lead.
pub async fn keep<D: Ditto>(context: Arc<Context<D>>) {
    let shared = &context.shared;
    let mut failures = 0;
    loop {
        tokio::select! {
            () = async { shared.filling.done().await; shared.lead.begins().await } => {}
            () = shared.stop.cancelled() => return,
        }
        let started = Instant::now();
        let ended = tokio::select! {
            ended = shared.lead.during(listen(&context)) => ended,
            () = shared.stop.cancelled() => return,
        };
        shared.telemetry.kept_properties(0, shared.properties.all().len());
        let Some(refused) = ended else { continue };
        failures = if started.elapsed() >= LASTING { 1 } else { failures + 1 };
        tracing::info!(reason = %refused, "a stream of changes to enforced properties ended; it is opened again");
        let pause = wait(Again::Backoff, failures.min(FAILURES_MAX), LASTING, rand::random());
        tokio::select! {
            () = tokio::time::sleep(pause.unwrap_or(LASTING)) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

type Streams = SelectAll<BoxStream<'static, Result<Change, Refused>>>;

/// Listens until a stream ends; tells why it did. Other properties open the streams anew.
async fn listen<D: Ditto>(context: &Context<D>) -> Refused {
    let shared = &context.shared;
    let mut kept = shared.properties.all();
    let mut streams = match open(context, &kept).await {
        Ok(streams) => streams,
        Err(refused) => return refused,
    };
    let mut anew: Option<tokio::time::Instant> = None;
    loop {
        tokio::select! {
            change = streams.next(), if !streams.is_empty() => match change {
                Some(Ok(change)) => heard(shared, &change),
                Some(Err(refused)) => return refused,
                None => return Refused::Unavailable(crate::ports::Said::default()),
            },
            () = shared.properties.changed.notified() => {
                anew.get_or_insert_with(|| tokio::time::Instant::now() + PAUSE);
            }
            () = async { tokio::time::sleep_until(anew.unwrap_or_else(tokio::time::Instant::now)).await }, if anew.is_some() => {
                anew = None;
                let now = shared.properties.all();
                if now == kept {
                    continue;
                }
                // The old streams go when the new ones are there: nothing falls between them.
                match open(context, &now).await {
                    Ok(opened) => (streams, kept) = (opened, now),
                    Err(refused) => return refused,
                }
            }
        }
    }
}

async fn open<D: Ditto>(context: &Context<D>, kept: &[Kept]) -> Result<Streams, Refused> {
    let shared: &Shared = &context.shared;
    let (mut streams, mut rest) = (vec![], kept);
    while streams.len() < STREAMS_MAX && !rest.is_empty() {
        // One that is too long for any stream is passed over.
        let count = context.ditto.audible(rest);
        if count > 0 {
            streams.push(context.ditto.changes_of(&rest[..count]).await?);
        }
        rest = &rest[count.max(1)..];
    }
    shared.telemetry.kept_properties(kept.len() - rest.len(), rest.len());
    if !rest.is_empty() {
        tracing::warn!(
            paths = rest.len(),
            "so many enforced properties have no stream of changes; a resync finds who changed them"
        );
    }
    if !streams.is_empty() {
        // Nothing is replayed: what changed while nobody listened is found by looking.
        shared.resync_now.notify_one();
    }
    Ok(select_all(streams))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn place(name: &str) -> Place {
        ("n".to_owned(), name.to_owned())
    }

    fn twin(fields: &Value, drift: &str) -> DigitalTwin {
        serde_json::from_value(json!({
            "apiVersion": "twinops.dev/v1alpha1", "kind": "DigitalTwin", "metadata": {"name": "t"},
            "spec": {
                "thingId": "a:t", "policyId": "a:p", "attributes": {"x": 1},
                "features": {"f": {"properties": {"unit": "celsius", "value": 1}, "desiredProperties": {"i": 2}}},
                "management": {"fields": fields, "drift": drift},
            },
        }))
        .unwrap()
    }

    #[test]
    fn only_enforced_properties_are_listened_for() {
        let (unit, all) = ("/features/f/properties/unit", "/features/f/properties");
        let enforce = |path: &str| json!([{"path": path, "mode": "Enforce"}]);
        let rows = [
            ("one", enforce(unit), "Enforce", vec![unit]),
            ("reported too", enforce(unit), "Report", vec![unit]),
            ("ignored", enforce(unit), "Ignore", vec![]),
            ("all of a feature", enforce(all), "Enforce", vec![unit, "/features/f/properties/value"]),
            ("none below properties", enforce("/attributes/x"), "Enforce", vec![]),
            ("none at all", json!([]), "Enforce", vec![]),
        ];
        for (name, fields, drift, expected) in rows {
            let found = enforced(&twin(&fields, drift), "n");
            assert_eq!(
                found.iter().map(|(path, _)| path.to_string()).collect::<Vec<_>>(),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn a_path_stands_once_and_has_a_value_while_all_agree() {
        let properties = Properties::default();
        let unit = |value: Value| vec![(Pointer::parse("/features/f/properties/unit"), value)];
        let values = || properties.all().into_iter().map(|kept| kept.value).collect::<Vec<_>>();
        properties.set(&place("a"), unit(json!(1)));
        properties.set(&place("b"), unit(json!(1.0)));
        assert!(same(values()[0].as_ref().unwrap(), &json!(1)), "{:?}", values());
        properties.set(&place("c"), unit(json!(2)));
        assert_eq!(values(), [None]);
        properties.set(&place("c"), vec![]);
        assert_eq!(values().len(), 1);
        assert!(values()[0].is_some());
        properties.set(&place("a"), vec![]);
        properties.set(&place("b"), vec![]);
        assert_eq!(values(), []);
    }
}
