//! A request once it is read: what to do, to what, under which conditions. And its answer.
use serde_json::Value;

use super::failure::Failure;
use super::fields::Selector;
use super::history::Moment;
use super::place::{PolicyPlace, ThingPlace};
use super::precondition::Preconditions;
use super::state::Change;
use crate::rql::Expr;
use crate::twin::id::{PolicyId, ThingId};
use crate::twin::json::{Object, Pointer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    /// Also POST on the collection, whose id is made up before.
    Put,
    /// A JSON merge patch. Things only.
    Patch,
    Delete,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    Thing(ThingId, ThingPlace),
    Policy(PolicyId, PolicyPlace),
}

/// What to do when a write would change nothing. Source: Ditto 3.8, header `if-equal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfEqual {
    #[default]
    Update,
    /// 412, no revision.
    Skip,
    /// As `Skip`, for merges only.
    SkipMinimizingMerge,
}

/// One of `put-metadata`, `get-metadata`, `delete-metadata`; places are relative to the command's place.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Metadata {
    #[default]
    None,
    Put(Vec<(Pointer, Value)>),
    Get(Vec<Pointer>),
    Delete(Vec<Pointer>),
}

/// A condition, or why it is none: told only once there is something to ask it of, as in Ditto.
pub type Condition = Result<Expr, Failure>;

/// Whether a device is asked instead of the twin.
#[derive(Clone, Debug, Default)]
pub enum Live {
    #[default]
    Never,
    Always,
    /// Where the twin meets it. Reads only.
    If(Condition),
}

/// What a request says beside its path and body.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    pub live: Live,
    pub condition: Option<Condition>,
    /// Parts of a merge patch (relative to its place) and the condition under which they stay in it.
    pub patch_conditions: Vec<(Pointer, Condition)>,
    pub preconditions: Preconditions,
    pub if_equal: IfEqual,
    pub metadata: Metadata,
    pub fields: Option<Selector>,
    /// Reads the past; writes do not look at it.
    pub moment: Option<Moment>,
    /// Lets a caller create a policy that gives the caller nothing.
    pub allow_policy_lockout: bool,
}

#[derive(Clone, Debug)]
pub struct Command {
    pub target: Target,
    pub verb: Verb,
    /// Of PUT and PATCH; `Null` otherwise.
    pub body: Value,
    pub headers: Headers,
}

/// Who asks, and when.
#[derive(Clone, Debug)]
pub struct Caller {
    /// At least one; the first is the subject of policies made on the way.
    pub subjects: Vec<String>,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// What a command answers when it is carried out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Option<Value>,
    pub etag: Option<String>,
    pub revision: Option<u64>,
    /// Whether something was made that the request's own path names.
    pub created: bool,
    pub metadata: Option<Value>,
    /// Whether the twin met the condition of [`Live::If`].
    pub live_condition_matched: Option<bool>,
}

impl Answer {
    pub fn found(body: Value, etag: Option<String>, revision: Option<u64>) -> Self {
        Self { status: 200, body: Some(body), etag, revision, ..Self::default() }
    }

    pub fn created(body: Value, etag: String, revision: u64) -> Self {
        Self { created: true, ..Self { status: 201, ..Self::found(body, Some(etag), Some(revision)) } }
    }

    pub fn changed(etag: Option<String>, revision: u64) -> Self {
        Self { status: 204, etag, revision: Some(revision), ..Self::default() }
    }
}

/// The answer, and what has to be stored before it is given.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub answer: Answer,
    pub changes: Vec<Change>,
    /// The merge patch as it was applied.
    pub patch: Option<Value>,
}

impl Outcome {
    pub fn read(answer: Answer) -> Self {
        Self { answer, changes: vec![], patch: None }
    }
}

/// A JSON object, or 400 `json.invalid`.
pub fn object<'v>(value: &'v Value, what: &str) -> Result<&'v Object, Failure> {
    value.as_object().ok_or_else(|| Failure::bad_json(format!("{what} must be a JSON object")))
}
