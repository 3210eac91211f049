//! One recorded conversation, replayed step by step. The format is described in `tests/golden/README.md`.
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::compare;
use super::wire::{self, Reply};

/// How long a Ditto may take to update its search index.
const INDEX_DELAY: Duration = Duration::from_secs(15);

pub struct Transcript {
    pub scenario: String,
    steps: Vec<Value>,
}

/// A step that did not answer as recorded.
pub struct Difference {
    /// From 1.
    pub step: usize,
    pub text: String,
}

impl Transcript {
    pub fn read(path: &Path) -> Self {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let json: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let scenario = json["scenario"].as_str().expect("a scenario has a name").to_owned();
        Self { scenario, steps: json["steps"].as_array().expect("a scenario has steps").clone() }
    }

    /// Whether it is requests and answers only: no socket, no stream, no second conversation at the same time.
    pub fn is_plain(&self) -> bool {
        self.steps.iter().all(|step| {
            let request = &step["request"];
            matches!(request["kind"].as_str(), None | Some("http" | "delay"))
                && request.get("async").is_none()
        })
    }

    /// `patient` waits as the recording did and gives search its time; our engine needs neither.
    pub fn replay(&self, base: &str, patient: bool) -> Vec<Difference> {
        let mut captured = BTreeMap::new();
        let mut differences = vec![];
        for (index, step) in self.steps.iter().enumerate() {
            let request = &step["request"];
            if let Some(millis) = request["delayMs"].as_u64().filter(|_| patient) {
                std::thread::sleep(Duration::from_millis(millis));
            }
            if request["kind"] == "delay" {
                continue;
            }
            let asked = Instant::now();
            let difference = loop {
                let got = execute(base, request, &captured);
                let expected = expand(&step["response"], &captured);
                let unordered = step["unordered"] == true;
                let difference = compare::reply(&expected, unordered, &got, base);
                let late = request["wait"] == "search" && patient && asked.elapsed() < INDEX_DELAY;
                if difference.is_none() || !late {
                    capture(request, &got, &mut captured);
                    break difference;
                }
                std::thread::sleep(Duration::from_millis(300));
            };
            if let Some(difference) = difference.filter(|_| step["quirk"] != true) {
                let words = ["as", "method", "path"].map(|name| request[name].as_str().unwrap_or("-"));
                let text =
                    words.join(" ").chars().take(160).chain(": ".chars()).chain(difference.chars()).collect();
                differences.push(Difference { step: index + 1, text });
            }
        }
        differences
    }
}

fn execute(base: &str, request: &Value, captured: &BTreeMap<String, String>) -> Reply {
    let text = |value: &Value| expand(value, captured).as_str().unwrap_or_default().to_owned();
    let mut headers: Vec<(String, String)> = vec![];
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        headers.push((name.clone(), text(value)));
    }
    if let Some(users) = request["as"].as_str() {
        let subjects: Vec<String> = users.split('+').map(|user| format!("nginx:{user}")).collect();
        headers.push(("x-ditto-pre-authenticated".to_owned(), subjects.join(",")));
    }
    let body = match (request.get("rawBody"), request.get("body")) {
        (Some(raw), _) => Some(text(raw)),
        (None, Some(json)) => Some(expand(json, captured).to_string()),
        (None, None) => None,
    };
    let method = request["method"].as_str().unwrap_or("GET");
    wire::send(base, method, &text(&request["path"]), &headers, body.as_deref().map(str::as_bytes))
}

fn capture(request: &Value, got: &Reply, captured: &mut BTreeMap<String, String>) {
    for (name, place) in request["capture"].as_object().into_iter().flatten() {
        let place = place.as_str().unwrap_or_default();
        let value = match place.strip_prefix("header:") {
            Some(header) => got.header(header),
            None => compare::parse(got).pointer(place).and_then(Value::as_str).map(str::to_owned),
        };
        captured.extend(value.map(|value| (name.clone(), value)));
    }
}

/// Fills in `${repeat:text:n}` and captured values, in keys too.
fn expand(value: &Value, captured: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => Value::String(expand_text(text, captured)),
        Value::Array(items) => items.iter().map(|item| expand(item, captured)).collect(),
        Value::Object(members) => {
            members.iter().map(|(key, value)| (expand_text(key, captured), expand(value, captured))).collect()
        }
        other => other.clone(),
    }
}

fn expand_text(text: &str, captured: &BTreeMap<String, String>) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let Some((name, after)) = rest.split_once('}') else { return text.to_owned() };
    let repeated = name.strip_prefix("repeat:").and_then(|r| r.rsplit_once(':')).map(|(unit, times)| {
        unit.repeat(times.parse().unwrap_or_else(|_| panic!("`{text}` repeats how often?")))
    });
    let value = repeated.or_else(|| captured.get(name).cloned()).unwrap_or_else(|| format!("${{{name}}}"));
    format!("{before}{value}{}", expand_text(after, captured))
}
