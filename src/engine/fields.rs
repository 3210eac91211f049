//! The `fields` selector: `thingId,attributes(a,b/c),features/*/properties/x`.
use serde_json::{Map, Value};

use super::failure::Failure;
use crate::twin::json::Pointer;

/// Nesting of parentheses that is read; deeper is refused.
const DEPTH_MAX: usize = 32;

/// The places a reader asked for. Source: Ditto 3.8, `JsonFieldSelector` and its parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<Pointer>);

impl Selector {
    /// Reads the selector; without `(` a stray `)` is part of a name, as in Ditto.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let mut found = vec![];
        if text.contains('(') {
            let mut rest = text;
            list(&mut rest, "", DEPTH_MAX, &mut found).filter(|()| rest.is_empty()).ok_or_else(|| {
                Failure::new(
                    400,
                    "json.fieldselector.invalid",
                    format!("`{text}` is no field selector: check its parentheses"),
                )
            })?;
        } else {
            found.extend(text.split(',').map(str::to_owned));
        }
        let places = found.iter().map(|item| Pointer::parse(item));
        Ok(Self(places.filter(|place| !place.is_root()).collect()))
    }

    pub fn of(places: impl IntoIterator<Item = Pointer>) -> Self {
        Self(places.into_iter().collect())
    }

    pub fn places(self) -> Vec<Pointer> {
        self.0
    }

    /// Whether a place at or below `member` is asked for.
    pub fn names(&self, member: &str) -> bool {
        self.0.iter().any(|place| place.segments().first().is_some_and(|first| first == member))
    }

    /// `*` in place of a feature id stands for every feature, both in a thing and in `features` alone.
    #[must_use]
    pub fn with_features(&self, value: &Value, features_at: &Pointer) -> Self {
        let depth = features_at.segments().len();
        let ids: Vec<&String> =
            features_at.get(value).and_then(Value::as_object).map(|f| f.keys().collect()).unwrap_or_default();
        let expand = |place: &Pointer| {
            let segments = place.segments();
            if features_at.covers(place) && segments.get(depth).is_some_and(|s| s == "*") {
                let rest = Pointer::of(segments[depth + 1..].iter().cloned());
                ids.iter().map(|id| features_at.child(id).join(&rest)).collect()
            } else {
                vec![place.clone()]
            }
        };
        Self(self.0.iter().flat_map(expand).collect())
    }

    /// The part of `value` that is asked for; what is not there is left out.
    pub fn select(&self, value: &Value) -> Value {
        let mut selected = Value::Object(Map::new());
        for part in self.0.iter().filter_map(|place| pick(value, place.segments())) {
            unite(&mut selected, part);
        }
        selected
    }
}

/// `item {"," item}`, where an item is `path` or `path(list)`.
fn list(rest: &mut &str, prefix: &str, depth: usize, found: &mut Vec<String>) -> Option<()> {
    loop {
        let end = rest.find([',', '(', ')']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        *rest = after;
        let path = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}/{}", name.trim_start_matches('/'))
        };
        if let Some(inner) = after.strip_prefix('(') {
            if name.is_empty() || depth == 0 {
                return None;
            }
            *rest = inner;
            if let Some(after) = inner.strip_prefix(')') {
                found.push(path);
                *rest = after;
            } else {
                list(rest, &path, depth - 1, found)?;
                *rest = rest.strip_prefix(')')?;
            }
        } else if !name.is_empty() {
            found.push(path);
        }
        match rest.strip_prefix(',') {
            Some(next) => *rest = next,
            None => return Some(()),
        }
    }
}

/// The value cut down to one place, with the objects above it. An array is entered element by element.
fn pick(value: &Value, path: &[String]) -> Option<Value> {
    let Some((first, below)) = path.split_first() else {
        return Some(value.clone());
    };
    match value {
        Value::Object(members) => {
            let part = pick(members.get(first)?, below)?;
            Some(Value::Object(Map::from_iter([(first.clone(), part)])))
        }
        Value::Array(items) => {
            let parts: Vec<Value> = items.iter().filter_map(|item| pick(item, path)).collect();
            (!parts.is_empty()).then_some(Value::Array(parts))
        }
        _ => None,
    }
}

fn unite(into: &mut Value, part: Value) {
    match (into, part) {
        (Value::Object(into), Value::Object(part)) => {
            for (key, value) in part {
                match into.get_mut(&key) {
                    Some(there) => unite(there, value),
                    None => drop(into.insert(key, value)),
                }
            }
        }
        (Value::Array(into), Value::Array(part)) if into.len() == part.len() => {
            into.iter_mut().zip(part).for_each(|(into, part)| unite(into, part));
        }
        (into, part) => *into = part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_cut_a_value_down() {
        let value = json!({"thingId": "a:b", "attributes": {"a": 1, "b": {"c": 2, "d": {"e": 3}}, "arr": [{"x": 1, "y": 1}, {"x": 2}]},
            "features": {"f": {"properties": {"p": 1}}, "g": {"properties": {"p": 2, "q": 3}}}});
        let rows = [
            ("thingId", json!({"thingId": "a:b"})),
            ("/attributes/a,thingId,", json!({"thingId": "a:b", "attributes": {"a": 1}})),
            ("attributes(a,b(c,d/e))", json!({"attributes": {"a": 1, "b": {"c": 2, "d": {"e": 3}}}})),
            ("attributes(b(d))", json!({"attributes": {"b": {"d": {"e": 3}}}})),
            ("attributes/b()", json!({"attributes": {"b": {"c": 2, "d": {"e": 3}}}})),
            ("attributes/arr/x", json!({"attributes": {"arr": [{"x": 1}, {"x": 2}]}})),
            (
                "features/*/properties/p",
                json!({"features": {"f": {"properties": {"p": 1}}, "g": {"properties": {"p": 2}}}}),
            ),
            ("attributes/*/c", json!({})),
            ("attributes)a", json!({})),
            ("", json!({})),
            (",", json!({})),
        ];
        for (text, expected) in rows {
            let selector = Selector::parse(text).unwrap().with_features(&value, &Pointer::parse("features"));
            assert_eq!(selector.select(&value), expected, "{text}");
        }
    }

    #[test]
    fn unbalanced_parentheses_are_refused() {
        for text in ["(", "attributes(a", "a(b))", "(a)"] {
            assert_eq!(Selector::parse(text).unwrap_err().error, "json.fieldselector.invalid", "{text}");
        }
        assert!(Selector::parse(&"a(".repeat(10_000)).is_err());
    }
}
