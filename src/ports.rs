//! What the reconciler needs of the outside, and nothing more.
//!
//! Every call is safe to repeat. An adapter retries nothing by itself: the caller does.
use std::future::Future;

use serde_json::Value;

use crate::twin::id::{PolicyId, ThingId};
use crate::twin::json::Pointer;
pub use crate::twin::said::{Refused, Said};

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

/// Things in Ditto.
pub trait Things: Send + Sync {
    /// `fields` are places in the document; revision, policy id and mark always come along. `None` when
    /// the thing is missing, which Ditto also answers when we may not read it.
    fn find_thing(
        &self,
        id: &ThingId,
        fields: &[Pointer],
    ) -> impl Future<Output = Result<Option<FoundThing>, Refused>> + Send;

    /// Many at once, strongly consistent, in the order asked for. Missing and unreadable ones are left
    /// out: absence here proves nothing, confirm it with [`Things::find_thing`].
    fn find_things(
        &self,
        ids: &[ThingId],
        fields: &[Pointer],
    ) -> impl Future<Output = Result<Vec<FoundThing>, Refused>> + Send;

    /// `PUT` with `If-None-Match: *`. Returns the revision. [`Refused::Changed`] when it exists already.
    fn create_thing(
        &self,
        id: &ThingId,
        body: &Value,
        mark: &Value,
    ) -> impl Future<Output = Result<u64, Refused>> + Send;

    /// Returns the revision the patch left.
    fn patch_thing(
        &self,
        id: &ThingId,
        patch: &ThingPatch,
    ) -> impl Future<Output = Result<u64, Refused>> + Send;

    /// Deletes when `condition` holds. [`Refused::Missing`] when it is gone already.
    fn delete_thing(&self, id: &ThingId, condition: &str)
    -> impl Future<Output = Result<(), Refused>> + Send;

    fn search_things(&self, search: &Search) -> impl Future<Output = Result<Hits, Refused>> + Send;
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

/// Policies in Ditto.
pub trait Policies: Send + Sync {
    /// `None` when it is missing or hidden.
    fn find_policy(&self, id: &PolicyId)
    -> impl Future<Output = Result<Option<FoundPolicy>, Refused>> + Send;

    /// Writes the whole policy. Returns its revision.
    fn put_policy(
        &self,
        id: &PolicyId,
        body: &Value,
        expect: Expect,
    ) -> impl Future<Output = Result<u64, Refused>> + Send;

    /// [`Refused::Missing`] when it is gone already.
    fn delete_policy(
        &self,
        id: &PolicyId,
        expect: Expect,
    ) -> impl Future<Output = Result<(), Refused>> + Send;

    /// The subjects Ditto sees in our credentials, the default one first.
    fn whoami(&self) -> impl Future<Output = Result<Vec<String>, Refused>> + Send;
}
