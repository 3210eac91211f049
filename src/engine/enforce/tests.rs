use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use super::*;

const SUBJECTS: [&str; 3] = ["pre:a", "pre:b", "pre:c"];

fn enforcer(entries: &Value) -> Enforcer {
    Enforcer::new(entries.as_object().unwrap(), 0)
}

fn callers(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// A rule of a policy, and all that matters of it.
#[derive(Clone, Debug)]
struct Rule {
    path: Vec<&'static str>,
    subject: &'static str,
    permission: Permission,
    grant: bool,
}

/// Ditto's rules without a tree: every question goes through the list of all rules.
struct Naive(Vec<Rule>);

impl Naive {
    /// The rule that reaches a path: the one nearest above it, of two at one place the revoke.
    fn effective(&self, subject: &str, path: &[&str], permission: Permission) -> Option<(bool, usize)> {
        let reach = |rule: &&Rule| {
            rule.subject == subject && rule.permission == permission && path.starts_with(&rule.path)
        };
        let nearest = self.0.iter().filter(reach).max_by_key(|rule| (rule.path.len(), !rule.grant))?;
        Some((nearest.grant, nearest.path.len()))
    }

    /// Every place that is named by a rule or leads to one.
    fn nodes(&self) -> BTreeSet<Vec<&'static str>> {
        self.0.iter().flat_map(|rule| (0..=rule.path.len()).map(|end| rule.path[..end].to_vec())).collect()
    }

    fn nearest<'p>(&self, path: &'p [&'p str]) -> &'p [&'p str] {
        let nodes = self.nodes();
        (0..=path.len()).rev().map(|end| &path[..end]).find(|path| nodes.contains(*path)).unwrap_or_default()
    }

    fn granted(&self, subjects: &[&str], path: &[&str], permission: Permission) -> bool {
        let path = self.nearest(path);
        let depth = |grant| {
            let rules = subjects.iter().filter_map(|s| self.effective(s, path, permission));
            rules.filter(|rule| rule.0 == grant).map(|rule| rule.1).max()
        };
        depth(true) > depth(false)
    }

    /// The deepest rule of one kind that is in effect at or below a path.
    fn below(&self, subject: &str, path: &[&str], permission: Permission, grant: bool) -> Option<usize> {
        let nodes = self.nodes().into_iter().filter(|node| node.starts_with(path));
        let rules = nodes.filter_map(|node| self.effective(subject, &node, permission));
        rules.filter(|rule| rule.0 == grant).map(|rule| rule.1).max()
    }

    fn unrestricted(&self, subjects: &[&str], path: &[&str], permission: Permission) -> bool {
        if !self.nodes().contains(path) {
            return self.granted(subjects, path, permission);
        }
        let here = subjects.iter().filter_map(|s| self.effective(s, path, permission).filter(|rule| rule.0));
        let revoked = subjects.iter().filter_map(|s| self.below(s, path, permission, false)).max();
        here.map(|rule| rule.1).max() > revoked
    }

    fn partial(&self, subjects: &[&str], path: &[&str], permission: Permission) -> bool {
        if !self.nodes().contains(path) {
            return self.granted(subjects, path, permission);
        }
        let granted = subjects.iter().filter_map(|s| self.below(s, path, permission, true)).max();
        let ungranted = subjects.iter().filter(|s| self.below(s, path, permission, true).is_none());
        let revoked = ungranted.filter_map(|s| self.effective(s, path, permission));
        granted > revoked.filter(|rule| !rule.0).map(|rule| rule.1).max()
    }

    fn view(&self, subjects: &[&str], path: &[&str], value: &Value) -> Option<Value> {
        let seen = match value {
            Value::Object(members) => {
                let member = |(key, value): (&String, &Value)| {
                    Some((key.clone(), self.view(subjects, &[path, &[key]].concat(), value)?))
                };
                Value::Object(members.iter().filter_map(member).collect())
            }
            Value::Array(items) => items.iter().filter_map(|item| self.view(subjects, path, item)).collect(),
            scalar => scalar.clone(),
        };
        let full =
            seen.as_object().is_some_and(|m| !m.is_empty()) || seen.as_array().is_some_and(|a| !a.is_empty());
        (full || self.granted(subjects, path, Permission::Read)).then_some(seen)
    }

    fn may_merge(&self, subjects: &[&str], place: &[&str], patch: &Value) -> bool {
        self.unrestricted(subjects, place, Permission::Write)
            || self.partial(subjects, place, Permission::Write)
                && self.may_write_leaves(subjects, place, patch)
    }

    fn may_write_leaves(&self, subjects: &[&str], place: &[&str], patch: &Value) -> bool {
        match patch {
            Value::Object(members) if !members.is_empty() => members
                .iter()
                .all(|(key, value)| self.may_write_leaves(subjects, &[place, &[key]].concat(), value)),
            _ => self.unrestricted(subjects, place, Permission::Write),
        }
    }

    fn event_readers(&self, path: &[&str]) -> BTreeSet<String> {
        let readers = SUBJECTS.iter().filter(|s| self.unrestricted(&[s], path, Permission::Read));
        readers.map(|s| (*s).to_owned()).collect()
    }
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let segment = select(vec!["a", "b", "c"]);
    let permission = select(vec![Permission::Read, Permission::Write]);
    let rule = (vec(segment, 0..4), select(SUBJECTS.to_vec()), permission, any::<bool>());
    let rule = rule.prop_map(|(path, subject, permission, grant)| Rule { path, subject, permission, grant });
    vec(rule, 1..10)
}

/// Each rule as an entry of its own: Ditto joins them by subject and place.
fn policy(rules: &[Rule]) -> Value {
    let entry = |(i, rule): (usize, &Rule)| {
        let names = [if rule.permission == Permission::Read { "READ" } else { "WRITE" }];
        let (grant, revoke): (&[_], &[_]) = if rule.grant { (&names, &[]) } else { (&[], &names) };
        let key = format!("thing:/{}", rule.path.join("/"));
        let entry = json!({"subjects": {rule.subject: {"type": "x"}}, "resources": {key: {"grant": grant, "revoke": revoke}}});
        (i.to_string(), entry)
    };
    Value::Object(rules.iter().enumerate().map(entry).collect())
}

/// Every path of at most four of the segments.
fn paths() -> Vec<Vec<&'static str>> {
    let mut paths = vec![vec![]];
    let mut from = 0;
    for _ in 0..4 {
        let to = paths.len();
        for i in from..to {
            paths.extend(["a", "b", "c"].map(|segment| [&paths[i][..], &[segment]].concat()));
        }
        from = to;
    }
    paths
}

fn callers_of_every_kind() -> Vec<Vec<&'static str>> {
    (1..8).map(|bits| (0..3).filter(|i| bits >> i & 1 == 1).map(|i| SUBJECTS[i]).collect()).collect()
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!(1)), Just(Value::Null), Just(json!({})), Just(json!([]))];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let key = select(vec!["a", "b", "c"]).prop_map(str::to_owned);
        prop_oneof![
            4 => vec((key, inner.clone()), 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
            1 => vec(inner, 0..3).prop_map(Value::Array),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_tree_answers_like_the_list_of_rules(rules in rules()) {
        let (tree, naive) = (enforcer(&policy(&rules)), Naive(rules));
        for path in paths() {
            prop_assert_eq!(tree.event_readers(&path), naive.event_readers(&path), "events at {:?}", path);
            for ids in callers_of_every_kind() {
                let subjects = callers(&ids);
                for permission in [Permission::Read, Permission::Write] {
                    prop_assert_eq!(
                        tree.unrestricted(&subjects, "thing", &path, permission),
                        naive.unrestricted(&ids, &path, permission),
                        "unrestricted {:?} {:?} {:?}", permission, path, ids
                    );
                    prop_assert_eq!(
                        tree.partial(&subjects, "thing", &path, permission),
                        naive.partial(&ids, &path, permission),
                        "partial {:?} {:?} {:?}", permission, path, ids
                    );
                }
                prop_assert_eq!(
                    tree.readable(&subjects, &path), naive.granted(&ids, &path, Permission::Read),
                    "readable {:?} {:?}", path, ids
                );
            }
        }
    }

    #[test]
    fn views_and_merges_answer_like_the_list_of_rules(rules in rules(), document in document()) {
        let (tree, naive) = (enforcer(&policy(&rules)), Naive(rules));
        for ids in callers_of_every_kind() {
            let subjects = callers(&ids);
            for path in naive.nodes() {
                let seen = document.is_object().then(|| naive.view(&ids, &path, &document).unwrap_or(json!({})));
                let seen = naive.partial(&ids, &path, Permission::Read).then(|| seen.unwrap_or(document.clone()));
                prop_assert_eq!(tree.view(&subjects, "thing", &path, &document), seen, "{:?} {:?}", path, ids);
                prop_assert_eq!(
                    tree.may_merge(&subjects, &path, &document), naive.may_merge(&ids, &path, &document),
                    "{:?} {:?}", path, ids
                );
            }
        }
    }

    #[test]
    fn who_has_all_has_some_and_who_has_none_sees_nothing(rules in rules()) {
        let tree = enforcer(&policy(&rules));
        for path in paths() {
            let subjects = callers(&SUBJECTS[..1]);
            let all = tree.unrestricted(&subjects, "thing", &path, Permission::Read);
            let some = tree.partial(&subjects, "thing", &path, Permission::Read);
            prop_assert!(some || !all);
            prop_assert!(tree.any_read(&subjects) || !some);
        }
    }
}

#[test]
fn rules_meet_as_ditto_has_it() {
    /// What it shows, the caller's subjects, the path, and whether READ is held on all and on some of it.
    type Row<'r> = (&'r str, &'r [&'r str], &'r [&'r str], (bool, bool));

    let tree = enforcer(&json!({
        "both": {"subjects": {"s:both": {}}, "resources": {"thing:/a": {"grant": ["READ"], "revoke": ["READ"]}}},
        "one": {"subjects": {"s:1": {}}, "resources": {"thing:/": {"grant": ["READ"], "revoke": []}}},
        "two": {"subjects": {"s:2": {}}, "resources": {
            "thing:/": {"grant": ["READ"]}, "thing:/a": {"revoke": ["READ"]}, "thing:/a/b": {"grant": ["READ"]},
        }},
        "acts": {"subjects": {"s:1": {}}, "resources": {
            "policy:/entries/x/actions/go": {"grant": ["EXECUTE", "NONSENSE"], "revoke": []},
            "message:/inbox": {"grant": ["WRITE"], "revoke": []},
        }},
        "odd": {"subjects": [], "resources": {"no colon": {"grant": ["READ"]}, "thing:/z": 5}},
    }));
    let read = |ids: &[&str], path: &[&str]| {
        let subjects = callers(ids);
        (
            tree.unrestricted(&subjects, "thing", path, Permission::Read),
            tree.partial(&subjects, "thing", path, Permission::Read),
        )
    };
    let rows: [Row<'_>; 8] = [
        ("a grant beside a revoke is a revoke", &["s:both"], &["a"], (false, false)),
        ("a grant reaches down", &["s:1"], &["a", "b", "c"], (true, true)),
        ("a revoke below restricts", &["s:2"], &[], (false, true)),
        ("a child's grant reopens", &["s:2"], &["a", "b"], (true, true)),
        ("beside the reopened child it stays shut", &["s:2"], &["a", "c"], (false, false)),
        ("above it some is granted", &["s:2"], &["a"], (false, true)),
        (
            "another subject's grant does not outweigh the deeper revoke",
            &["s:1", "s:2"],
            &["a"],
            (false, true),
        ),
        ("a stranger has nothing", &["s:x"], &[], (false, false)),
    ];
    for (name, ids, path, expected) in rows {
        assert_eq!(read(ids, path), expected, "{name}");
    }
    let one = callers(&["s:1"]);
    assert!(tree.unrestricted(&one, "policy", &["entries", "x", "actions", "go"], Permission::Execute));
    assert!(tree.unrestricted(&one, "message", &["inbox", "messages", "hi"], Permission::Write));
    assert!(!tree.unrestricted(&one, "message", &["features", "f", "inbox"], Permission::Write));
    assert_eq!(tree.event_readers(&["a"]), BTreeSet::from(["s:1".to_owned()]));
    assert!(tree.any_read(&callers(&["s:2"])) && !tree.any_read(&callers(&["s:both"])));
}

#[test]
fn a_view_hides_and_never_changes_what_is_left() {
    let tree = enforcer(&json!({
        "e": {"subjects": {"s:1": {}}, "resources": {
            "thing:/attributes": {"grant": ["READ"]}, "thing:/attributes/secret": {"revoke": ["READ"]},
            "thing:/attributes/list/open": {"grant": ["READ"]},
        }},
    }));
    let one = callers(&["s:1"]);
    let thing = json!({"policyId": "a:b", "attributes": {"secret": {"k": 1}, "list": [{"open": 1}, 2], "n": null, "o": {}}});
    let seen = json!({"attributes": {"list": [{"open": 1}, 2], "n": null, "o": {}}});
    assert_eq!(tree.view(&one, "thing", &[], &thing), Some(seen));
    assert_eq!(tree.view(&one, "thing", &["attributes", "secret"], &json!({"k": 1})), None);
    assert_eq!(tree.view(&one, "thing", &["attributes"], &json!({"secret": 1})), Some(json!({})));
    let below_no_rule = tree.view(&one, "thing", &["attributes", "other"], &json!({"secret": 1, "b": 2}));
    assert_eq!(below_no_rule, Some(json!({"b": 2})), "as Ditto: seen with the rules of the node above");
    assert_eq!(tree.view(&one, "thing", &[], &json!([1])), Some(json!([1])), "what is no object comes whole");
    assert_eq!(tree.view(&one, "policy", &[], &json!({"entries": {}})), None);
}

#[test]
fn a_patch_needs_write_on_every_leaf() {
    let tree = enforcer(&json!({
        "e": {"subjects": {"s:1": {}}, "resources": {
            "thing:/attributes": {"grant": ["WRITE"]}, "thing:/attributes/ro": {"revoke": ["WRITE"]},
            "thing:/attributes/ro/~1rw~0": {"grant": ["WRITE"]},
        }},
    }));
    let rows = [
        ("a granted leaf", json!({"attributes": {"a": 1}}), true),
        ("one leaf of two", json!({"attributes": {"a": 1, "ro": 1}}), false),
        ("a null", json!({"attributes": {"ro": null}}), false),
        ("an empty object", json!({"attributes": {"ro": {}}}), false),
        ("an empty patch", json!({}), false),
        ("all of a part with something shut", json!({"attributes": null}), false),
        ("a place reopened, named with escapes", json!({"attributes": {"ro": {"/rw~": 1}}}), true),
        ("a regex, which may hit what is shut", json!({"attributes": {"{{ ~r.*~ }}": null}}), false),
        ("its older form", json!({"attributes": {"{{/r.*/}}": null}}), false),
        ("a regex where nothing is shut", json!({"attributes": {"o": {"{{ ~r.*~ }}": null}}}), true),
        ("a key like a regex with a value", json!({"attributes": {"{{ ~r.*~ }}": 1}}), true),
        ("a key in braces", json!({"attributes": {"{{ ~ }}": null}}), true),
        ("another part", json!({"definition": null}), false),
    ];
    for (name, patch, expected) in rows {
        assert_eq!(tree.may_merge(&callers(&["s:1"]), &[], &patch), expected, "{name}");
    }
}

#[test]
fn an_expired_subject_is_nobody() {
    let entries = json!({"e": {
        "subjects": {
            "s:gone": {"expiry": "2024-05-16T10:20:30Z"}, "s:here": {"expiry": "2024-05-16T10:20:31Z"},
            "s:odd": {"expiry": "soon"}, "s:ever": {"expiry": null},
        },
        "resources": {"thing:/": {"grant": ["READ"], "revoke": []}},
    }});
    let tree = Enforcer::new(entries.as_object().unwrap(), 1_715_854_830_000);
    assert_eq!(tree.event_readers(&[]), BTreeSet::from(["s:ever".to_owned(), "s:here".to_owned()]));
}
