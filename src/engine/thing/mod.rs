//! Commands on one thing and its parts.
pub mod access;
mod create;
mod merge;
mod metadata;
mod read;
mod replace;
mod shape;
mod text;
mod write;

#[cfg(test)]
pub fn fuzz_matched(thing: &Value, patch: &Value) -> Result<Vec<crate::twin::json::Pointer>, Failure> {
    merge::matched(thing, &crate::twin::json::Pointer::root(), patch)
}

pub use read::{extra, read, visible};
pub use text::{Text, reads_all, text};
pub use write::write;

use serde_json::Value;

use super::command::{Caller, Condition, Headers, Verb};
use super::enforce::{Enforcer, Permission};
use super::failure::Failure;
use super::place::ThingPlace;
use super::time;
use crate::rql::{self, Expr, Now, condition};
use crate::twin::id::ThingId;

/// The largest thing, in UTF-16 units of its compact JSON. Source: Ditto 3.8, `ditto-limits.conf` (`100k`).
pub const SIZE_MAX: usize = 100 * 1024;

const THING: &str = "thing";

fn path(segments: &[String]) -> Vec<&str> {
    segments.iter().map(String::as_str).collect()
}

fn condition_failed() -> Failure {
    Failure::new(
        412,
        "things:condition.failed",
        "the condition is not met, or you may not read what it names",
    )
}

/// Everything a condition names must be readable as a whole; asked before any other right.
fn conditions_readable(headers: &Headers, enforcer: &Enforcer, caller: &Caller) -> Result<(), Failure> {
    let mut conditions =
        headers.condition.iter().chain(headers.patch_conditions.iter().map(|(_, expr)| expr));
    conditions.try_for_each(|condition| readable(condition, enforcer, caller))
}

fn readable(condition: &Condition, enforcer: &Enforcer, caller: &Caller) -> Result<(), Failure> {
    let properties = condition.as_ref().map_err(Clone::clone)?.properties();
    // no resource of a policy is named so; told before anything else is known of the property
    if properties.iter().any(|p| p.segments().iter().any(String::is_empty)) {
        let message = "a property must not have two slashes in a row";
        return Err(Failure::new(400, "things:condition.invalid", message));
    }
    let readable = properties
        .iter()
        .all(|p| enforcer.unrestricted(&caller.subjects, THING, &path(p.segments()), Permission::Read));
    if readable { Ok(()) } else { Err(condition_failed()) }
}

/// A condition names properties that things have.
pub fn known(condition: &Expr) -> Result<(), Failure> {
    rql::schema::check(condition)
        .map_err(|error| Failure::new(400, "rql.expression.invalid", error.to_string()))
}

/// A condition of a message: everything it names must be readable, and it must hold.
pub fn check_condition(
    condition: Option<&Expr>,
    thing: &Value,
    enforcer: &Enforcer,
    caller: &Caller,
) -> Result<(), Failure> {
    let headers = Headers { condition: condition.cloned().map(Ok), ..Headers::default() };
    conditions_readable(&headers, enforcer, caller)?;
    condition_holds(&headers, thing, caller)
}

/// Whether the body of a write could be carried out at this place, whatever is there now.
pub fn check_body(id: &ThingId, place: &ThingPlace, verb: Verb, body: &Value) -> Result<(), Failure> {
    match verb {
        Verb::Get | Verb::Delete => Ok(()),
        Verb::Put => shape::part(place, id, body).map(drop),
        Verb::Patch => merge::check(place, id, body).map(drop),
    }
}

fn condition_holds(headers: &Headers, thing: &Value, caller: &Caller) -> Result<(), Failure> {
    match &headers.condition {
        Some(condition) if !holds(condition, thing, caller)? => Err(condition_failed()),
        _ => Ok(()),
    }
}

fn holds(condition: &Condition, thing: &Value, caller: &Caller) -> Result<bool, Failure> {
    let expr = condition.as_ref().map_err(Clone::clone)?;
    known(expr)?;
    Ok(condition::holds(expr, thing, asked_at(thing, caller)))
}

/// `time:now` in a condition is later than the last change, also within one millisecond.
fn asked_at(thing: &Value, caller: &Caller) -> Now {
    let modified = thing["_modified"].as_str().and_then(time::parse).unwrap_or_default();
    Now { epoch_millis: caller.now.max(modified + 1) }
}
