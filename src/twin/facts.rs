//! All that a pass knows before its first call.
use std::collections::BTreeSet;

use super::adopt::Watched;
use super::claim::Claim;
use super::desired::{Desired, DesiredPolicy, Identity};
use super::id::{PolicyId, ThingId};
use super::mark::Origin;
use super::reason::Applied;

/// Where the policy of a twin stands.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyFact {
    /// A `TwinPolicy` keeps it, and has put it into Ditto.
    Managed(PolicyId),
    /// Nobody we know keeps it: look whether it is there and lets us in.
    Unmanaged(PolicyId),
    /// A `TwinPolicy` is named that does not exist.
    NotFound(String),
    /// A `TwinPolicy` is there and not in sync yet; with its own words.
    NotReady(String),
}

/// What status remembers of earlier passes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    pub id: Option<String>,
    pub origin: Option<Origin>,
    pub applied: Option<Applied>,
    pub revision: Option<u64>,
}

/// What the API server says of status when it is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Nobody has told anything since.
    AsKnown,
    /// Somebody has.
    Anew(Known),
    /// The resource is another by now, is going, or is gone.
    Moved,
}

/// The resource is going.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Going {
    /// `twinops.dev/release` stands on it.
    pub release: bool,
    /// Leave Ditto alone, with the reason why.
    pub hands_off: Option<&'static str>,
    /// Too many go at once: wait, with what to do.
    pub held: Option<String>,
}

/// All a pass knows before its first call.
#[derive(Clone, Debug, PartialEq)]
pub struct TwinFacts {
    pub identity: Identity,
    /// From the spec alone, also when the rest of it is wrong.
    pub id: Option<ThingId>,
    /// `Err` says what is wrong with the spec and what to change.
    pub desired: Result<Desired, String>,
    pub claim: Claim,
    pub policy: PolicyFact,
    /// `Err` says which Ditto namespace may not be named.
    pub tenancy: Result<(), String>,
    pub paused: bool,
    pub going: Option<Going>,
    pub has_finalizer: bool,
    pub known: Known,
    pub takeover: Option<i64>,
    /// Uids of all living resources that claim this id.
    pub living: BTreeSet<String>,
    /// Where resources would have been seen, had they been there.
    pub watched: Watched,
    /// The subject that last changed the thing, as far as a change event named one.
    pub originator: Option<String>,
    /// The subjects Ditto sees in our credentials.
    pub subjects: Vec<String>,
    /// Folders: no status, so base and generation ride in the mark.
    pub folder: bool,
}

/// What a policy imports and who imports it, as far as resources tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imports {
    /// Each imported policy id, and where that policy stands.
    pub named: Vec<(String, PolicyFact)>,
    /// Policies that import each other in a circle: from this one back to itself.
    pub circle: Option<Vec<String>>,
    /// Resources that import this policy, as `namespace/name`.
    pub by: Vec<String>,
}

/// What a policy's status remembers of earlier passes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownPolicy {
    pub id: Option<String>,
    pub origin: Option<Origin>,
    pub hash: Option<String>,
    /// Labels, `imports/<policyId>` and `subjects/<label>/<subjectId>` written before.
    pub labels: BTreeSet<String>,
    pub revision: Option<u64>,
}

/// All a pass over a policy knows before its first call.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyFacts {
    pub identity: Identity,
    pub id: Option<PolicyId>,
    pub desired: Result<DesiredPolicy, String>,
    pub claim: Claim,
    pub tenancy: Result<(), String>,
    pub paused: bool,
    pub going: Option<Going>,
    pub has_finalizer: bool,
    pub known: KnownPolicy,
    pub takeover: Option<i64>,
    pub living: BTreeSet<String>,
    /// Where resources would have been seen, had they been there.
    pub watched: Watched,
    /// The operator's own subjects, the default one first.
    pub subjects: Vec<String>,
    /// The bridge's subject, when it has one of its own.
    pub bridge: Option<String>,
    pub imports: Imports,
    /// Twins in the store that use the policy.
    pub used_by: usize,
    /// How often in a row things held this deletion already.
    pub held_before: u32,
    pub now_epoch_seconds: i64,
    pub folder: bool,
}
