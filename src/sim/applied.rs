//! Which generations were applied, and whether Ready says no more than a pass can know (I5).
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::NAMESPACE;
use super::backend::Backend;
use super::check::{MARK, condition};
use super::cluster::{Cluster, Kind};
use crate::api::DigitalTwin;
use crate::twin::desired::Drift;
use crate::twin::json::{Pointer, leaves, same};
use crate::twin::ownership::declared;

/// Generations back that a stalled operator may still apply.
const SUPERSEDED: i64 = 64;

/// What a pass has seen of its thing, and what it left there.
pub struct Looked {
    id: String,
    /// As the thing stood once the last request about it was carried out.
    thing: Option<Arc<Value>>,
    /// How many changes came before the last look.
    since: usize,
    /// How many came before the last write, and so from others; as many as before the look when there was none.
    until: usize,
}

/// One generation of a twin.
struct Generation {
    thing: String,
    enforced: Vec<(Pointer, Value)>,
    drift: Drift,
    is_applied: bool,
}

/// Generations of all twins, and everything that was done to things.
#[derive(Default)]
pub struct Applied {
    generations: BTreeMap<(String, i64), Generation>,
    /// Every leaf that was changed, in order.
    touched: Vec<(String, Pointer)>,
}

impl Generation {
    fn of(object: &Value) -> Option<Self> {
        let twin = serde_json::from_value::<DigitalTwin>(object.clone()).ok()?;
        let desired = twin.desired(NAMESPACE).ok()?;
        let enforced = declared(&desired).enforced;
        Some(Self { thing: desired.id.to_string(), enforced, drift: desired.drift, is_applied: false })
    }

    /// Enforced paths that are not as declared in this thing.
    fn wrong<'g>(&'g self, thing: Option<&'g Value>) -> impl Iterator<Item = &'g Pointer> {
        let holds = move |path: &Pointer, wanted: &Value| path.get(thing?).map(|found| same(found, wanted));
        let wrong = self.enforced.iter().filter(move |(path, wanted)| holds(path, wanted) != Some(true));
        wrong.map(|(path, _)| path)
    }
}

impl Applied {
    /// An older copy of the cluster came back: generations are counted anew.
    pub fn restored(&mut self) {
        self.generations.clear();
    }

    /// Somebody did something; a pass that did it has counted before.
    pub fn touched(&mut self, before: &BTreeMap<String, Arc<Value>>, ditto: &Backend) {
        let after = ditto.all_things();
        for id in after.keys().chain(before.keys().filter(|id| !after.contains_key(*id))) {
            let (old, new) = (before.get(id), after.get(id));
            let changed = [(old, new), (new, old)].into_iter().flat_map(|(one, other)| {
                let one = one.into_iter().flat_map(|one| leaves(one));
                one.filter(move |(path, value)| other.and_then(|other| path.get(other)) != Some(*value))
            });
            // Revisions and marks are nobody's to declare.
            let changed =
                changed.filter(|(path, _)| !path.segments().iter().take(1).any(|at| at.starts_with('_')));
            self.touched.extend(changed.map(|(path, _)| (id.clone(), path)));
        }
    }

    /// A pass looked at its thing, or wrote to it.
    pub fn looked(&self, id: String, writes: bool, looked: &mut Option<Looked>, ditto: &Backend) {
        let until = self.touched.len();
        // A create without a look before sees in the same step that nothing is there.
        let since = looked.as_ref().filter(|looked| writes && looked.id == id).map_or(until, |l| l.since);
        *looked = Some(Looked { thing: ditto.thing(&id), id, since, until });
    }

    /// Which twins are as declared at this moment.
    pub fn look(&mut self, cluster: &Cluster, ditto: &Backend) {
        for (key, object) in cluster.objects() {
            let (uid, number) = (&object["metadata"]["uid"], object["metadata"]["generation"].as_i64());
            let (Kind::Twin, Some(uid), Some(number)) = (key.0, uid.as_str(), number) else { continue };
            let place = (uid.to_owned(), number);
            if !self.generations.contains_key(&place)
                && let Some(generation) = Generation::of(object)
            {
                self.generations.retain(|(held, old), _| held != uid || old + SUPERSEDED > number);
                self.generations.insert(place, generation);
            }
        }
        let mut things = BTreeMap::new();
        for generation in self.generations.values_mut().filter(|generation| !generation.is_applied) {
            let id = &generation.thing;
            let thing = things.entry(id.clone()).or_insert_with(|| ditto.thing(id)).as_deref();
            generation.is_applied = thing.is_some() && generation.wrong(thing).next().is_none();
        }
    }

    /// A pass has written. What it found as declared, and others changed before the write, is not in it.
    pub fn wrote(&mut self, looked: &Looked) {
        let Some(mark) = looked.thing.as_deref().and_then(|thing| Pointer::parse(MARK).get(thing)) else {
            return;
        };
        let (Some(uid), Some(number)) = (mark["uid"].as_str(), mark["generation"].as_i64()) else { return };
        let Some(generation) = self.generations.get(&(uid.to_owned(), number)) else { return };
        if self.missed(generation, looked).is_none()
            && let Some(generation) = self.generations.get_mut(&(uid.to_owned(), number))
        {
            generation.is_applied = true;
        }
    }

    /// The first enforced path that the pass neither found nor left as declared, although nobody changed it
    /// between its look and its write.
    fn missed<'g>(&self, generation: &'g Generation, looked: &'g Looked) -> Option<&'g Pointer> {
        let touched = self.touched.get(looked.since..looked.until).unwrap_or_default();
        let is_touched = |path: &Pointer| {
            touched.iter().any(|(id, at)| *id == looked.id && (at.covers(path) || path.covers(at)))
        };
        generation.wrong(looked.thing.as_deref()).find(|path| !is_touched(path))
    }

    /// What is wrong with the status that a pass has just written.
    pub fn judge(&self, name: &str, object: &Value, looked: Option<&Looked>) -> Option<String> {
        let ready = condition(object, "Ready").filter(|ready| ready["status"] == "True")?;
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        let number = ready["observedGeneration"].as_i64().unwrap_or_default();
        let says = format!("I5: {name} is Ready at generation {number}");
        let Some(generation) =
            self.generations.get(&(uid.to_owned(), number)).filter(|generation| generation.is_applied)
        else {
            return Some(format!("{says}, which was never applied"));
        };
        let paused = condition(object, "ReconciliationPaused").is_some_and(|c| c["status"] == "True");
        if paused || generation.drift != Drift::Enforce {
            // It keeps what it said before, or leaves what others changed since.
            return None;
        }
        let Some(looked) = looked else { return Some(format!("{says}, and nobody looked")) };
        let missed = self.missed(generation, looked)?;
        Some(format!("{says}, and {missed} was neither found nor left as declared"))
    }
}
