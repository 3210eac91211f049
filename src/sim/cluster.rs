//! The API server: resources with uid, version, generation, finalizers and an end, and the log of
//! what changed, which watches read.
use std::collections::BTreeMap;

use axum::http::Response;
use serde_json::{Value, json};

use super::NAMESPACE;
use super::wire::Asked;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Policy,
    Twin,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Policy, Self::Twin];

    fn of_plural(plural: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.plural() == plural)
    }

    pub fn plural(self) -> &'static str {
        match self {
            Self::Policy => "twinpolicies",
            Self::Twin => "digitaltwins",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Policy => "TwinPolicy",
            Self::Twin => "DigitalTwin",
        }
    }
}

pub type Key = (Kind, String);
pub type Objects = BTreeMap<Key, Value>;

/// One entry of the log.
#[derive(Clone, Debug)]
pub struct Change {
    pub key: Key,
    pub object: Value,
    pub is_gone: bool,
}

#[derive(Default)]
pub struct Cluster {
    pub log: Vec<Change>,
    objects: Objects,
    /// Each resource as it was one version ago.
    before: Objects,
    uids: u64,
}

impl Cluster {
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// As it was when its log had so many `entries`, to be read from.
    pub fn until(&self, entries: usize) -> Self {
        Self { objects: self.at(entries), ..Self::default() }
    }

    /// All resources as the first `entries` of the log tell.
    pub fn at(&self, entries: usize) -> Objects {
        let mut objects = Objects::new();
        for change in &self.log[..entries] {
            if change.is_gone {
                objects.remove(&change.key);
            } else {
                objects.insert(change.key.clone(), change.object.clone());
            }
        }
        objects
    }

    /// What `kubectl apply` does.
    pub fn apply(&mut self, key: &Key, spec: &Value) {
        let Some(mut object) = self.objects.get(key).cloned() else { return self.create(key, spec) };
        if object["spec"] != *spec {
            object["spec"] = spec.clone();
            let generation = object["metadata"]["generation"].as_i64().unwrap_or_default();
            object["metadata"]["generation"] = json!(generation + 1);
            self.put(key, object);
        }
    }

    fn create(&mut self, key: &Key, spec: &Value) {
        self.uids += 1;
        let number = self.uids;
        let object = json!({
            "apiVersion": "twinops.dev/v1alpha1", "kind": key.0.word(),
            "metadata": {
                "name": key.1, "namespace": NAMESPACE, "uid": format!("uid-{number}"), "generation": 1,
                "creationTimestamp": format!("2026-01-01T00:{:02}:{:02}Z", number / 60, number % 60),
            },
            "spec": spec,
        });
        self.put(key, object);
    }

    pub fn annotate(&mut self, key: &Key, name: &str, value: &str) {
        let Some(mut object) = self.objects.get(key).cloned() else { return };
        object["metadata"]["annotations"][name] = json!(value);
        self.put(key, object);
    }

    /// What `kubectl delete` does.
    pub fn delete(&mut self, key: &Key) {
        let Some(mut object) = self.objects.get(key).cloned() else { return };
        let meta = &mut object["metadata"];
        if meta.get("deletionTimestamp").is_some() {
            return;
        }
        meta["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        meta["generation"] = json!(meta["generation"].as_i64().unwrap_or_default() + 1);
        self.put(key, object);
    }

    pub fn is_going(&self, key: &Key) -> bool {
        self.objects.get(key).is_some_and(|object| object["metadata"].get("deletionTimestamp").is_some())
    }

    /// Somebody takes all finalizers off and the resource away.
    pub fn force_away(&mut self, key: &Key) {
        self.delete(key);
        self.remove(key);
    }

    /// A backup without status came back, or somebody cleared it.
    pub fn clear_status(&mut self, key: &Key) {
        let Some(mut object) = self.objects.get(key).cloned() else { return };
        object.as_object_mut().expect("an object").shift_remove("status");
        self.put(key, object);
    }

    /// An older copy of the cluster came back: the resource has its old generation again.
    pub fn restore(&mut self, key: &Key, spec: &Value, generation: i64) {
        let Some(mut object) = self.objects.get(key).cloned() else { return };
        object["spec"] = spec.clone();
        object["metadata"]["generation"] = json!(generation);
        self.put(key, object);
    }

    fn put(&mut self, key: &Key, mut object: Value) {
        let is_over = object["metadata"].get("deletionTimestamp").is_some() && finalizers(&object).is_empty();
        if let Some(before) = self.objects.get(key) {
            self.before.insert(key.clone(), before.clone());
        }
        object["metadata"]["resourceVersion"] = json!((self.log.len() + 1).to_string());
        self.log.push(Change { key: key.clone(), object: object.clone(), is_gone: false });
        self.objects.insert(key.clone(), object);
        if is_over {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: &Key) {
        let Some(object) = self.objects.remove(key) else { return };
        self.before.insert(key.clone(), object.clone());
        self.log.push(Change { key: key.clone(), object, is_gone: true });
    }

    /// Answers as kube-apiserver 1.36 does; from what was, when `stale`.
    pub fn answer(&mut self, asked: &Asked, stale: bool) -> Response<Vec<u8>> {
        let path = asked.path().trim_matches('/').to_owned();
        let parts: Vec<&str> = path.split('/').collect();
        match (asked.method(), parts.as_slice()) {
            ("GET", ["api", "v1", "namespaces", name]) => partial(&json!({"name": name, "uid": "namespace"})),
            ("GET", ["apis", "apiextensions.k8s.io", "v1", "customresourcedefinitions", name]) => {
                partial(&json!({"name": name, "uid": "definition"}))
            }
            (method, ["apis", "twinops.dev", "v1alpha1", "namespaces", _, plural, name, rest @ ..]) => {
                let Some(kind) = Kind::of_plural(plural) else { return status(404, "NotFound") };
                let key = (kind, (*name).to_owned());
                match (method, rest) {
                    ("GET", []) if asked.wants_metadata() => self.metadata(&key, stale),
                    ("GET", []) => self.whole(&key, stale),
                    ("PATCH", []) => self.patch_finalizers(&key, &asked.body()),
                    ("PATCH", ["status"]) => self.apply_status(&key, &asked.body()),
                    _ => status(405, "MethodNotAllowed"),
                }
            }
            _ => status(404, "NotFound"),
        }
    }

    /// The resource that a request is about, unchanged.
    pub fn as_it_is(&self, asked: &Asked) -> Response<Vec<u8>> {
        let mut parts = asked.path().trim_end_matches("/status").rsplit('/');
        let (name, plural) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let object = Kind::of_plural(plural).and_then(|kind| self.objects.get(&(kind, name.to_owned())));
        object.map_or_else(|| status(404, "NotFound"), |object| whole(200, object))
    }

    fn found(&self, key: &Key, stale: bool) -> Option<&Value> {
        self.before.get(key).filter(|_| stale).or(self.objects.get(key))
    }

    fn metadata(&self, key: &Key, stale: bool) -> Response<Vec<u8>> {
        let found = self.found(key, stale);
        found.map_or_else(|| status(404, "NotFound"), |object| partial(&object["metadata"]))
    }

    fn whole(&self, key: &Key, stale: bool) -> Response<Vec<u8>> {
        self.found(key, stale).map_or_else(|| status(404, "NotFound"), |object| whole(200, object))
    }

    fn patch_finalizers(&mut self, key: &Key, patch: &Value) -> Response<Vec<u8>> {
        let Some(mut object) = self.objects.get(key).cloned() else { return status(404, "NotFound") };
        let expected = &patch["metadata"]["resourceVersion"];
        if !expected.is_null() && *expected != object["metadata"]["resourceVersion"] {
            return status(409, "Conflict");
        }
        let wanted = &patch["metadata"]["finalizers"];
        let more = wanted.as_array().is_some_and(|list| list.len() > finalizers(&object).len());
        if more && object["metadata"].get("deletionTimestamp").is_some() {
            return status(422, "Invalid");
        }
        object["metadata"]["finalizers"] = wanted.clone();
        self.put(key, object.clone());
        partial(&self.objects.get(key).unwrap_or(&object)["metadata"])
    }

    fn apply_status(&mut self, key: &Key, applied: &Value) -> Response<Vec<u8>> {
        let Some(mut object) = self.objects.get(key).cloned() else { return status(404, "NotFound") };
        for fence in ["uid", "resourceVersion"] {
            let expected = &applied["metadata"][fence];
            if !expected.is_null() && *expected != object["metadata"][fence] {
                return status(409, "Conflict");
            }
        }
        if object["status"] != applied["status"] {
            object["status"] = applied["status"].clone();
            self.put(key, object);
        }
        whole(200, &self.objects[key])
    }
}

fn finalizers(object: &Value) -> &[Value] {
    object["metadata"]["finalizers"].as_array().map_or(&[], Vec::as_slice)
}

fn partial(metadata: &Value) -> Response<Vec<u8>> {
    whole(
        200,
        &json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata}),
    )
}

/// A refusal in Kubernetes' words.
pub fn status(code: u16, reason: &str) -> Response<Vec<u8>> {
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "reason": reason, "message": reason, "code": code,
    });
    whole(code, &body)
}

fn whole(code: u16, body: &Value) -> Response<Vec<u8>> {
    let builder = Response::builder().status(code).header("content-type", "application/json");
    builder.body(body.to_string().into_bytes()).expect("an answer")
}
