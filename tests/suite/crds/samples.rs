//! The samples are what a first user copies: each must be fit for both ways in.
use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use twinops::api::{DigitalTwin, TwinPolicy, unknown_fields};
use twinops::twin::desired::PolicyName;

use super::installed;

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/samples");

fn documents() -> Vec<(String, Value)> {
    let mut files: Vec<_> = fs::read_dir(SAMPLES).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &Path| -> Vec<(String, Value)> {
        let text = fs::read_to_string(path).unwrap();
        let documents: Vec<Value> = serde_yaml::from_multiple(&text).unwrap();
        documents.into_iter().map(|document| (path.display().to_string(), document)).collect()
    };
    files.iter().flat_map(|path| read(path)).collect()
}

#[test]
fn every_sample_converts_without_a_warning() {
    let (mut twins, mut policies, mut wanted) = (0, BTreeSet::new(), BTreeSet::new());
    for (file, document) in documents() {
        assert!(document["metadata"].get("namespace").is_none(), "{file}: samples name no namespace");
        match document["kind"].as_str() {
            Some("DigitalTwin") => {
                assert_eq!(unknown_fields::<DigitalTwin>(&document), [], "{file}");
                let twin: DigitalTwin = serde_json::from_value(document).unwrap();
                assert!(twin.spec.thing_id.is_some(), "{file}: samples name their thing");
                assert_eq!(twin.warnings(), [""; 0], "{file}");
                let desired = twin.desired("team-1").unwrap();
                twins += 1;
                if let PolicyName::Resource(name) = desired.policy {
                    wanted.insert(name);
                }
            }
            Some("TwinPolicy") => {
                assert_eq!(unknown_fields::<TwinPolicy>(&document), [], "{file}");
                let policy: TwinPolicy = serde_json::from_value(document).unwrap();
                assert!(policy.spec.policy_id.is_some(), "{file}: samples name their policy");
                assert_eq!(policy.warnings(), [""; 0], "{file}");
                policy.desired("team-1").unwrap();
                policies.insert(policy.metadata.name.unwrap());
            }
            other => panic!("{file}: {other:?} is none of our kinds"),
        }
    }
    assert_eq!(twins, 21, "the sensor and a fleet of 20");
    assert_eq!(wanted, policies, "each policy is used, and each twin has its policy");
}

#[test]
fn the_api_server_takes_every_sample_as_it_is() {
    let cluster = installed();
    let namespace = cluster.namespace();
    let apply = ["apply", "--server-side", "--validate=strict", "-n", &namespace, "-f", SAMPLES];
    let applied = cluster.kubectl("admin", &apply).ok();
    assert_eq!(applied.lines().count(), documents().len(), "{applied}");
    let names = cluster.kubectl("admin", &["get", "twins", "-n", &namespace, "-o", "name"]).ok();
    assert_eq!(names.lines().count(), documents().len(), "both kinds are in the category `twins`");
}
