//! `values.yaml` is the one source of the chart's values: the schema and the table in docs/values.md follow from it.
//! `make generate` writes both.
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{CHART, helm};
use crate::support::generated;

/// What stands above a key: its sentence, and what the schema says beyond the type of the default.
#[derive(Default)]
struct Note {
    sentence: String,
    schema: Map<String, Value>,
}

/// Each key with its path and its note, in the order of the file.
fn notes(text: &str) -> Vec<(Vec<String>, Note)> {
    let (mut found, mut note) = (vec![], Note::default());
    let mut path: Vec<(usize, String)> = vec![];
    for line in text.lines() {
        let words = line.trim_start();
        let indent = line.len() - words.len();
        if let Some(comment) = words.strip_prefix('#') {
            match comment.trim().strip_prefix('@') {
                Some(schema) => note.schema = serde_json::from_str(schema).expect(line),
                None => note.sentence = [&*note.sentence, comment.trim()].join(" ").trim().into(),
            }
            continue;
        }
        let key = words.split_once(':').map(|(key, _)| key).filter(|key| !key.starts_with("- "));
        if let Some(key) = key.filter(|_| !note.sentence.is_empty()) {
            path.retain(|(depth, _)| *depth < indent);
            path.push((indent, key.to_owned()));
            found.push((path.iter().map(|(_, key)| key.clone()).collect(), std::mem::take(&mut note)));
        }
        note = Note::default();
    }
    found
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

pub struct Values {
    defaults: Value,
    notes: Vec<(Vec<String>, Note)>,
}

impl Values {
    pub fn read() -> Self {
        let text = std::fs::read_to_string(format!("{CHART}/values.yaml")).unwrap();
        Self { defaults: serde_yaml::from_str(&text).unwrap(), notes: notes(&text) }
    }

    /// The paths of those that are no group.
    pub fn single(&self) -> impl Iterator<Item = &[String]> {
        self.notes.iter().map(|(path, _)| path.as_slice()).filter(|path| !self.is_group(path))
    }

    fn note(&self, path: &[String]) -> Option<&Note> {
        self.notes.iter().find(|(own, _)| own == path).map(|(_, note)| note)
    }

    pub fn default(&self, path: &[String]) -> &Value {
        path.iter().fold(&self.defaults, |value, key| &value[key])
    }

    /// A group has members with sentences of their own; anything else is one value, however deep.
    fn is_group(&self, path: &[String]) -> bool {
        self.notes.iter().any(|(own, _)| own.len() > path.len() && own.starts_with(path))
    }

    pub fn schema(&self, path: &[String]) -> Value {
        let default = self.default(path);
        let mut schema = json!({"type": kind(default)});
        if let Some(note) = self.note(path) {
            schema["description"] = json!(note.sentence);
            schema.as_object_mut().unwrap().extend(note.schema.clone());
        }
        if !self.is_group(path) {
            schema["default"] = default.clone();
            return schema;
        }
        schema["additionalProperties"] = json!(false);
        let mut members = Map::new();
        for key in default.as_object().expect("a group").keys() {
            let path = [path, std::slice::from_ref(key)].concat();
            assert!(self.note(&path).is_some(), "{} has no sentence", path.join("."));
            members.insert(key.clone(), self.schema(&path));
        }
        schema["properties"] = Value::Object(members);
        schema
    }

    fn table(&self) -> String {
        let mut page = "# Values of the chart\n\nEvery value of `charts/twinops`, with its default. `make generate` writes this page from `values.yaml`; helm refuses a value that\nis not here, or of another type.\n".to_owned();
        let mut rows = false;
        for (path, note) in &self.notes {
            if self.is_group(path) {
                if path.len() == 1 {
                    write!(
                        page,
                        "\n## {}\n\n{}\n\n| value | default | |\n|---|---|---|\n",
                        path[0], note.sentence
                    )
                    .unwrap();
                    rows = true;
                }
                continue;
            }
            if path.len() == 1 && !rows {
                page.push_str("\n## The whole\n\n| value | default | |\n|---|---|---|\n");
                rows = true;
            }
            let default = self.default(path).to_string().replace('|', "\\|");
            writeln!(page, "| `{}` | `{default}` | {} |", path.join("."), note.sentence.replace('|', "\\|"))
                .unwrap();
        }
        page
    }
}

#[test]
fn the_schema_and_the_table_follow_the_values() {
    let values = Values::read();
    let mut schema =
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart twinops"});
    for (key, value) in values.schema(&[]).as_object().unwrap() {
        schema[key] = value.clone();
    }
    // Helm hands it to every chart.
    schema["properties"]["global"] = json!({"type": "object", "description": "Not used."});
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    generated::compare("charts/twinops/values.schema.json", &text);
    generated::compare("docs/values.md", &values.table());
}

#[test]
fn helm_refuses_what_the_schema_does_not_know() {
    for (value, says) in [
        ("backend=mongodb", "backend"),
        ("facade.replica=2", "replica"),
        ("operator.replicas=0", "replicas"),
        ("image.digest=sha256:abc", "digest"),
        ("mosquitto.maxQueuedMessages=many", "maxQueuedMessages"),
        // What the release keeps holds no password.
        ("externalBroker.url=mqtt://bridge:word@broker", "externalBroker/url"),
        ("externalDitto.url=https://ada:word@ditto", "externalDitto/url"),
    ] {
        let said = helm(&["template", "x", CHART, "--set", value]).refused();
        assert!(said.contains(says) && said.contains("don't meet the specifications"), "{value}: {said}");
    }
}
