//! The calls a pass may ask for, and what comes back. The loop in `reconcile/` carries them out.
use serde_json::Value;

use super::call::{Expect, FoundPolicy, FoundThing, ThingPatch};
use super::facts::Told;
use super::id::{PolicyId, ThingId};
use super::json::Pointer;
use super::reason::Outcome;
use super::said::Refused;

/// One call, to Ditto or to the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    AddFinalizer,
    RemoveFinalizer,
    /// What status says at the API server: what the pass knows may be older.
    ReadStatus,
    FindThing {
        id: ThingId,
        fields: Vec<Pointer>,
    },
    CreateThing {
        id: ThingId,
        body: Value,
        mark: Value,
    },
    PatchThing {
        id: ThingId,
        patch: ThingPatch,
    },
    DeleteThing {
        id: ThingId,
        condition: String,
    },
    FindPolicy {
        id: PolicyId,
    },
    PutPolicy {
        id: PolicyId,
        body: Value,
        expect: Expect,
    },
    DeletePolicy {
        id: PolicyId,
        expect: Expect,
    },
    /// How many things use the policy, as far as search knows. A hint.
    CountUsers {
        id: PolicyId,
    },
}

impl Request {
    /// Whether carrying it out changes anything.
    pub fn writes(&self) -> bool {
        match self {
            Self::ReadStatus | Self::FindThing { .. } | Self::FindPolicy { .. } | Self::CountUsers { .. } => {
                false
            }
            Self::AddFinalizer
            | Self::RemoveFinalizer
            | Self::CreateThing { .. }
            | Self::PatchThing { .. }
            | Self::DeleteThing { .. }
            | Self::PutPolicy { .. }
            | Self::DeletePolicy { .. } => true,
        }
    }

    /// What a dry run says it would do.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::CreateThing { .. } | Self::PutPolicy { expect: Expect::Absent, .. } => "create",
            Self::PatchThing { .. } | Self::PutPolicy { .. } => "update",
            Self::DeleteThing { .. } | Self::DeletePolicy { .. } => "delete",
            Self::ReadStatus | Self::FindThing { .. } | Self::FindPolicy { .. } | Self::CountUsers { .. } => {
                "read"
            }
            Self::AddFinalizer | Self::RemoveFinalizer => "finalize",
        }
    }
}

/// What came back, one variant for each shape of [`Request`].
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To finalizers. The text says why the cluster refused.
    Finalizer(Result<(), String>),
    /// The text says why the cluster refused.
    Status(Result<Told, String>),
    Thing(Result<Option<FoundThing>, Refused>),
    Policy(Result<Option<FoundPolicy>, Refused>),
    /// To writes that leave a revision.
    Written(Result<u64, Refused>),
    Deleted(Result<(), Refused>),
    Users(Result<u64, Refused>),
}

/// What a step leads to.
#[expect(clippy::large_enum_variant, reason = "one lives at a time, on the stack of the loop")]
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Ask(Request),
    Done(Box<Outcome>),
}
