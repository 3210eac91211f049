//! One recorded conversation, replayed step by step. The format is described in `tests/golden/README.md`.
use std::collections::BTreeMap;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::compare;
use super::streams::{Events, Socket};
use super::wire::{self, Reply};

/// How long a Ditto may take to update its search index.
const INDEX_DELAY: Duration = Duration::from_secs(15);
/// How long our engine is listened to for what should not come.
const QUIET: Duration = Duration::from_millis(250);

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

    /// Whether it hears the messages of every thing, also those that other transcripts send.
    pub fn hears_all(&self) -> bool {
        self.steps.iter().any(|step| step.to_string().contains("\"START-SEND-MESSAGES\""))
    }

    /// `patient` waits as the recording did and gives search its time; our engine needs neither.
    pub fn replay(&self, base: &str, patient: bool) -> Vec<Difference> {
        let mut conversation = Conversation::new(base, patient);
        let mut differences = vec![];
        for (index, step) in self.steps.iter().enumerate() {
            let request = &step["request"];
            if let Some(millis) = request["delayMs"].as_u64().filter(|_| patient) {
                std::thread::sleep(Duration::from_millis(millis));
            }
            let asked = Instant::now();
            let difference = loop {
                let difference = conversation.step(step);
                let late = request["wait"] == "search" && patient && asked.elapsed() < INDEX_DELAY;
                if difference.is_none() || !late {
                    break difference;
                }
                std::thread::sleep(Duration::from_millis(300));
            };
            if let Some(difference) = difference.filter(|_| step["quirk"] != true) {
                let words =
                    ["kind", "id", "as", "method", "path"].map(|name| request[name].as_str().unwrap_or("-"));
                let text =
                    words.join(" ").chars().take(160).chain(": ".chars()).chain(difference.chars()).collect();
                differences.push(Difference { step: index + 1, text });
            }
        }
        differences
    }
}

/// What a transcript has opened and remembers.
struct Conversation<'b> {
    base: &'b str,
    patient: bool,
    captured: BTreeMap<String, String>,
    sockets: BTreeMap<String, Socket>,
    streams: BTreeMap<String, Events>,
    jobs: BTreeMap<String, JoinHandle<Reply>>,
}

impl<'b> Conversation<'b> {
    fn new(base: &'b str, patient: bool) -> Self {
        Self {
            base,
            patient,
            captured: BTreeMap::new(),
            sockets: BTreeMap::new(),
            streams: BTreeMap::new(),
            jobs: BTreeMap::new(),
        }
    }

    /// Carries the step out and says what differs.
    fn step(&mut self, step: &Value) -> Option<String> {
        let request = &step["request"];
        let id = request["id"].as_str().unwrap_or_default().to_owned();
        let expected = expand(&step["response"], &self.captured);
        let unordered = step["unordered"] == true;
        match request["kind"].as_str().unwrap_or("http") {
            "ws-connect" => {
                let target = request["path"].as_str().unwrap_or("/ws/2");
                let status = match Socket::open(self.base, target, &self.headers(request)) {
                    Ok(socket) => {
                        self.sockets.insert(id, socket);
                        101
                    }
                    Err(status) => status,
                };
                compare::reply(&expected, false, &Reply { status, ..Reply::default() }, self.base)
            }
            "ws-send" => {
                let text = match request["text"].as_str() {
                    Some(text) => expand_text(text, &self.captured),
                    None => expand(&request["json"], &self.captured).to_string(),
                };
                self.sockets.get_mut(&id).expect("an open socket").send(&text);
                None
            }
            "ws-expect" => {
                let expected = expected["frames"].as_array().expect("recorded frames");
                let quiet = self.quiet(request, "frames", expected.len());
                let got = self.sockets.get_mut(&id).expect("an open socket").expect(expected.len(), quiet);
                compare::sequence(expected, &got, unordered)
            }
            "sse-expect" => {
                let expected = expected["events"].as_array().expect("recorded events");
                let quiet = self.quiet(request, "events", expected.len());
                let got = self.streams.get_mut(&id).expect("an open stream").expect(expected.len(), quiet);
                compare::sequence(expected, &got, unordered)
            }
            "sse-open" => {
                let target = expand_text(request["path"].as_str().unwrap_or_default(), &self.captured);
                let got = match Events::open(self.base, &target, &self.headers(request)) {
                    Ok(events) => {
                        self.streams.insert(id, events);
                        Reply { status: 200, ..Reply::default() }
                    }
                    Err(reply) => reply,
                };
                compare::reply(&expected, unordered, &got, self.base)
            }
            "ws-close" => {
                self.sockets.remove(&id);
                None
            }
            "sse-close" => {
                self.streams.remove(&id);
                None
            }
            "await" => {
                let got = self.jobs.remove(&id).expect("a request under way").join().expect("an answer");
                compare::reply(&expected, unordered, &got, self.base)
            }
            "http" => self.http(request, &expected, unordered),
            "delay" => None,
            other => panic!("a step of the kind {other}"),
        }
    }

    fn http(&mut self, request: &Value, expected: &Value, unordered: bool) -> Option<String> {
        if let Some(id) = request["async"].as_str() {
            let (base, request, captured) = (self.base.to_owned(), request.clone(), self.captured.clone());
            let job = std::thread::spawn(move || execute(&base, &request, &captured));
            self.jobs.insert(id.to_owned(), job);
            return None;
        }
        let got = execute(self.base, request, &self.captured);
        let difference = compare::reply(expected, unordered, &got, self.base);
        capture(request, &got, &mut self.captured);
        difference
    }

    /// How long to listen for what should not come; `None` when the step waits for something that does.
    fn quiet(&self, request: &Value, what: &str, expected: usize) -> Option<Duration> {
        let wanted = request[what].as_u64().unwrap_or_default();
        let within = Duration::from_millis(request["within"].as_u64().unwrap_or_default());
        let within = if self.patient { within } else { within.min(QUIET) };
        (wanted == 0 || wanted > expected as u64).then_some(within)
    }

    fn headers(&self, request: &Value) -> Vec<(String, String)> {
        headers(request, &self.captured)
    }
}

fn headers(request: &Value, captured: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let text = |value: &Value| expand(value, captured).as_str().unwrap_or_default().to_owned();
    let mut headers: Vec<(String, String)> = vec![];
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        headers.push((name.clone(), text(value)));
    }
    if let Some(users) = request["as"].as_str() {
        let subjects: Vec<String> = users.split('+').map(|user| format!("nginx:{user}")).collect();
        headers.push(("x-ditto-pre-authenticated".to_owned(), subjects.join(",")));
    }
    headers
}

fn execute(base: &str, request: &Value, captured: &BTreeMap<String, String>) -> Reply {
    let text = |value: &Value| expand(value, captured).as_str().unwrap_or_default().to_owned();
    let headers = headers(request, captured);
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
