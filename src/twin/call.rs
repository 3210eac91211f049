//! What is asked of Ditto and what comes back, as plain data.
use serde_json::Value;

use super::json::Pointer;

/// A thing as Ditto shows it, cut to the fields that were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundThing {
    pub id: String,
    pub revision: u64,
    pub policy_id: Option<String>,
    /// The metadata `/twinops`, whatever stands there.
    pub mark: Option<Value>,
    /// Any of `definition`, `attributes`, `features`, as far as asked for and present.
    pub document: Value,
}

/// A place below a feature's properties that is to stay as declared.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub path: Pointer,
    /// What should stand there, where all who declare it agree.
    pub value: Option<Value>,
}

/// A merge patch with its fence. Always sent with `If-Match: *`, because a condition alone does not
/// stop Ditto from creating a missing thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ThingPatch {
    /// RFC 7386 patch of the whole thing. Never empty: Ditto refuses `{}`.
    pub body: Value,
    /// RQL that must hold, or nothing is written (`condition`).
    pub condition: String,
    /// Parts that are dropped unless their RQL holds (`merge-thing-patch-conditions`).
    pub guards: Vec<(Pointer, String)>,
    pub metadata: Metadata,
}

/// What a write does to the metadata `/twinops`. Putting and deleting in one write is a 400.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Metadata {
    #[default]
    Keep,
    Put(Value),
    Delete,
}

/// One page of a search over things.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Search {
    pub filter: String,
    /// Ditto namespaces; empty means all.
    pub namespaces: Vec<String>,
    pub fields: Vec<Pointer>,
    pub size: u32,
    pub cursor: Option<String>,
}

/// Hits of a search are hints, never proof: the index may lag, and a hit may be hidden.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hits {
    pub items: Vec<FoundThing>,
    pub cursor: Option<String>,
}

/// A policy as Ditto shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundPolicy {
    pub revision: u64,
    /// `{"policyId", "imports", "entries"}` in Ditto's own JSON.
    pub body: Value,
}

/// When a policy may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: "rev:n"`; telemetry does not move it.
    Revision(u64),
}
