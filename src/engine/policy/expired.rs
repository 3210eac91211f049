//! Subjects whose time is over leave the policy's JSON, as a revision of their own.
//! Source: Ditto 3.8, `PolicyPersistenceActor`; there at the time they expire, here when the policy is next asked for.
use serde_json::Value;

use super::super::failure::Failure;
use super::super::state::{Change, Kind, State};
use super::super::time;
use super::write::stamp;
use crate::twin::id::PolicyId;

fn is_expired(subject: &Value, now: i64) -> bool {
    subject["expiry"].as_str().and_then(time::parse).is_some_and(|expiry| expiry <= now)
}

/// Whether a subject of the policy has expired.
pub fn any_expired(state: &State, id: &PolicyId, now: i64) -> bool {
    let policy = state.get(Kind::Policy, id.as_str());
    let entries = policy.as_ref().and_then(|policy| policy["entries"].as_object());
    let subjects = entries.into_iter().flat_map(|entries| entries.values());
    let mut subjects = subjects.filter_map(|entry| entry["subjects"].as_object()).flat_map(|s| s.values());
    subjects.any(|subject| is_expired(subject, now))
}

/// The policy without them; `None` when there are none. Entries stay, even without a subject.
pub fn without_expired(state: &State, id: &PolicyId, now: i64) -> Result<Option<Change>, Failure> {
    let Some(policy) = state.get(Kind::Policy, id.as_str()).filter(|_| any_expired(state, id, now)) else {
        return Ok(None);
    };
    let mut policy = Value::clone(&policy);
    for entry in policy["entries"].as_object_mut().into_iter().flat_map(|entries| entries.values_mut()) {
        if let Some(subjects) = entry["subjects"].as_object_mut() {
            subjects.retain(|_, subject| !is_expired(subject, now));
        }
    }
    stamp(id, policy, state.revision(Kind::Policy, id.as_str()) + 1, now).map(Some)
}
