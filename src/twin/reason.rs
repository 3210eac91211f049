//! What became of a pass, in the closed list of words that status, events and metrics share.
use super::json::Pointer;
use super::mark::{Base, Origin};
use super::said::{Refused, Said};

/// Why a resource is, or is not, in sync. Public API: the list is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    Applied,
    AlreadyInSync,
    Paused,
    PolicyNotFound,
    PolicyNotReady,
    PolicyNotAccessible,
    BackendUnavailable,
    RateLimited,
    Forbidden,
    ResourceConflict,
    NotAdoptable,
    MarkChanged,
    StaleResource,
    NamespaceNotAllowed,
    InvalidSpec,
    ValidationFailed,
    TooLarge,
    DeletionHeld,
    DeletionFailed,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// At the next resync.
    Resync,
    /// Soon, then ever slower.
    Backoff,
    /// Not before this many milliseconds.
    AfterMs(u64),
    /// Rarely: somebody must change something outside first.
    Slowly,
    /// Not before the resource is edited.
    Edit,
}

impl Reason {
    pub fn word(self) -> &'static str {
        match self {
            Self::Applied => "Applied",
            Self::AlreadyInSync => "AlreadyInSync",
            Self::Paused => "Paused",
            Self::PolicyNotFound => "PolicyNotFound",
            Self::PolicyNotReady => "PolicyNotReady",
            Self::PolicyNotAccessible => "PolicyNotAccessible",
            Self::BackendUnavailable => "BackendUnavailable",
            Self::RateLimited => "RateLimited",
            Self::Forbidden => "Forbidden",
            Self::ResourceConflict => "ResourceConflict",
            Self::NotAdoptable => "NotAdoptable",
            Self::MarkChanged => "MarkChanged",
            Self::StaleResource => "StaleResource",
            Self::NamespaceNotAllowed => "NamespaceNotAllowed",
            Self::InvalidSpec => "InvalidSpec",
            Self::ValidationFailed => "ValidationFailed",
            Self::TooLarge => "TooLarge",
            Self::DeletionHeld => "DeletionHeld",
            Self::DeletionFailed => "DeletionFailed",
        }
    }

    pub fn again(self) -> Again {
        match self {
            Self::Applied | Self::AlreadyInSync | Self::Paused => Again::Resync,
            Self::BackendUnavailable | Self::RateLimited | Self::DeletionFailed => Again::Backoff,
            Self::NamespaceNotAllowed | Self::InvalidSpec | Self::ValidationFailed | Self::TooLarge => {
                Again::Edit
            }
            Self::PolicyNotFound
            | Self::PolicyNotReady
            | Self::PolicyNotAccessible
            | Self::Forbidden
            | Self::ResourceConflict
            | Self::NotAdoptable
            | Self::MarkChanged
            | Self::StaleResource
            | Self::DeletionHeld => Again::Slowly,
        }
    }
}

/// Why a resource is not in sync, with what to do about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub reason: Reason,
    pub message: String,
    pub again: Again,
    /// What Ditto said, when it was Ditto.
    pub said: Option<Box<Said>>,
}

impl Held {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), again: reason.again(), said: None }
    }

    /// What a refusal means for a resource.
    pub fn refused(refused: &Refused) -> Self {
        let (reason, hint) = match refused {
            Refused::Unavailable(_) | Refused::Changed(_) => (Reason::BackendUnavailable, ""),
            Refused::RateLimited { .. } => (Reason::RateLimited, ""),
            Refused::Unauthorized(_) => (Reason::Forbidden, "; check the operator's credentials"),
            Refused::Forbidden(_) | Refused::Missing(_) => (
                Reason::Forbidden,
                "; it exists unseen, or its policy does not give TwinOps READ and WRITE on `thing:/` and `policy:/`",
            ),
            Refused::Invalid(_) => (Reason::ValidationFailed, ""),
            Refused::TooLarge(_) => (
                Reason::TooLarge,
                "; make the resource smaller, or raise LIMITS_THINGS_MAX_SIZE or LIMITS_POLICIES_MAX_SIZE in Ditto",
            ),
        };
        let again = match refused {
            Refused::RateLimited { after_ms: Some(ms), .. } => Again::AfterMs(*ms),
            // A token that was just replaced, or is about to be: nothing tells when it is there.
            Refused::Unauthorized(_) => Again::Backoff,
            _ => reason.again(),
        };
        Self {
            reason,
            message: format!("{refused}{hint}"),
            again,
            said: Some(Box::new(refused.said().clone())),
        }
    }
}

/// What the last write left: the hash of the declared document and the paths that are ours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    pub hash: String,
    pub base: Base,
}

/// Owned paths that differed although nobody edited the resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Drifted {
    /// The root stands for the thing itself: it is gone.
    pub paths: Vec<Pointer>,
    /// The revision that showed it; of a thing that is gone the last one known.
    pub revision: u64,
    /// Set once Ditto took the repair, not before.
    pub repaired: bool,
    /// The subject that made the change, as far as a change event named one.
    pub originator: Option<String>,
}

/// Something worth a Kubernetes Event, beyond the verdict itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub reason: &'static str,
    pub message: String,
    pub warning: bool,
}

/// What one pass over one resource came to.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each read by somebody else")]
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The thing's or policy's id, once known.
    pub id: Option<String>,
    pub policy_id: Option<String>,
    /// Whether everything the resource names is there.
    pub references: Result<(), Held>,
    /// `Ok` with [`Reason::Applied`] or [`Reason::AlreadyInSync`].
    pub synced: Result<Reason, Held>,
    /// Writes that Ditto took in this pass.
    pub writes: u32,
    /// Of our last own write or first observation.
    pub revision: Option<u64>,
    pub origin: Option<Origin>,
    pub applied: Option<Applied>,
    pub drift: Option<Drifted>,
    /// What is owned was compared with what stands in Ditto; without it nothing is known of drift.
    pub observed: bool,
    /// It was looked at whether everything the resource names is there.
    pub resolved: bool,
    pub notes: Vec<Note>,
    pub paused: bool,
    /// The resource is going and nothing of it is left to do: its finalizer is off.
    pub finished: bool,
    /// The resource is not the one this pass is about any more: it has no verdict, and another begins.
    pub overtaken: bool,
    /// This pass deleted what stood in Ditto.
    pub deleted: bool,
    /// Things that keep a policy from going, as far as search shows them.
    pub things: u64,
}

impl Outcome {
    pub fn new(synced: Result<Reason, Held>) -> Self {
        Self {
            id: None,
            policy_id: None,
            references: Ok(()),
            synced,
            writes: 0,
            revision: None,
            origin: None,
            applied: None,
            drift: None,
            observed: false,
            resolved: false,
            notes: vec![],
            paused: false,
            finished: false,
            overtaken: false,
            deleted: false,
            things: 0,
        }
    }

    /// The first of references and sync that is not fine, as Ready tells it.
    pub fn held(&self) -> Option<&Held> {
        self.references.as_ref().err().or(self.synced.as_ref().err())
    }

    pub fn again(&self) -> Again {
        self.held().map_or(Again::Resync, |held| held.again)
    }

    pub fn reason(&self) -> Reason {
        match (self.held(), &self.synced) {
            (Some(held), _) | (None, Err(held)) => held.reason,
            (None, Ok(reason)) => *reason,
        }
    }
}
