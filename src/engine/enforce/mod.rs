//! Who may do what: a policy turned into a tree that answers like Ditto's own enforcer.
//!
//! The tree has a node per segment of a resource (`thing:/attributes/a` is `thing`, `attributes`, `a`). Every node knows
//! per permission and subject how near the rule is that reaches it: weight 0 is its own rule, -1 its parent's. Of a
//! caller's subjects the nearest rule decides, and between equals the revoke.
//!
//! - *unrestricted*: granted here, and nothing nearer revoked here **or below**, for any subject of the caller
//! - *partial*: granted here **or below**
//!
//! Source: Ditto 3.8, `PolicyTrie.java`, `GrantRevokeIndex.java`, `TrieBasedPolicyEnforcer.java`,
//! `ThingCommandEnforcement.java`.
mod expiry;
mod trie;

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use trie::{Node, Subject};

/// What a policy grants or revokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    Read,
    Write,
    Execute,
}

impl Permission {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "READ" => Self::Read,
            "WRITE" => Self::Write,
            "EXECUTE" => Self::Execute,
            _ => return None,
        })
    }
}

/// A policy, ready to be asked. Built once per revision of the policy and of those it imports, and again when a
/// subject expires.
#[derive(Clone, Debug)]
pub struct Enforcer {
    subjects: HashMap<String, Subject>,
    root: Node,
}

impl Enforcer {
    /// `entries` are the effective entries (own and imported) in Ditto's JSON; what does not look like an entry grants
    /// nothing. Subjects that expired before `now_epoch_millis` are left out.
    ///
    /// Resource keys are as long as Ditto allows at most (256): the tree is walked by recursion.
    pub fn new(entries: &Map<String, Value>, now_epoch_millis: i64) -> Self {
        let mut enforcer = Self { subjects: HashMap::new(), root: Node::default() };
        for entry in entries.values() {
            let subjects = enforcer.living(&entry["subjects"], now_epoch_millis);
            for (key, rules) in entry["resources"].as_object().into_iter().flatten() {
                let Some((kind, path)) = key.split_once(':') else { continue };
                let path = path.split('/').filter(|segment| !segment.is_empty());
                let segments = path.map(|segment| segment.replace("~1", "/").replace("~0", "~"));
                let node = enforcer.root.at(std::iter::once(kind.to_owned()).chain(segments));
                node.rule(&subjects, &permissions(&rules["grant"]), &permissions(&rules["revoke"]));
            }
        }
        enforcer.root.close();
        enforcer
    }

    fn living(&mut self, subjects: &Value, now: i64) -> Vec<Subject> {
        let known = &mut self.subjects;
        let living =
            subjects.as_object().into_iter().flatten().filter(|(_, subject)| match &subject["expiry"] {
                Value::Null => true,
                expiry => expiry.as_str().and_then(expiry::epoch_millis).is_some_and(|expiry| now < expiry),
            });
        living
            .map(|(id, _)| {
                let next = known.len();
                *known.entry(id.clone()).or_insert(next)
            })
            .collect()
    }

    /// Whether the permission is held on the path and on everything below it.
    ///
    /// `kind` is the resource type: `thing`, `policy`, `message`.
    pub fn unrestricted(
        &self,
        subjects: &[String],
        kind: &str,
        path: &[&str],
        permission: Permission,
    ) -> bool {
        let subjects = self.known(subjects);
        match self.root.exact(&full(kind, path)) {
            Some(node) => node.unrestricted(&subjects, permission),
            None => self.root.nearest(&full(kind, path)).granted(&subjects, permission),
        }
    }

    /// Whether the permission is held on the path or on something below it.
    pub fn partial(&self, subjects: &[String], kind: &str, path: &[&str], permission: Permission) -> bool {
        let subjects = self.known(subjects);
        match self.root.exact(&full(kind, path)) {
            Some(node) => node.partial(&subjects, permission),
            None => self.root.nearest(&full(kind, path)).granted(&subjects, permission),
        }
    }

    /// What a reader gets of the `value` found at `path`, or `None` when it is to be hidden.
    ///
    /// Needs READ on some part of the path. An object is then cut down to what may be read, which can leave `{}`; a
    /// scalar or an array is returned whole. Members that Ditto always shows (`thingId`, `policyId`) are up to the caller.
    /// As in Ditto, below a path that no rule names the view is that of the nearest node above with its children.
    pub fn view(&self, subjects: &[String], kind: &str, path: &[&str], value: &Value) -> Option<Value> {
        if !self.partial(subjects, kind, path, Permission::Read) {
            return None;
        }
        let Value::Object(members) = value else {
            return Some(value.clone());
        };
        let node = self.root.nearest(&full(kind, path));
        Some(Value::Object(node.members_view(members, &self.known(subjects), true)))
    }

    /// Whether WRITE is held for every leaf of a merge patch at `place` of a thing, or for all of that path.
    ///
    /// A leaf is anything but a non-empty object: a `null` or `{}` needs WRITE on its path like any other value. A
    /// `null` under a regex key (`{{ ~re~ }}`) can remove any member of its object and needs WRITE on that object whole.
    pub fn may_merge(&self, subjects: &[String], place: &[&str], patch: &Value) -> bool {
        self.unrestricted(subjects, "thing", place, Permission::Write)
            || self.partial(subjects, "thing", place, Permission::Write)
                && self.may_write_leaves(subjects, &mut place.to_vec(), patch)
    }

    fn may_write_leaves<'p>(&self, subjects: &[String], place: &mut Vec<&'p str>, patch: &'p Value) -> bool {
        let Some(members) = patch.as_object().filter(|members| !members.is_empty()) else {
            return self.unrestricted(subjects, "thing", place, Permission::Write);
        };
        members.iter().all(|(key, value)| {
            if value.is_null() && is_regex(key) {
                return self.unrestricted(subjects, "thing", place, Permission::Write);
            }
            place.push(key);
            let may = self.may_write_leaves(subjects, place, value);
            place.pop();
            may
        })
    }

    /// The subjects that get an event at `path` of a thing: READ granted there and not revoked there or below, each
    /// subject by itself. A session gets the event when one of its subjects does.
    pub fn event_readers(&self, path: &[&str]) -> BTreeSet<String> {
        let path = full("thing", path);
        let reads = |subject: Subject| match self.root.exact(&path) {
            Some(node) => {
                node.grants(subject, Permission::Read) && !node.revokes_below(subject, Permission::Read)
            }
            None => self.root.nearest(&path).granted(&[subject], Permission::Read),
        };
        self.subjects.iter().filter(|(_, subject)| reads(**subject)).map(|(id, _)| id.clone()).collect()
    }

    /// Whether a subscriber with these subjects gets a message or a live command at the path: READ reaches one of them
    /// there, and none is revoked it. Rules below do not count.
    pub fn hears(&self, subjects: &[String], kind: &str, path: &[&str]) -> bool {
        let node = self.root.nearest(&full(kind, path));
        let known = self.known(subjects);
        known.iter().any(|subject| node.grants(*subject, Permission::Read))
            && !known.iter().any(|subject| node.revokes(*subject, Permission::Read))
    }

    /// Whether a search may look at this path of a thing: the nearest rule on it or above counts, none below.
    pub fn readable(&self, subjects: &[String], path: &[&str]) -> bool {
        self.root.nearest(&full("thing", path)).granted(&self.known(subjects), Permission::Read)
    }

    /// Whether a search may find the thing at all: some part of it is granted to one of the subjects.
    pub fn any_read(&self, subjects: &[String]) -> bool {
        let thing = self.root.exact(&["thing"]);
        thing.is_some_and(|node| self.known(subjects).iter().any(|s| node.grants_below(*s, Permission::Read)))
    }

    fn known(&self, subjects: &[String]) -> Vec<Subject> {
        subjects.iter().filter_map(|subject| self.subjects.get(subject).copied()).collect()
    }
}

fn full<'p>(kind: &'p str, path: &[&'p str]) -> Vec<&'p str> {
    [&[kind], path].concat()
}

/// Unknown names are dropped, as Ditto does.
fn permissions(names: &Value) -> Vec<Permission> {
    names.as_array().into_iter().flatten().filter_map(|name| Permission::named(name.as_str()?)).collect()
}

/// `{{ ~re~ }}`, or its older form `{{ /re/ }}`.
fn is_regex(key: &str) -> bool {
    let inner = key.strip_prefix("{{").and_then(|key| key.strip_suffix("}}")).map(str::trim);
    inner.is_some_and(|inner| {
        inner.len() > 1 && ['~', '/'].iter().any(|quote| inner.starts_with(*quote) && inner.ends_with(*quote))
    })
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
