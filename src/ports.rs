//! What the reconciler needs of the outside, and nothing more.
//!
//! Every call is safe to repeat. An adapter retries nothing by itself: the caller does.
use std::future::Future;

use futures::stream::BoxStream;
use serde_json::Value;

pub use crate::twin::call::{Expect, FoundPolicy, FoundThing, Hits, Kept, Metadata, Search, ThingPatch};
use crate::twin::id::{PolicyId, ThingId};
use crate::twin::json::Pointer;
pub use crate::twin::said::{Refused, Said};

/// Things in Ditto.
pub trait Things: Send + Sync {
    /// What is left of Ditto's limit on headers for those of one patch: mark, guards and fence, in bytes of
    /// names and values. Credentials take their part of it.
    fn header_room(&self) -> usize;

    /// `fields` are places in the document; revision, policy id and mark always come along. `None` when
    /// the thing is missing, which Ditto also answers when we may not read it.
    fn find_thing(
        &self,
        id: &ThingId,
        fields: &[Pointer],
    ) -> impl Future<Output = Result<Option<FoundThing>, Refused>> + Send;

    /// How many of the first of `ids` one call of [`Things::find_things`] can ask for. At least one, unless
    /// there are none.
    fn batch(&self, ids: &[ThingId], fields: &[Pointer]) -> usize;

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

    /// How many things a search for `filter` would show.
    fn count_things(&self, filter: &str) -> impl Future<Output = Result<u64, Refused>> + Send;
}

/// A thing that somebody else changed: its name, and never what it became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub thing_id: String,
    /// The subject that changed it, where Ditto says so.
    pub originator: Option<String>,
}

/// Changes in Ditto, as they happen.
pub trait Changes: Send + Sync {
    /// From now on; nothing is replayed. What this client writes itself is left out, and so is what devices
    /// write to properties. The stream ends with an error, also when it has been silent for too long.
    fn changes(
        &self,
    ) -> impl Future<Output = Result<BoxStream<'static, Result<Change, Refused>>, Refused>> + Send;

    /// How many of the first of `kept` one call of [`Changes::changes_of`] can listen for.
    fn audible(&self, kept: &[Kept]) -> usize;

    /// As [`Changes::changes`], of writes to what is to be kept, whoever's thing it is.
    fn changes_of(
        &self,
        kept: &[Kept],
    ) -> impl Future<Output = Result<BoxStream<'static, Result<Change, Refused>>, Refused>> + Send;
}

/// Policies in Ditto.
pub trait Policies: Send + Sync {
    /// `None` when it is missing or hidden.
    fn find_policy(&self, id: &PolicyId)
    -> impl Future<Output = Result<Option<FoundPolicy>, Refused>> + Send;

    /// `None` while it is at `revision`, else where it is now. [`Refused::Missing`] when it is missing or hidden.
    fn policy_moved(
        &self,
        id: &PolicyId,
        revision: u64,
    ) -> impl Future<Output = Result<Option<u64>, Refused>> + Send;

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
