//! What a resource asks for, once its words have been checked.
use serde_json::{Map, Value};
use uuid::Uuid;

use super::id::{PolicyId, ThingId};
use super::json::{Object, Pointer};

/// Which resource speaks, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who this TwinOps is: the UID of the `kube-system` namespace, or `--owner NAME`.
    pub owner: String,
    pub uid: String,
    pub generation: i64,
    pub namespace: String,
    pub name: String,
}

impl Identity {
    /// `namespace/name`, as messages name a resource.
    pub fn place(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The uid of a resource that lives in a folder: the same on every machine that reads the folder.
    pub fn folder_uid(owner: &str, kind: &str, namespace: &str, name: &str) -> String {
        let place = [owner, kind, namespace, name].join("/");
        Uuid::new_v5(&Uuid::NAMESPACE_URL, place.as_bytes()).to_string()
    }
}

/// Who keeps a declared path true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// TwinOps writes it whenever it differs.
    Enforce,
    /// TwinOps writes it once; from then on it is the device's.
    Seed,
    /// TwinOps never writes it.
    Ignore,
}

/// What happens when an owned path was changed behind our back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    Enforce,
    Report,
    Ignore,
}

/// Which things that exist already may be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    IfUnowned,
    IfIdentical,
    Always,
    Never,
}

/// What becomes of the outside when the resource goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    Delete,
    Retain,
}

/// How a twin names its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyName {
    /// A `TwinPolicy` of the same Kubernetes namespace.
    Resource(String),
    /// A policy in Ditto, managed by a `TwinPolicy` or by nobody we know.
    Id(PolicyId),
}

/// A twin as its resource asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    pub id: ThingId,
    pub policy: PolicyName,
    /// The declared part of the thing: any of `definition`, `attributes`, `features`. Holds no `null`.
    pub document: Value,
    /// Modes that differ from the defaults; the longest prefix wins.
    pub fields: Vec<(Pointer, Mode)>,
    pub drift: Drift,
    pub adoption: Adoption,
    /// Unset: delete what was created here, keep what was adopted.
    pub deletion: Option<Deletion>,
    pub suspend: bool,
    /// What the MQTT bridge must know, kept in the mark.
    pub telemetry: Option<Value>,
}

impl Desired {
    /// Changes whenever the declared document, its modes or its policy do.
    pub fn hash(&self) -> String {
        let policy = match &self.policy {
            PolicyName::Resource(name) => format!("ref:{name}"),
            PolicyName::Id(id) => id.to_string(),
        };
        let fields = self.fields.iter().map(|(path, mode)| (path.to_string(), format!("{mode:?}").into()));
        hash(&serde_json::json!({
            "policy": policy,
            "document": self.document,
            "fields": Value::Object(fields.collect()),
            "telemetry": self.telemetry,
        }))
    }
}

/// Whether the operator puts its own access into a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Managed,
    Declared,
}

/// How much of a policy the resource owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyMode {
    /// The declared labels only.
    Entries,
    /// The whole policy: labels nobody declared are removed.
    Authoritative,
}

/// A policy as its resource asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredPolicy {
    pub id: PolicyId,
    /// Label → entry, in Ditto's own JSON.
    pub entries: Object,
    /// Policy id → `{"entries": [label…]}`, in Ditto's own JSON.
    pub imports: Object,
    pub access: Access,
    pub mode: PolicyMode,
    pub drift: Drift,
    pub adoption: Adoption,
    pub deletion: Option<Deletion>,
    /// Keep subjects that Ditto added at run time.
    pub preserve_runtime_subjects: bool,
    pub allow_lockout: bool,
    pub suspend: bool,
}

impl DesiredPolicy {
    /// Changes whenever what is declared does, and how much of the policy that covers.
    pub fn hash(&self) -> String {
        hash(&serde_json::json!({
            "entries": self.entries,
            "imports": self.imports,
            "mode": format!("{:?}", self.mode),
            "preserve": self.preserve_runtime_subjects,
        }))
    }
}

/// A short name for a JSON value: equal values have equal names, whatever the order of their members.
pub fn hash(value: &Value) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, canonical(value).to_string().as_bytes()).simple().to_string()
}

fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut keys: Vec<_> = members.keys().collect();
            keys.sort();
            Value::Object(
                keys.into_iter().map(|k| (k.clone(), canonical(&members[k]))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_hash_is_about_content() {
        assert_eq!(
            hash(&json!({"a": 1, "b": {"c": 2, "d": 3}})),
            hash(&json!({"b": {"d": 3, "c": 2}, "a": 1}))
        );
        assert_ne!(hash(&json!({"a": 1})), hash(&json!({"a": 2})));
        assert_eq!(hash(&json!({})).len(), 32);
    }

    #[test]
    fn a_folder_has_the_same_uids_everywhere() {
        let uid = |name| Identity::folder_uid("folder", "DigitalTwin", "default", name);
        assert_eq!(uid("a"), uid("a"));
        assert_ne!(uid("a"), uid("b"));
    }
}
