//! PATCH: the merge patch, placed at the request's path, made ready to be applied to the whole thing.
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::super::command::{Caller, Headers};
use super::super::failure::Failure;
use super::super::place::{ThingPart, ThingPlace};
use super::{holds, shape};
use crate::twin::id::ThingId;
use crate::twin::json::{Object, Pointer, same};

/// Patterns in one patch, and what one may take when compiled, in bytes: together they bound the time of a write.
const PATTERNS_MAX: usize = 64;
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// Checks the patch for the part at `place`. Members Ditto does not know are dropped; a patch of a thing
/// that has no others is refused.
pub fn check(place: &ThingPlace, id: &ThingId, patch: &Value) -> Result<Value, Failure> {
    if place.is_root() {
        refuse_null(patch, "thingId", "things:id.notdeletable")?;
        refuse_null(patch, "policyId", "things:policyId.notdeletable")?;
    }
    if place.part == ThingPart::PolicyId && patch.is_null() {
        return Err(Failure::new(400, "things:policyId.notdeletable", "a thing keeps a policyId"));
    }
    let checked = shape::part(place, id, patch)?;
    if place.is_root() && checked.as_object().is_none_or(serde_json::Map::is_empty) {
        return Err(invalid("the patch names no member of a thing"));
    }
    Ok(checked)
}

fn refuse_null(patch: &Value, name: &str, error: &'static str) -> Result<(), Failure> {
    if patch.get(name).is_some_and(Value::is_null) {
        return Err(Failure::new(400, error, format!("`{name}` cannot be removed")));
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(400, "things:merge.invalid", message)
}

/// The places below `at` that the patch deletes by pattern: a key `{{ ~regex~ }}` with the value `null` stands for
/// every key of that object which the regex matches as a whole. Where the thing has no such object, nothing is
/// matched and the regex is not even read. Source: Ditto 3.8, `JsonMergePatch.java`.
pub fn matched(thing: &Value, at: &Pointer, patch: &Value) -> Result<Vec<Pointer>, Failure> {
    let mut found = vec![];
    if let Some(target) = at.get(thing) {
        let mut left = PATTERNS_MAX;
        collect(target, at, patch, &mut left, &mut found)?;
    }
    Ok(found)
}

fn collect(
    target: &Value,
    at: &Pointer,
    patch: &Value,
    left: &mut usize,
    found: &mut Vec<Pointer>,
) -> Result<(), Failure> {
    let (Value::Object(target), Value::Object(patch)) = (target, patch) else { return Ok(()) };
    for (key, value) in patch {
        if let Some(regex) = pattern(key).filter(|_| value.is_null()) {
            *left = left.checked_sub(1).ok_or_else(|| {
                invalid(format!("a patch deletes by at most {PATTERNS_MAX} patterns: send several"))
            })?;
            let regex = whole(regex)?;
            found.extend(target.keys().filter(|key| regex.is_match(key)).map(|key| at.child(key)));
        } else if let Some(target) = target.get(key).filter(|_| value.is_object()) {
            collect(target, &at.child(key), value, left, found)?;
        }
    }
    Ok(())
}

/// The regex in a key like `{{ ~regex~ }}`.
fn pattern(key: &str) -> Option<&str> {
    key.strip_prefix("{{")?.strip_suffix("}}")?.trim().strip_prefix('~')?.strip_suffix('~')
}

/// Matches whole keys only, in time linear in the key.
fn whole(regex: &str) -> Result<Regex, Failure> {
    let build = |text: &str| RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
    // alone first: a stray `)` must not close the group around it
    let built = build(regex).and_then(|_| build(&format!(r"\A(?:{regex})\z")));
    built.map_err(|error| invalid(format!("`{regex}` is no regular expression this engine takes: {error}")))
}

/// Takes out the parts whose condition is false; the objects around them stay, even empty.
/// Source: Ditto 3.8, header `merge-thing-patch-conditions`.
pub fn drop_unmet(
    patch: &mut Value,
    headers: &Headers,
    thing: &Value,
    caller: &Caller,
) -> Result<(), Failure> {
    let asked = patch.clone();
    for (part, condition) in &headers.patch_conditions {
        if part.get(&asked).is_some() && !holds(condition, thing, caller)? {
            part.remove(patch);
        }
    }
    Ok(())
}

/// What of the patch differs from what is there; `None` when nothing does. Source: Ditto 3.8, `JsonMergePatch.compute`.
pub fn changes(current: &Value, patch: &Value) -> Option<Value> {
    match (current, patch) {
        _ if same(current, patch) => None,
        (Value::Object(current), Value::Object(members)) => {
            let change = |(name, value): (&String, &Value)| match current.get(name) {
                Some(current) => Some((name.clone(), changes(current, value)?)),
                None => Some((name.clone(), value.clone())),
            };
            let changed: Object = members.iter().filter_map(change).collect();
            (!changed.is_empty()).then_some(Value::Object(changed))
        }
        _ => Some(patch.clone()),
    }
}

/// The patch of the part as a patch of the whole thing.
pub fn from_root(pointer: &Pointer, patch: &Value) -> Value {
    let mut root = Value::Object(serde_json::Map::new());
    pointer.set(&mut root, patch.clone());
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_left_of_a_patch() {
        let current = json!({"a": 1, "o": {"x": 1, "y": 2}, "l": [1]});
        let rows = [
            (json!({"a": 1.0, "o": {"x": 1}}), None),
            (json!({"a": 2, "o": {"x": 1, "y": 3}, "l": [1]}), Some(json!({"a": 2, "o": {"y": 3}}))),
            (
                json!({"o": {"x": null, "z": null}, "n": {}}),
                Some(json!({"o": {"x": null, "z": null}, "n": {}})),
            ),
            (json!({"o": 5, "l": [1, 2]}), Some(json!({"o": 5, "l": [1, 2]}))),
            (json!(null), Some(json!(null))),
        ];
        for (patch, expected) in rows {
            assert_eq!(changes(&current, &patch), expected, "{patch}");
        }
    }

    fn deleted(thing: &Value, patch: &Value) -> Result<Vec<String>, u16> {
        let found = matched(thing, &Pointer::parse("/attributes"), patch);
        found.map(|places| places.iter().map(ToString::to_string).collect()).map_err(|failure| failure.status)
    }

    #[test]
    fn keys_are_matched_as_a_whole_in_the_object_that_names_the_pattern() {
        let thing = json!({"attributes": {"p_1": 1, "p_2": 2, "q": {"p_1": 3}, "(": 4}});
        let rows = [
            (json!({"{{ ~p_.~ }}": null}), vec!["/attributes/p_1", "/attributes/p_2"]),
            (json!({"{{~p_1|q~}}": null}), vec!["/attributes/p_1", "/attributes/q"]),
            (json!({"{{ ~p~ }}": null}), vec![]),
            (json!({"q": {"{{ ~.*~ }}": null}}), vec!["/attributes/q/p_1"]),
            (json!({"missing": {"{{ ~[~ }}": null}}), vec![]),
            (json!({"{{ ~p_.~ }}": 5}), vec![]),
            (json!({"{{ p_. }}": null, "{{ ~ }}": null}), vec![]),
        ];
        for (patch, expected) in rows {
            assert_eq!(deleted(&thing, &patch).unwrap(), expected, "{patch}");
        }
    }

    #[test]
    fn s26_a_pattern_is_cheap_or_refused() {
        let thing = json!({"attributes": {"a".repeat(255): 1}});
        assert_eq!(deleted(&thing, &json!({"{{ ~(a*)*b~ }}": null})), Ok(vec![]));
        for regex in ["[", "a)|(b", r"((\w{100}){100}){100}", r"(a)\1"] {
            assert_eq!(deleted(&thing, &json!({format!("{{{{ ~{regex}~ }}}}"): null})), Err(400), "{regex}");
        }
        let many: serde_json::Map<_, _> =
            (0..=PATTERNS_MAX).map(|n| (format!("{{{{ ~{n}~ }}}}"), Value::Null)).collect();
        assert_eq!(deleted(&thing, &Value::Object(many)), Err(400));
    }
}
