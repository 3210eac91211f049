//! Keeps store, catalog and health in step with one watch.
//!
//! The library's own way keeps a new list beside the old one until it is whole, twice the memory of all resources.
//! Here only the first list waits; a later one is put over what is kept, one by one, and what it did not show goes at its
//! end.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::{Store, Writer};
use kube::runtime::watcher::Event;

use super::context::{Managed, Shared, place};
use super::packed::Packed;
use super::pass::show;
use super::watch::Watched;
use crate::reconcile::Place;

pub struct Observer<K: Managed> {
    shared: Arc<Shared>,
    watch: String,
    store: Store<Packed<K>>,
    writer: Writer<Packed<K>>,
    /// What was shown before the first list was whole: the store does not show it yet.
    early: HashSet<Place>,
    /// The list that is coming in.
    listed: HashSet<Place>,
    is_first: bool,
}

impl<K: Managed> Observer<K> {
    /// `watch` is its name in readiness.
    pub fn new(
        shared: Arc<Shared>,
        watch: String,
        (store, writer): (Store<Packed<K>>, Writer<Packed<K>>),
    ) -> Self {
        let (early, listed) = Default::default();
        Self { shared, watch, store, writer, early, listed, is_first: true }
    }

    /// Returns what is due for a pass.
    pub fn take(&mut self, event: Watched<DeserializeGuard<K>>) -> Option<Packed<K>> {
        let shown = match event {
            Err(error) => {
                self.shared.health.watch_failed(&self.watch, &error);
                return None;
            }
            // Comes before the list is asked for, so it proves nothing.
            Ok(Event::Init) => {
                self.listed.clear();
                if self.is_first {
                    self.writer.apply_watcher_event(&Event::Init);
                }
                return None;
            }
            Ok(Event::InitApply(mut object)) => {
                self.listed.insert(place(object.meta()));
                self.see(&mut object, self.is_first)
            }
            Ok(Event::Apply(mut object)) => self.see(&mut object, false),
            Ok(Event::Delete(object)) => {
                self.gone(&place(object.meta()));
                None
            }
            Ok(Event::InitDone) => {
                self.list_is_whole();
                None
            }
        };
        self.shared.health.fine(&self.watch);
        shown
    }

    /// `waits`: nobody sees it before the list is whole.
    fn see(&mut self, object: &mut DeserializeGuard<K>, waits: bool) -> Option<Packed<K>> {
        let packed = Packed::new(object);
        let place = place(object.meta());
        let before = self.kept(&place);
        let is_overwritten = before
            .as_ref()
            .is_some_and(|before| !packed.says_as(before) && self.is_overwritten(&place, before, object));
        // In the store first: whoever is woken finds what woke it.
        let event = if waits { Event::InitApply } else { Event::Apply }(packed.clone());
        self.writer.apply_watcher_event(&event);
        K::desk(&self.shared).latest.seen(&place, object.meta());
        if object.0.is_ok() && !packed.is_reported() {
            K::desk(&self.shared).due.arrived(&place, Instant::now());
        }
        // One that cannot be read keeps the claim it had: nobody else takes its thing over.
        if let Ok(object) = &object.0 {
            let woken = object.enter(&self.shared, &mut self.shared.catalog.lock());
            self.shared.wake(woken);
        }
        if is_overwritten {
            tracing::debug!(kind = K::KIND, resource = %show(&place), "somebody else wrote its status");
            self.shared.overwritten::<K>(place.clone());
        }
        if waits {
            self.early.insert(place);
        }
        before.is_none_or(|before| !packed.steers_as(&before)).then_some(packed)
    }

    /// Somebody else wrote another status into it, or one that can be read: an operator that led before us, or a person.
    fn is_overwritten(&self, place: &Place, before: &Packed<K>, object: &DeserializeGuard<K>) -> bool {
        let (was, meta) = (before.meta(), object.meta());
        let Ok(now) = &object.0 else { return false };
        was.uid == meta.uid
            && !K::desk(&self.shared).latest.is_ours(place, meta, now.reported())
            && before.read().0.map_or(true, |was| was.reported() != now.reported())
    }

    fn kept(&self, place: &Place) -> Option<Arc<Packed<K>>> {
        self.store.get(&ObjectRef::new(&place.1).within(&place.0))
    }

    fn gone(&mut self, place: &Place) {
        // Out of the store first: what is put into the catalog anew is taken from there.
        if let Some(kept) = self.kept(place) {
            self.writer.apply_watcher_event(&Event::Delete(Packed::clone(&kept)));
        }
        K::desk(&self.shared).forget(place);
        K::gone(&self.shared, place);
    }

    /// What a new list no longer shows went while nobody watched.
    fn list_is_whole(&mut self) {
        let is_first = std::mem::take(&mut self.is_first);
        if is_first {
            self.writer.apply_watcher_event(&Event::InitDone);
        }
        let listed = std::mem::take(&mut self.listed);
        let early = std::mem::take(&mut self.early);
        let shown = self.store.state().into_iter().map(|kept| place(kept.meta())).chain(early);
        for place in shown.filter(|place| !listed.contains(place)) {
            self.gone(&place);
        }
        if is_first {
            self.shared.filling.one_more();
        }
    }
}
