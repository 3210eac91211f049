//! Ditto's filter language: `and(eq(attributes/a,1),not(exists(features/lamp)))`.
//!
//! [`parse()`] makes an [`Expr`] within fixed limits, [`schema::check`] says whether a thing can have the properties it
//! names. Two evaluators give it a meaning, because Ditto has two: [`condition::holds`] for conditions and event
//! filters (evaluated in memory), [`search::matches`] for the search index (evaluated by `MongoDB`).
//!
//! Everything here is a pure function. The clock is handed in as [`Now`].
pub mod condition;
mod like;
mod parse;
mod print;
pub mod schema;
pub mod search;
mod time;
mod value;

pub use like::like;
pub use parse::{DEPTH_MAX, LENGTH_MAX, NODES_MAX, ParseError, parse};
pub use value::{Number, Scalar, Tree};

/// A place in a thing, as a filter names it: `attributes/a`, `/features/*/properties/p`.
///
/// Segments are unescaped (`~1` is `/`, `~0` is `~`). One leading and one trailing slash mean nothing; a doubled slash
/// leaves an empty segment behind, which [`schema::check`] refuses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Property {
    segments: Vec<String>,
}

impl Property {
    /// Reads a path whose `\u002c`-like escapes are already resolved.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_prefix('/').unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        Self::of(text.split('/').map(|s| s.replace("~1", "/").replace("~0", "~")))
    }

    /// The path of these segments, of which there is at least one.
    pub fn of<S: Into<String>>(segments: impl IntoIterator<Item = S>) -> Self {
        Self { segments: segments.into_iter().map(Into::into).collect() }
    }

    pub fn segments(&self) -> &[String] {
        &self.segments
    }
}

/// What a property is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Long(i64),
    /// Finite.
    Double(f64),
    Text(String),
    /// What follows `time:`, such as `now`, `now-1h`, `now[d]`, `now_epoch_millis`.
    Time(String),
}

/// A comparison with one literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
    Like,
    Ilike,
}

/// A filter. [`parse()`] never makes an empty list.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Exists(Property),
    Compare(Op, Property, Literal),
    In(Property, Vec<Literal>),
}

impl Expr {
    /// Every property the filter looks at, in the order written: what a caller must be allowed to READ.
    pub fn properties(&self) -> Vec<&Property> {
        match self {
            Self::And(all) | Self::Or(all) => all.iter().flat_map(Self::properties).collect(),
            Self::Not(inner) => inner.properties(),
            Self::Exists(property) | Self::Compare(_, property, _) | Self::In(property, _) => vec![property],
        }
    }
}

/// The moment `time:now` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub epoch_millis: i64,
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
