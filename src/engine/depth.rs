//! How deep JSON may go.
use serde_json::Value;

use super::failure::Failure;

/// Objects and arrays inside one another, counted from the thing or policy; a path or metadata key counts, too.
/// Ditto has no such limit. Here a document must be readable again after a restart, and what reads it stops at
/// 128.
pub const DEPTH_MAX: usize = 100;

pub fn check(document: &Value) -> Result<(), Failure> {
    if fits(document, 0) {
        return Ok(());
    }
    Err(Failure::bad_json(format!("at most {DEPTH_MAX} levels of objects and arrays are taken")))
}

/// Whether there may be such a value so many levels down in a document.
pub fn fits(value: &Value, above: usize) -> bool {
    DEPTH_MAX.checked_sub(above).is_some_and(|levels| within(value, levels))
}

fn within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Object(_) | Value::Array(_) if levels == 0 => false,
        Value::Object(members) => members.values().all(|value| within(value, levels - 1)),
        Value::Array(items) => items.iter().all(|value| within(value, levels - 1)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_at_the_limit_is_taken_and_one_above_it_is_not() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let check_nested = |levels| check(&serde_json::from_str(&nested(levels)).unwrap()).is_ok();
        assert!(check_nested(DEPTH_MAX) && !check_nested(DEPTH_MAX + 1));
    }
}
