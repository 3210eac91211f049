//! One watch over one kind, and the controller it drives.
use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::future::ready;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, BoxStream, Stream, StreamExt};
use kube::Api;
use kube::api::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{Action, Config, Controller, Error};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, runtime::PredicateConfig};

use super::context::{Context, Ditto, Managed, PASSES_MAX, Shared, Shelf, place};
use super::finalizer::has_ours;
use super::health::Patience;
use super::pass::reconcile;
use crate::api::annotation::PREFIX;
use crate::reconcile::Place;

/// Watches and passes until the stop; passes that run are carried to their end. `pause` gathers
/// wake-ups of one batch.
pub async fn run<K: Managed, D: Ditto>(context: Arc<Context<D>>, shelf: Shelf<K>, pause: Duration) {
    let Shelf { scope, store, writer, wakes } = shelf;
    let shared = Arc::clone(&context.shared);
    let api: Api<DeserializeGuard<K>> = match &scope {
        None => Api::all(shared.client.clone()),
        Some(namespace) => Api::namespaced(shared.client.clone(), namespace),
    };
    let (waking, noting) = (Arc::clone(&shared), Arc::clone(&shared));
    let mut observer = Observer::<K>::new(Arc::clone(&shared), watch_name::<K>(scope.as_deref()));
    let objects = anew_when_gone(move || watcher(api.clone(), watcher::Config::default()))
        .backoff(Patience::default())
        .modify(|object| prune(object.meta_mut()))
        .reflect(writer)
        .inspect(move |event| observer.observe(event))
        .applied_objects()
        .predicate_filter(|object: &_| Some(steering::<K>(object)), PredicateConfig::default())
        // The observer has told about errors; in the queue they would hold up the wake-ups.
        .filter(|object| ready(object.is_ok()))
        .inspect(move |object| {
            if let Ok(object) = object {
                K::desk(&noting).due.add(place(object.meta()));
                noting.tell_due::<K>();
            }
        });
    let woken = wakes.stream(pause).map(|(namespace, name)| ObjectRef::new(&name).within(&namespace));
    Controller::for_stream(objects, store)
        .with_config(Config::default().concurrency(PASSES_MAX))
        .reconcile_on(woken)
        .graceful_shutdown_on(shared.stop.clone().cancelled_owned())
        .run(reconcile::<K, D>, never::<K, D>, context)
        .for_each(|passed| {
            match passed {
                Ok(_) => {}
                Err(Error::ObjectNotFound(gone)) => {
                    let place = (gone.namespace.unwrap_or_default(), gone.name);
                    K::desk(&waking).forget(&place);
                }
                Err(error) => tracing::warn!(%error, kind = K::KIND, "the queue stumbled"),
            }
            ready(())
        })
        .await;
}

/// Takes out what no pass reads: it would be kept for as long as the resource lives. In an annotation of others is
/// mostly the whole spec once more, as `kubectl apply` left it there.
fn prune(meta: &mut ObjectMeta) {
    (meta.managed_fields, meta.labels) = (None, None);
    let ours =
        meta.annotations.take().map(|all| all.into_iter().filter(|(name, _)| name.starts_with(PREFIX)));
    meta.annotations = ours.map(Iterator::collect).filter(|ours: &BTreeMap<_, _>| !ours.is_empty());
}

/// A watch that begins anew, with a list, also where the answer to its start is 410. The library would ask for the
/// same version for ever; of an API server itself it hears of that in the stream, but others may stand between.
pub(super) fn anew_when_gone<T, S>(start: impl Fn() -> S + Send + 'static) -> BoxStream<'static, Watched<T>>
where
    T: Send + 'static,
    S: Stream<Item = Watched<T>> + Send + 'static,
{
    let until_gone = |events: S| {
        stream::unfold(Some(events.boxed()), |events| async {
            let mut events = events?;
            let event = events.next().await?;
            let rest = (!is_gone(&event)).then_some(events);
            Some((event, rest))
        })
    };
    stream::repeat_with(start).flat_map(until_gone).boxed()
}

/// What a watch says.
pub(super) type Watched<T> = Result<Event<T>, watcher::Error>;

fn is_gone<T>(event: &Watched<T>) -> bool {
    matches!(event, Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) if status.code == 410)
}

pub fn watch_name<K: Managed>(scope: Option<&str>) -> String {
    match scope {
        None => K::DEFINITION.to_owned(),
        Some(namespace) => format!("{} in {namespace}", K::DEFINITION),
    }
}

/// A pass has no error of its own: what went wrong stands in status.
#[allow(clippy::trivially_copy_pass_by_ref)] // kube asks for a reference
fn never<K: Managed, D>(_: Arc<DeserializeGuard<K>>, error: &Infallible, _: Arc<Context<D>>) -> Action {
    match *error {}
}

/// What must change for a watch event to start a pass: what steers us, and never our own writes. Our
/// finalizer counts only when it is missing although we have been here: somebody took it off.
pub(super) fn steering<K: Managed>(object: &DeserializeGuard<K>) -> u64 {
    let meta: &ObjectMeta = object.meta();
    let finalizers = meta.finalizers.as_deref().unwrap_or_default();
    let was_here = object.0.as_ref().is_ok_and(|object| object.reported().is_some());
    let ours = |name: &str| name.starts_with(PREFIX);
    let mut hasher = DefaultHasher::new();
    meta.generation.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    (was_here && !has_ours(finalizers)).hash(&mut hasher);
    finalizers.iter().filter(|name| !ours(name)).for_each(|name| name.hash(&mut hasher));
    let annotations = meta.annotations.iter().flatten();
    annotations.filter(|(name, _)| ours(name)).for_each(|annotation| annotation.hash(&mut hasher));
    hasher.finish()
}

/// Keeps catalog and health in step with one watch.
pub(super) struct Observer<K> {
    shared: Arc<Shared>,
    watch: String,
    /// All that this watch has shown and not taken back.
    present: HashSet<Place>,
    /// The list that is coming in.
    listed: HashSet<Place>,
    is_first: bool,
    kind: PhantomData<fn() -> K>,
}

impl<K: Managed> Observer<K> {
    pub(super) fn new(shared: Arc<Shared>, watch: String) -> Self {
        let (present, listed) = Default::default();
        Self { shared, watch, present, listed, is_first: true, kind: PhantomData }
    }

    pub(super) fn observe(&mut self, event: &Watched<DeserializeGuard<K>>) {
        match event {
            Err(error) => return self.shared.health.watch_failed(&self.watch, error),
            // Comes before the list is asked for, so it proves nothing.
            Ok(Event::Init) => return self.listed.clear(),
            Ok(Event::InitApply(object)) => {
                self.listed.insert(place(object.meta()));
                self.see(object);
            }
            Ok(Event::Apply(object)) => self.see(object),
            Ok(Event::Delete(object)) => self.gone(&place(object.meta())),
            Ok(Event::InitDone) => self.list_is_whole(),
        }
        self.shared.health.fine(&self.watch);
    }

    fn see(&mut self, object: &DeserializeGuard<K>) {
        let place = place(object.meta());
        K::desk(&self.shared).latest.seen(&place, object.meta());
        if object.0.as_ref().is_ok_and(|object| object.reported().is_none()) {
            K::desk(&self.shared).due.arrived(&place, Instant::now());
        }
        self.present.insert(place);
        // One that cannot be read keeps the claim it had: nobody else takes its thing over.
        if let Ok(object) = &object.0 {
            let woken = object.enter(&self.shared, &mut self.shared.catalog.lock());
            self.shared.wake(woken);
        }
    }

    fn gone(&mut self, place: &Place) {
        self.present.remove(place);
        K::desk(&self.shared).forget(place);
        K::gone(&self.shared, place);
    }

    /// What a new list no longer shows went while nobody watched.
    fn list_is_whole(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        let vanished: Vec<Place> = self.present.difference(&listed).cloned().collect();
        for place in &vanished {
            self.gone(place);
        }
        if std::mem::take(&mut self.is_first) {
            self.shared.filling.one_more();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::DigitalTwin;
    use serde_json::{Value, json};

    fn twin(meta: &Value, status: Option<Value>) -> DeserializeGuard<DigitalTwin> {
        let mut twin = json!({
            "apiVersion": "twinops.dev/v1alpha1", "kind": "DigitalTwin", "metadata": meta,
            "spec": {"policyId": "a:p"},
        });
        if let Some(status) = status {
            twin["status"] = status;
        }
        serde_json::from_value(twin).unwrap()
    }

    #[test]
    fn only_what_passes_read_is_kept() {
        let mut meta: ObjectMeta = serde_json::from_value(json!({
            "name": "t", "uid": "u", "finalizers": ["a.io/x"], "labels": {"a": "b"}, "managedFields": [{}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "twinops.dev/sync": "1"},
        }))
        .unwrap();
        prune(&mut meta);
        let kept = json!({
            "name": "t", "uid": "u", "finalizers": ["a.io/x"], "annotations": {"twinops.dev/sync": "1"},
        });
        assert_eq!(serde_json::to_value(&meta).unwrap(), kept);
        meta.annotations.as_mut().unwrap().clear();
        prune(&mut meta);
        assert_eq!(meta.annotations, None);
    }

    #[test]
    fn own_writes_start_no_pass_and_edits_do() {
        let ours = "twinops.dev/ditto";
        let meta = json!({"name": "t", "namespace": "n", "generation": 1, "finalizers": [ours]});
        let settled = twin(&meta, Some(json!({"revision": 1})));
        let with = |key: &str, value: Value| {
            let mut meta = meta.clone();
            meta[key] = value;
            twin(&meta, Some(json!({"revision": 1})))
        };
        let fresh = twin(&json!({"name": "t", "namespace": "n", "generation": 1}), None);
        let annotated = |name: &str| with("annotations", json!({name: "1"}));
        let cases = [
            ("our finalizer came", fresh, false),
            ("our status was written", twin(&meta, Some(json!({"revision": 2}))), false),
            ("a version moved", with("resourceVersion", json!("7")), false),
            ("somebody else's annotation", annotated("argocd.io/x"), false),
            ("a label", with("labels", json!({"a": "b"})), false),
            ("the spec was edited", with("generation", json!(2)), true),
            ("an annotation of ours", annotated("twinops.dev/sync"), true),
            ("it is going", with("deletionTimestamp", json!("2026-01-01T00:00:00Z")), true),
            ("somebody took our finalizer off", with("finalizers", json!([])), true),
            ("another finalizer came", with("finalizers", json!([ours, "a.io/x"])), true),
        ];
        for (name, other, starts) in cases {
            assert_eq!(steering(&settled) != steering(&other), starts, "{name}");
        }
    }
}
