//! Why a spec cannot be carried out. The schema's rules speak the same sentences.
use super::limits::{RATE_MAX, TEXT_MAX};
use crate::twin::id::{IdError, LENGTH_MAX};
use crate::twin::mark::TELEMETRY_BYTES_MAX;

/// The first mistake in a spec. It stays until somebody edits the resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct InvalidSpec {
    /// `spec.thingId`, or the JSON pointer of a declared value: `/attributes/location`.
    pub path: String,
    pub problem: Problem,
}

/// What is wrong there, and what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{0}: write namespace:name, such as com.example:pump-7")]
    Id(IdError),
    #[error(
        "must be set, because `{namespace}:{name}` cannot be the default ({why}): write namespace:name, \
         such as com.example:{name}"
    )]
    NoDefaultId { namespace: String, name: String, why: IdError },
    #[error(
        "name the policy once: set policyRef (a TwinPolicy of this namespace) or policyId (a policy in \
         Ditto), not both"
    )]
    PolicyNamedOnce,
    #[error("is empty: give it a value or leave it out")]
    Empty,
    #[error("is null, which Ditto reads as a removal: give it a value or leave the key out")]
    Null,
    #[error(
        "is not a key that Ditto takes: use 1 to {LENGTH_MAX} characters without `/`, control characters \
         and U+007F to U+00FF"
    )]
    Key,
    #[error("holds {count}, and at most {max} are allowed: split it over several resources")]
    TooMany { count: usize, max: usize },
    #[error("is too long: use at most {max} characters")]
    TooLong { max: usize },
    #[error("stands there twice: remove one")]
    Twice,
    #[error(
        "is no definition: write namespace:name:version, such as com.example:sensor:1.0.0, or the http(s) \
         URL of a WoT Thing Model"
    )]
    Definition,
    #[error(
        "a feature id is 1 to {LENGTH_MAX} characters without `/`, `*`, control characters and U+007F to \
         U+00FF: rename the feature"
    )]
    FeatureId,
    #[error(
        "write a JSON pointer into the thing, at most {TEXT_MAX} characters: /definition, /attributes/… or \
         /features/…"
    )]
    FieldPath,
    #[error("point to a property of a feature, such as /features/temperature/properties/value")]
    Mapping,
    #[error("write a number from 1 to {RATE_MAX}: writes per second")]
    Rate,
    #[error("write a whole number with a unit, such as 90s, 15m or 1h")]
    Duration,
    #[error(
        "is {bytes} bytes long as JSON, and at most {TELEMETRY_BYTES_MAX} travel with the thing: shorten \
         the mapping"
    )]
    TelemetryTooLarge { bytes: usize },
    #[error("the labels twinops and twinops-bridge belong to the operator: rename the entry")]
    ReservedLabel,
    #[error("Ditto keeps labels that start with `imported` for imported entries: rename the entry")]
    ImportedLabel,
    #[error("a subject is issuer:name, such as nginx:ditto: put the issuer before a colon")]
    Subject,
    #[error("Ditto does not fill placeholders in a policy: write the subject itself instead of {{{{ … }}}}")]
    Placeholder,
    #[error("write the moment as in 2030-01-31T12:00:00Z")]
    Expiry,
    #[error("a resource starts with thing:/, policy:/ or message:/, such as thing:/features")]
    Resource,
    #[error("a policy cannot import itself: remove the import")]
    SelfImport,
}

impl Problem {
    /// The problem with its place.
    pub(super) fn at(self, path: impl Into<String>) -> InvalidSpec {
        InvalidSpec { path: path.into(), problem: self }
    }
}
