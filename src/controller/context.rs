//! What all passes of one operator share.
use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store as reflector_store;
use kube::runtime::reflector::store::{Store, Writer};
use kube::{Api, Client, Resource};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::ControllerOptions;
use super::backoff::Tries;
use super::changes::Heard;
use super::crd::Definition;
use super::deletions::Deletions;
use super::due::Due;
use super::events::Events;
use super::health::Health;
use super::kept::Properties;
use super::lacks::Lacks;
use super::latest::Latest;
use super::lead::Lead;
use super::namespaces::Namespaces;
use super::packed::Packed;
use super::wake::Wakes;
use crate::api::status::DriftSeen;
use crate::api::{DigitalTwin, TwinPolicy, annotation};
use crate::ports::{Changes, Policies, Things};
use crate::reconcile::{Catalog, Place};
use crate::telemetry::Telemetry;
use crate::twin::claim::Claimant;

/// Passes at the same time, over both kinds: enough to hide Ditto's latency, few enough not to starve
/// what else talks to it.
pub const PASSES_MAX: u16 = 16;

/// Twins and policies that are due because another resource changed.
pub type Woken = (BTreeSet<Place>, BTreeSet<Place>);

/// The Kubernetes namespace of a watch; `None` is all of them.
pub type Scope = Option<String>;

/// One of our two kinds.
pub trait Managed:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    const KIND: &'static str;
    /// The name of its `CustomResourceDefinition`.
    const DEFINITION: &'static str;
    type Spec: PartialEq;
    type Status: Clone + Debug + Default + PartialEq + Serialize + Send + Sync + 'static;

    fn spec(&self) -> &Self::Spec;
    fn reported(&self) -> Option<&Self::Status>;
    fn conditions(status: &Self::Status) -> &[Condition];
    fn drift(status: &Self::Status) -> Option<&DriftSeen>;
    fn desk(shared: &Shared) -> &Desk<Self>;
    /// Puts the resource into the catalog. Tells the twins and policies that concerns.
    fn enter(&self, shared: &Shared, catalog: &mut Catalog) -> Woken;
    /// Takes it out of the catalog.
    fn gone(shared: &Shared, place: &Place);
    fn pass<D: Ditto>(&self, context: &Context<D>) -> impl Future<Output = Action> + Send;
}

/// Ditto, as the operator needs it.
pub trait Ditto: Things + Policies + Changes + Clone + 'static {}
impl<D: Things + Policies + Changes + Clone + 'static> Ditto for D {}

/// What a pass is given.
pub struct Context<D> {
    pub ditto: D,
    pub shared: Arc<Shared>,
}

/// What does not depend on how Ditto is reached.
pub struct Shared {
    pub client: Client,
    pub options: ControllerOptions,
    /// The uid of the namespace `kube-system`: the name of this cluster in marks.
    pub owner: String,
    /// The subjects Ditto sees in our credentials, the default one first.
    pub subjects: RwLock<Vec<String>>,
    /// Rung when Ditto may see us differently now.
    pub ask_subjects: Notify,
    pub catalog: Mutex<Catalog>,
    pub namespaces: Namespaces,
    pub twins: Desk<DigitalTwin>,
    pub policies: Desk<TwinPolicy>,
    pub events: Events,
    pub telemetry: Telemetry,
    pub health: Health,
    pub filling: Filling,
    pub running: Semaphore,
    pub stop: CancellationToken,
    pub deletions: Mutex<Deletions>,
    pub lead: Lead,
    /// Rung when a change in Ditto may have gone unseen.
    pub resync_now: Notify,
    /// Twins that a change in Ditto woke, until a pass has looked.
    pub heard: Mutex<HashMap<Place, Heard>>,
    /// What twins enforce of their properties.
    pub properties: Properties,
    /// Twins that were Ready after their last pass.
    pub ready: Mutex<BTreeSet<Place>>,
}

/// What belongs to one kind.
pub struct Desk<K: Managed> {
    pub tries: Tries,
    pub latest: Latest<K::Status>,
    pub definition: Definition,
    /// What the definition in the cluster lacks of a status.
    pub lacks: Lacks,
    /// Resources that wait for a pass.
    pub due: Due,
    /// Those that a dry run would have written: what waits for them is told what would come after.
    pub would: Mutex<BTreeSet<Place>>,
    stores: Vec<Store<Packed<K>>>,
    wakes: HashMap<Scope, Arc<Wakes>>,
    /// Those whose status somebody else wrote.
    overwritten: HashMap<Scope, Arc<Wakes>>,
}

/// The store of one watch with the end that fills it.
pub struct Shelf<K: Managed> {
    pub scope: Scope,
    pub store: Store<Packed<K>>,
    pub writer: Writer<Packed<K>>,
    pub wakes: Arc<Wakes>,
    pub overwritten: Arc<Wakes>,
}

impl<K: Managed> Desk<K> {
    pub fn new(scopes: &[Scope]) -> (Self, Vec<Shelf<K>>) {
        let shelf = |scope: &Scope| {
            let (store, writer) = reflector_store();
            let (wakes, overwritten) = Default::default();
            Shelf { scope: scope.clone(), store, writer, wakes, overwritten }
        };
        let shelves: Vec<Shelf<K>> = scopes.iter().map(shelf).collect();
        let desk = Self {
            tries: Tries::default(),
            latest: Latest::default(),
            definition: Definition::default(),
            lacks: Lacks::default(),
            due: Due::default(),
            would: Mutex::default(),
            stores: shelves.iter().map(|shelf| shelf.store.clone()).collect(),
            wakes: shelves.iter().map(|shelf| (shelf.scope.clone(), Arc::clone(&shelf.wakes))).collect(),
            overwritten: shelves
                .iter()
                .map(|shelf| (shelf.scope.clone(), Arc::clone(&shelf.overwritten)))
                .collect(),
        };
        (desk, shelves)
    }

    /// All there are, of one namespace or of all.
    pub fn all(&self, namespace: Option<&str>) -> Vec<Arc<Packed<K>>> {
        let objects = self.stores.iter().flat_map(Store::state);
        objects.filter(|o| namespace.is_none_or(|name| o.meta().namespace.as_deref() == Some(name))).collect()
    }

    /// Reads what is kept, anew each time.
    pub fn find(&self, place: &Place) -> Option<DeserializeGuard<K>> {
        self.kept(place).map(|kept| kept.read())
    }

    pub fn kept(&self, place: &Place) -> Option<Arc<Packed<K>>> {
        let reference = ObjectRef::new(&place.1).within(&place.0);
        self.stores.iter().find_map(|store| store.get(&reference))
    }

    pub fn forget(&self, place: &Place) {
        self.tries.forget(place);
        self.latest.forget(place);
        self.due.forget(place);
        self.would.lock().remove(place);
    }

    fn wake(&self, place: Place) -> bool {
        let Some(wakes) = of_scope(&self.wakes, &place) else { return true };
        let taken = wakes.push(place.clone());
        if taken {
            self.due.add(place);
        }
        taken
    }
}

fn of_scope<'w>(wakes: &'w HashMap<Scope, Arc<Wakes>>, place: &Place) -> Option<&'w Arc<Wakes>> {
    wakes.get(&None).or_else(|| wakes.get(&Some(place.0.clone())))
}

impl Shared {
    /// Somebody else wrote the status of one: it is looked at a little later, and one that failed in its own time, so that
    /// two who contradict each other do not do so at full speed.
    pub fn overwritten<K: Managed>(&self, place: Place) {
        if self.lead.holds() {
            self.telemetry.foreign_status(K::KIND);
        }
        self.look_later::<K>(place);
    }

    /// One whose pass failed has a time of its own.
    pub fn look_later<K: Managed>(&self, place: Place) {
        let desk = K::desk(self);
        if desk.tries.is_failing(&place) {
            return;
        }
        if of_scope(&desk.overwritten, &place).is_some_and(|wakes| !wakes.push(place)) {
            self.telemetry.dropped("wake_ups_overwritten");
        }
    }

    pub fn wake(&self, (twins, policies): Woken) {
        let twins = twins.into_iter().map(|place| ("wake_ups_twins", self.twins.wake(place)));
        let policies = policies.into_iter().map(|place| ("wake_ups_policies", self.policies.wake(place)));
        for (what, _) in twins.chain(policies).filter(|(_, taken)| !taken) {
            self.telemetry.dropped(what);
        }
        self.tell_due::<DigitalTwin>();
        self.tell_due::<TwinPolicy>();
    }

    pub fn tell_due<K: Managed>(&self) {
        self.telemetry.queue_depth(K::KIND, K::desk(self).due.waiting());
    }

    /// A namespace may name other Ditto namespaces from now on: its resources claim others, and all of
    /// them are due.
    pub fn grants_changed(&self, namespace: &str) {
        self.see_again::<DigitalTwin>(namespace);
        self.see_again::<TwinPolicy>(namespace);
    }

    /// Puts a resource into the catalog anew, as the watch showed it last. One that went does not come
    /// back: its watch takes it out of the store before it takes it out of the catalog.
    pub fn refresh<K: Managed>(&self, place: &Place) {
        let mut catalog = self.catalog.lock();
        let found = K::desk(self).find(place);
        let object = found.as_ref().and_then(|found| found.0.as_ref().ok());
        let woken = object.map(|object| object.enter(self, &mut catalog));
        drop(catalog);
        self.wake(woken.unwrap_or_default());
    }

    fn see_again<K: Managed>(&self, namespace: &str) {
        for object in K::desk(self).all(Some(namespace)) {
            let place = place(object.meta());
            self.refresh::<K>(&place);
            K::desk(self).wake(place);
        }
    }

    /// Everything is due, because Ditto sees us differently.
    pub fn wake_all(&self) {
        let places = |metas: Vec<Place>| metas.into_iter().collect::<BTreeSet<_>>();
        let twins = self.twins.all(None).iter().map(|o| place(o.meta())).collect();
        let policies = self.policies.all(None).iter().map(|o| place(o.meta())).collect();
        self.wake((places(twins), places(policies)));
    }

    /// Another operator leads from now on, and knows better than we do.
    pub fn leads_no_more(&self) {
        self.twins.latest.forget_all();
        self.policies.latest.forget_all();
        self.ready.lock().clear();
        // Who leads next hears for itself; old news would name the wrong subject later.
        self.heard.lock().clear();
        self.telemetry.twins(0, 0);
        self.telemetry.leads(false);
    }

    /// All whose last pass failed are due.
    pub fn wake_failed(&self) {
        self.wake((self.twins.tries.failing(), self.policies.tries.failing()));
    }

    pub fn api<K: Managed>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// `Err` names the first of `ditto_namespaces` that resources of `namespace` may not name.
    pub fn tenancy<'a>(
        &self,
        namespace: &str,
        ditto_namespaces: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), String> {
        let grants = self.namespaces.grants(namespace);
        match ditto_namespaces.into_iter().find(|name| !grants.allow(name)) {
            None => Ok(()),
            Some(name) => Err(format!(
                "resources of namespace {namespace:?} may not name the Ditto namespace {name:?}: annotate the \
                 Namespace with {}, or change --ditto-namespaces",
                annotation::DITTO_NAMESPACES
            )),
        }
    }
}

/// Counts the watches that still have to show their first whole list.
#[derive(Debug)]
pub struct Filling(watch::Sender<usize>);

impl Filling {
    pub fn new(missing: usize) -> Self {
        Self(watch::Sender::new(missing))
    }

    pub fn one_more(&self) {
        self.0.send_modify(|missing| *missing = missing.saturating_sub(1));
    }

    /// Until all lists are there.
    pub async fn done(&self) {
        // An error would mean that the sender is gone, and it is here.
        let _ = self.0.subscribe().wait_for(|missing| *missing == 0).await;
    }
}

pub fn place(meta: &ObjectMeta) -> Place {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

pub fn claimant(meta: &ObjectMeta) -> Claimant {
    let (namespace, name) = place(meta);
    Claimant {
        namespace,
        name,
        uid: meta.uid.clone().unwrap_or_default(),
        since: meta.creation_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
    }
}
