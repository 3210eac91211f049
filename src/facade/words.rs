//! The facade's names inside parameters: field selectors, filters and orders, in Ditto's names when they leave here.
use axum::http::StatusCode;

use super::names::{Shape, ditto_name, shown_name};
use super::problem::Problem;
use crate::rql::{self, Expr, Property};

/// The longest selector, in bytes: Ditto takes 8 KiB for the whole URL.
const SELECTOR_BYTES_MAX: usize = 4_096;

/// What a thing shows unless `fields` says otherwise.
pub const THING_FIELDS: &str = "thingId,policyId,definition,attributes,features,_revision,_created,_modified";

/// A selector such as `thing_id,attributes(location),features/lamp/desired_properties`, for Ditto.
///
/// The first segment is one that a thing shows; what Ditto would inline besides (`_policy`, `_metadata`) is refused.
pub fn fields(text: &str) -> Result<String, Problem> {
    let wrong = |what: &str| Problem::invalid("facade:fields.invalid", what.to_owned());
    if text.len() > SELECTOR_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(wrong("the selector is too long, or holds control characters"));
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut scopes: Vec<Shape> = vec![Shape::Thing];
    let mut rest = text;
    let mut scope = Shape::Thing;
    let mut root = true;
    loop {
        let end = rest.find([',', '/', '(', ')']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if !word.is_empty() {
            let (name, next) = segment(scope, word.trim(), root)
                .ok_or_else(|| wrong(&format!("`{}` is no field; take thing_id, policy_id, definition, attributes, features, revision, created or modified", word.trim())))?;
            out.push_str(name);
            (scope, root) = (next, false);
        }
        let Some(mark) = after.chars().next() else { break };
        match mark {
            '(' => scopes.push(scope),
            ')' => {
                if scopes.len() < 2 {
                    return Err(wrong("a `)` has no `(`"));
                }
                scopes.pop();
                scope = Shape::Value;
            }
            ',' => {
                scope = scopes.last().copied().unwrap_or(Shape::Thing);
                root = scopes.len() == 1;
            }
            _ => {}
        }
        out.push(mark);
        rest = &after[mark.len_utf8()..];
    }
    if scopes.len() > 1 {
        return Err(wrong("a `(` has no `)`"));
    }
    Ok(out)
}

/// Ditto's word for a segment, and what lies below it.
fn segment(scope: Shape, word: &str, root: bool) -> Option<(&str, Shape)> {
    if root {
        return ditto_name(Shape::Thing, word).or_else(|| Some((shown_name(word)?, Shape::Value)));
    }
    Some(match scope {
        Shape::Features => (word, Shape::Feature),
        Shape::Feature => ditto_name(Shape::Feature, word).unwrap_or((word, Shape::Value)),
        _ => (word, Shape::Value),
    })
}

/// A filter of things, in Ditto's words.
pub fn filter(text: &str) -> Result<String, Problem> {
    let expr = named(rql::parse(text).map_err(|error| invalid_filter(&error))?);
    rql::schema::check(&expr).map_err(|error| invalid_filter(&error))?;
    Ok(expr.to_string())
}

/// A filter of events: it may also name `topic:action`, `resource:path` and the like.
pub fn event_filter(text: &str) -> Result<Expr, Problem> {
    let expr = named(rql::parse(text).map_err(|error| invalid_filter(&error))?);
    rql::schema::check_events(&expr).map_err(|error| invalid_filter(&error))?;
    Ok(expr)
}

fn invalid_filter(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "rql.expression.invalid", error.to_string())
}

fn named(expr: Expr) -> Expr {
    let all = |list: Vec<Expr>| list.into_iter().map(named).collect();
    match expr {
        Expr::And(list) => Expr::And(all(list)),
        Expr::Or(list) => Expr::Or(all(list)),
        Expr::Not(inner) => Expr::Not(Box::new(named(*inner))),
        Expr::Exists(property) => Expr::Exists(ditto_property(&property)),
        Expr::Compare(op, property, literal) => Expr::Compare(op, ditto_property(&property), literal),
        Expr::In(property, literals) => Expr::In(ditto_property(&property), literals),
    }
}

fn ditto_property(property: &Property) -> Property {
    let segments = property.segments();
    let renamed = match segments {
        [root] => {
            ditto_name(Shape::Thing, root).map(|(name, _)| name).or_else(|| shown_name(root)).map(|n| (0, n))
        }
        [root, _, part, ..] if root == "features" => {
            ditto_name(Shape::Feature, part).map(|(name, _)| (2, name))
        }
        _ => None,
    };
    let mut segments: Vec<String> = segments.to_vec();
    if let Some((at, name)) = renamed {
        name.clone_into(&mut segments[at]);
    }
    Property::of(segments)
}

/// An order such as `+thing_id,-attributes/a`, as Ditto's `sort(…)`. A `+` that arrives as a space is meant.
pub fn sort(text: &str) -> Result<String, Problem> {
    let wrong = || {
        let detail = format!("`{text}` is no order; write e.g. -attributes/priority,+thing_id");
        Problem::invalid("facade:sort.invalid", detail)
    };
    if text.len() > SELECTOR_BYTES_MAX {
        return Err(wrong());
    }
    let keys = text.split(',').map(|key| {
        let (sign, path) = match key.chars().next() {
            Some('-') => ('-', &key[1..]),
            Some('+' | ' ') => ('+', &key[1..]),
            _ => ('+', key),
        };
        let plain =
            !path.is_empty() && path.chars().all(|c| c > ' ' && !"()\"\\,".contains(c) && c != '\u{7f}');
        plain.then(|| format!("{sign}{}", ditto_property(&Property::parse(path))))
    });
    let keys: Option<Vec<String>> = keys.collect();
    Ok(format!("sort({})", keys.ok_or_else(wrong)?.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_speak_the_names_of_the_facade() {
        let rows = [
            ("thing_id", Some("thingId")),
            ("thingId,revision,_created", Some("thingId,_revision,_created")),
            ("attributes/thing_id", Some("attributes/thing_id")),
            ("attributes(policy_id,a/b)", Some("attributes(policy_id,a/b)")),
            ("features/f/desired_properties/x", Some("features/f/desiredProperties/x")),
            (
                "features/f(desired_properties,properties/desired_properties)",
                Some("features/f(desiredProperties,properties/desired_properties)"),
            ),
            ("features(f/desired_properties),policy_id", Some("features(f/desiredProperties),policyId")),
            ("features/*/desired_properties", Some("features/*/desiredProperties")),
            ("_policy", None),
            ("_metadata/twinops", None),
            ("thing_id,_policy", None),
            ("attributes(a", None),
            ("attributes)a", None),
            ("thing_id\r\nx: 1", None),
        ];
        for (text, expected) in rows {
            assert_eq!(fields(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn filters_speak_the_names_of_the_facade() {
        let rows = [
            (r#"eq(thing_id,"a:b")"#, Some(r#"eq(thingId,"a:b")"#)),
            ("eq(attributes/location,'w')", Some(r#"eq(attributes/location,"w")"#)),
            ("gt(features/t/properties/value,20)", Some("gt(features/t/properties/value,20)")),
            ("exists(features/t/desired_properties/x)", Some("exists(features/t/desiredProperties/x)")),
            ("not(gt(revision,2))", Some("not(gt(_revision,2))")),
            ("eq(attributes/thing_id,1)", Some("eq(attributes/thing_id,1)")),
            ("eq(nothing,1)", None),
            ("eq(attributes/a", None),
        ];
        for (text, expected) in rows {
            assert_eq!(filter(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn s25_an_order_cannot_smuggle_an_option() {
        let rows = [
            ("thing_id", Some("sort(+thingId)")),
            ("-attributes/a, thing_id", Some("sort(-attributes/a,+thingId)")),
            (
                "-features/t/desired_properties/x,+modified",
                Some("sort(-features/t/desiredProperties/x,+_modified)"),
            ),
            ("thing_id),size(200", None),
            ("", None),
            ("-", None),
            ("a,,b", None),
        ];
        for (text, expected) in rows {
            assert_eq!(sort(text).ok().as_deref(), expected, "{text}");
        }
    }
}
