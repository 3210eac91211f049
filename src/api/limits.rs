//! How much one resource may hold. The schema says so to the API server, which also needs the bounds
//! to price its rules; the conversion says so to folders.
pub use crate::twin::id::LENGTH_MAX as ID_MAX;

/// A Kubernetes name (RFC 1123 subdomain).
pub const NAME_MAX: usize = 253;
/// Free text, URLs and paths.
pub const TEXT_MAX: usize = 1_024;
pub const FEATURES_MAX: usize = 1_000;
/// Ditto sets no limit; more would not fit what the API server spends on checking a resource.
pub const DEFINITIONS_MAX: usize = 10;
pub const FIELDS_MAX: usize = 200;
/// More would not fit the mark, in which they travel to the bridge.
pub const MAPPINGS_MAX: usize = 50;
/// Writes per second and thing; a device that needs more wants batching.
pub const RATE_MAX: u32 = 1_000;
pub const ENTRIES_MAX: usize = 100;
pub const SUBJECTS_MAX: usize = 100;
pub const RESOURCES_MAX: usize = 200;
/// Ditto 3.8, `LIMITS_POLICIES_MAX_IMPORTS`.
pub const IMPORTS_MAX: usize = 10;
