//! A resource as it is kept between passes: its metadata, and the rest as one text.
//!
//! Parsed, the document of a twin and its status take several times the memory of their text, for each of many
//! thousands, and they are read a few times a day.
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use serde::{Deserialize, Deserializer};

use super::context::Managed;
use crate::api::annotation::PREFIX;

/// One resource, pruned.
#[derive(Clone, Debug)]
pub struct Packed<K> {
    meta: ObjectMeta,
    /// As JSON without metadata, or why it could not be read.
    rest: Result<Arc<[u8]>, Arc<str>>,
    is_reported: bool,
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
                let text = text.map(Arc::from).map_err(|error| Arc::from(error.to_string()));
                (text, object.reported().is_some())
            }
            Err(invalid) => (Err(Arc::from(invalid.error.as_str())), false),
        };
        Self { meta, rest, is_reported, kind: PhantomData }
    }

    /// The resource as the watch showed it.
    pub fn read(&self) -> DeserializeGuard<K> {
        let read = match &self.rest {
            Ok(text) => serde_json::from_slice::<K>(text).map_err(|error| error.to_string()),
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
}

/// Takes out what no pass reads: it would be kept for as long as the resource lives. In an annotation of others is
/// mostly the whole spec once more, as `kubectl apply` left it there.
fn prune(meta: &mut ObjectMeta) {
    (meta.managed_fields, meta.labels) = (None, None);
    let ours =
        meta.annotations.take().map(|all| all.into_iter().filter(|(name, _)| name.starts_with(PREFIX)));
    meta.annotations = ours.map(Iterator::collect).filter(|ours: &BTreeMap<_, _>| !ours.is_empty());
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
}
