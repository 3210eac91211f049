//! What a filter means for the search: `MongoDB`'s rules on Ditto's index.
//!
//! Only values of one type compare, `ne` wants the property to be there, an array matches when one of its elements does,
//! and `features/*` is any feature. A property the caller may not READ matches nothing; because `not` turns that round,
//! a search must besides be limited to things of which the caller may READ any part.
//! Source: Ditto 3.8, `CreateBsonPredicateVisitor.java`, `GetFilterBsonVisitor.java`, `GetExistsBsonVisitor.java`.
use std::cmp::Ordering;

use super::like::Pattern;
use super::{Expr, Literal, Now, Op, Property, Tree, value::Scalar};

/// Whether `thing` (the whole JSON, with its special members) is found.
///
/// `readable` says whether the caller may READ a path of the thing; it is asked for every property looked at, except
/// `thingId` and `namespace`, which the index does not protect.
pub fn matches<'t, T: Tree<'t>>(expr: &Expr, thing: T, readable: &dyn Fn(&[&str]) -> bool, now: Now) -> bool {
    Ready::of(expr, now).matches(thing, readable)
}

/// A filter made ready for many things: literals are resolved, patterns are taken apart.
pub enum Ready<'e> {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Exists(&'e Property),
    Compare(Op, &'e Property, Scalar<'e>),
    Like(&'e Property, Pattern<'e>),
    In(&'e Property, Vec<Scalar<'e>>),
    Nothing,
}

impl<'e> Ready<'e> {
    pub fn of(expr: &'e Expr, now: Now) -> Self {
        let all = |exprs: &'e [Expr]| exprs.iter().map(|expr| Self::of(expr, now)).collect();
        match expr {
            Expr::And(exprs) => Self::And(all(exprs)),
            Expr::Or(exprs) => Self::Or(all(exprs)),
            Expr::Not(inner) => Self::Not(Box::new(Self::of(inner, now))),
            Expr::Exists(property) => Self::Exists(property),
            Expr::Compare(op @ (Op::Like | Op::Ilike), property, literal) => match literal {
                Literal::Text(text) => Self::Like(property, Pattern::new(text, *op == Op::Ilike)),
                _ => Self::Nothing,
            },
            Expr::Compare(op, property, literal) => {
                Self::Compare(*op, property, Scalar::of_literal(literal, now))
            }
            Expr::In(property, literals) => {
                let wanted = literals.iter().map(|literal| Scalar::of_literal(literal, now));
                Self::In(property, wanted.collect())
            }
        }
    }

    /// See [`matches`].
    pub fn matches<'t, T: Tree<'t>>(&self, thing: T, readable: &dyn Fn(&[&str]) -> bool) -> bool {
        let scope = Scope { thing, readable };
        match self {
            Self::And(all) => all.iter().all(|part| part.matches(thing, readable)),
            Self::Or(any) => any.iter().any(|part| part.matches(thing, readable)),
            Self::Not(inner) => !inner.matches(thing, readable),
            Self::Exists(property) => scope.any(property, |values| !values.is_empty()),
            Self::Compare(op, property, wanted) => {
                scope.any(property, |values| compares(*op, values, wanted))
            }
            Self::Like(property, pattern) => scope.any(property, |values| {
                candidates(values)
                    .any(|scalar| matches!(scalar, Scalar::Text(text) if pattern.matches(&text)))
            }),
            Self::In(property, wanted) => scope.any(property, |values| {
                wanted.iter().any(|wanted| match wanted {
                    Scalar::Null => values.is_empty() || any_equal(values, wanted),
                    wanted => any_equal(values, wanted),
                })
            }),
            Self::Nothing => false,
        }
    }
}

/// Every scalar of a thing that a comparison of `property` can meet: what an index of the property holds.
pub fn scalars<'t, T: Tree<'t>>(property: &Property, thing: T, mut each: impl FnMut(Scalar<'t>)) {
    let mut all = |values: &[T]| candidates(values).for_each(&mut each);
    with_path(property, |path| match path {
        ["features", "*"] => {}
        ["features", "*", rest @ ..] => {
            features(thing).for_each(|(_, feature)| with_found(feature, rest, &mut all));
        }
        ["namespace"] => with_found(thing, &["_namespace"], all),
        path => with_found(thing, path, all),
    });
}

/// Most paths are short: those need no list of their own.
fn with_path<R>(property: &Property, then: impl FnOnce(&[&str]) -> R) -> R {
    let segments = property.segments();
    let mut short = [""; 8];
    match short.get_mut(..segments.len()) {
        Some(path) => {
            path.iter_mut().zip(segments).for_each(|(place, segment)| *place = segment);
            then(path)
        }
        None => then(&segments.iter().map(String::as_str).collect::<Vec<_>>()),
    }
}

/// A thing and what its reader sees of it.
struct Scope<'r, T> {
    thing: T,
    readable: &'r dyn Fn(&[&str]) -> bool,
}

impl<'t, T: Tree<'t>> Scope<'_, T> {
    /// Whether the values at a readable place are right; for `features/*`, those of any feature.
    fn any(&self, property: &Property, right: impl Fn(&[T]) -> bool) -> bool {
        with_path(property, |path| match path {
            ["features", "*"] => features(self.thing).next().is_some(),
            ["features", "*", rest @ ..] => features(self.thing).any(|(id, feature)| {
                let path = [&["features", id], rest].concat();
                (self.readable)(&path) && with_found(feature, rest, &right)
            }),
            ["namespace"] => with_found(self.thing, &["_namespace"], right),
            ["thingId" | "_namespace"] => with_found(self.thing, path, right),
            path => (self.readable)(path) && with_found(self.thing, path, right),
        })
    }
}

fn features<'t, T: Tree<'t>>(thing: T) -> impl Iterator<Item = (&'t str, T)> {
    thing.member("features").into_iter().flat_map(T::members)
}

fn compares<'t, T: Tree<'t>>(op: Op, values: &[T], wanted: &Scalar<'_>) -> bool {
    let any = |right: fn(Ordering) -> bool| {
        candidates(values).any(|scalar| ordered(&scalar, wanted).is_some_and(right))
    };
    match op {
        Op::Eq => any_equal(values, wanted),
        Op::Ne => !values.is_empty() && !any_equal(values, wanted),
        Op::Gt => any(Ordering::is_gt),
        Op::Lt => any(Ordering::is_lt),
        // MongoDB counts a missing field as null where equality will do
        Op::Ge | Op::Le if matches!(wanted, Scalar::Null) => values.is_empty() || any_equal(values, wanted),
        Op::Ge => any(Ordering::is_ge),
        Op::Le => any(Ordering::is_le),
        // these are `Ready::Like`
        Op::Like | Op::Ilike => false,
    }
}

fn any_equal<'t, T: Tree<'t>>(values: &[T], wanted: &Scalar<'_>) -> bool {
    candidates(values).any(|scalar| match (&scalar, wanted) {
        (Scalar::Null, Scalar::Null) => true,
        (scalar, wanted) => ordered(scalar, wanted).is_some_and(Ordering::is_eq),
    })
}

/// The scalars among the values and among the elements of the arrays, not deeper.
fn candidates<'t, T: Tree<'t>>(values: &[T]) -> impl Iterator<Item = Scalar<'t>> {
    values.iter().flat_map(|value| value.scalar().into_iter().chain(value.items().filter_map(T::scalar)))
}

/// How two scalars of one type stand to each other; texts by their bytes.
fn ordered(value: &Scalar<'_>, wanted: &Scalar<'_>) -> Option<Ordering> {
    match (value, wanted) {
        (Scalar::Bool(a), Scalar::Bool(b)) => Some(a.cmp(b)),
        (Scalar::Number(a), Scalar::Number(b)) => a.compare(*b),
        (Scalar::Text(a), Scalar::Text(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Hands over the values at a path. An array on the way stands for each object in it, and a number names one of its
/// elements.
fn with_found<'t, T: Tree<'t>, R>(value: T, path: &[&str], then: impl FnOnce(&[T]) -> R) -> R {
    fn walk<'t, T: Tree<'t>>(value: T, path: &[&str], found: &mut Vec<T>) {
        let Some((next, rest)) = path.split_first() else {
            return found.push(value);
        };
        if let Some(value) = value.member(next) {
            return walk(value, rest, found);
        }
        if let Some(item) = next.parse::<usize>().ok().and_then(|i| value.items().nth(i)) {
            walk(item, rest, found);
        }
        for item in value.items().filter(|item| item.is_object()) {
            walk(item, path, found);
        }
    }
    let mut at = value;
    for (depth, name) in path.iter().enumerate() {
        match at.member(name) {
            Some(value) => at = value,
            None if at.items().next().is_none() => return then(&[]),
            None => {
                let mut found = vec![];
                walk(at, &path[depth..], &mut found);
                return then(&found);
            }
        }
    }
    then(&[at])
}
