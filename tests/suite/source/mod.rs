//! Twins from folders of YAML.
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use twinops::source::{self, FolderError, Snapshot};

mod bad_input;
mod settle;
mod watcher;

/// A folder that is gone after the test.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.0.path().join(name)).unwrap();
    }

    fn read(&self) -> Snapshot {
        source::read(&[self.path()], false).unwrap()
    }

    fn scan(&self) -> Snapshot {
        source::scan(&[self.path()], false)
    }

    /// What is shown, without the name of the folder, which differs from run to run.
    fn told(&self, notes: &[source::Note]) -> Vec<String> {
        let folder = format!("{}/", self.path().display());
        notes.iter().map(|note| note.to_string().replace(&folder, "")).collect()
    }
}

/// A twin called `name` whose spec has `more` at its end.
fn twin(name: &str, more: &str) -> String {
    let head = "apiVersion: twinops.dev/v1alpha1\nkind: DigitalTwin";
    format!("{head}\nmetadata: {{name: {name}}}\nspec:\n  policyRef: {{name: p}}\n{more}")
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot.twins.iter().map(|twin| twin.resource.metadata.name.clone().unwrap_or_default()).collect()
}

#[test]
fn a_folder_is_its_yaml_files_in_order_and_nothing_below() {
    let folder = Folder::new(&[
        ("b.yaml", &twin("b", "")),
        ("a.yml", &twin("a", "")),
        (
            "c.json",
            r#"{"apiVersion": "twinops.dev/v1alpha1", "kind": "DigitalTwin",
	"metadata": {"name": "c"}, "spec": {"policyId": "a:b", "attributes": {"y": true, "on": [1.0, "\/"]}}}"#,
        ),
        (".hidden.yaml", &twin("hidden", "")),
        ("README.md", "# not YAML: {"),
        ("below/d.yaml", &twin("d", "")),
        ("below/.git/e.yaml", &twin("e", "")),
    ]);
    let flat = folder.read();
    assert_eq!((names(&flat), flat.problems), (vec!["a".into(), "b".into(), "c".into()], vec![]));
    let deep = source::read(&[folder.path()], true).unwrap();
    assert_eq!(names(&deep), ["a", "b", "d", "c"]);
    let file = source::read(&[folder.path().join("below/d.yaml"), folder.path()], true).unwrap();
    assert_eq!(names(&file), ["d", "a", "b", "c"], "a file may be named, and is read once");
    assert_eq!(file.problems, []);
}

#[test]
fn documents_have_lines_and_anchors_and_a_namespace() {
    let text = format!(
        "# a fleet\n{}---\n{}---\n# only a comment\n---\n{}",
        twin("a", "  attributes: &where\n    site: {name: north, floor: 2}\n"),
        twin("b", "  attributes: &b {x: 1}\n  features: {f: {properties: {<<: *b, z: *b}}}\n"),
        twin("c", "").replace("{name: c}", "{name: c, namespace: plant-7}"),
    );
    let snapshot = Folder::new(&[("fleet.yaml", &text)]).read();
    assert_eq!(snapshot.problems, []);
    let places: Vec<_> =
        snapshot.twins.iter().map(|twin| (twin.key().to_string(), twin.line, twin.place.document)).collect();
    let expected = [
        ("DigitalTwin default/a".to_owned(), 2, 0),
        ("DigitalTwin default/b".to_owned(), 10, 1),
        ("DigitalTwin plant-7/c".to_owned(), 20, 3),
    ];
    assert_eq!(places, expected);
    let features = snapshot.twins[1].resource.spec.features.clone().unwrap();
    let properties = serde_json::to_value(&features["f"].properties).unwrap();
    assert_eq!(properties, serde_json::json!({"z": {"x": 1}, "x": 1}));
}

#[test]
fn quoted_keys_and_values_stay_what_they_are() {
    let more = "  attributes: {\"y\": 'on', 'no': \"y\", !!str n: !!str yes, x: [\"off\"], zip: \"007\", null_text: \"null\", t: true}\n";
    let snapshot = Folder::new(&[("a.yaml", &twin("a", more))]).read();
    assert_eq!(snapshot.problems, []);
    let attributes = serde_json::to_value(&snapshot.twins[0].resource.spec.attributes).unwrap();
    let expected = serde_json::json!({
        "y": "on", "no": "y", "n": "yes", "x": ["off"], "zip": "007", "null_text": "null", "t": true
    });
    assert_eq!(attributes, expected);
}

#[test]
fn a_twin_of_200_kb_is_read_whole() {
    let line = |n| format!("    key-{n:05}: {{value: {n}, unit: celsius, on-site: true}}\n");
    let lines = (0..4_000).map(line).collect::<Vec<_>>().concat();
    let text = twin("large", &format!("  attributes:\n{lines}"));
    assert!(text.len() > 200_000, "{}", text.len());
    let ones = format!("{{\"list\": [{}1]}}", "1,".repeat(99_000));
    let snapshot =
        Folder::new(&[("a.yaml", &text), ("b.yaml", &twin("ones", &format!("  attributes: {ones}\n")))])
            .read();
    assert_eq!(snapshot.problems, []);
    assert_eq!(snapshot.twins[0].resource.spec.attributes.as_ref().unwrap().len(), 4_000);
}

#[test]
fn what_a_cluster_wrote_into_a_dump_is_not_taken() {
    let text = twin("a", "").replace(
        "{name: a}",
        "{name: a, uid: 1-2-3, generation: 7, resourceVersion: \"9\", creationTimestamp: null, labels: {a: b}}",
    ) + "status: {thingId: 5, revision: wrong}\n";
    let snapshot = Folder::new(&[("a.yaml", &text)]).read();
    assert_eq!(snapshot.problems, []);
    let meta = &snapshot.twins[0].resource.metadata;
    assert_eq!((&meta.uid, meta.generation, &meta.resource_version), (&None, None, &None));
    assert_eq!(meta.labels.as_ref().map(std::collections::BTreeMap::len), Some(1));
}

#[test]
fn the_samples_are_read_without_a_word() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/samples");
    let snapshot = source::read(&[samples], false).unwrap();
    assert_eq!((&snapshot.problems, &snapshot.skipped), (&vec![], &vec![]));
    assert!(snapshot.twins.len() > 20 && !snapshot.policies.is_empty(), "{}", snapshot.twins.len());
}

#[test]
fn a_folder_that_does_not_exist_is_an_error_of_its_own() {
    let folder = Folder::new(&[("a.yaml", &twin("a", ""))]);
    let missing = folder.path().join("missing");
    let error = source::read(&[folder.path(), missing.clone()], false).unwrap_err();
    assert_eq!(error, FolderError::Missing(missing.clone()));
    let expected = format!("{} does not exist: name a folder or a file of YAML", missing.display());
    assert_eq!(error.to_string(), expected);
    let snapshot = source::scan(&[folder.path(), missing.clone()], false);
    assert_eq!(names(&snapshot), ["a"]);
    assert_eq!(snapshot.lost, [(1, FolderError::Missing(missing))]);
}
