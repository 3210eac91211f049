//! What Ditto said no with, sorted by what the caller does next.
use std::fmt;

/// The facts of a refusal, for status and logs. Never holds a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// HTTP status, or 0 when there was no answer at all.
    pub status: u16,
    /// Ditto's `error` code, such as `things:thing.notfound`. A hint: Ditto declares it "not API".
    pub code: String,
    pub message: String,
    pub correlation_id: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, self.code.as_str()) {
            (0, _) => f.write_str(&self.message),
            (status, "") => write!(f, "HTTP {status}: {}", self.message),
            (status, code) => write!(f, "{status} {code}: {}", self.message),
        }
    }
}

/// Why a call to Ditto did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No answer, or one that promises a later answer. The same call may succeed unchanged;
    /// a write may have been applied all the same, so look again before deciding.
    #[error("Ditto is not available: {0}")]
    Unavailable(Said),
    /// Ditto asks for fewer calls. Wait at least `after_ms`.
    #[error("Ditto asks to slow down: {said}")]
    RateLimited { said: Said, after_ms: Option<u64> },
    /// The credentials are wrong or missing.
    #[error("Ditto does not accept the credentials: {0}")]
    Unauthorized(Said),
    /// The credentials are fine and the rights are not. Somebody must change a policy.
    #[error("Ditto does not allow it: {0}")]
    Forbidden(Said),
    /// Not there, or not readable: Ditto does not tell the two apart.
    #[error("not found, or hidden: {0}")]
    Missing(Said),
    /// A condition did not hold. It never tells why: look again, decide anew.
    #[error("a condition did not hold: {0}")]
    Changed(Said),
    /// The request itself is wrong and stays wrong until the resource is edited.
    #[error("Ditto refused it: {0}")]
    Invalid(Said),
    /// Too large for Ditto, until the resource is edited.
    #[error("too large for Ditto: {0}")]
    TooLarge(Said),
}

impl Refused {
    pub fn said(&self) -> &Said {
        match self {
            Self::RateLimited { said, .. }
            | Self::Unavailable(said)
            | Self::Unauthorized(said)
            | Self::Forbidden(said)
            | Self::Missing(said)
            | Self::Changed(said)
            | Self::Invalid(said)
            | Self::TooLarge(said) => said,
        }
    }
}
