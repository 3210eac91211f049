//! Where a search looks: at a stretch of ids, or at what an index proposes. The filter decides about each all the same.
use super::super::state::{Proposal, Proposed, State, Wanted};
use super::at_length;
use crate::rql::{Expr, Literal, Now, Op, Property, Scalar};
use crate::twin::id;

/// In a shorter stretch a look at each thing is as fast as an index. The tests are to meet both with few things.
const INDEXED_MIN: usize = if cfg!(test) { 1 } else { 1_000 };

/// Up to so many things an index is made while the search waits, in some milliseconds. Of more it is made beside the
/// searches, which look at every thing meanwhile.
pub const INDEXED_AT_ONCE_MAX: usize = if cfg!(test) { 3_500 } else { 10_000 };

/// Ids from one to another, both included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stretch {
    pub from: String,
    /// `None` is the end.
    pub to: Option<String>,
}

impl Stretch {
    /// The ids that can satisfy all of the filters and lie in one of the namespaces.
    pub fn of(conjuncts: &[&Expr], namespaces: Option<&[String]>) -> Self {
        let mut stretch = Self::default();
        if let Some(namespaces) = namespaces {
            let prefixes: Vec<String> = namespaces.iter().map(|name| format!("{name}:")).collect();
            stretch.at_least(prefixes.iter().min().map_or("", String::as_str));
            stretch.at_most(&prefixes.iter().max().map_or_else(String::new, |last| beyond(last)));
        }
        for expr in conjuncts {
            stretch.narrow(expr);
        }
        stretch
    }

    pub fn at_least(&mut self, id: &str) {
        if *id > *self.from {
            id.clone_into(&mut self.from);
        }
    }

    fn at_most(&mut self, id: &str) {
        if self.to.as_deref().is_none_or(|to| id < to) {
            self.to = Some(id.to_owned());
        }
    }

    fn narrow(&mut self, expr: &Expr) {
        let Expr::Compare(op, property, Literal::Text(text)) = expr else { return };
        match (property.segments(), op) {
            ([name], Op::Eq) if name == "thingId" => {
                self.at_least(text);
                self.at_most(text);
            }
            ([name], Op::Gt | Op::Ge) if name == "thingId" => self.at_least(text),
            ([name], Op::Lt | Op::Le) if name == "thingId" => self.at_most(text),
            ([name], Op::Like) if name == "thingId" => {
                self.at_least(literal_prefix(text));
                self.at_most(&beyond(literal_prefix(text)));
            }
            ([name], Op::Eq) if name == "namespace" || name == "_namespace" => {
                let prefix = format!("{text}:");
                self.at_least(&prefix);
                self.at_most(&beyond(&prefix));
            }
            _ => {}
        }
    }
}

/// Not before any id that begins so.
fn beyond(prefix: &str) -> String {
    prefix.chars().chain(std::iter::repeat_n(char::MAX, id::LENGTH_MAX)).collect()
}

fn literal_prefix(pattern: &str) -> &str {
    pattern.find(['*', '?']).map_or(pattern, |end| &pattern[..end])
}

/// The filters taken apart at their `and`s: all must hold.
pub fn conjuncts(filters: &[Expr]) -> Vec<&Expr> {
    filters
        .iter()
        .flat_map(|expr| match expr {
            Expr::And(all) => conjuncts(all),
            other => vec![other],
        })
        .collect()
}

/// The fewest things an index names for one of the conjuncts; `None` when the stretch is to be walked.
///
/// `wanted` is how many hits suffice, the first by id: then walking may end early, and is the better way to what is
/// frequent.
pub fn proposed(
    state: &State,
    conjuncts: &[&Expr],
    stretch: &Stretch,
    wanted: Option<usize>,
    now: Now,
) -> Option<Proposed> {
    let length = state.about(&stretch.from, stretch.to.as_deref());
    if length < INDEXED_MIN {
        return None;
    }
    let asked: Vec<_> = conjuncts.iter().filter_map(|expr| indexable(expr, now)).collect();
    let all_asked = asked.len() == conjuncts.len();
    let asked = with_both_ends(asked);
    // with k of n things proposed, all hits, the walk meets the wanted ones after wanted * n / k
    let mut max = match wanted {
        Some(wanted) if asked.len() == 1 && all_asked => {
            wanted.saturating_mul(length).isqrt().min(length / 2)
        }
        _ => length / 2,
    };
    let mut fewest = None;
    for (property, wanted) in asked {
        let proposal = match state.propose(property, &wanted, max) {
            Proposal::NotIndexed if state.about("", None) <= INDEXED_AT_ONCE_MAX => {
                at_length(|| state.index(property));
                state.propose(property, &wanted, max)
            }
            Proposal::NotIndexed => {
                state.index_aside(property);
                continue;
            }
            proposal => proposal,
        };
        if let Proposal::These(proposed) = proposal {
            max = proposed.slots.len();
            fewest = Some(proposed);
        }
    }
    fewest
}

type Asked<'e> = (&'e Property, Wanted<'e>);

/// A lower and an upper bound of one property become one question.
fn with_both_ends(asked: Vec<Asked<'_>>) -> Vec<Asked<'_>> {
    let mut joined: Vec<Asked<'_>> = vec![];
    for (property, wanted) in asked {
        let ends = joined.iter_mut().filter(|(other, _)| *other == property).find_map(|(_, there)| {
            let between = match (&*there, &wanted) {
                (Wanted::AtLeast(low), Wanted::AtMost(high))
                | (Wanted::AtMost(high), Wanted::AtLeast(low)) => Wanted::Between(low.clone(), high.clone()),
                _ => return None,
            };
            Some((there, between))
        });
        match ends {
            Some((there, between)) => *there = between,
            None => joined.push((property, wanted)),
        }
    }
    joined
}

/// What an index can be asked; never less than what the filter finds.
fn indexable(expr: &Expr, now: Now) -> Option<(&Property, Wanted<'_>)> {
    let scalar = |literal| Scalar::of_literal(literal, now);
    let (property, wanted) = match expr {
        Expr::Compare(op, property, literal) => {
            let wanted = match (op, literal) {
                (Op::Eq, _) => Wanted::Equal(vec![scalar(literal)]),
                (Op::Like, Literal::Text(pattern)) if !literal_prefix(pattern).is_empty() => {
                    Wanted::Prefix(literal_prefix(pattern))
                }
                (Op::Gt | Op::Ge, _) => Wanted::AtLeast(not_null(scalar(literal))?),
                (Op::Lt | Op::Le, _) => Wanted::AtMost(not_null(scalar(literal))?),
                _ => return None,
            };
            (property, wanted)
        }
        Expr::In(property, literals) => {
            let all = literals.iter().map(|literal| not_null(scalar(literal)));
            (property, Wanted::Equal(all.collect::<Option<_>>()?))
        }
        _ => return None,
    };
    let of_id = |name: &String| ["thingId", "namespace", "_namespace"].contains(&name.as_str());
    let any_feature =
        |path: &[String]| matches!(path, [features, star] if features == "features" && star == "*");
    let path = property.segments();
    (!path.first().is_some_and(of_id) && !any_feature(path)).then_some((property, wanted))
}

/// Null is also what is not there, and that is in no index.
fn not_null(scalar: Scalar<'_>) -> Option<Scalar<'_>> {
    (!matches!(scalar, Scalar::Null)).then_some(scalar)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rql;

    #[test]
    fn ids_and_namespaces_narrow_the_stretch() {
        let rows = [
            ("exists(attributes/a)", None, "", None),
            ("eq(thingId,'a:b')", None, "a:b", Some("a:b")),
            ("and(gt(thingId,'a:b'),le(thingId,'c:d'))", None, "a:b", Some("c:d")),
            ("or(gt(thingId,'a:b'),le(thingId,'c:d'))", None, "", None),
            ("and(ge(thingId,'c:d'),gt(thingId,'a:b'))", None, "c:d", None),
        ];
        for (filter, namespaces, from, to) in rows {
            let expr = [rql::parse(filter).unwrap()];
            let stretch = Stretch::of(&conjuncts(&expr), namespaces);
            assert_eq!((stretch.from.as_str(), stretch.to.as_deref()), (from, to), "{filter}");
        }
        let inside =
            |stretch: Stretch, id: &str| id >= &*stretch.from && stretch.to.as_deref().unwrap() >= id;
        let expr = [rql::parse("like(thingId,'a:b*c')").unwrap()];
        assert!(inside(Stretch::of(&conjuncts(&expr), None), "a:b\u{10FFFF}\u{10FFFF}c"));
        assert!(!inside(Stretch::of(&conjuncts(&expr), None), "a:c"));
        let namespaces = ["a.b".to_owned(), "a".to_owned()];
        for (id, expected) in [("a:x", true), ("a.b:\u{10FFFF}", true), ("a.b.c:x", false), ("b:x", false)] {
            assert_eq!(inside(Stretch::of(&[], Some(&namespaces)), id), expected, "{id}");
        }
    }
}
