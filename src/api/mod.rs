//! The custom resources as users write them, and the one conversion into the core's words.
//!
//! Whatever the schema refuses is refused here again, because a folder has no API server.
pub mod annotation;
pub mod crd;
pub mod digital_twin;
pub mod invalid;
pub mod status;
pub mod twin_policy;
pub mod words;

mod check;
mod convert;
mod limits;
mod report;
#[cfg(test)]
mod tests;

pub use crd::{crds, unknown_fields};
pub use digital_twin::{DigitalTwin, DigitalTwinSpec};
pub use invalid::{InvalidSpec, Problem};
pub use report::{APPLIED_BYTES_MAX, DRIFT_PATHS_MAX, standing};
pub use status::{DigitalTwinStatus, TwinPolicyStatus};
pub use twin_policy::{TwinPolicy, TwinPolicySpec};

/// The API group of both kinds.
pub const GROUP: &str = "twinops.dev";
/// The one version of both kinds.
pub const VERSION: &str = "v1alpha1";
