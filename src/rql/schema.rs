//! Which properties a thing can have, so that a slip of the pen is told and does not just find nothing.
//!
//! Source: Ditto 3.8, `ThingsFieldExpressionFactoryImpl.java`, `FieldExpressionUtil.java`.
use super::{Expr, Literal, Op, Property};

/// Why a well-formed filter cannot be asked of things. All are the caller's mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Ditto's 400 `rql.expression.invalid`.
    #[error(
        "unknown property `{0}`; use thingId, policyId, namespace, definition, _revision, _modified, _created, \
         attributes/…, features/… or _metadata/…"
    )]
    UnknownProperty(Property),
    /// Ditto's 400 `rql.expression.invalid`.
    #[error("`{0}` takes a quoted string; quote the value")]
    TextWanted(Op),
    /// Ditto's 400 `json.pointer.invalid`.
    #[error("`{0}` has two slashes in a row; remove one")]
    DoubleSlash(Property),
}

/// The members of a thing that are compared whole.
const ROOT: [&str; 8] =
    ["thingId", "policyId", "namespace", "_namespace", "definition", "_revision", "_modified", "_created"];

/// What a filter of events may name beside the members of a thing. Source: Ditto 3.8, `TopicPathPlaceholder.java`,
/// `ResourcePlaceholder.java`, `EntityIdPlaceholder.java`, `ThingPlaceholder.java`.
const PLACEHOLDERS: [&str; 18] = [
    "topic:full",
    "topic:namespace",
    "topic:entityName",
    "topic:entityId",
    "topic:group",
    "topic:channel",
    "topic:criterion",
    "topic:action",
    "topic:subject",
    "topic:action-subject",
    "resource:path",
    "resource:type",
    "entity:id",
    "entity:namespace",
    "entity:name",
    "thing:id",
    "thing:namespace",
    "thing:name",
];

/// Whether every property of the filter can be there, and be compared or looked for as the filter does.
pub fn check(expr: &Expr) -> Result<(), SchemaError> {
    check_with(expr, &|_| false)
}

/// As [`check`] for a filter of events, which may also name placeholders.
///
/// [`super::condition::holds`] finds their values as members of the thing it is given.
pub fn check_events(expr: &Expr) -> Result<(), SchemaError> {
    check_with(
        expr,
        &|property| matches!(property.segments(), [name] if PLACEHOLDERS.contains(&name.as_str())),
    )
}

fn check_with(expr: &Expr, besides: &dyn Fn(&Property) -> bool) -> Result<(), SchemaError> {
    let is_value = |property: &Property| is_value(property) || besides(property);
    let (property, known) = match expr {
        Expr::And(all) | Expr::Or(all) => return all.iter().try_for_each(|expr| check_with(expr, besides)),
        Expr::Not(inner) => return check_with(inner, besides),
        Expr::Exists(property) => (property, is_value(property) || is_container(property)),
        Expr::In(property, _) => (property, is_value(property)),
        Expr::Compare(op, property, literal) => {
            if matches!(op, Op::Like | Op::Ilike) && !matches!(literal, Literal::Text(_)) {
                return Err(SchemaError::TextWanted(*op));
            }
            (property, is_value(property))
        }
    };
    if !known {
        return Err(SchemaError::UnknownProperty(property.clone()));
    }
    if property.segments().iter().any(String::is_empty) {
        return Err(SchemaError::DoubleSlash(property.clone()));
    }
    Ok(())
}

fn is_value(property: &Property) -> bool {
    match words(property).as_slice() {
        [name] => ROOT.contains(name),
        ["features", _, kind, rest @ ..] => match *kind {
            "definition" => rest.is_empty(),
            "properties" | "desiredProperties" => !rest.is_empty(),
            _ => false,
        },
        [root, _, ..] => matches!(*root, "attributes" | "_metadata"),
        [] => false,
    }
}

/// Places that can only be asked to exist.
fn is_container(property: &Property) -> bool {
    matches!(
        words(property).as_slice(),
        ["features", _] | ["features", _, "properties" | "desiredProperties"]
    )
}

fn words(property: &Property) -> Vec<&str> {
    property.segments().iter().map(String::as_str).collect()
}
