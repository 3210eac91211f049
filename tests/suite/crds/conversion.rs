//! A folder has no API server: the conversion refuses what the schema refuses.
use serde_json::{Value, json};
use twinops::api::{DigitalTwin, TwinPolicy};

use super::rows;

/// What a folder says to the resource, or nothing when it takes it.
fn refusal(resource: Value) -> Option<String> {
    match resource["kind"].as_str() {
        Some("DigitalTwin") => match serde_json::from_value::<DigitalTwin>(resource) {
            Ok(twin) => twin.desired("default").err().map(|invalid| invalid.to_string()),
            Err(error) => Some(error.to_string()),
        },
        Some("TwinPolicy") => match serde_json::from_value::<TwinPolicy>(resource) {
            Ok(policy) => policy.desired("default").err().map(|invalid| invalid.to_string()),
            Err(error) => Some(error.to_string()),
        },
        other => panic!("{other:?} is none of our kinds"),
    }
}

#[test]
fn a_folder_refuses_what_the_schema_refuses() {
    for row in rows::all() {
        let said = refusal(row.resource()).unwrap_or_default();
        assert!(said.contains(row.folder), "{}: says {said:?} instead of {:?}", row.name, row.folder);
    }
}

/// What no schema can say, because it is inside free-form JSON or depends on the namespace.
#[test]
fn a_folder_refuses_what_no_schema_can_see() {
    let twin = |spec: Value| {
        let mut whole = json!({"thingId": "com.example:pump", "policyRef": {"name": "pumps"}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        json!({"kind": "DigitalTwin", "metadata": {"name": "pump"}, "spec": whole})
    };
    let target = format!("/features/t/properties/{}", "x".repeat(1_000));
    let cases = [
        (
            "a null in a declared value",
            twin(json!({"attributes": {"a": {"b~c": null}}})),
            "/attributes/a/b~0c: is null, which Ditto reads as a removal",
        ),
        (
            "a null in an array",
            twin(json!({"features": {"f": {"properties": {"list": [1, {"x": null}]}}}})),
            "/features/f/properties/list: is null",
        ),
        ("attributes that are null", twin(json!({"attributes": null})), "invalid type: null"),
        (
            "a key that Ditto does not take",
            twin(json!({"features": {"f": {"desiredProperties": {"a": {"b/c": 1}}}}})),
            "/features/f/desiredProperties/a/b~1c: is not a key that Ditto takes",
        ),
        ("an empty key", twin(json!({"attributes": {"": 1}})), "/attributes/: is not a key that Ditto takes"),
        (
            "telemetry that does not fit the mark",
            twin(json!({"telemetry": {"mapping": {"t": target, "u": target, "v": target}}})),
            "spec.telemetry: is 3",
        ),
        (
            "a feature definition of three odd words",
            twin(json!({"features": {"f": {"definition": ["a b:c:d"]}}})),
            "spec.features[f].definition[0]: is no definition",
        ),
        (
            "a null in an announcement",
            json!({"kind": "TwinPolicy", "metadata": {"name": "p"}, "spec": {
                "entries": {"e": {"subjects": {"nginx:a/b": {"announcement": {"beforeExpiry": null}}}}}
            }}),
            "beforeExpiry: is null",
        ),
        (
            "a policy that imports itself by its default id",
            json!({"kind": "TwinPolicy", "metadata": {"name": "p"}, "spec": {"imports": {"default:p": {}}}}),
            "spec.imports[default:p]: a policy cannot import itself",
        ),
        (
            "a Kubernetes namespace that is no Ditto namespace",
            json!({"kind": "DigitalTwin", "metadata": {"name": "pump", "namespace": "team-1"},
                "spec": {"policyId": "com.example:p"}}),
            "spec.thingId: must be set, because `team-1:pump` cannot be the default (a namespace is words of \
             letters, digits and `_`, each starting with a letter, joined by `.` or `-`): write \
             namespace:name, such as com.example:pump",
        ),
    ];
    for (name, resource, says) in cases {
        let said = refusal(resource).unwrap_or_default();
        assert!(said.contains(says), "{name}: says {said:?} instead of {says:?}");
    }
}
