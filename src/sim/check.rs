//! What must hold after every write, and how a run ended.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::OWNER;
use super::applied::{Applied, Looked};
use super::backend::Backend;
use super::cluster::{Cluster, Key, Kind};
use super::wire::{Asked, Side};
use crate::twin::json::{Pointer, same};
use crate::twin::policy::{LABEL, mark_of};

/// Where a thing carries the mark.
pub const MARK: &str = "/_metadata/twinops";

/// Watches every write and remembers what was wrong.
#[derive(Default)]
pub struct Watchman {
    pub problems: Vec<String>,
    applied: Applied,
    /// The highest generation that each thing was marked with, by uid.
    marked: BTreeMap<String, i64>,
}

/// Whom a DELETE would hit: kind, id, and the uid in its mark.
pub struct Victim {
    kind: Kind,
    id: String,
    uid: Option<String>,
}

impl Watchman {
    pub fn victim(asked: &Asked, ditto: &Backend) -> Option<Victim> {
        if asked.side != Side::Ditto || asked.method() != "DELETE" {
            return None;
        }
        let (kind, id) = place(asked)?;
        let uid = match kind {
            Kind::Twin => thing_mark(ditto, &id)?["uid"].as_str().map(str::to_owned),
            Kind::Policy => policy_mark(ditto, &id).and_then(|mark| Some(mark["uid"].as_str()?.to_owned())),
        };
        Some(Victim { kind, id, uid })
    }

    /// The operator's request was carried out.
    pub fn wrote(
        &mut self,
        asked: &Asked,
        victim: Option<Victim>,
        looked: Option<&Looked>,
        cluster: &Cluster,
        ditto: &mut Backend,
    ) {
        match asked.side {
            Side::Cluster => self.status(asked, looked, cluster),
            Side::Ditto => {
                if let Some(victim) = victim {
                    self.deleted(&victim, cluster, ditto);
                }
                let lost = ditto.lost_values();
                self.problems.extend(lost.into_iter().map(|lost| format!("I4 after {asked}: {lost}")));
                self.never_backwards(ditto);
                if let Some(looked) = looked {
                    self.applied.wrote(looked);
                }
            }
        }
        self.look(cluster, ditto);
    }

    /// The operator's request was carried out, whether it writes or not.
    pub fn looked(&self, asked: &Asked, looked: &mut Option<Looked>, ditto: &Backend) {
        if let Some((Kind::Twin, id)) = place(asked).filter(|_| asked.side == Side::Ditto) {
            self.applied.looked(id, asked.writes(), looked, ditto);
        }
    }

    /// Who was deleted had to go (I3).
    fn deleted(&mut self, victim: &Victim, cluster: &Cluster, ditto: &Backend) {
        let gone = match victim.kind {
            Kind::Twin => ditto.thing(&victim.id).is_none(),
            Kind::Policy => ditto.policy(&victim.id).is_none(),
        };
        let lives = cluster.objects().values().any(|object| {
            object["metadata"]["uid"].as_str() == victim.uid.as_deref()
                && object["metadata"].get("deletionTimestamp").is_none()
        });
        if gone && (lives || victim.uid.is_none()) {
            self.problems.push(format!("I3: {} was deleted, and nobody asked for it", victim.id));
        }
        if let Some(uid) = &victim.uid {
            self.marked.remove(uid);
        }
    }

    /// A stale leader or cache takes no thing back to an older generation (F5, F13).
    fn never_backwards(&mut self, ditto: &Backend) {
        for id in &ditto.things {
            let Some(mark) = thing_mark(ditto, id) else { continue };
            let (Some(uid), Some(generation)) = (mark["uid"].as_str(), mark["generation"].as_i64()) else {
                continue;
            };
            let highest = self.marked.entry(uid.to_owned()).or_insert(generation);
            if generation < *highest {
                self.problems.push(format!("{id} went from generation {highest} back to {generation}"));
            }
            *highest = (*highest).max(generation);
        }
    }

    /// Ready means that every enforced path was found or left as declared (I5).
    fn status(&mut self, asked: &Asked, looked: Option<&Looked>, cluster: &Cluster) {
        let Some(name) = asked.path().strip_suffix("/status").and_then(|path| path.rsplit('/').next()) else {
            return;
        };
        let is_twin = asked.path().contains(Kind::Twin.plural());
        if let Some(object) = cluster.get(&(Kind::Twin, name.to_owned())).filter(|_| is_twin) {
            self.problems.extend(self.applied.judge(name, object, looked));
        }
    }

    /// An older copy of the cluster came back: generations are counted anew.
    pub fn restored(&mut self) {
        self.marked.clear();
        self.applied.restored();
    }

    /// Somebody lets the thing of this resource go back to an older generation.
    pub fn taken_over(&mut self, object: Option<&Value>) {
        if let Some(uid) = object.and_then(|object| object["metadata"]["uid"].as_str()) {
            self.marked.remove(uid);
        }
    }

    /// Somebody did something; `before` is how all things stood.
    pub fn touched(&mut self, before: &BTreeMap<String, Arc<Value>>, ditto: &Backend) {
        self.applied.touched(before, ditto);
    }

    /// Which twins are as declared at this moment.
    pub fn look(&mut self, cluster: &Cluster, ditto: &Backend) {
        self.applied.look(cluster, ditto);
    }
}

fn place(asked: &Asked) -> Option<(Kind, String)> {
    let mut parts = asked.path().strip_prefix("/api/2/")?.split('/');
    match (parts.next()?, parts.next()?) {
        ("things", id) => Some((Kind::Twin, id.to_owned())),
        ("policies", id) => Some((Kind::Policy, id.to_owned())),
        _ => None,
    }
}

pub fn thing_mark(ditto: &Backend, id: &str) -> Option<Value> {
    Pointer::parse(MARK).get(&*ditto.thing(id)?).cloned()
}

pub fn policy_mark(ditto: &Backend, id: &str) -> Option<Value> {
    mark_of(&*ditto.policy(id)?, &[])
}

pub fn condition<'o>(object: &'o Value, kind: &str) -> Option<&'o Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Where a run ended, without what may differ between two good runs: revisions, times, the words
/// between two ways to be in sync, and what devices report.
pub fn end(cluster: &Cluster, ditto: &Backend) -> Value {
    let resources =
        cluster.objects().iter().map(|(key, object)| (format!("{:?} {}", key.0, key.1), resource(object)));
    let things = ditto.things.iter().filter_map(|id| Some((id.clone(), thing(ditto, id)?)));
    let policies = ditto.policies.iter().filter_map(|id| Some((id.clone(), policy(ditto, id)?)));
    json!({
        "resources": resources.collect::<serde_json::Map<_, _>>(),
        "things": things.collect::<serde_json::Map<_, _>>(),
        "policies": policies.collect::<serde_json::Map<_, _>>(),
    })
}

fn resource(object: &Value) -> Value {
    let status = &object["status"];
    let conditions: BTreeMap<String, String> = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|condition| {
            let text = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
            let reason = text("reason").replace("AlreadyInSync", "Applied");
            (text("type"), format!("{} {reason}", text("status")))
        })
        .collect();
    let sorted = |list: &Value| {
        let list = list.as_array().into_iter().flatten().filter_map(|path| path.as_str());
        list.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    json!({
        "uid": object["metadata"]["uid"],
        "generation": object["metadata"]["generation"],
        "observed": status["observedGeneration"],
        "deleting": object["metadata"].get("deletionTimestamp").is_some(),
        "finalizers": object["metadata"]["finalizers"],
        "conditions": conditions,
        "thing": status["thingId"],
        "policy": status["policyId"],
        "origin": status["origin"],
        "paths": sorted(&status["lastApplied"]["paths"]),
        "seeded": sorted(&status["lastApplied"]["seeded"]),
        "labels": sorted(&status["lastApplied"]["labels"]),
        "usedBy": status["usedBy"],
    })
}

fn mark(mark: Option<&Value>) -> Value {
    let Some(mark) = mark else { return Value::Null };
    let names = ["owner", "uid", "namespace", "name", "origin", "labels"];
    let picked = names.iter().map(|name| ((*name).to_owned(), mark[*name].clone()));
    Value::Object(picked.collect())
}

fn thing(ditto: &Backend, id: &str) -> Option<Value> {
    let thing = ditto.thing(id)?;
    let mut features = thing.get("features").cloned().unwrap_or_else(|| json!({}));
    for reported in ["value", "extra"] {
        Pointer::of(["temperature", "properties", reported]).remove(&mut features);
    }
    prune(&mut features);
    Some(json!({
        "policyId": thing["policyId"], "definition": thing.get("definition"),
        "attributes": thing.get("attributes"), "features": features,
        "mark": mark(Pointer::parse(MARK).get(&thing)),
    }))
}

/// A device that reports leaves objects behind, empty or not.
fn prune(value: &mut Value) {
    if let Some(members) = value.as_object_mut() {
        members.values_mut().for_each(prune);
        members.retain(|_, member| *member != json!({}));
    }
}

fn policy(ditto: &Backend, id: &str) -> Option<Value> {
    let policy = ditto.policy(id)?;
    let mut entries = policy["entries"].clone();
    Pointer::of([LABEL, "subjects"]).remove(&mut entries);
    Some(
        json!({"entries": entries, "imports": policy["imports"], "mark": mark(mark_of(&policy, &[]).as_ref())}),
    )
}

/// What is wrong with a twin that had time to come to rest: it is Ready as it is now, its thing holds what is declared
/// and nothing that was declared before, and what devices wrote last is there.
pub fn at_rest(key: &Key, cluster: &Cluster, ditto: &mut Backend) -> Vec<String> {
    let Some(object) = cluster.get(key) else { return vec![format!("I1: {} is gone", key.1)] };
    let mut problems: Vec<String> = ditto.lost_values().iter().map(|lost| format!("I4: {lost}")).collect();
    let spec = &object["spec"];
    let thing = spec["thingId"].as_str().and_then(|id| ditto.thing(id));
    let thing = thing.as_deref().unwrap_or(&Value::Null);
    let ready = condition(object, "Ready").map(|ready| (&ready["status"], &ready["observedGeneration"]));
    if ready != Some((&json!("True"), &object["metadata"]["generation"])) {
        problems.push(format!("I1: Ready is {ready:?} at generation {}", object["metadata"]["generation"]));
    }
    // Nobody else has attributes here. A container that lost its last member stays.
    let mut attributes = thing["attributes"].clone();
    prune(&mut attributes);
    if !same(&attributes, &spec["attributes"]) {
        problems.push(format!("I1: its attributes are {attributes} and not {}", spec["attributes"]));
    }
    for (name, feature) in spec["features"].as_object().into_iter().flatten() {
        let part = Pointer::of(["features", name, "desiredProperties"]);
        if part.get(thing) != feature.get("desiredProperties") {
            problems.push(format!("I1: {part} is {:?}", part.get(thing)));
        }
    }
    problems
}

/// Things and policies of ours that no resource stands behind any more (I3).
pub fn orphans(cluster: &Cluster, ditto: &Backend) -> Vec<String> {
    let lives = |uid: &Value| cluster.objects().values().any(|object| object["metadata"]["uid"] == *uid);
    let marks = |kind: &'static str, marks: Vec<(String, Value)>| {
        let ours = marks.into_iter().filter(|(_, mark)| mark["owner"] == OWNER && !lives(&mark["uid"]));
        ours.map(|(id, mark)| format!("I3: the {kind} {id} is an orphan of {}", mark["name"]))
            .collect::<Vec<_>>()
    };
    let things = ditto.things.iter().filter_map(|id| Some((id.clone(), thing_mark(ditto, id)?))).collect();
    let policies =
        ditto.policies.iter().filter_map(|id| Some((id.clone(), policy_mark(ditto, id)?))).collect();
    [marks("thing", things), marks("policy", policies)].concat()
}
