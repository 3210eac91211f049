//! JSON as Ditto treats it: pointers, merge patch, and equality of numbers by value.
use std::fmt;

use serde_json::{Map, Number, Value};

/// A JSON object in the order it was written.
pub type Object = Map<String, Value>;

/// A place in a JSON document: `/features/lamp/properties/on`. The root is the empty pointer.
///
/// Segments are unescaped (`~1` is `/`, `~0` is `~`). A missing leading slash is accepted, as Ditto does.
/// Arrays are values here: no pointer goes into one.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pointer(Vec<String>);

impl Pointer {
    pub fn root() -> Self {
        Self::default()
    }

    pub fn parse(text: &str) -> Self {
        let text = text.strip_prefix('/').unwrap_or(text);
        if text.is_empty() {
            return Self::root();
        }
        Self(text.split('/').map(|s| s.replace("~1", "/").replace("~0", "~")).collect())
    }

    pub fn of<S: Into<String>>(segments: impl IntoIterator<Item = S>) -> Self {
        Self(segments.into_iter().map(Into::into).collect())
    }

    #[must_use]
    pub fn child(&self, segment: &str) -> Self {
        let mut segments = Vec::with_capacity(self.0.len() + 1);
        segments.extend_from_slice(&self.0);
        segments.push(segment.to_owned());
        Self(segments)
    }

    #[must_use]
    pub fn join(&self, rest: &Self) -> Self {
        Self(self.0.iter().chain(&rest.0).cloned().collect())
    }

    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    pub fn segments(&self) -> &[String] {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `other` is this place or lies below it.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    pub fn get<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(value, |at, segment| at.as_object()?.get(segment))
    }

    /// Puts `value` here, making the objects above it. A scalar in the way is replaced.
    pub fn set(&self, root: &mut Value, value: Value) {
        let mut at = root;
        for segment in &self.0 {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            let Value::Object(members) = at else { return };
            at = members.entry(segment.clone()).or_insert(Value::Null);
        }
        *at = value;
    }

    /// Takes the value out. Objects above it stay, even empty ones.
    pub fn remove(&self, root: &mut Value) -> Option<Value> {
        let (last, above) = self.0.split_last()?;
        let parent = above.iter().try_fold(root, |at, segment| at.as_object_mut()?.get_mut(segment))?;
        parent.as_object_mut()?.shift_remove(last)
    }
}

impl fmt::Display for Pointer {
    /// `/a/b`, escaped; the root is `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|s| write!(f, "/{}", s.replace('~', "~0").replace('/', "~1")))
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// RFC 7386 §2: objects merge, `null` removes, everything else replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            members.shift_remove(key);
        } else {
            merge(members.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Equality with numbers by value (`1` is `1.0`) and members in any order.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// Integers compare exactly; only when one side is a fraction do both become one.
pub fn same_number(a: &Number, b: &Number) -> bool {
    match (as_i128(a), as_i128(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64() == b.as_f64(),
    }
}

/// The integer a number stands for, also when it was written `1.0` or `1e2`.
fn as_i128(number: &Number) -> Option<i128> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: above it a fraction no longer names one integer
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)).or_else(|| {
        let float = number.as_f64()?;
        #[expect(clippy::cast_possible_truncation, reason = "bounded by EXACT in the line before")]
        (float.fract() == 0.0 && float.abs() < EXACT).then_some(float as i128)
    })
}

/// Every value that is not a non-empty object, with its place. Arrays and empty objects are leaves.
pub fn leaves(value: &Value) -> Vec<(Pointer, &Value)> {
    fn walk<'v>(at: &Pointer, value: &'v Value, found: &mut Vec<(Pointer, &'v Value)>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                members.iter().for_each(|(key, value)| walk(&at.child(key), value, found));
            }
            _ => found.push((at.clone(), value)),
        }
    }
    let mut found = vec![];
    walk(&Pointer::root(), value, &mut found);
    found
}

/// How long the pointers of all [`leaves`] are together, in bytes, without making them: a long name is
/// counted once for each leaf below it.
pub fn pointer_bytes(value: &Value) -> usize {
    fn walk(above: usize, value: &Value) -> usize {
        match value {
            Value::Object(members) if !members.is_empty() => members
                .iter()
                .map(|(key, value)| walk(above + "/".len() + key.len(), value))
                .fold(0, usize::saturating_add),
            _ => above,
        }
    }
    walk(0, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pointers_are_measured_without_making_them() {
        let document = json!({"a": {"long": {"x": 1, "y": {}}, "z": [{"not": "counted"}]}});
        let made: usize = leaves(&document).iter().map(|(path, _)| path.to_string().len()).sum();
        assert_eq!(pointer_bytes(&document), made);
    }

    #[test]
    fn pointers_read_back_as_written() {
        for text in ["/", "/a", "/a/b", "/a~1b/c~0d"] {
            assert_eq!(Pointer::parse(text).to_string(), text);
        }
        assert_eq!(Pointer::parse("a/b"), Pointer::parse("/a/b"));
    }

    #[test]
    fn numbers_are_equal_by_value() {
        let cases = [
            (json!(1), json!(1.0), true),
            (json!(100), json!(1e2), true),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992_i64), false),
            (json!(1), json!("1"), false),
            (json!({"a": [1, 2.0]}), json!({"a": [1.0, 2]}), true),
            (json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1}), true),
            (json!({"a": 1}), json!({"a": 1, "b": 2}), false),
        ];
        for (a, b, expected) in cases {
            assert_eq!(same(&a, &b), expected, "{a} {b}");
        }
    }

    #[test]
    fn merge_is_rfc_7386_appendix_a() {
        let rows = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (mut target, patch, expected) in rows {
            merge(&mut target, &patch);
            assert_eq!(target, expected, "{patch}");
        }
    }

    #[test]
    fn set_and_remove_meet() {
        let mut root = json!({});
        let place = Pointer::parse("/features/f/properties/x");
        place.set(&mut root, json!(1));
        assert_eq!(root, json!({"features": {"f": {"properties": {"x": 1}}}}));
        assert_eq!(place.remove(&mut root), Some(json!(1)));
        assert_eq!(place.remove(&mut root), None);
        assert_eq!(leaves(&root), [(Pointer::parse("/features/f/properties"), &json!({}))]);
    }
}
