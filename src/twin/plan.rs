//! The decision: what is declared, what Ditto holds, and the smallest patch between the two.
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::desired::{Desired, Mode};
use super::json::{Pointer, leaves, same};
use super::mark::Base;
use super::ownership::{Declared, mode_of};
use super::rql_text;

/// The gap between a twin and its thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    /// RFC 7386 patch over enforced paths; `{}` when nothing differs.
    pub owned: Value,
    /// RFC 7386 patch of the seeds that are still open.
    pub seeds: Value,
    /// Parts of `seeds` that Ditto drops when somebody else was faster. One covers all below it.
    pub guards: Vec<(Pointer, String)>,
    /// Enforced paths whose live value differs, and paths to remove.
    pub differing: Vec<Pointer>,
    /// What is ours once `owned` is applied, as far as this observation can tell.
    pub base: Base,
    /// Seeds that did not fit into this patch's headers: plan again after it.
    pub postponed: bool,
    /// A seed whose guard alone is longer than all headers may be.
    pub unseedable: Option<Pointer>,
}

impl Changes {
    /// One patch of both; without the owned part when drift is only reported.
    pub fn body(&self, with_owned: bool) -> Value {
        let mut body = if with_owned { self.owned.clone() } else { json!({}) };
        for (path, value) in leaves(&self.seeds).into_iter().filter(|(path, _)| !path.is_root()) {
            path.set(&mut body, value.clone());
        }
        body
    }
}

/// The places an observation must show for [`changes`] to decide.
///
/// A seed that is not decided needs its whole surroundings (`/features/f`, `/attributes/a`): the guard
/// goes to the highest node that is missing.
pub fn needed(declared: &Declared, base: Option<&Base>) -> Vec<Pointer> {
    let undecided = declared.seeds.iter().map(|(path, _)| path).filter(|path| !decided(base, path));
    let surroundings = undecided.map(|path| Pointer::of(path.segments().iter().take(2).cloned()));
    let enforced = declared.enforced.iter().map(|(path, _)| path.clone());
    let before = base.into_iter().flat_map(|base| base.enforced.iter().cloned());
    let all: BTreeSet<Pointer> = surroundings.chain(enforced).chain(before).collect();
    let mut kept: Vec<Pointer> = vec![];
    for path in all {
        if !kept.last().is_some_and(|above| above.covers(&path)) {
            kept.push(path);
        }
    }
    kept
}

/// The body of a create: everything declared but what is ignored.
pub fn creation(declared: &Declared, policy_id: &str) -> Value {
    let mut body = json!({ "policyId": policy_id });
    for (path, value) in declared.enforced.iter().chain(&declared.seeds) {
        path.set(&mut body, value.clone());
    }
    body
}

/// What a create leaves behind: all of it was carried.
pub fn base_after_create(declared: &Declared) -> Base {
    Base {
        enforced: declared.enforced.iter().map(|(path, _)| path.clone()).collect(),
        seeded: declared.seeds.iter().map(|(path, _)| path.clone()).collect(),
    }
}

/// Compares over declared paths only: what devices add stays. `guard_bytes` is what the headers have
/// left for guards.
pub fn changes(
    desired: &Desired,
    declared: &Declared,
    base: Option<&Base>,
    document: &Value,
    guard_bytes: usize,
) -> Changes {
    let mut owned = json!({});
    let mut differing = vec![];
    for (path, wanted) in &declared.enforced {
        if !holds(path.get(document), wanted) {
            path.set(&mut owned, wanted.clone());
            differing.push(path.clone());
        }
    }
    for path in removals(desired, declared, base, document) {
        path.set(&mut owned, Value::Null);
        differing.push(path);
    }
    let mut changes = Changes {
        owned,
        seeds: json!({}),
        guards: vec![],
        differing,
        base: base_after_create(declared),
        postponed: false,
        unseedable: None,
    };
    changes.base.seeded.clear();
    seed(&mut changes, declared, base, document, guard_bytes);
    changes
}

/// Whether everything that is enforced stands there already.
pub fn is_satisfied(declared: &Declared, document: &Value) -> bool {
    declared.enforced.iter().all(|(path, wanted)| holds(path.get(document), wanted))
}

/// An empty object is satisfied by any object: whoever declares a container does not own what is in it.
fn holds(found: Option<&Value>, wanted: &Value) -> bool {
    match (found, wanted) {
        (Some(Value::Object(_)), Value::Object(wanted)) if wanted.is_empty() => true,
        (Some(found), wanted) => same(found, wanted),
        (None, _) => false,
    }
}

/// Paths we wrote before that are no longer declared. Leaves only, because a device may write beside;
/// and only what the observation shows, because a `null` under an absent feature creates the feature.
fn removals(desired: &Desired, declared: &Declared, base: Option<&Base>, document: &Value) -> Vec<Pointer> {
    let kept: BTreeSet<&Pointer> =
        declared.enforced.iter().chain(&declared.seeds).map(|(path, _)| path).collect();
    let still_declared = |path: &Pointer| {
        kept.contains(path)
            || declared.enforced.iter().chain(&declared.seeds).any(|(kept, value)| {
                path.covers(kept) || (kept.covers(path) && !value.as_object().is_some_and(Map::is_empty))
            })
    };
    base.into_iter()
        .flat_map(|base| &base.enforced)
        .filter(|path| mode_of(path, &desired.fields) == Mode::Enforce && !still_declared(path))
        .filter(|path| match path.get(document) {
            Some(Value::Object(members)) => members.is_empty(),
            found => found.is_some(),
        })
        .cloned()
        .collect()
}

fn decided(base: Option<&Base>, path: &Pointer) -> bool {
    base.is_some_and(|base| base.decided(path))
}

/// Ditto's `exists` knows no `attributes` or `features` alone, so nothing can guard these two; and empty
/// they say nothing that a device could miss.
fn is_unguarded(path: &Pointer) -> bool {
    matches!(path.segments(), [root] if root == "attributes" || root == "features")
}

/// Adds the seeds that are still open, each under a guard at the highest missing node that holds
/// nothing but seeds: a guard that fails drops everything below it.
fn seed(
    changes: &mut Changes,
    declared: &Declared,
    base: Option<&Base>,
    document: &Value,
    guard_bytes: usize,
) {
    let mut spent = "{}".len();
    for (path, value) in &declared.seeds {
        if decided(base, path) || taken(document, path) || is_unguarded(path) {
            changes.base.seeded.insert(path.clone());
            continue;
        }
        let node = guarded_node(declared, document, path);
        if !changes.guards.iter().any(|(guard, _)| *guard == node) {
            let rql = rql_text::absent(&node);
            let bytes = guard_length(&node, &rql);
            if bytes + "{}".len() > guard_bytes && spent == "{}".len() {
                changes.unseedable = Some(path.clone());
                continue;
            }
            if spent + bytes > guard_bytes {
                changes.postponed = true;
                continue;
            }
            spent += bytes;
            changes.guards.push((node, rql));
        }
        path.set(&mut changes.seeds, value.clone());
    }
}

/// What one guard adds to the header, as ASCII JSON: `"pointer":"rql",`.
fn guard_length(node: &Pointer, rql: &str) -> usize {
    super::mark::ascii(&json!({ node.to_string(): rql })).len()
}

/// Whether something stands at `path`, or stands in its way: a scalar above belongs to the device.
fn taken(document: &Value, path: &Pointer) -> bool {
    let mut at = document;
    for segment in path.segments() {
        match at {
            Value::Object(members) => match members.get(segment) {
                Some(below) => at = below,
                None => return false,
            },
            _ => return true,
        }
    }
    true
}

/// The highest place that may carry the guard of `path`; see [`is_unguarded`] for why it is not the root's child.
fn guarded_node(declared: &Declared, document: &Value, path: &Pointer) -> Pointer {
    const SHALLOWEST: usize = 2;
    let segments = path.segments();
    (SHALLOWEST..segments.len())
        .map(|depth| Pointer::of(segments[..depth].iter().cloned()))
        .find(|node| {
            node.get(document).is_none()
                && !declared.enforced.iter().any(|(enforced, _)| node.covers(enforced))
        })
        .unwrap_or_else(|| path.clone())
}
