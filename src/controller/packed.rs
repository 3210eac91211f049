//! A resource as it is kept between passes: its metadata, and the rest as one packed text.
//!
//! Parsed, the document of a twin and its status take several times the memory of their text, for each of many
//! thousands, and they are read a few times a day. Most of the text is the same in all of them.
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};
use serde::{Deserialize, Deserializer};

use super::context::Managed;
use super::finalizer::has_ours;
use crate::api::annotation::PREFIX;

/// What most texts have in common, in the order in which they are written: of a text only what differs is kept. It may say
/// anything; what is kept can only be read with the same.
const COMMON: &[u8] = br#"{"apiVersion":"twinops.dev/v1alpha1","kind":"TwinPolicy","metadata":{},"spec":{"policyId":"","entries":{"":{"subjects":{"nginx:":{"type":""}},"resources":{"thing:/":{"grant":["READ","WRITE"],"revoke":[]},"policy:/":{"grant":["READ","WRITE"]},"message:/":{"grant":["READ","WRITE"]}}}},"access":"Managed","management":{"mode":"Entries","drift":"Enforce","adoption":"IfUnowned","preserveRuntimeSubjects":true,"allowLockout":false},"suspend":false},"status":{"conditions":[{"reason":"UsedByTwins","status":"True","type":"InUse"}],"usedBy":1,"effectiveHash":""}}{"apiVersion":"twinops.dev/v1alpha1","kind":"DigitalTwin","metadata":{},"spec":{"thingId":"","policyRef":{"name":""},"attributes":{"":""},"features":{"":{"properties":{"value":0,"unit":""},"desiredProperties":{"":0}}},"management":{"drift":"Enforce","adoption":"IfUnowned","fields":[{"path":"/features//properties/","mode":"Enforce"}]},"suspend":false},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"Applied","status":"True","type":"Ready"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"AlreadyInSync","status":"True","type":"Synced"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"Resolved","status":"True","type":"ReferencesResolved"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"NoDrift","status":"False","type":"Drifted"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"Running","status":"False","type":"ReconciliationPaused"}],"observedGeneration":1,"thingId":"","policyId":"","origin":"Created","revision":1,"lastApplied":{"hash":"","paths":["/attributes/","/features//desiredProperties/"],"seeded":["/features//properties/"]},"lastSyncTime":"2026-01-01T00:00:00Z"}}"#;

/// One resource, pruned.
#[derive(Clone, Debug)]
pub struct Packed<K> {
    meta: ObjectMeta,
    /// As packed JSON without metadata, or why it could not be read.
    rest: Result<Arc<[u8]>, Arc<str>>,
    is_reported: bool,
    steering: u64,
    kind: PhantomData<fn() -> K>,
}

impl<K: Managed> Packed<K> {
    /// What the watch showed loses what no pass reads.
    pub fn new(shown: &mut DeserializeGuard<K>) -> Self {
        prune(shown.meta_mut());
        let meta = shown.meta().clone();
        let (rest, is_reported) = match &mut shown.0 {
            Ok(object) => {
                let own = std::mem::take(object.meta_mut());
                let text = serde_json::to_vec(object);
                *object.meta_mut() = own;
                let packed = text.map(|text| Arc::from(compress_prepend_size_with_dict(&text, COMMON)));
                (packed.map_err(|error| Arc::from(error.to_string())), object.reported().is_some())
            }
            Err(invalid) => (Err(Arc::from(invalid.error.as_str())), false),
        };
        let steering = steering(&meta, is_reported);
        Self { meta, rest, is_reported, steering, kind: PhantomData }
    }

    /// The resource as the watch showed it.
    pub fn read(&self) -> DeserializeGuard<K> {
        let read = match &self.rest {
            Ok(packed) => unpack::<K>(packed),
            Err(error) => Err(error.to_string()),
        };
        DeserializeGuard(match read {
            Ok(mut object) => {
                object.meta_mut().clone_from(&self.meta);
                Ok(object)
            }
            Err(error) => Err(InvalidObject { error, metadata: self.meta.clone() }),
        })
    }

    /// It could be read, and has a status.
    pub fn is_reported(&self) -> bool {
        self.is_reported
    }

    /// Nothing but metadata differs.
    pub fn says_as(&self, other: &Self) -> bool {
        self.rest == other.rest
    }

    /// Nothing that steers us differs, and it is the same resource.
    pub fn steers_as(&self, other: &Self) -> bool {
        self.meta.uid == other.meta.uid && self.steering == other.steering
    }
}

fn unpack<K: Managed>(packed: &[u8]) -> Result<K, String> {
    let text = decompress_size_prepended_with_dict(packed, COMMON).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

/// Takes out what no pass reads: it would be kept for as long as the resource lives. In an annotation of others is
/// mostly the whole spec once more, as `kubectl apply` left it there.
fn prune(meta: &mut ObjectMeta) {
    (meta.managed_fields, meta.labels) = (None, None);
    let ours =
        meta.annotations.take().map(|all| all.into_iter().filter(|(name, _)| name.starts_with(PREFIX)));
    meta.annotations = ours.map(Iterator::collect).filter(|ours: &BTreeMap<_, _>| !ours.is_empty());
}

/// What must change for a watch event to start a pass: what steers us, and never our own writes. Our
/// finalizer counts only when it is missing although we have been here: somebody took it off.
fn steering(meta: &ObjectMeta, is_reported: bool) -> u64 {
    let finalizers = meta.finalizers.as_deref().unwrap_or_default();
    let ours = |name: &str| name.starts_with(PREFIX);
    let mut hasher = DefaultHasher::new();
    meta.generation.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    (is_reported && !has_ours(finalizers)).hash(&mut hasher);
    finalizers.iter().filter(|name| !ours(name)).for_each(|name| name.hash(&mut hasher));
    let annotations = meta.annotations.iter().flatten();
    annotations.filter(|(name, _)| ours(name)).for_each(|annotation| annotation.hash(&mut hasher));
    hasher.finish()
}

impl<K: Managed> Resource for Packed<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

/// The library asks for it, although it reads none from here.
impl<'de, K: Managed> Deserialize<'de> for Packed<K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        DeserializeGuard::deserialize(from).map(|mut shown| Self::new(&mut shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DigitalTwin, TwinPolicy};
    use serde_json::{Value, json};

    fn round<K: Managed + PartialEq>(shown: Value) {
        let mut shown: DeserializeGuard<K> = serde_json::from_value(shown).unwrap();
        let packed = Packed::new(&mut shown);
        let (before, after) = (shown.0.unwrap(), packed.read().0.unwrap());
        assert_eq!(packed.is_reported(), before.reported().is_some());
        assert_eq!(before, after);
    }

    #[test]
    fn what_is_packed_is_read_as_it_was() {
        let meta = json!({"name": "t", "namespace": "n", "uid": "u", "generation": 3, "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["twinops.dev/ditto"],
            "annotations": {"twinops.dev/sync": "1"}});
        let values = json!({"null": null, "one": 1, "float": 1.0, "small": 5e-324, "large": u64::MAX, "least": i64::MIN,
            "text": "\u{0}\u{1f600}\"", "list": [1, [null, {}]], "": {"a/b~c": {}}});
        round::<DigitalTwin>(json!({
            "apiVersion": "twinops.dev/v1alpha1", "kind": "DigitalTwin", "metadata": meta,
            "spec": {
                "thingId": "a:t", "policyRef": {"name": "p"}, "definition": "a:b:1", "attributes": values,
                "features": {"f": {"definition": ["a:b:1"], "properties": values, "desiredProperties": values}, "g": {}},
                "management": {"drift": "Report", "fields": [{"path": "/attributes", "mode": "Seed"}]},
                "suspend": true, "telemetry": {"enabled": true},
            },
            "status": {
                "observedGeneration": 3, "thingId": "a:t", "revision": 4, "origin": "Created",
                "lastApplied": {"hash": "h", "paths": ["/attributes/one"], "seeded": []},
                "conditions": [{"type": "Ready", "status": "True", "reason": "Applied", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 3}],
            },
        }));
        round::<TwinPolicy>(json!({
            "apiVersion": "twinops.dev/v1alpha1", "kind": "TwinPolicy", "metadata": meta,
            "spec": {"policyId": "a:p", "imports": {"a:q": {"entries": ["x"]}}, "entries": {"people": {
                "subjects": {"nginx:ada": {"type": "user", "expiry": "2099-01-01T00:00:00Z"}},
                "resources": {"thing:/": {"grant": ["READ"], "revoke": []}},
            }}},
        }));
    }

    /// As the API server shows one that is Ready.
    #[test]
    fn a_twin_is_kept_as_what_differs_from_others() {
        let says = |kind: &str, status: &str, reason: &str| {
            json!({"type": kind, "status": status, "reason": reason, "message": "", "observedGeneration": 2,
                "lastTransitionTime": "2026-11-26T15:48:17Z"})
        };
        let mut shown: DeserializeGuard<DigitalTwin> = serde_json::from_value(json!({
            "apiVersion": "twinops.dev/v1alpha1", "kind": "DigitalTwin",
            "metadata": {"name": "pump-17", "namespace": "plant"},
            "spec": {
                "thingId": "com.example:pump-17", "policyRef": {"name": "sensors"},
                "attributes": {"type": "pump", "location": "hall-9", "serial": "SN-00000017"},
                "features": {"temperature": {
                    "properties": {"value": 20.5, "unit": "celsius"}, "desiredProperties": {"interval": 30},
                }},
            },
            "status": {
                "conditions": [says("Ready", "True", "Applied"), says("Synced", "True", "Applied"),
                    says("ReferencesResolved", "True", "Resolved"), says("Drifted", "False", "NoDrift"),
                    says("ReconciliationPaused", "False", "Running")],
                "observedGeneration": 2, "thingId": "com.example:pump-17", "policyId": "com.example:sensors",
                "origin": "Created", "revision": 1, "lastSyncTime": "2026-11-26T15:48:17Z",
                "lastApplied": {
                    "hash": "3f0c9a1be2d47586",
                    "paths": ["/attributes/location", "/attributes/serial", "/attributes/type",
                        "/features/temperature/desiredProperties/interval"],
                    "seeded": ["/features/temperature/properties/unit", "/features/temperature/properties/value"],
                },
            },
        }))
        .unwrap();
        let text = serde_json::to_vec(shown.0.as_ref().unwrap()).unwrap();
        let packed = Packed::new(&mut shown);
        let kept = packed.rest.as_ref().unwrap().len();
        assert!(kept * 2 < text.len(), "{kept} of {} bytes", text.len());
        assert_eq!(packed.read().0.unwrap(), shown.0.unwrap());
    }

    #[test]
    fn what_cannot_be_read_says_so_again() {
        let meta = json!({"name": "t", "namespace": "n", "labels": {"a": "b"}});
        let mut shown: DeserializeGuard<DigitalTwin> =
            serde_json::from_value(json!({"metadata": meta, "spec": {"policyId": 7}})).unwrap();
        let packed = Packed::new(&mut shown);
        let (before, after) = (shown.0.unwrap_err(), packed.read().0.unwrap_err());
        assert_eq!(before.error, after.error);
        assert_eq!((after.metadata.name.as_deref(), after.metadata.labels), (Some("t"), None));
        assert!(!packed.is_reported());
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

    fn twin(meta: &Value, status: Option<Value>) -> Packed<DigitalTwin> {
        let mut twin = json!({
            "apiVersion": "twinops.dev/v1alpha1", "kind": "DigitalTwin", "metadata": meta,
            "spec": {"policyId": "a:p"},
        });
        if let Some(status) = status {
            twin["status"] = status;
        }
        Packed::new(&mut serde_json::from_value(twin).unwrap())
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
            assert_eq!(!settled.steers_as(&other), starts, "{name}");
        }
    }
}
