//! What the evaluators compare: JSON scalars and literals, numbers by their exact value.
use std::{borrow::Cow, cmp::Ordering};

use serde_json::Value;

use super::{Literal, Now, time};

/// A JSON value that is no object and no array, or a literal whose time is resolved.
#[derive(Clone, Debug)]
pub enum Scalar<'v> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'v, str>),
}

impl<'v> Scalar<'v> {
    pub fn of(value: &'v Value) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Number(Number::of(number)),
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(_) | Value::Object(_) => return None,
        })
    }

    /// A time nobody understands is null: Ditto accepts `time:nonsense`.
    pub fn of_literal(literal: &'v Literal, now: Now) -> Self {
        match literal {
            Literal::Null => Self::Null,
            Literal::Bool(value) => Self::Bool(*value),
            Literal::Long(value) => Self::Number(Number::Int(i128::from(*value))),
            Literal::Double(value) => Self::Number(Number::Float(*value)),
            Literal::Text(text) => Self::Text(Cow::Borrowed(text)),
            Literal::Time(name) => {
                time::resolve(name, now).map_or(Self::Null, |text| Self::Text(Cow::Owned(text)))
            }
        }
    }
}

/// JSON as the search walks it: a [`Value`], or what a store keeps in place of one.
pub trait Tree<'t>: Copy {
    /// `None` for objects and arrays.
    fn scalar(self) -> Option<Scalar<'t>>;
    fn is_object(self) -> bool;
    /// `None` also when this is no object.
    fn member(self, name: &str) -> Option<Self>;
    /// Empty when this is no object.
    fn members(self) -> impl Iterator<Item = (&'t str, Self)>;
    /// Empty when this is no array.
    fn items(self) -> impl Iterator<Item = Self>;
}

impl<'t> Tree<'t> for &'t Value {
    fn scalar(self) -> Option<Scalar<'t>> {
        Scalar::of(self)
    }

    fn is_object(self) -> bool {
        self.is_object()
    }

    fn member(self, name: &str) -> Option<Self> {
        self.as_object()?.get(name)
    }

    fn members(self) -> impl Iterator<Item = (&'t str, Self)> {
        self.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
    }

    fn items(self) -> impl Iterator<Item = Self> {
        self.as_array().into_iter().flatten()
    }
}

/// A number, exact: 9007199254740993 is not 9007199254740992.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    pub fn of(number: &serde_json::Number) -> Self {
        let int = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        int.map_or_else(|| Self::Float(number.as_f64().unwrap_or(f64::NAN)), Self::Int)
    }

    /// The number a text spells, in the syntax of Java's `BigDecimal`: `-12`, `.5`, `1e3`, no spaces, no `NaN`.
    pub fn spelled(text: &str) -> Option<Self> {
        if !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
            return None;
        }
        text.parse().map(Self::Int).or_else(|_| text.parse().map(Self::Float)).ok()
    }

    /// By exact value, whole or not; `None` only for a NaN, which no JSON holds.
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b),
            (Self::Int(a), Self::Float(b)) => compare_exactly(a, b),
            (Self::Float(a), Self::Int(b)) => compare_exactly(b, a).map(Ordering::reverse),
        }
    }

    pub fn text(self) -> String {
        match self {
            Self::Int(value) => value.to_string(),
            Self::Float(value) => format!("{value:?}"),
        }
    }
}

fn compare_exactly(int: i128, float: f64) -> Option<Ordering> {
    let limit = 2_f64.powi(127);
    if float >= limit {
        return Some(Ordering::Less);
    }
    if float < -limit {
        return Some(Ordering::Greater);
    }
    #[expect(clippy::cast_possible_truncation, reason = "within 2^127, and the fraction is compared apart")]
    let whole = float.trunc() as i128;
    Some(int.cmp(&whole).then(0.0.partial_cmp(&float.fract())?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_compare_by_their_exact_value() {
        let number = |value: Value| match Scalar::of(&value) {
            Some(Scalar::Number(number)) => number,
            other => panic!("{other:?}"),
        };
        let rows = [
            (json!(1), json!(1.0), Ordering::Equal),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992_i64), Ordering::Greater),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992.0), Ordering::Greater),
            (json!(u64::MAX), json!(i64::MAX), Ordering::Greater),
            (json!(u64::MAX), json!(18_446_744_073_709_551_616.0), Ordering::Less),
            (json!(-1), json!(-1.5), Ordering::Greater),
            (json!(-2), json!(-1.5), Ordering::Less),
            (json!(1), json!(1e300), Ordering::Less),
            (json!(1), json!(-1e300), Ordering::Greater),
            (json!(0), json!(-0.0), Ordering::Equal),
        ];
        for (a, b, expected) in rows {
            assert_eq!(number(a.clone()).compare(number(b.clone())), Some(expected), "{a} {b}");
            assert_eq!(number(b.clone()).compare(number(a.clone())), Some(expected.reverse()), "{b} {a}");
        }
    }

    #[test]
    fn texts_spell_numbers_as_big_decimal_reads_them() {
        for (text, spelled) in [
            ("12", true),
            ("+1", true),
            (".5", true),
            ("1e3", true),
            ("5.", true),
            ("-9007199254740993", true),
        ]
        .into_iter()
        .chain(["", " 1", "1 ", "inf", "NaN", "1e", "0x1", "1_0", "e", "."].map(|text| (text, false)))
        {
            assert_eq!(Number::spelled(text).is_some(), spelled, "{text:?}");
        }
    }
}
