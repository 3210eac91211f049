//! The operator's rights: exactly these, and enough (every test here runs with nothing else).
use serde_json::{Value, json};

#[test]
fn the_role_holds_these_rules_and_no_more() {
    let text = include_str!("../../../manifests/operator-rbac.yaml");
    let role: Value = serde_yaml::from_str(text.split("---").next().unwrap()).unwrap();
    let kinds = json!(["digitaltwins", "twinpolicies"]);
    let definitions = json!(["digitaltwins.twinops.dev", "twinpolicies.twinops.dev"]);
    let expected = json!([
        {"apiGroups": ["twinops.dev"], "resources": kinds, "verbs": ["get", "list", "watch", "patch"]},
        {
            "apiGroups": ["twinops.dev"],
            "resources": ["digitaltwins/status", "twinpolicies/status"],
            "verbs": ["patch"],
        },
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]},
        {
            "apiGroups": ["apiextensions.k8s.io"],
            "resources": ["customresourcedefinitions"],
            "resourceNames": definitions,
            "verbs": ["get"],
        },
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
    ]);
    assert_eq!(role["rules"], expected);
    let leader =
        text.split("---").find(|part| part.contains("kind: ClusterRole\n") && part.contains("leases"));
    let leader: Value = serde_yaml::from_str(leader.unwrap()).unwrap();
    let leases = json!([{
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
        "verbs": ["get", "list", "watch", "create", "update"],
    }]);
    assert_eq!(leader["rules"], leases, "bound in one namespace, never in all");
    assert!(!text.contains('*') && !text.contains("secrets"), "least privilege");
}
