//! Enforced paths inside features: what is declared of them, and ears for writes to them.
//!
//! The stream of changes leaves out what is written below a feature's properties, and merges of all features,
//! for that is telemetry. Paths that a twin enforces there are the exception. They are few and mostly the same
//! for all twins of a kind, so streams of their own are told their paths and values, and Ditto sorts the rest out.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll, select_all};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;

use super::apart::Apart;
use super::changes::{anew_while_leading, heard};
use super::context::{Context, Ditto, Shared};
use crate::api::DigitalTwin;
use crate::ports::{Change, Kept, Refused};
use crate::reconcile::Place;
use crate::twin::desired::Drift;
use crate::twin::json::{Pointer, same};
use crate::twin::ownership::declared;

/// Streams at the same time. Each holds some dozens of paths; what does not fit is found by resync.
const STREAMS_MAX: usize = 4;
/// Edits that come together open the streams anew once.
const PAUSE: Duration = Duration::from_secs(1);
/// The streams stay open for so long: each opening costs a resync.
const OPENED_APART: Duration = Duration::from_secs(10);

/// Enforced paths with their values. Twins of a kind mostly share one list.
type Enforced = Arc<[(Pointer, Value)]>;

/// What twins enforce below properties.
#[derive(Debug, Default)]
pub struct Properties {
    inner: Mutex<Lists>,
    changed: Notify,
}

/// Each list once, however many twins have it.
#[derive(Debug, Default)]
struct Lists {
    by_twin: HashMap<Place, Enforced>,
    all: HashSet<Enforced>,
}

impl Lists {
    fn shared(&mut self, enforced: Vec<(Pointer, Value)>) -> Enforced {
        if let Some(known) = self.all.get(enforced.as_slice()) {
            return Arc::clone(known);
        }
        let new = Enforced::from(enforced);
        self.all.insert(Arc::clone(&new));
        new
    }

    /// A twin let go of its list.
    fn released(&mut self, list: &Enforced) {
        const HERE_AND_IN_ALL: usize = 2;
        if Arc::strong_count(list) == HERE_AND_IN_ALL {
            self.all.remove(list);
        }
    }
}

impl Properties {
    /// A watch showed the twin, or it went with an empty list.
    pub fn set(&self, place: &Place, enforced: Vec<(Pointer, Value)>) {
        let mut inner = self.inner.lock();
        if inner.by_twin.get(place).map_or(&[][..], AsRef::as_ref) == enforced {
            return;
        }
        let old = if enforced.is_empty() {
            inner.by_twin.remove(place)
        } else {
            let list = inner.shared(enforced);
            inner.by_twin.insert(place.clone(), list)
        };
        if let Some(old) = old {
            inner.released(&old);
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Each path once. Where twins differ about the value, no value tells whether a write is of interest.
    fn all(&self) -> Vec<Kept> {
        let inner = self.inner.lock();
        let mut paths: BTreeMap<&Pointer, Option<&Value>> = BTreeMap::new();
        for (path, value) in inner.all.iter().flat_map(|list| list.iter()) {
            let agreed = paths.entry(path).or_insert(Some(value));
            *agreed = agreed.filter(|agreed| same(agreed, value));
        }
        let kept =
            |(path, value): (&Pointer, Option<&Value>)| Kept { path: path.clone(), value: value.cloned() };
        let mut all: Vec<Kept> = paths.into_iter().map(kept).collect();
        // The others are mostly written one by one, and then the stream of all changes tells.
        all.sort_by_key(|kept| kept.path.segments().get(2).is_none_or(|part| part != "properties"));
        all
    }
}

/// What a twin enforces inside its features, and would have to repair or report.
pub fn enforced(twin: &DigitalTwin, namespace: &str) -> Vec<(Pointer, Value)> {
    if twin.spec.features.as_ref().is_none_or(BTreeMap::is_empty) {
        return vec![];
    }
    let Ok(desired) = twin.desired(namespace) else { return vec![] };
    if desired.drift == Drift::Ignore {
        return vec![];
    }
    declared(&desired).enforced.into_iter().filter(|(path, value)| can_be_heard(path, value)).collect()
}

/// Whatever is merged into an object fits its path, so an empty one would hear all telemetry below it.
fn can_be_heard(path: &Pointer, value: &Value) -> bool {
    let segments = path.segments();
    let is_part = match segments.get(2).map(AsRef::as_ref) {
        Some("definition") => true,
        Some("properties" | "desiredProperties") => segments.len() > 3,
        _ => false,
    };
    segments[0] == "features" && is_part && !value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Listens until the stop, as long as we lead.
pub async fn keep<D: Ditto>(context: Arc<Context<D>>) {
    let shared = &context.shared;
    let ended = |ended: Option<(Refused, u32)>| {
        shared.telemetry.kept_properties(0, shared.properties.all().len());
        if let Some((reason, _)) = ended {
            tracing::info!(%reason, "a stream of changes to enforced properties ended; it is opened again");
        }
    };
    anew_while_leading(shared, || listen(&context), ended).await;
}

type Streams = SelectAll<BoxStream<'static, Result<Change, Refused>>>;

/// What each stream listens for.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    streams: Vec<Vec<Kept>>,
    unheard: usize,
}

impl Plan {
    /// `audible` tells how many of the first one stream can hold.
    fn new(mut rest: &[Kept], audible: impl Fn(&[Kept]) -> usize) -> Self {
        let mut plan = Self::default();
        while plan.streams.len() < STREAMS_MAX && !rest.is_empty() {
            let count = audible(rest);
            if count == 0 {
                // It is too long for any stream.
                plan.unheard += 1;
                rest = &rest[1..];
                continue;
            }
            plan.streams.push(rest[..count].to_vec());
            rest = &rest[count..];
        }
        plan.unheard += rest.len();
        plan
    }

    fn heard(&self) -> usize {
        self.streams.iter().map(Vec::len).sum()
    }
}

/// When streams that were opened at `opened` may be opened anew for an edit of `now`.
fn anew_at(opened: Option<tokio::time::Instant>, now: tokio::time::Instant) -> tokio::time::Instant {
    opened.map_or(now + PAUSE, |opened| (now + PAUSE).max(opened + OPENED_APART))
}

async fn until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Listens until a stream ends; tells why it did. Other paths open the streams anew.
async fn listen<D: Ditto>(context: &Context<D>) -> Refused {
    let shared = &context.shared;
    let plan_now = || Plan::new(&shared.properties.all(), |kept| context.ditto.audible(kept));
    let mut plan = plan_now();
    let mut streams = match open(context, &plan).await {
        Ok(streams) => streams,
        Err(refused) => return refused,
    };
    let opened_now = |plan: &Plan| (!plan.streams.is_empty()).then(tokio::time::Instant::now);
    let (mut opened, mut anew, mut apart) = (opened_now(&plan), None, Apart::default());
    loop {
        tokio::select! {
            change = streams.next(), if !streams.is_empty() => match change {
                Some(Ok(change)) => hear(shared, &mut apart, change),
                Some(Err(refused)) => return refused,
                None => return Refused::Unavailable(crate::ports::Said::default()),
            },
            () = until(apart.next()) => {
                apart.due(tokio::time::Instant::now()).iter().for_each(|change| heard(shared, change));
            }
            () = shared.properties.changed.notified() => {
                anew.get_or_insert_with(|| anew_at(opened, tokio::time::Instant::now()));
            }
            () = until(anew) => {
                anew = None;
                let now = plan_now();
                if now.streams == plan.streams {
                    tell(shared, &now);
                    plan = now;
                    continue;
                }
                // The old streams go when the new ones are there: nothing falls between them.
                match open(context, &now).await {
                    Ok(others) => (streams, opened, plan) = (others, opened_now(&now), now),
                    Err(refused) => return refused,
                }
            }
        }
    }
}

fn hear(shared: &Shared, apart: &mut Apart, change: Change) {
    // Of things that nobody declares nothing is kept.
    if shared.catalog.lock().claimants(&change.thing_id).is_empty() {
        return heard(shared, &change);
    }
    match apart.take(change, tokio::time::Instant::now()) {
        Some(change) => heard(shared, &change),
        None => shared.telemetry.change("put_together"),
    }
}

fn tell(shared: &Shared, plan: &Plan) {
    shared.telemetry.kept_properties(plan.heard(), plan.unheard);
}

async fn open<D: Ditto>(context: &Context<D>, plan: &Plan) -> Result<Streams, Refused> {
    let shared: &Shared = &context.shared;
    let mut streams = vec![];
    for kept in &plan.streams {
        streams.push(context.ditto.changes_of(kept).await?);
    }
    tell(shared, plan);
    if plan.unheard > 0 {
        tracing::warn!(
            paths = plan.unheard,
            "so many enforced paths have no stream of changes; a resync finds who changed them"
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
    use std::collections::BTreeSet;

    fn place(name: &str) -> Place {
        ("n".to_owned(), name.to_owned())
    }

    fn twin(fields: &Value, drift: &str) -> DigitalTwin {
        serde_json::from_value(json!({
            "apiVersion": "twinops.dev/v1alpha1", "kind": "DigitalTwin", "metadata": {"name": "t"},
            "spec": {
                "thingId": "a:t", "policyId": "a:p", "attributes": {"x": 1},
                "features": {"f": {
                    "definition": ["a:b:1"],
                    "properties": {"unit": "celsius", "value": 1, "config": {}},
                    "desiredProperties": {"i": 2, "config": {}},
                }},
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
            ("an empty object", enforce("/features/f/properties/config"), "Enforce", vec![]),
        ];
        for (name, fields, drift, expected) in rows {
            let found = enforced(&twin(&fields, drift), "n");
            // What TwinOps keeps by default, also when it is merged into all features at once.
            let wishes = ["/features/f/definition", "/features/f/desiredProperties/i"];
            let wishes = wishes.into_iter().filter(|_| drift != "Ignore");
            let expected: BTreeSet<String> = expected.into_iter().chain(wishes).map(str::to_owned).collect();
            let found: BTreeSet<String> = found.iter().map(|(path, _)| path.to_string()).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn streams_are_opened_anew_for_what_they_can_hear_alone() {
        let kept = |number: usize| Kept {
            path: Pointer::parse(&format!("/features/f/properties/{number}")),
            value: None,
        };
        let all: Vec<Kept> = (0..10).map(kept).collect();
        let two = |kept: &[Kept]| kept.len().min(2);
        let plan = |count: usize| Plan::new(&all[..count], two);
        assert_eq!((plan(8).heard(), plan(8).unheard), (8, 0));
        assert_eq!((plan(10).heard(), plan(10).unheard), (8, 2));
        assert_eq!(plan(10).streams, plan(9).streams, "what no stream can hold changes none");
        assert_ne!(plan(7).streams, plan(8).streams);
        let too_long = Plan::new(&all, |kept: &[Kept]| usize::from(kept[0] != all[0]));
        assert_eq!((too_long.heard(), too_long.unheard), (4, 6));
    }

    #[test]
    fn a_row_of_edits_opens_the_streams_once_in_a_while() {
        let start = tokio::time::Instant::now();
        assert_eq!(anew_at(None, start), start + PAUSE);
        assert_eq!(anew_at(Some(start), start + PAUSE), start + OPENED_APART);
        let late = start + OPENED_APART * 2;
        assert_eq!(anew_at(Some(start), late), late + PAUSE);
    }

    #[test]
    fn properties_come_before_what_is_mostly_heard_of_anyway() {
        let properties = Properties::default();
        let paths = ["/features/a/definition", "/features/a/desiredProperties/x", "/features/z/properties/x"];
        properties.set(&place("a"), paths.map(|path| (Pointer::parse(path), json!(1))).to_vec());
        assert_eq!(properties.all()[0].path.to_string(), paths[2]);
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

    #[test]
    fn twins_of_a_kind_share_one_list_for_as_long_as_one_has_it() {
        let properties = Properties::default();
        let unit = |value: &str| vec![(Pointer::parse("/features/f/properties/unit"), json!(value))];
        let lists = || properties.inner.lock().all.len();
        for name in ["a", "b", "c"] {
            properties.set(&place(name), unit("celsius"));
        }
        assert_eq!(lists(), 1);
        properties.set(&place("c"), unit("kelvin"));
        assert_eq!(lists(), 2);
        properties.set(&place("c"), vec![]);
        properties.set(&place("a"), vec![]);
        assert_eq!(lists(), 1, "one still has it");
        properties.set(&place("b"), vec![]);
        assert_eq!(lists(), 0);
    }
}
