//! The operator's rights: exactly those, and enough (every test here runs with nothing else).
use std::time::Duration;

use serde_json::{Value, json};

use super::{
    ACCOUNT, Desk, HOME, NO_RESYNC, OPERATOR, Operator, USER, account, chart, cluster, condition, ditto,
    let_operator_lead,
};
use crate::support::wait_for;

/// For an operator that lacks a right to run into it.
const NOTICED: Duration = Duration::from_mins(1);

fn rules(object: &Value) -> Vec<Value> {
    object["rules"].as_array().cloned().unwrap_or_default()
}

/// Who runs the operator without the chart gives it the rights of the manifest: they are the same.
#[test]
fn the_manifest_and_the_chart_give_the_same_rights() {
    let text = include_str!("../../../manifests/operator-rbac.yaml");
    let manifest: Vec<Value> =
        text.split("---\n").filter_map(|part| serde_yaml::from_str(part).ok()).collect();
    let of = |name: &str| {
        manifest.iter().find(|one| one["kind"] == "ClusterRole" && one["metadata"]["name"] == name)
    };
    assert_eq!(rules(of("twinops-operator").unwrap()), rules(&chart(&["ClusterRole"], HOME)[0]));
    let own = chart(&["Role"], HOME).into_iter().find(|role| role["metadata"]["name"] == ACCOUNT).unwrap();
    assert_eq!(rules(of("twinops-leader").unwrap()), rules(&own), "bound in one namespace, never in all");
    assert!(!text.contains('*') && !text.contains("secrets"), "least privilege");
}

/// Every right, as one resource and one verb.
fn rights(rules: &[Value]) -> Vec<(String, String)> {
    let words = |list: &Value| {
        let words = list.as_array().into_iter().flatten();
        words.map(|word| word.as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let each = rules.iter().flat_map(|rule| {
        let verbs = words(&rule["verbs"]);
        words(&rule["resources"])
            .into_iter()
            .flat_map(move |resource| verbs.clone().into_iter().map(move |verb| (resource.clone(), verb)))
    });
    each.collect()
}

/// The rules without one right.
fn without(rules: &[Value], resource: &str, verb: &str) -> Vec<Value> {
    let mut left = vec![];
    for rule in rules {
        for one in rule["resources"].as_array().into_iter().flatten() {
            let mut rule = rule.clone();
            rule["resources"] = json!([one]);
            if one == resource {
                rule["verbs"].as_array_mut().unwrap().retain(|word| word != verb);
            }
            if rule["verbs"] != json!([]) {
                left.push(rule);
            }
        }
    }
    left
}

/// An operator of an account whose roles are the chart's without one right.
fn poorer(desk: &Desk, resource: &str, verb: &str) -> Operator {
    let namespace = &desk.namespace;
    let name = format!("without-{verb}-{}", resource.replace('/', "-"));
    let subjects = json!([{"kind": "ServiceAccount", "name": name, "namespace": namespace}]);
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}),
    ];
    for role in chart(&["ClusterRole", "Role"], namespace) {
        // Of the roles of a namespace only the operator's.
        if role["kind"] == "Role" && role["metadata"]["name"] != ACCOUNT {
            continue;
        }
        let kind = role["kind"].as_str().unwrap();
        let group = "rbac.authorization.k8s.io";
        let mut metadata = json!({"name": format!("{namespace}-{name}")});
        if kind == "Role" {
            metadata["namespace"] = json!(namespace);
        }
        objects.push(json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": metadata, "rules": without(&rules(&role), resource, verb)}));
        objects.push(json!({
            "apiVersion": format!("{group}/v1"), "kind": format!("{kind}Binding"), "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": kind, "name": metadata["name"]}, "subjects": subjects,
        }));
    }
    super::apply(desk.cluster, &objects);
    let kubeconfig = desk.cluster.kubeconfig_of_account(namespace, &name);
    let args = ["--watch-namespace", namespace, "--lease-namespace", namespace, "--resync", NO_RESYNC];
    Operator::start_as(&kubeconfig, ditto(), desk.folder.path(), &args)
}

/// Rights that only show when something rare happens: [`happen`] has it happen.
const RARE: [(&str, &str); 6] = [
    ("digitaltwins", "get"),
    ("twinpolicies", "get"),
    ("customresourcedefinitions", "get"),
    ("events", "patch"),
    ("leases", "list"),
    ("leases", "watch"),
];

#[test]
fn s44_one_right_fewer_is_noticed_and_named() {
    let mut desk = Desk::new(NO_RESYNC);
    // It would do the work: this test brings poorer ones.
    assert!(desk.operator.child.stop().success());
    let all: Vec<_> = chart(&["ClusterRole", "Role"], HOME)
        .iter()
        .filter(|role| role["metadata"]["name"] == ACCOUNT || role["kind"] == "ClusterRole")
        .flat_map(|role| rights(&rules(role)))
        .collect();
    assert_eq!(all.len(), 21, "{all:?}");
    for (number, (resource, verb)) in all.iter().enumerate() {
        if RARE.contains(&(resource.as_str(), verb.as_str())) {
            continue;
        }
        let name = format!("pump-{number}");
        let operator = poorer(&desk, resource, verb);
        // Both are new: what an operator before this one did is not to be done again.
        let policy = format!("sensors-{number}");
        desk.apply(&desk.policy(&policy)).ok();
        let mut twin = desk.twin(&name);
        twin["spec"]["policyRef"]["name"] = json!(policy);
        desk.apply(&twin).ok();
        let what = format!("no {verb} on {resource} to be noticed");
        wait_for(&format!("{what}; the log:\n{}", operator.child.log()), NOTICED, || {
            let log = operator.child.log();
            let named = format!("cannot {verb} resource \"{resource}\"");
            log.contains(&named).then_some(())
        });
        drop(operator);
        desk.delete("dt", &name);
    }
    // With all of them nothing is missing.
    desk.operator = desk.another(&["--resync", NO_RESYNC]);
    desk.operator.wait_ready();
    desk.apply(&desk.policy("sensors")).ok();
    desk.apply(&desk.twin("whole")).ok();
    let found = desk.wait_ready("dt", "whole");
    assert_eq!(condition(&found, "Ready")["status"], "True");
    assert!(!desk.operator.child.log().contains("forbidden"), "{}", desk.operator.child.log());
}

/// What needs the right: a resource that looks older than what Ditto has, a deletion, an Event that comes again. Leases
/// are looked at in any case.
fn happen(desk: &Desk, operator: &Operator, resource: &str, name: &str) {
    if resource == "leases" {
        return;
    }
    let mut policy = desk.policy(name);
    desk.apply(&policy).ok();
    let mut twin = desk.twin(name);
    twin["spec"]["policyRef"]["name"] = json!(name);
    desk.apply(&twin).ok();
    desk.wait_ready("dt", name);
    let thing = format!("/things/{}", desk.id(name));
    let wrong = json!({"attributes": {"location": "elsewhere"}});
    match resource {
        "digitaltwins" => {
            let mut mark = desk.thing(name).expect("the thing")["_metadata"]["twinops"].clone();
            mark["generation"] = json!(7);
            let header = json!([{"key": "/twinops", "value": mark}]).to_string();
            let answer = ditto().call_with(USER, "PATCH", &thing, Some(&wrong), &[("put-metadata", &header)]);
            assert_eq!(answer.0, 204, "{}", answer.1);
            twin["spec"]["attributes"]["location"] = json!("warehouse-2");
            desk.apply(&twin).ok();
        }
        "twinpolicies" => {
            let entry = format!("/policies/{}/entries/twinops", desk.id(name));
            let (_, mut ours) = ditto().call(USER, "GET", &entry, None);
            let kind = &mut ours["subjects"][OPERATOR]["type"];
            let mut mark: Value = serde_json::from_str(kind.as_str().expect("the mark")).expect("JSON");
            mark["generation"] = json!(7);
            *kind = json!(mark.to_string());
            assert_eq!(ditto().call(USER, "PUT", &entry, Some(&ours)).0, 204);
            policy["spec"]["entries"]["devices"]["resources"]["thing:/features"]["grant"] = json!(["READ"]);
            desk.apply(&policy).ok();
        }
        "customresourcedefinitions" => desk.delete("dt", name),
        "events" => {
            wait_for("the stream of changes", NOTICED, || {
                (operator.metric("twinops_listening") == 1).then_some(())
            });
            for _ in 0..2 {
                desk.patch_thing(USER, name, &wrong);
                wait_for("the repair", NOTICED, || {
                    (desk.thing(name)?["attributes"]["location"] == "warehouse-1").then_some(())
                });
            }
        }
        other => panic!("nothing is known that needs {other}"),
    }
}

#[test]
fn s44_a_right_that_is_rarely_used_is_missed_as_well() {
    let mut desk = Desk::new(NO_RESYNC);
    assert!(desk.operator.child.stop().success());
    for (number, (resource, verb)) in RARE.iter().enumerate() {
        let operator = poorer(&desk, resource, verb);
        happen(&desk, &operator, resource, &format!("rare-{number}"));
        let what = format!("no {verb} on {resource} to be noticed; the log:\n{}", operator.child.log());
        let named = format!("cannot {verb} resource \"{resource}\"");
        wait_for(&what, NOTICED, || operator.child.log().contains(&named).then_some(()));
    }
}

/// Other controllers have theirs in the same namespace: whoever may change one decides who leads there.
#[test]
fn s44_the_leases_of_others_are_out_of_reach() {
    let namespace = cluster().namespace();
    let_operator_lead(cluster(), &namespace);
    let kubeconfig = account(cluster());
    for (verb, what, allowed) in [
        ("create", "leases", true),
        ("get", "leases/twinops", true),
        ("update", "leases/twinops", true),
        ("get", "leases/other", false),
        ("update", "leases/other", false),
        ("list", "leases", false),
        ("watch", "leases", false),
        ("patch", "leases/twinops", false),
        ("delete", "leases/twinops", false),
    ] {
        let args = ["-n", &namespace, "auth", "can-i", verb, what];
        let output = cluster().kubectl_with(&kubeconfig, &args);
        // A no may come with its reason.
        let answer = output.stdout.split_whitespace().next();
        assert_eq!(answer, Some(if allowed { "yes" } else { "no" }), "{verb} {what}: {}", output.stderr);
    }
}
