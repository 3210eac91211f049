//! The order of search results, and the cursor that goes on in it.
use std::cmp::Ordering;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::state::Node;
use super::option::{invalid, not_an_option};
use crate::rql::Number;
use crate::twin::json::Pointer;

/// Places to sort by, each up or down; the thing id breaks ties.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sort(Vec<(Direction, Pointer)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

impl Sort {
    /// `+path,-path`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let one = |item: &str| {
            let direction = match item.chars().next() {
                Some('+') => Direction::Up,
                Some('-') => Direction::Down,
                _ => return Err(not_an_option(item)),
            };
            let place = Pointer::parse(&item[1..]);
            if sortable(&place) {
                Ok((direction, place))
            } else {
                Err(invalid(&format!("`{item}` is no property to sort by")))
            }
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Whether things by id are in this order already.
    pub fn is_by_id(&self) -> bool {
        self.0.is_empty()
    }

    pub fn places(&self) -> impl Iterator<Item = &[String]> {
        self.0.iter().map(|(_, place)| place.segments())
    }

    /// What a thing is sorted by, its id last. What may not be read counts as missing.
    pub fn values(&self, thing: Node<'_>, readable: impl Fn(&[&str]) -> bool) -> Vec<Value> {
        let values = self.nodes(thing, &readable);
        values.map(|(_, node)| node.map(Node::unpack).unwrap_or_default()).collect()
    }

    /// As [`Self::compare`] of the [`Self::values`] of a thing with others, mostly without making them.
    pub fn compare_to(
        &self,
        thing: Node<'_>,
        readable: impl Fn(&[&str]) -> bool,
        others: &[Value],
    ) -> Ordering {
        let mut compared = self.nodes(thing, &readable).zip(others).map(|((direction, node), other)| {
            let order = match (node, other) {
                (Some(node), Value::String(other)) if node.text().is_some() => {
                    node.text().unwrap_or_default().cmp(other)
                }
                (node, other) => compare(&node.map(Node::unpack).unwrap_or_default(), other),
            };
            if direction == Direction::Up { order } else { order.reverse() }
        });
        compared.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    fn nodes<'a>(
        &'a self,
        thing: Node<'a>,
        readable: &'a impl Fn(&[&str]) -> bool,
    ) -> impl Iterator<Item = (Direction, Option<Node<'a>>)> + 'a {
        let sorted = self.0.iter().map(move |(direction, place)| {
            let path: Vec<&str> = place.segments().iter().map(String::as_str).collect();
            let node = match path.as_slice() {
                path if !readable(path) => None,
                ["namespace"] => thing.at(&["_namespace"]),
                path => thing.at(path),
            };
            (*direction, node)
        });
        sorted.chain([(Direction::Up, thing.at(&["thingId"]))])
    }

    pub fn compare(&self, a: &[Value], b: &[Value]) -> Ordering {
        let directions = self.0.iter().map(|(direction, _)| *direction).chain([Direction::Up]);
        let compared = directions.zip(a.iter().zip(b)).map(|(direction, (a, b))| match direction {
            Direction::Up => compare(a, b),
            Direction::Down => compare(b, a),
        });
        compared.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (direction, place)) in self.0.iter().enumerate() {
            let sign = if *direction == Direction::Up { '+' } else { '-' };
            let place = place.to_string();
            write!(f, "{}{sign}{}", if i == 0 { "" } else { "," }, &place[1..])?;
        }
        Ok(())
    }
}

fn sortable(place: &Pointer) -> bool {
    match place.segments().iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["thingId" | "namespace" | "policyId" | "definition" | "_revision" | "_created" | "_modified"]
        | ["attributes" | "_metadata", _, ..]
        | ["features", _, "definition"] => true,
        ["features", id, "properties" | "desiredProperties", _, ..] => *id != "*",
        _ => false,
    }
}

/// The order of types in `MongoDB`: null and missing, numbers, strings, objects, arrays, booleans.
fn compare(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Number(_) => 1,
        Value::String(_) => 2,
        Value::Object(_) => 3,
        Value::Array(_) => 4,
        Value::Bool(_) => 5,
    };
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            // no JSON holds a NaN
            Number::of(a).compare(Number::of(b)).unwrap_or(Ordering::Equal)
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let first = a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
            first.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(_), Value::Object(_)) => a.to_string().cmp(&b.to_string()),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// Where a page ended, and the query it belongs to; opaque to clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursor {
    /// As given.
    pub filters: Vec<String>,
    pub namespaces: Option<Vec<String>>,
    pub sort: String,
    /// The [`Sort::values`] of the last thing.
    pub values: Vec<Value>,
}

impl Cursor {
    pub fn encode(&self) -> String {
        let json = json!({"F": self.filters, "N": self.namespaces, "S": self.sort, "V": self.values});
        URL_SAFE_NO_PAD.encode(json.to_string())
    }

    pub fn decode(text: &str) -> Result<Self, Failure> {
        let decoded =
            URL_SAFE_NO_PAD.decode(text).ok().and_then(|json| serde_json::from_slice::<Value>(&json).ok());
        let read = |json: Value| {
            Some(Self {
                filters: serde_json::from_value(json["F"].clone()).ok()?,
                namespaces: serde_json::from_value(json["N"].clone()).ok()?,
                sort: json["S"].as_str()?.to_owned(),
                values: json["V"].as_array()?.clone(),
            })
        };
        decoded.and_then(read).ok_or_else(|| invalid("this is no cursor of this engine"))
    }

    /// A filter or sort given beside the cursor must be the one it was made with.
    pub fn fits(&self, filters: &[String], sort: Option<&Sort>) -> Result<(), Failure> {
        if !filters.is_empty() && filters != self.filters {
            return Err(invalid("the cursor belongs to a different filter"));
        }
        if sort.is_some_and(|sort| sort.to_string() != self.sort) {
            return Err(invalid("the cursor belongs to a different sort"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_sort_by_type_and_then_by_value() {
        let sorted = [
            json!(null),
            json!(-1),
            json!(0.5),
            json!(2),
            json!("10"),
            json!("a"),
            json!({"a": 1}),
            json!([1]),
            json!(true),
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    /// A sort with an order that is none may panic, and pages leave things out.
    #[test]
    fn numbers_are_in_one_order_whole_or_not() {
        let same = [json!(9_007_199_254_740_992_i64), json!(9_007_199_254_740_992.0)];
        for (a, b) in [(&same[0], &same[1]), (&json!(0), &json!(-0.0)), (&json!(0.0), &json!(-0.0))] {
            assert_eq!((compare(a, b), compare(b, a)), (Ordering::Equal, Ordering::Equal), "{a} {b}");
        }
        for lesser in &same {
            let greater = json!(9_007_199_254_740_993_i64);
            assert_eq!(compare(lesser, &greater), Ordering::Less, "{lesser}");
            assert_eq!(compare(&greater, lesser), Ordering::Greater, "{lesser}");
        }
    }

    #[test]
    fn cursors_read_back_as_written() {
        let cursor = Cursor {
            filters: vec!["eq(attributes/a,1)".into(), "eq(attributes/a,\n\"x\ny\")".into()],
            namespaces: Some(vec!["a".into()]),
            sort: "-thingId".into(),
            values: vec![json!(1), json!("a:b")],
        };
        assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        assert!(Cursor::decode("garbage").is_err());
    }
}
