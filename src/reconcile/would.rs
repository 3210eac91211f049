//! What a dry run would do: the write it stops before, beside what it saw.
use serde_json::Value;

use crate::ports::{FoundPolicy, FoundThing, Metadata};
use crate::twin::json::{self, Pointer};
use crate::twin::policy::LABEL;
use crate::twin::request::{Answer, Request};

/// The write a dry run stopped before.
#[derive(Clone, Debug, PartialEq)]
pub struct Would {
    /// `create`, `update`, `delete`, or `release`: the mark is taken off and the rest stays.
    pub verb: &'static str,
    /// The places an update changes; empty when it writes nothing but the mark.
    pub paths: Vec<Pointer>,
    /// The thing does not carry our mark yet.
    pub adopts: bool,
}

impl Would {
    /// The resource would be there after it.
    pub fn writes(&self) -> bool {
        matches!(self.verb, "create" | "update")
    }
}

/// What the pass was shown last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    thing: Option<FoundThing>,
    policy: Option<FoundPolicy>,
}

impl Seen {
    pub fn note(&mut self, answer: &Answer) {
        match answer {
            Answer::Thing(Ok(found)) => self.thing.clone_from(found),
            Answer::Policy(Ok(found)) => self.policy.clone_from(found),
            _ => {}
        }
    }

    pub fn would(&self, request: &Request) -> Would {
        let would = |verb| Would { verb, paths: vec![], adopts: false };
        match request {
            Request::PatchThing { patch, .. } if patch.metadata == Metadata::Delete => would("release"),
            Request::PatchThing { patch, .. } => Would {
                paths: self.patched(&patch.body),
                adopts: self.thing.as_ref().is_some_and(|thing| thing.mark.is_none()),
                ..would("update")
            },
            Request::PutPolicy { body, .. } if request.verb() == "update" => {
                Would { paths: self.put(body), ..would("update") }
            }
            _ => would(request.verb()),
        }
    }

    /// A patch without another change names the policy that the thing has already.
    fn patched(&self, patch: &Value) -> Vec<Pointer> {
        let policy = Pointer::of(["policyId"]);
        let held = self.thing.as_ref().and_then(|thing| thing.policy_id.as_deref());
        let changes = |(at, value): &(Pointer, &Value)| *at != policy || value.as_str() != held;
        json::leaves(patch).into_iter().filter(changes).map(|(at, _)| at).collect()
    }

    /// Entries and imports that differ, without the one that carries the mark.
    fn put(&self, body: &Value) -> Vec<Pointer> {
        let before = self.policy.as_ref().map_or(&Value::Null, |found| &found.body);
        let mut paths = vec![];
        for part in ["entries", "imports"] {
            let members = [before, body].into_iter().filter_map(|side| side[part].as_object());
            let mut names: Vec<_> = members.flat_map(serde_json::Map::keys).collect();
            names.sort();
            names.dedup();
            for name in names.into_iter().filter(|name| *name != LABEL) {
                let at = Pointer::of([part, name]);
                let (old, new) = (at.get(before), at.get(body));
                if !old.zip(new).is_some_and(|(old, new)| json::same(old, new)) {
                    paths.push(at);
                }
            }
        }
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{Expect, ThingPatch};
    use crate::twin::id::{PolicyId, ThingId};
    use serde_json::json;

    #[test]
    fn an_update_names_what_it_changes_and_nothing_else() {
        let mut seen = Seen::default();
        seen.note(&Answer::Thing(Ok(Some(FoundThing {
            id: "a:b".into(),
            revision: 1,
            policy_id: Some("a:p".into()),
            mark: None,
            document: json!({}),
        }))));
        let patch = |body: Value, metadata: Metadata| Request::PatchThing {
            id: ThingId::parse("a:b").unwrap(),
            patch: ThingPatch { body, metadata, ..ThingPatch::default() },
        };
        let put = || Metadata::Put(json!({}));
        let rows = [
            (
                patch(json!({"attributes": {"a": 1, "b": null}}), put()),
                "update",
                "/attributes/a /attributes/b",
            ),
            (patch(json!({"policyId": "a:p"}), put()), "update", ""),
            (patch(json!({"policyId": "a:q"}), put()), "update", "/policyId"),
            (patch(json!({"policyId": "a:p"}), Metadata::Delete), "release", ""),
        ];
        for (request, verb, paths) in rows {
            let would = seen.would(&request);
            let said: Vec<_> = would.paths.iter().map(ToString::to_string).collect();
            assert_eq!((would.verb, said.join(" ").as_str()), (verb, paths));
            assert_eq!(would.adopts, verb == "update");
        }
    }

    #[test]
    fn a_policy_names_the_entries_that_differ() {
        let mut seen = Seen::default();
        let body =
            json!({"entries": {"a": {"x": 1}, "b": {}, "twinops": {"mark": 1}}, "imports": {"c:d": {}}});
        seen.note(&Answer::Policy(Ok(Some(FoundPolicy { revision: 4, body }))));
        let body = json!({"entries": {"a": {"x": 1.0}, "c": {}, "twinops": {"mark": 2}}, "imports": {}});
        let id = PolicyId::parse("a:p").unwrap();
        let would = seen.would(&Request::PutPolicy { id, body, expect: Expect::Revision(4) });
        let said: Vec<_> = would.paths.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["/entries/b", "/entries/c", "/imports/c:d"]);
    }
}
