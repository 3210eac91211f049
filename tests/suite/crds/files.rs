//! The committed definitions are those of the code, and their schemas lose nothing.
use std::{fs, path::Path};

use serde_json::{Value, json};
use twinops::api::{DigitalTwin, TwinPolicy, crd, crds, unknown_fields};
use twinops::twin::json::Pointer;

#[test]
fn the_committed_files_are_the_generated_ones() {
    for (file, text) in crds() {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds").join(file);
        let found = fs::read_to_string(&committed).unwrap_or_default();
        assert!(found == text, "crds/{file} is not what the code says: run `make generate`");
    }
}

#[test]
fn the_files_read_back_as_what_was_written() {
    let definitions = [crd::definition::<DigitalTwin>(), crd::definition::<TwinPolicy>()];
    for ((file, text), definition) in crds().into_iter().zip(definitions) {
        let read: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(read, definition, "{file}");
    }
}

/// Calls `look` with every node of the schema and its place.
fn walk(schema: &Value, place: &str, look: &mut impl FnMut(&str, &Value)) {
    look(place, schema);
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        walk(below, &format!("{place}.{name}"), look);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(key) {
            walk(below, &format!("{place}[]"), look);
        }
    }
}

fn walk_both(mut look: impl FnMut(&str, &Value)) {
    for definition in [crd::definition::<DigitalTwin>(), crd::definition::<TwinPolicy>()] {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        walk(schema, kind, &mut look);
    }
}

/// The API server refuses a node without a type, and empties what `additionalProperties: true` lets in.
#[test]
fn no_node_is_typeless_or_pruned() {
    let mut broken = vec![];
    walk_both(|place, schema| {
        let is_open = schema["x-kubernetes-preserve-unknown-fields"] == json!(true);
        let is_closed = schema["properties"].is_object() || schema["additionalProperties"].is_object();
        let keeps_nothing = schema["type"] == "object" && !is_open && !is_closed;
        if schema["type"].is_null() || schema["additionalProperties"] == json!(true) || keeps_nothing {
            broken.push(place.to_owned());
        }
    });
    assert_eq!(broken, [""; 0]);
}

#[test]
fn free_form_json_stays_open() {
    let mut open = vec![];
    walk_both(|place, schema| {
        if schema.get("x-kubernetes-preserve-unknown-fields").is_some() {
            open.push(place.to_owned());
        }
    });
    open.sort();
    let expected = [
        "DigitalTwin.spec.attributes",
        "DigitalTwin.spec.features[].desiredProperties",
        "DigitalTwin.spec.features[].properties",
        "TwinPolicy.spec.entries[].subjects[].announcement",
    ];
    assert_eq!(open, expected);
}

#[test]
fn every_field_is_explained_in_running_text() {
    let mut broken = vec![];
    walk_both(|place, schema| {
        let text = schema["description"].as_str().unwrap_or_default();
        let is_item = place.ends_with("[]");
        if (text.is_empty() && !is_item) || text.replace("\n\n", "").contains('\n') {
            broken.push(place.to_owned());
        }
    });
    assert_eq!(broken, [""; 0]);
}

#[test]
fn a_null_is_never_stored() {
    walk_both(|place, schema| {
        assert!(schema.get("nullable").is_none(), "{place} takes null");
        let words = schema["enum"].as_array().into_iter().flatten();
        assert!(words.into_iter().all(|word| !word.is_null()), "{place} takes null");
    });
}

#[test]
fn kubectl_shows_the_columns_that_the_documents_name() {
    let columns = |definition: Value| -> Vec<String> {
        let columns =
            definition["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap().clone();
        columns.iter().map(|column| column["name"].as_str().unwrap().to_uppercase()).collect()
    };
    assert_eq!(
        columns(crd::definition::<DigitalTwin>()),
        ["THING", "POLICY", "READY", "REASON", "DRIFT", "AGE"]
    );
    assert_eq!(columns(crd::definition::<TwinPolicy>()), ["POLICY", "READY", "REASON", "USED-BY", "AGE"]);
}

#[test]
fn defaults_are_the_same_in_the_schema_and_in_the_code() {
    let mut defaults = serde_json::Map::new();
    walk_both(|place, schema| {
        if let Some(default) = schema.get("default") {
            defaults.insert(place.to_owned(), default.clone());
        }
    });
    let twin: Value = serde_json::to_value(twinops::api::DigitalTwinSpec::default()).unwrap();
    let policy: Value = serde_json::to_value(twinops::api::TwinPolicySpec::default()).unwrap();
    let cases = [
        ("DigitalTwin.spec.management", json!({})),
        ("DigitalTwin.spec.management.drift", twin["management"]["drift"].clone()),
        ("DigitalTwin.spec.management.adoption", twin["management"]["adoption"].clone()),
        ("DigitalTwin.spec.suspend", twin["suspend"].clone()),
        ("DigitalTwin.spec.telemetry.enabled", json!(true)),
        ("TwinPolicy.spec.access", policy["access"].clone()),
        ("TwinPolicy.spec.management", json!({})),
        ("TwinPolicy.spec.management.mode", policy["management"]["mode"].clone()),
        ("TwinPolicy.spec.management.drift", policy["management"]["drift"].clone()),
        ("TwinPolicy.spec.management.adoption", policy["management"]["adoption"].clone()),
        ("TwinPolicy.spec.management.preserveRuntimeSubjects", json!(true)),
        ("TwinPolicy.spec.management.allowLockout", json!(false)),
        ("TwinPolicy.spec.suspend", json!(false)),
        ("TwinPolicy.spec.entries[].importable", json!("implicit")),
        ("TwinPolicy.spec.entries[].subjects[].type", json!("twinops")),
    ];
    for (place, value) in cases {
        assert_eq!(defaults.get(place), Some(&value), "{place}");
    }
    assert!(!defaults.contains_key("DigitalTwin.spec.management.deletion"), "unset means: it depends");
}

#[test]
fn a_field_that_nobody_knows_is_found() {
    let twin = json!({"spec": {
        "thingID": "a:b", "policyRef": {"name": "p", "namespace": "q"},
        "attributes": {"anything": {"goes": 1}},
        "features": {"f": {"property": {}, "properties": {"x": {"y": 1}}}},
        "management": {"fields": [{"path": "/", "mode": "Seed", "why": "?"}]}
    }});
    let found = unknown_fields::<DigitalTwin>(&twin);
    let expected = [
        "/spec/thingID",
        "/spec/policyRef/namespace",
        "/spec/features/f/property",
        "/spec/management/fields/0/why",
    ];
    assert_eq!(found, expected.map(Pointer::parse));
    let policy =
        json!({"spec": {"entries": {"e": {"subjects": {"a:b": {"typ": "x"}}, "namespaces": ["a"]}}}});
    let found = unknown_fields::<TwinPolicy>(&policy);
    assert_eq!(found, ["/spec/entries/e/subjects/a:b/typ", "/spec/entries/e/namespaces"].map(Pointer::parse));
}
