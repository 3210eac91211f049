//! Conditions in Ditto's filter language, written so that no name can break out of its place.
use std::fmt::Write;

use serde_json::Value;

use super::call::Kept;
use super::json::Pointer;
use super::mark::Mark;

const METADATA: &str = "_metadata/twinops";

/// A pointer as an RQL property. `,` `)` `"` `\` and control characters become `\uXXXX`.
pub fn property(path: &Pointer) -> String {
    let mut out = String::new();
    for (i, segment) in path.segments().iter().enumerate() {
        if i > 0 {
            out.push('/');
        }
        for c in segment.replace('~', "~0").replace('/', "~1").chars() {
            match c {
                ',' | ')' | '(' | '"' | '\\' => {
                    let _infallible = write!(out, "\\u{:04x}", c as u32);
                }
                c => out.push(c),
            }
        }
    }
    out
}

/// A string literal with its quotes.
pub fn literal(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Holds while nothing stands at `path`.
pub fn absent(path: &Pointer) -> String {
    format!("not(exists({}))", property(path))
}

/// Holds while no mark stands on the thing: the fence of an adoption.
pub fn unmarked() -> String {
    format!("not(exists({METADATA}))")
}

/// Holds while the mark names `uid`: the fence of deletion and of taking over.
pub fn marked(uid: &str) -> String {
    format!("eq({METADATA}/uid,{})", literal(uid))
}

/// Holds while the mark is the one that was seen: the fence of every patch of what is ours.
pub fn marked_as(mark: &Mark) -> String {
    let Mark { uid, generation, hash, .. } = mark;
    let hash = literal(hash);
    format!("and({},eq({METADATA}/generation,{generation}),eq({METADATA}/hash,{hash}))", marked(uid))
}

/// Holds while the mark names `uid` and says that TwinOps created the thing.
pub fn marked_created(uid: &str) -> String {
    format!("and({},eq({METADATA}/origin,\"Created\"))", marked(uid))
}

/// Things of one owner: what a folder may prune.
pub fn owned_by(owner: &str) -> String {
    format!("eq({METADATA}/owner,{})", literal(owner))
}

/// Things of one owner, whose resources are or were in these namespaces.
pub fn owned_within<'a>(owner: &str, namespaces: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = namespaces.into_iter().map(literal).collect();
    format!("and({},in({METADATA}/namespace,{}))", owned_by(owner), names.join(","))
}

/// Fits an event that may have changed what is to be kept: one that carries the place with another value, or
/// that replaced something around it and no longer has it. Told by the event alone, so that telemetry beside
/// it does not fit.
pub fn disturbs(kept: &Kept) -> String {
    let place = property(&kept.path);
    let around = |depth: usize| Pointer::of(kept.path.segments()[..depth].to_vec()).to_string();
    // Whole things, and features one by one, are heard of anyway.
    let around: Vec<String> = [1].into_iter().chain(3..kept.path.segments().len()).map(around).collect();
    let around: Vec<String> = around.iter().map(|path| literal(path)).collect();
    let touches = format!(
        "or(exists({place}),and(eq(topic:action,\"modified\"),in(resource:path,{})))",
        around.join(",")
    );
    match kept.value.as_ref().and_then(comparable) {
        Some(value) => format!("and(ne({place},{value}),{touches})"),
        None => touches,
    }
}

/// As a literal, when Ditto compares it as JSON does: it takes a text that spells a number or a truth for one.
fn comparable(value: &Value) -> Option<String> {
    match value {
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) if number.is_i64() => Some(number.to_string()),
        Value::String(text) => {
            let is_plain = text.parse::<f64>().is_err()
                && !["true", "false", "null"].contains(&text.as_str())
                && !text.chars().any(char::is_control);
            is_plain.then(|| literal(text))
        }
        _ => None,
    }
}

/// Things under one policy.
pub fn under_policy(policy_id: &str) -> String {
    format!("eq(policyId,{})", literal(policy_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_that_disturbs_is_told_by_its_place_and_value() {
        let filter = |path: &str, value: Option<Value>| disturbs(&Kept { path: Pointer::parse(path), value });
        let unit = "/features/temperature/properties/unit";
        let touches = "or(exists(features/temperature/properties/unit),and(eq(topic:action,\"modified\"),\
                       in(resource:path,\"/features\",\"/features/temperature/properties\")))";
        let differs =
            |value: &str| format!("and(ne(features/temperature/properties/unit,{value}),{touches})");
        let rows = [
            ("a text", Some(json!("celsius")), differs("\"celsius\"")),
            ("a number", Some(json!(30)), differs("30")),
            ("a truth", Some(json!(true)), differs("true")),
            ("a text that spells a number", Some(json!("30")), touches.to_owned()),
            ("a fraction", Some(json!(0.1)), touches.to_owned()),
            ("a list", Some(json!([1])), touches.to_owned()),
            ("not one value", None, touches.to_owned()),
        ];
        for (name, value, expected) in rows {
            assert_eq!(filter(unit, value), expected, "{name}");
        }
        let deep = filter("/features/f/properties/a/b", None);
        assert!(
            deep.contains(
                "(resource:path,\"/features\",\"/features/f/properties\",\"/features/f/properties/a\")"
            ),
            "{deep}"
        );
    }

    #[test]
    fn a_patch_is_fenced_with_the_mark_that_was_seen() {
        let note = json!({"v": 1, "owner": "o", "uid": "u", "generation": 3, "namespace": "n", "name": "t",
            "origin": "Created", "hash": "h\""});
        let mark = Mark::from_json(&note).unwrap();
        assert_eq!(
            marked_as(&mark),
            r#"and(eq(_metadata/twinops/uid,"u"),eq(_metadata/twinops/generation,3),eq(_metadata/twinops/hash,"h\""))"#
        );
    }

    #[test]
    fn names_cannot_break_out() {
        let cases = [
            ("/attributes/a", "attributes/a"),
            ("/attributes/a,b", "attributes/a\\u002cb"),
            ("/attributes/x)", "attributes/x\\u0029"),
            ("/attributes/q\"", "attributes/q\\u0022"),
            ("/attributes/b\\", "attributes/b\\u005c"),
            ("/attributes/t~0", "attributes/t~0"),
        ];
        for (path, expected) in cases {
            assert_eq!(property(&Pointer::parse(path)), expected);
        }
        assert_eq!(literal("a\"b\\"), "\"a\\\"b\\\\\"");
    }
}
