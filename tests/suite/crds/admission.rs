//! What a real API server says to our definitions: which resources it refuses, in which words.
use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{installed, rows};
use crate::support::{apiserver::Cluster, process::Output};

/// A namespace of one's own, and a folder for the files that kubectl reads.
struct Desk {
    cluster: &'static Cluster,
    namespace: String,
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let cluster = installed();
        Self { cluster, namespace: cluster.namespace(), folder: TempDir::new().unwrap() }
    }

    fn file(&self, resources: &[Value]) -> PathBuf {
        let path = self.folder.path().join("resources.json");
        fs::write(&path, json!({"apiVersion": "v1", "kind": "List", "items": resources}).to_string())
            .unwrap();
        path
    }

    fn kubectl(&self, args: &[&str], resources: &[Value]) -> Output {
        let file = self.file(resources);
        let mut args = args.to_vec();
        args.extend(["-n", &self.namespace, "-f", file.to_str().unwrap()]);
        self.cluster.kubectl("admin", &args)
    }

    fn create(&self, resources: &[Value]) -> Output {
        self.kubectl(&["create", "--validate=strict"], resources)
    }

    fn replace(&self, resource: Value) -> Output {
        self.kubectl(&["replace", "--validate=strict"], &[resource])
    }
}

fn resource(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "twinops.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// What kubectl printed about one object of many.
fn said_about<'o>(stderr: &'o str, kind: &str, name: &str) -> &'o str {
    let subject = format!("{kind}.twinops.dev \"{name}\" is invalid");
    stderr.lines().find(|line| line.contains(&subject)).unwrap_or_default()
}

#[test]
fn every_rule_refuses_in_words_that_say_what_to_change() {
    let desk = Desk::new();
    let rows = rows::all();
    let resources: Vec<_> = rows.iter().map(rows::Row::resource).collect();
    let output = desk.create(&resources);
    assert_eq!(output.stdout, "", "nothing of this may be taken");
    for row in &rows {
        let said = said_about(&output.stderr, row.kind, &row.name.replace(' ', "-"));
        assert!(said.contains(row.server), "{}: says {said:?} instead of {:?}", row.name, row.server);
    }
}

#[test]
fn s39_no_id_can_climb_out_of_its_path() {
    let desk = Desk::new();
    let ids = ["a:../../policies/x", "a:b/c", "../a:b", "a:b\n", "a/b:c", "%2e%2e:a", ":a", "a:"];
    for id in ids {
        let twin = resource("DigitalTwin", "twin", &json!({"thingId": id, "policyId": "com.example:p"}));
        let said = desk.create(&[twin]).refused();
        assert!(said.contains("write namespace:name"), "{id:?}: {said}");
    }
}

#[test]
fn an_id_stays_what_it_was() {
    let desk = Desk::new();
    let twin = |id: Option<&str>| {
        let mut spec = json!({"policyId": "com.example:p"});
        if let Some(id) = id {
            spec["thingId"] = id.into();
        }
        spec
    };
    let policy = |id: Option<&str>| id.map_or(json!({}), |id| json!({"policyId": id}));
    let cases = [
        ("thing-renamed", "DigitalTwin", twin(Some("a:b")), twin(Some("a:c"))),
        ("thing-unset", "DigitalTwin", twin(Some("a:b")), twin(None)),
        ("thing-set", "DigitalTwin", twin(None), twin(Some("a:b"))),
        ("policy-renamed", "TwinPolicy", policy(Some("a:b")), policy(Some("a:c"))),
        ("policy-unset", "TwinPolicy", policy(Some("a:b")), policy(None)),
        ("policy-set", "TwinPolicy", policy(None), policy(Some("a:b"))),
    ];
    for (name, kind, before, after) in cases {
        desk.create(&[resource(kind, name, &before)]).ok();
        let said = desk.replace(resource(kind, name, &after)).refused();
        assert!(
            said.contains("cannot be changed, set or unset later: delete the resource"),
            "{name}: {said}"
        );
        let mut suspended = before;
        suspended["suspend"] = true.into();
        desk.replace(resource(kind, name, &suspended)).ok();
    }
}

#[test]
fn free_form_json_comes_back_whole_and_defaults_are_filled_in() {
    let desk = Desk::new();
    let deep = json!({"a": {"b": [{"c": {"d": 1.5}}, [], {}]}, "empty": {}, "text": "y"});
    let feature = json!({"properties": deep, "desiredProperties": deep});
    let twin = json!({"thingId": "a:b", "policyId": "a:p", "attributes": deep, "features": {"f": feature}});
    let subject = json!({"announcement": {"requestedAcks": {"labels": ["my:ack"], "timeout": "10s"}}});
    let policy = json!({"entries": {"people": {"subjects": {"nginx:ditto": subject}}}});
    desk.create(&[resource("DigitalTwin", "deep", &twin), resource("TwinPolicy", "deep", &policy)]).ok();
    let spec = |kind: &str| -> Value {
        let get = ["get", kind, "deep", "-n", &desk.namespace, "-o", "json"];
        let read: Value = serde_json::from_str(&desk.cluster.kubectl("admin", &get).ok()).unwrap();
        read["spec"].clone()
    };

    let read = spec("dt");
    assert_eq!(read["attributes"], deep);
    assert_eq!(read["features"], json!({"f": feature}));
    assert_eq!(read["management"], json!({"drift": "Enforce", "adoption": "IfUnowned"}));
    assert_eq!(read["suspend"], false);

    let read = spec("tp");
    let expected = json!({"type": "twinops", "announcement": subject["announcement"]});
    assert_eq!(read["entries"]["people"]["subjects"]["nginx:ditto"], expected);
    assert_eq!(read["entries"]["people"]["importable"], "implicit");
    assert_eq!(read["access"], "Managed");
    let management = json!({
        "mode": "Entries", "drift": "Enforce", "adoption": "IfUnowned",
        "preserveRuntimeSubjects": true, "allowLockout": false,
    });
    assert_eq!(read["management"], management);
}

#[test]
fn a_misspelled_field_is_named() {
    let desk = Desk::new();
    let twin = resource("DigitalTwin", "typo", &json!({"policyId": "a:p", "atributes": {}}));
    let said = desk.create(&[twin]).refused();
    assert!(said.contains("unknown field \"atributes\""), "{said}");
}

#[test]
fn the_largest_resource_that_the_limits_allow_is_taken() {
    let desk = Desk::new();
    let feature = json!({"definition": vec!["com.example:temperature:1.0.0"; 10]});
    let features: Value = (0..1_000)
        .map(|i| (format!("feature-{i}"), feature.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let fields: Vec<_> =
        (0..200).map(|i| json!({"path": format!("/attributes/key-{i}"), "mode": "Seed"})).collect();
    let spec = json!({"policyId": "a:p", "features": features, "management": {"fields": fields}});
    desk.create(&[resource("DigitalTwin", "large", &spec)]).ok();
}

#[test]
fn kubectl_explain_reads_like_a_manual() {
    let cluster = installed();
    let explain = |field: &str| cluster.kubectl("admin", &["explain", field]).ok();
    let cases = [
        ("dt.spec.management.drift", "Enforce writes it back."),
        ("digitaltwin.spec.features.properties", "Seeded: written once when missing"),
        ("tp.spec.entries.subjects", "Who, by subject id, as issuer:name"),
        ("tp.status.usedBy", "How many twins of this cluster use the policy."),
    ];
    for (field, text) in cases {
        let said = explain(field);
        let running = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(running.contains(text), "{field}: {said}");
    }
}
