//! Commands on one policy and its parts.
mod announcement;
mod expired;
mod imports;
mod placeholder;
mod read;
mod shape;
mod write;

pub use expired::{any_expired, without_expired};
pub use read::{read, visible};
pub use shape::resource_key;
pub use write::{create, write};

use std::sync::Arc;

use serde_json::Value;

use super::command::Caller;
use super::enforce::Enforcer;
use super::failure::Failure;
use super::place::PolicyPlace;
use super::state::State;
use crate::twin::id::PolicyId;

/// The largest policy, in UTF-16 units of its compact JSON. Source: Ditto 3.8, `ditto-limits.conf` (`100k`).
pub const SIZE_MAX: usize = 100 * 1024;
/// Imports of one policy. Source: Ditto 3.8, `LIMITS_POLICIES_MAX_IMPORTS`.
pub const IMPORTS_MAX: usize = 10;

const POLICY: &str = "policy";

/// The enforcer of a policy that is not stored (yet).
pub fn enforcer_of(state: &State, policy: &Value, caller: &Caller) -> Arc<Enforcer> {
    Arc::new(Enforcer::new(&state.effective(policy), caller.now))
}

/// Whether the body of a PUT could be carried out at this place, whatever is there now.
pub fn check_body(id: &PolicyId, place: &PolicyPlace, body: &Value, now: i64) -> Result<(), Failure> {
    shape::place(place)?;
    // a placeholder counts as any subject id: who it stands for is known when the command is carried out
    shape::part(place, id, body, now).map(drop)
}

fn path(segments: &[String]) -> Vec<&str> {
    segments.iter().map(String::as_str).collect()
}
