//! The tree of rules. Built raw, closed once, then only read.
use std::collections::HashMap;

use serde_json::{Map, Value};

use super::Permission;

/// A subject's number within one policy.
pub(super) type Subject = usize;

/// How near a rule is, per permission and subject: 0 is the node's own, -1 its parent's, 1 a child's.
type Weights = HashMap<(Permission, Subject), i32>;

/// One segment of a resource path.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Raw: the node's own rules. Closed: with those inherited from above.
    grant: Weights,
    revoke: Weights,
    /// Closed: `grant` and `revoke` with those of all nodes below.
    grant_below: Weights,
    revoke_below: Weights,
    children: HashMap<String, Node>,
}

impl Node {
    /// The node at a path, made with all nodes above it when missing.
    pub fn at(&mut self, path: impl Iterator<Item = String>) -> &mut Self {
        path.fold(self, |node, segment| node.children.entry(segment).or_default())
    }

    pub fn rule(&mut self, subjects: &[Subject], grant: &[Permission], revoke: &[Permission]) {
        for (weights, permissions) in [(&mut self.grant, grant), (&mut self.revoke, revoke)] {
            for permission in permissions {
                weights.extend(subjects.iter().map(|subject| ((*permission, *subject), 0)));
            }
        }
    }

    /// Carries the rules down to the children and the sums of the children up.
    pub fn close(&mut self) {
        self.inherit(&Weights::new(), &Weights::new());
    }

    fn inherit(&mut self, grant: &Weights, revoke: &Weights) {
        let own_grant = std::mem::take(&mut self.grant);
        let own_revoke = std::mem::take(&mut self.revoke);
        // at one node a revoke wins over a grant of the same subject, and either over what was inherited
        self.grant = shifted(grant, -1);
        merge(&mut self.grant, &own_grant);
        self.grant.retain(|pair, _| !own_revoke.contains_key(pair));
        self.revoke = shifted(revoke, -1);
        self.revoke.retain(|pair, _| !own_grant.contains_key(pair));
        merge(&mut self.revoke, &own_revoke);
        (self.grant_below, self.revoke_below) = (self.grant.clone(), self.revoke.clone());
        for child in self.children.values_mut() {
            child.inherit(&self.grant, &self.revoke);
            merge(&mut self.grant_below, &shifted(&child.grant_below, 1));
            merge(&mut self.revoke_below, &shifted(&child.revoke_below, 1));
        }
    }

    pub fn exact(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, segment| node.children.get(*segment))
    }

    /// The deepest node on the way to a path.
    pub fn nearest(&self, path: &[&str]) -> &Self {
        let mut node = self;
        for segment in path {
            match node.children.get(*segment) {
                Some(child) => node = child,
                None => break,
            }
        }
        node
    }

    /// Whether the rules on the node and above it grant.
    pub fn granted(&self, subjects: &[Subject], permission: Permission) -> bool {
        nearest(&self.grant, subjects, permission) > nearest(&self.revoke, subjects, permission)
    }

    /// As [`Self::granted`], and revokes below count.
    pub fn unrestricted(&self, subjects: &[Subject], permission: Permission) -> bool {
        nearest(&self.grant, subjects, permission) > nearest(&self.revoke_below, subjects, permission)
    }

    /// As [`Self::granted`], and grants below count and undo the subject's own revoke.
    pub fn partial(&self, subjects: &[Subject], permission: Permission) -> bool {
        let ungranted = subjects.iter().filter(|subject| !self.grants_below(**subject, permission));
        nearest(&self.grant_below, subjects, permission) > nearest(&self.revoke, ungranted, permission)
    }

    pub fn grants(&self, subject: Subject, permission: Permission) -> bool {
        self.grant.contains_key(&(permission, subject))
    }

    pub fn revokes(&self, subject: Subject, permission: Permission) -> bool {
        self.revoke.contains_key(&(permission, subject))
    }

    pub fn grants_below(&self, subject: Subject, permission: Permission) -> bool {
        self.grant_below.contains_key(&(permission, subject))
    }

    pub fn revokes_below(&self, subject: Subject, permission: Permission) -> bool {
        self.revoke_below.contains_key(&(permission, subject))
    }

    /// The readable members of an object at this node. `named` is false below a node without children of that name:
    /// then the node's own rules reach all of it.
    pub fn members_view(
        &self,
        members: &Map<String, Value>,
        subjects: &[Subject],
        named: bool,
    ) -> Map<String, Value> {
        let view = |(key, value): (&String, &Value)| {
            let seen = match self.children.get(key).filter(|_| named) {
                Some(child) => child.view(value, subjects, true),
                None => self.view(value, subjects, false),
            };
            Some((key.clone(), seen?))
        };
        members.iter().filter_map(view).collect()
    }

    fn view(&self, value: &Value, subjects: &[Subject], named: bool) -> Option<Value> {
        let seen = match value {
            Value::Object(members) => Some(self.members_view(members, subjects, named))
                .filter(|seen| !seen.is_empty())
                .map(Value::Object),
            // an index is no segment: the elements lie where the array lies
            Value::Array(items) => {
                let seen: Vec<Value> =
                    items.iter().filter_map(|item| self.view(item, subjects, named)).collect();
                Some(seen).filter(|seen| !seen.is_empty()).map(Value::Array)
            }
            _ => None,
        };
        seen.or_else(|| {
            self.granted(subjects, Permission::Read).then(|| match value {
                Value::Object(_) => Value::Object(Map::new()),
                Value::Array(_) => Value::Array(vec![]),
                scalar => scalar.clone(),
            })
        })
    }
}

/// The weight of the nearest rule for any of the subjects; `None`, when there is no rule, is farther than all.
fn nearest<'s>(
    weights: &Weights,
    subjects: impl IntoIterator<Item = &'s Subject>,
    permission: Permission,
) -> Option<i32> {
    subjects.into_iter().filter_map(|subject| weights.get(&(permission, *subject)).copied()).max()
}

fn shifted(weights: &Weights, by: i32) -> Weights {
    weights.iter().map(|(pair, weight)| (*pair, weight + by)).collect()
}

fn merge(into: &mut Weights, from: &Weights) {
    for (pair, weight) in from {
        let there = into.entry(*pair).or_insert(*weight);
        *there = (*there).max(*weight);
    }
}
