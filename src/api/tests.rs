//! What the conversion makes of a spec.
use serde_json::{Value, json};

use super::{DigitalTwin, TwinPolicy};
use crate::twin::desired::{self, Identity, Mode, PolicyName};
use crate::twin::json::Pointer;

fn twin(spec: &Value) -> DigitalTwin {
    serde_json::from_value(json!({"metadata": {"name": "pump"}, "spec": spec})).unwrap()
}

fn policy(spec: &Value) -> TwinPolicy {
    serde_json::from_value(json!({"metadata": {"name": "pumps"}, "spec": spec})).unwrap()
}

#[test]
fn a_twin_keeps_what_was_declared_and_nothing_else() {
    let cases = [
        ("nothing", json!({}), json!({})),
        (
            "empty maps stay",
            json!({"attributes": {}, "features": {}}),
            json!({"attributes": {}, "features": {}}),
        ),
        ("an empty feature stays", json!({"features": {"f": {}}}), json!({"features": {"f": {}}})),
        (
            "empty parts of a feature stay",
            json!({"features": {"f": {"properties": {}, "desiredProperties": {}}}}),
            json!({"features": {"f": {"properties": {}, "desiredProperties": {}}}}),
        ),
        (
            "definitions",
            json!({"definition": "a:b:1", "features": {"f": {"definition": ["a:f:1", "https://example.com/f"]}}}),
            json!({"definition": "a:b:1", "features": {"f": {"definition": ["a:f:1", "https://example.com/f"]}}}),
        ),
        (
            "values of every kind",
            json!({"attributes": {"n": 1.0, "t": "x", "b": false, "a": [1, {"k": []}], "o": {"p": {}}}}),
            json!({"attributes": {"n": 1.0, "t": "x", "b": false, "a": [1, {"k": []}], "o": {"p": {}}}}),
        ),
    ];
    for (name, declared, document) in cases {
        let mut spec = declared;
        spec["policyId"] = "a:p".into();
        assert_eq!(twin(&spec).desired("default").unwrap().document, document, "{name}");
    }
}

#[test]
fn settings_arrive_in_the_core() {
    let plain = twin(&json!({"policyRef": {"name": "pumps"}})).desired("default").unwrap();
    assert_eq!(plain.id.as_str(), "default:pump");
    assert_eq!(plain.policy, PolicyName::Resource("pumps".into()));
    assert_eq!((plain.drift, plain.adoption), (desired::Drift::Enforce, desired::Adoption::IfUnowned));
    assert_eq!((plain.deletion, plain.suspend, plain.telemetry), (None, false, None));

    let set = twin(&json!({
        "thingId": "com.example:pump", "policyId": "com.example:p", "suspend": true,
        "management": {
            "drift": "Report", "adoption": "Always", "deletion": "Retain",
            "fields": [{"path": "/", "mode": "Ignore"}, {"path": "/attributes/a~1b", "mode": "Seed"}],
        },
        "telemetry": {"mapping": {"t": "/features/t/properties/value"}, "maxRate": 5, "staleAfter": "15m"},
    }));
    let set = set.desired("default").unwrap();
    assert!(matches!(set.policy, PolicyName::Id(id) if id.as_str() == "com.example:p"));
    assert_eq!((set.drift, set.adoption), (desired::Drift::Report, desired::Adoption::Always));
    assert_eq!((set.deletion, set.suspend), (Some(desired::Deletion::Retain), true));
    let fields = [(Pointer::root(), Mode::Ignore), (Pointer::of(["attributes", "a/b"]), Mode::Seed)];
    assert_eq!(set.fields, fields);
    let telemetry = json!({
        "enabled": true, "mapping": {"t": "/features/t/properties/value"}, "maxRate": 5, "staleAfter": "15m",
    });
    assert_eq!(set.telemetry, Some(telemetry));
}

#[test]
fn a_policy_becomes_dittos_own_json() {
    let policy = policy(&json!({
        "policyId": "com.example:pumps",
        "entries": {
            "people": {
                "subjects": {"nginx:ditto": {"type": "user", "expiry": "2099-01-01T00:00:00Z",
                    "announcement": {"beforeExpiry": "1h"}}, "nginx:bare": {}},
                "resources": {"thing:/": {"grant": ["READ", "WRITE"]}, "policy:/": {"revoke": ["EXECUTE"]}},
            },
            "empty": {"importable": "never"},
        },
        "imports": {"com.example:base": {}, "com.example:more": {"entries": ["x"]}},
        "access": "Declared",
        "management": {"mode": "Authoritative", "preserveRuntimeSubjects": false, "allowLockout": true},
    }));
    let desired = policy.desired("default").unwrap();
    let entries = json!({
        "people": {
            "subjects": {"nginx:ditto": {"type": "user", "expiry": "2099-01-01T00:00:00Z",
                "announcement": {"beforeExpiry": "1h"}}, "nginx:bare": {"type": "twinops"}},
            "resources": {"thing:/": {"grant": ["READ", "WRITE"], "revoke": []},
                "policy:/": {"grant": [], "revoke": ["EXECUTE"]}},
            "importable": "implicit",
        },
        "empty": {"subjects": {}, "resources": {}, "importable": "never"},
    });
    assert_eq!(Value::Object(desired.entries), entries);
    let imports = json!({"com.example:base": {"entries": []}, "com.example:more": {"entries": ["x"]}});
    assert_eq!(Value::Object(desired.imports), imports);
    assert_eq!(
        (desired.access, desired.mode),
        (desired::Access::Declared, desired::PolicyMode::Authoritative)
    );
    assert!(!desired.preserve_runtime_subjects && desired.allow_lockout);
    assert_eq!(self::policy(&json!({})).desired("default").unwrap().id.as_str(), "default:pumps");
}

#[test]
fn a_resource_of_a_folder_gets_its_uid_from_its_place() {
    let in_folder = twin(&json!({"policyId": "a:p"})).identity("folder", "default");
    let uid = Identity::folder_uid("folder", "DigitalTwin", "default", "pump");
    assert_eq!((in_folder.place().as_str(), in_folder.uid, in_folder.generation), ("default/pump", uid, 0));

    let mut in_cluster = policy(&json!({}));
    in_cluster.metadata.uid = Some("u-1".into());
    in_cluster.metadata.generation = Some(7);
    in_cluster.metadata.namespace = Some("plant".into());
    let identity = in_cluster.identity("cluster", "default");
    assert_eq!(identity.place(), "plant/pumps");
    assert_eq!((identity.uid.as_str(), identity.generation), ("u-1", 7));
}

#[test]
fn keys_that_were_y_or_n_are_warned_of() {
    let twin = twin(&json!({
        "policyId": "a:p",
        "attributes": {"at": {"x": 1, "true": 2}, "list": [{"true": 1}]},
        "features": {"false": {"properties": {"on": 1}, "desiredProperties": {"true": 1}}},
        "telemetry": {"mapping": {"true": "/features/t/properties/value"}},
    }));
    let places: Vec<_> =
        twin.warnings().iter().map(|text| text.split(": ").next().unwrap().to_owned()).collect();
    let expected = [
        "/attributes/at/true",
        "/features/false",
        "/features/false/desiredProperties/true",
        "/spec/telemetry/mapping/true",
    ];
    assert_eq!(places, expected);
    assert_eq!(policy(&json!({"entries": {"false": {}, "people": {}}})).warnings().len(), 1);
}

#[test]
fn an_empty_status_is_an_empty_object() {
    assert_eq!(json!(super::DigitalTwinStatus::default()), json!({}));
    assert_eq!(json!(super::TwinPolicyStatus::default()), json!({}));
}
