//! What a filter means for conditions and event filters: Ditto evaluates these in memory, and generously.
//!
//! Values of different types are compared after all (a text that spells a number as that number, anything else by its
//! text), `ne` holds when the property is missing, arrays are searched to any depth, and `features/*` is the feature
//! named `*`. Source: Ditto 3.8, `ThingPredicatePredicateVisitor.java`.
use std::{borrow::Cow, cmp::Ordering};

use serde_json::Value;

use super::{
    Expr, Literal, Now, Op, Property, like,
    like::like_ignore_ascii_case,
    value::{Number, Scalar},
};

/// Whether `thing` (the whole JSON, with `_revision`, `_metadata` and the other special members) fulfils the filter.
pub fn holds(expr: &Expr, thing: &Value, now: Now) -> bool {
    match expr {
        Expr::And(all) => all.iter().all(|expr| holds(expr, thing, now)),
        Expr::Or(any) => any.iter().any(|expr| holds(expr, thing, now)),
        Expr::Not(inner) => !holds(inner, thing, now),
        Expr::Exists(property) => !found(property, thing).is_empty(),
        Expr::Compare(op, property, literal) => compares(*op, &scalars(property, thing), literal, now),
        Expr::In(property, literals) => {
            let scalars = scalars(property, thing);
            literals.iter().any(|literal| {
                let wanted = Scalar::of_literal(literal, now);
                scalars.iter().any(|scalar| ordered(scalar, &wanted).is_some_and(Ordering::is_eq))
            })
        }
    }
}

fn compares(op: Op, scalars: &[Scalar<'_>], literal: &Literal, now: Now) -> bool {
    let wanted = Scalar::of_literal(literal, now);
    let any = |right: fn(Ordering) -> bool| scalars.iter().any(|s| ordered(s, &wanted).is_some_and(right));
    let equal = || match wanted {
        Scalar::Null => scalars.iter().any(|scalar| matches!(scalar, Scalar::Null)),
        _ => any(Ordering::is_eq),
    };
    let alike = |alike: fn(&str, &str) -> bool| match literal {
        Literal::Text(pattern) => scalars.iter().any(|scalar| alike(pattern, &text(scalar))),
        _ => false,
    };
    match op {
        Op::Eq => equal(),
        Op::Ne => !equal(),
        Op::Gt => any(Ordering::is_gt),
        Op::Ge => any(Ordering::is_ge),
        Op::Lt => any(Ordering::is_lt),
        Op::Le => any(Ordering::is_le),
        Op::Like => alike(|pattern, text| like(pattern, text, false)),
        Op::Ilike => alike(like_ignore_ascii_case),
    }
}

/// How a value stands to a literal; null stands to nothing.
fn ordered(value: &Scalar<'_>, wanted: &Scalar<'_>) -> Option<Ordering> {
    match (value, wanted) {
        (Scalar::Null, _) | (_, Scalar::Null) => return None,
        (Scalar::Bool(a), Scalar::Bool(b)) => return Some(a.cmp(b)),
        (Scalar::Number(a), Scalar::Number(b)) => return a.compare(*b),
        (Scalar::Number(a), Scalar::Text(b)) => {
            if let Some(b) = Number::spelled(b) {
                return a.compare(b);
            }
        }
        (Scalar::Text(a), Scalar::Number(b)) => {
            if let Some(a) = Number::spelled(a) {
                return a.compare(*b);
            }
        }
        _ => {}
    }
    // Java orders strings by UTF-16 units
    Some(text(value).encode_utf16().cmp(text(wanted).encode_utf16()))
}

fn text<'s>(scalar: &'s Scalar<'_>) -> Cow<'s, str> {
    match scalar {
        Scalar::Null => Cow::Borrowed("null"),
        Scalar::Bool(true) => Cow::Borrowed("true"),
        Scalar::Bool(false) => Cow::Borrowed("false"),
        Scalar::Number(number) => Cow::Owned(number.text()),
        Scalar::Text(text) => Cow::Borrowed(text),
    }
}

fn scalars<'v>(property: &Property, thing: &'v Value) -> Vec<Scalar<'v>> {
    fn flatten<'v>(value: &'v Value, flat: &mut Vec<Scalar<'v>>) {
        match value {
            Value::Array(items) => {
                for item in items {
                    flatten(item, flat);
                }
            }
            value => flat.extend(Scalar::of(value)),
        }
    }
    let mut flat = vec![];
    for value in found(property, thing) {
        flatten(value, &mut flat);
    }
    flat
}

/// The values at a place. An array on the way stands for each object in it.
fn found<'v>(property: &Property, thing: &'v Value) -> Vec<&'v Value> {
    fn walk<'v>(value: &'v Value, segments: &[String], found: &mut Vec<&'v Value>) {
        let Some((next, rest)) = segments.split_first() else {
            return found.push(value);
        };
        match value {
            Value::Object(members) => {
                if let Some(value) = members.get(next) {
                    walk(value, rest, found);
                }
            }
            Value::Array(items) => {
                for item in items.iter().filter(|item| item.is_object()) {
                    walk(item, segments, found);
                }
            }
            _ => {}
        }
    }
    let mut found = vec![];
    match property.segments() {
        [one] if one == "namespace" => found.extend(thing.get("_namespace")),
        segments => walk(thing, segments, &mut found),
    }
    found
}
