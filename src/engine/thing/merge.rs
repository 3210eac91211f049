//! PATCH: the merge patch, placed at the request's path, made ready to be applied to the whole thing.
use serde_json::Value;

use super::super::command::{Caller, Headers};
use super::super::failure::Failure;
use super::super::place::{ThingPart, ThingPlace};
use super::{asked_at, shape};
use crate::rql::condition;
use crate::twin::id::ThingId;
use crate::twin::json::Pointer;

/// Checks the patch for the part at `place`. Members Ditto does not know are dropped; a patch of a thing
/// that has no others is refused.
pub fn check(place: &ThingPlace, id: &ThingId, patch: &Value) -> Result<Value, Failure> {
    if names_a_pattern(patch) {
        return Err(invalid(
            "keys deleted by pattern (`{{ ~regex~ }}`) are not supported by this engine: name each key",
        ));
    }
    let checked = shape::part(place, id, patch)?;
    match place.part {
        ThingPart::Thing => {
            if checked.as_object().is_none_or(serde_json::Map::is_empty) {
                return Err(invalid("the patch names no member of a thing"));
            }
            refuse_null(&checked, "thingId", "things:id.notdeletable")?;
            refuse_null(&checked, "policyId", "things:policyId.notdeletable")?;
        }
        ThingPart::PolicyId if checked.is_null() => {
            return Err(Failure::new(400, "things:policyId.notdeletable", "a thing keeps a policyId"));
        }
        _ => {}
    }
    Ok(checked)
}

fn refuse_null(patch: &Value, name: &str, error: &'static str) -> Result<(), Failure> {
    if patch.get(name).is_some_and(Value::is_null) {
        return Err(Failure::new(400, error, format!("`{name}` cannot be removed")));
    }
    Ok(())
}

fn invalid(message: &str) -> Failure {
    Failure::new(400, "things:merge.invalid", message)
}

/// Ditto removes every key a pattern matches; to ignore the pattern would keep what was to go.
fn names_a_pattern(patch: &Value) -> bool {
    let Value::Object(members) = patch else { return false };
    let pattern = |key: &str| {
        let inner = key.strip_prefix("{{").and_then(|k| k.strip_suffix("}}")).map(str::trim);
        inner.is_some_and(|inner| inner.len() >= 2 && inner.starts_with('~') && inner.ends_with('~'))
    };
    members.iter().any(|(key, value)| value.is_null() && pattern(key) || names_a_pattern(value))
}

/// Takes out the parts whose condition is false; the objects around them stay, even empty.
/// Source: Ditto 3.8, header `merge-thing-patch-conditions`.
pub fn drop_unmet(patch: &mut Value, headers: &Headers, thing: &Value, caller: &Caller) {
    for (part, expr) in &headers.patch_conditions {
        if !condition::holds(expr, thing, asked_at(thing, caller)) {
            part.remove(patch);
        }
    }
}

/// The patch of the part as a patch of the whole thing.
pub fn from_root(pointer: &Pointer, patch: &Value) -> Value {
    let mut root = Value::Object(serde_json::Map::new());
    pointer.set(&mut root, patch.clone());
    root
}
