//! One operator: its passes, catalog, memory of own writes, finalizers, status and the client of Ditto are
//! the real ones. Modelled is what the Kubernetes library does around them: watch, store feed and queue.
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{BoxStream, select};
use futures::{FutureExt, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::watcher::Event;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::super::context::{Context, Desk, Filling, Managed, PASSES_MAX, Shared, Shelf};
use super::super::events::{Events, Publisher};
use super::super::health::Health;
use super::super::kept::Properties;
use super::super::lead::Lead;
use super::super::namespaces::Namespaces;
use super::super::observer::Observer;
use super::super::pass::reconcile;
use super::super::resync::{Revisions, round};
use super::super::wake::Wakes;
use super::super::watch::OVERWRITTEN_APART;
use super::super::{CHECKS, ControllerOptions, LeaseOptions};
use super::applied::Looked;
use super::backend::OPERATOR;
use super::cluster::{Change, Cluster, Key, Kind};
use super::wire::{Arrived, Mailbox};
use super::{NAMESPACE, OWNER, RESYNC};
use crate::api::{DigitalTwin, TwinPolicy};
use crate::ditto::DittoClient;
use crate::reconcile::{Breaker, Catalog, Place};
use crate::telemetry::{Readiness, Telemetry};

pub type Ran = Result<Action, Infallible>;

#[allow(clippy::cast_possible_truncation)] // minutes
const RESYNC_MS: u64 = RESYNC.as_millis() as u64;
#[allow(clippy::cast_possible_truncation)] // seconds
const OVERWRITTEN_MS: u64 = OVERWRITTEN_APART.as_millis() as u64;

/// Where the resync of everything stands in the queue; no resource has such a name.
fn everything() -> Key {
    (Kind::Twin, "every thing".to_owned())
}

/// A pass that is under way.
pub struct Pass {
    pub key: Key,
    pub future: BoxFuture<'static, Ran>,
    /// The request it waits for; `None` while it waits for another pass.
    pub waiting: Option<Arrived>,
    /// What it has seen of its thing.
    pub looked: Option<Looked>,
}

impl Pass {
    fn new(key: &Key, future: BoxFuture<'static, Ran>) -> Self {
        Self { key: key.clone(), future, waiting: None, looked: None }
    }
}

/// What an operator that leads no more still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Leads,
    /// Stands still until all is quiet.
    Stalled,
    /// Stands still until the scenario is over.
    StalledLong,
    /// Ends the passes it has begun, and begins no new ones.
    Ends,
}

pub struct Operator {
    pub life: Life,
    pub context: Arc<Context<DittoClient>>,
    pub policies: Feed<TwinPolicy>,
    pub twins: Feed<DigitalTwin>,
    /// When each resource is due, in milliseconds.
    pub queue: BTreeMap<Key, u64>,
    pub passes: Vec<Pass>,
    revisions: Arc<tokio::sync::Mutex<Revisions>>,
    publisher: Publisher,
}

impl Operator {
    /// Starts with a list of what the first `entries` of the log tell.
    pub fn start(mailbox: &Mailbox, ditto: DittoClient, cluster: &Cluster, entries: usize, now: u64) -> Self {
        let telemetry = Telemetry::new();
        let (events, publisher) = Events::new(telemetry.clone());
        let (twins, twin_shelves) = Desk::<DigitalTwin>::new(&[None]);
        let (policies, policy_shelves) = Desk::<TwinPolicy>::new(&[None]);
        let options = ControllerOptions {
            resync: RESYNC,
            ditto_namespaces: "*".to_owned(),
            bridge_subject: None,
            watch_namespaces: vec![],
            breaker: Breaker { twins: 2, percent: 50 },
            lease: LeaseOptions { namespace: None, identity: "sim".to_owned(), duration: RESYNC },
            dry_run: false,
        };
        let shared = Arc::new(Shared {
            namespaces: Namespaces::new(&options.ditto_namespaces),
            catalog: Mutex::new(Catalog::default()),
            filling: Filling::new(3),
            running: Semaphore::new(PASSES_MAX.into()),
            subjects: RwLock::new(vec![OPERATOR.to_owned()]),
            ask_subjects: Notify::new(),
            ready: Mutex::default(),
            deletions: Mutex::default(),
            lead: Lead::default(),
            resync_now: Notify::new(),
            heard: Mutex::default(),
            properties: Properties::default(),
            stop: CancellationToken::new(),
            client: mailbox.cluster(),
            health: Health::new(Readiness::new(CHECKS)),
            owner: OWNER.to_owned(),
            options,
            twins,
            policies,
            events,
            telemetry,
        });
        // The watch over namespaces: none carries an annotation.
        shared.filling.one_more();
        // It leads, and where it should not any more, it is the last to know.
        shared.lead.set(Instant::now().checked_add(Duration::from_hours(24)));
        let mut operator = Self {
            life: Life::Leads,
            policies: Feed::new(&shared, policy_shelves),
            twins: Feed::new(&shared, twin_shelves),
            context: Arc::new(Context { ditto, shared }),
            queue: BTreeMap::from([(everything(), now + RESYNC_MS)]),
            passes: vec![],
            revisions: Arc::default(),
            publisher,
        };
        operator.list(Kind::Policy, cluster, entries, now);
        operator.list(Kind::Twin, cluster, entries, now);
        operator
    }

    /// A watch begins, or begins anew.
    pub fn list(&mut self, kind: Kind, cluster: &Cluster, entries: usize, now: u64) {
        let due = match kind {
            Kind::Policy => self.policies.list(kind, cluster, entries),
            Kind::Twin => self.twins.list(kind, cluster, entries),
        };
        self.due(due, now);
    }

    /// The next event of a watch; `None` when it has shown everything.
    pub fn next_event<'c>(&self, kind: Kind, cluster: &'c Cluster) -> Option<(usize, &'c Change)> {
        let (cursor, flow) = self.watch(kind);
        let is_next = |(_, change): &(usize, &Change)| change.key.0 == kind;
        (flow == Flow::Runs).then(|| cluster.log.iter().enumerate().skip(cursor).find(is_next)).flatten()
    }

    pub fn show(&mut self, at: usize, change: &Change, now: u64) {
        let due = match change.key.0 {
            Kind::Policy => self.policies.show(at, change),
            Kind::Twin => self.twins.show(at, change),
        };
        self.due(due, now);
    }

    pub fn watch(&self, kind: Kind) -> (usize, Flow) {
        match kind {
            Kind::Policy => (self.policies.cursor, self.policies.flow),
            Kind::Twin => (self.twins.cursor, self.twins.flow),
        }
    }

    /// The cluster as the watch over twins has shown it.
    pub fn view(&self, cluster: &Cluster) -> Cluster {
        cluster.until(self.twins.cursor)
    }

    pub fn set_flow(&mut self, kind: Kind, flow: Flow) {
        match kind {
            Kind::Policy => self.policies.flow = flow,
            Kind::Twin => self.twins.flow = flow,
        }
    }

    fn due(&mut self, keys: impl IntoIterator<Item = Key>, at: u64) {
        for key in keys {
            let due = self.queue.entry(key).or_insert(at);
            *due = (*due).min(at);
        }
        self.take_wake_ups(at);
    }

    /// What passes and watches found to be due.
    pub fn take_wake_ups(&mut self, now: u64) {
        for (kind, places) in [(Kind::Policy, self.policies.wake_ups()), (Kind::Twin, self.twins.wake_ups())]
        {
            for ((_, name), apart) in places {
                let at = now + apart;
                let due = self.queue.entry((kind, name)).or_insert(at);
                *due = (*due).min(at);
            }
        }
    }

    /// Begins a pass, as far as the store still has the resource.
    pub fn begin(&mut self, key: &Key) {
        self.queue.remove(key);
        if *key == everything() {
            let (context, revisions) = (Arc::clone(&self.context), Arc::clone(&self.revisions));
            let resync = async move {
                let ended = round(&context, &mut *revisions.lock().await).await;
                Ok(Action::requeue(if ended.is_ok() { RESYNC } else { Duration::from_secs(1) }))
            };
            self.passes.push(Pass::new(key, resync.boxed()));
            return;
        }
        let place: Place = (NAMESPACE.to_owned(), key.1.clone());
        let future = match key.0 {
            Kind::Policy => begin::<TwinPolicy>(&self.context, &place),
            Kind::Twin => begin::<DigitalTwin>(&self.context, &place),
        };
        self.passes.extend(future.map(|future| Pass::new(key, future)));
    }

    pub fn runs(&self, key: &Key) -> bool {
        self.passes.iter().any(|pass| pass.key == *key)
    }

    /// How many Events it announced since the last question.
    pub fn announced(&mut self) -> Vec<String> {
        let mut said = vec![];
        while let Ok(announcement) = self.publisher.0.try_recv() {
            said.push(format!("{}: {}", announcement.reason, announcement.note));
        }
        said
    }
}

fn begin<K: Managed>(context: &Arc<Context<DittoClient>>, place: &Place) -> Option<BoxFuture<'static, Ran>> {
    let Some(object) = K::desk(&context.shared).kept(place) else {
        K::desk(&context.shared).forget(place);
        return None;
    };
    Some(reconcile::<K, DittoClient>(object, Arc::clone(context)).boxed())
}

/// How a watch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Runs,
    /// Shows nothing until all else is done.
    Lags,
    /// Has missed something and must list anew.
    Broken,
}

/// One watch: fills the store and tells which resources are due.
pub struct Feed<K: Managed> {
    pub observer: Observer<K>,
    /// Who is due, and in how many milliseconds.
    wakes: BoxStream<'static, (Place, u64)>,
    cursor: usize,
    flow: Flow,
}

impl<K: Managed> Feed<K> {
    fn new(shared: &Arc<Shared>, shelves: Vec<Shelf<K>>) -> Self {
        let Shelf { store, writer, wakes: woken, overwritten, .. } =
            shelves.into_iter().next().expect("one shelf for all namespaces");
        let wakes = |wakes: Arc<Wakes>, apart| wakes.stream(Duration::ZERO).map(move |place| (place, apart));
        Self {
            observer: Observer::new(Arc::clone(shared), K::DEFINITION.to_owned(), (store, writer)),
            wakes: select(wakes(woken, 0), wakes(overwritten, OVERWRITTEN_MS)).boxed(),
            cursor: 0,
            flow: Flow::Runs,
        }
    }

    fn wake_ups(&mut self) -> BTreeSet<(Place, u64)> {
        let mut places = BTreeSet::new();
        while let Some(Some(place)) = self.wakes.next().now_or_never() {
            places.insert(place);
        }
        places
    }

    fn list(&mut self, kind: Kind, cluster: &Cluster, entries: usize) -> Vec<Key> {
        (self.cursor, self.flow) = (entries, Flow::Runs);
        let mut due = vec![];
        self.observer.take(Ok(Event::Init));
        for (key, object) in cluster.at(entries).into_iter().filter(|(key, _)| key.0 == kind) {
            let shown = self.observer.take(Ok(Event::InitApply(read::<K>(&object))));
            due.extend(shown.is_some().then_some(key));
        }
        self.observer.take(Ok(Event::InitDone));
        due
    }

    fn show(&mut self, at: usize, change: &Change) -> Option<Key> {
        self.cursor = self.cursor.max(at + 1);
        let object = read::<K>(&change.object);
        if change.is_gone {
            self.observer.take(Ok(Event::Delete(object)));
            return None;
        }
        self.observer.take(Ok(Event::Apply(object))).map(|_| change.key.clone())
    }
}

pub fn read<K: Managed>(object: &serde_json::Value) -> DeserializeGuard<K> {
    serde_json::from_value(object.clone()).expect("a resource with metadata")
}

/// When a pass wants the next one, in milliseconds; `None` is after the next change. Jitter is taken
/// out: the wait is rounded to the power of two of seconds that it was spread around.
pub fn pause(action: &Action) -> Option<u64> {
    if *action == Action::await_change() {
        return None;
    }
    // The library keeps the time to itself and shows it only here.
    let text = format!("{action:?}");
    let text = text.trim_start_matches("Action { requeue_after: Some(").trim_end_matches(") }");
    let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic() || c == 'µ')?);
    let seconds = number.parse::<f64>().ok()?
        * match unit {
            "s" => 1.0,
            "ms" => 1e-3,
            "µs" => 1e-6,
            _ => 1e-9,
        };
    // The lowest spread is 0.75 of a power of two, the highest 1.1.
    let power = (seconds.max(0.001) / 0.7).log2().floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hours at most")]
    Some((power.exp2() * 1_000.0) as u64)
}
