//! Each value of the chart, changed: what is rendered must change with it. A value nobody reads would be a promise nobody keeps.
//!
//! A value that can be given a number of its own is changed together with others and found again by that number; one
//! that cannot, a switch or a word of a few, is changed alone, and the whole must differ.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::template;
use super::values::Values;

/// The first number that a value is known by. A port may be it, and one of a node: the defaults hold none that begins so.
const FIRST: usize = 31_000;

/// `more` over `values`: objects are merged, everything else is replaced.
fn over(values: &mut Value, more: &Value) {
    match (values, more) {
        (Value::Object(values), Value::Object(more)) => {
            for (key, one) in more {
                over(values.entry(key).or_insert(Value::Null), one);
            }
        }
        (values, more) => *values = more.clone(),
    }
}

/// An object with one value in it, at this path.
fn at(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |inner, key| json!({ key: inner }))
}

/// What can be had beside everything else.
fn everything() -> Value {
    json!({
        "ditto": {"ui": {"enabled": true}},
        "facade": {
            "ingress": {"enabled": true, "host": "twins.example"},
            "tls": {"enabled": true, "secret": "facade-tls"},
        },
        "metrics": {"podMonitor": {"enabled": true}, "serviceMonitor": {"enabled": true}},
        "mosquitto": {"tls": {"enabled": true, "secret": "broker-tls"}},
    })
}

/// The values with which this one means something: a row counts for all that its beginning leads to, the longest first.
fn needs(path: &str) -> Value {
    let ditto = json!({"backend": "external", "externalDitto": {
        "url": "https://ditto.example", "login": {"secret": "ditto-login"},
    }});
    let broker =
        json!({"mosquitto": {"enabled": false}, "externalBroker": {"url": "mqtts://broker.example:8883"}});
    let mongodb = json!({"mongodb": {"mode": "external", "external": {"secret": "mongodb-uris"}}});
    let provider = json!({"facade": {"auth": {
        "mode": "oidc", "oidc": {"issuer": "https://login.example", "audience": "twins"},
    }}});
    let tokens = json!({
        "ditto": {
            "preAuthentication": false,
            "login": {"secret": "ditto-token"},
            "oidc": {"issuers": {"main": {"issuer": "login.example", "authSubjects": ["{{ jwt:sub }}"]}}},
        },
        "facade": {"auth": {"mode": "passthrough"}},
    });
    let rows = [
        ("ditto.login", tokens.clone()),
        ("ditto.preAuthentication", tokens),
        ("engine", json!({"backend": "engine"})),
        ("externalBroker", broker.clone()),
        ("externalDitto", ditto.clone()),
        ("facade.auth.mode", json!({"facade": {"auth": {"existingSecret": "facade-keys"}}})),
        ("facade.auth.oidc", provider.clone()),
        ("facade.autoscaling", json!({"facade": {"autoscaling": {"enabled": true}}})),
        ("mongodb.external", mongodb.clone()),
        ("mongodb.mode", json!({"mongodb": {"external": {"secret": "mongodb-uris"}}})),
        ("mosquitto.enabled", json!({"bridge": {"enabled": false}})),
        ("networkPolicies.externalBroker", broker),
        ("networkPolicies.externalDitto", ditto),
        ("networkPolicies.externalMongodb", mongodb),
        ("networkPolicies.oidc", provider),
        ("operator.enabled", json!({"secrets": {"ensure": false}})),
    ];
    let leads =
        |start: &str| path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let mut values = everything();
    if let Some((_, more)) =
        rows.iter().filter(|(start, _)| leads(start)).max_by_key(|(start, _)| start.len())
    {
        over(&mut values, more);
    }
    values
}

/// A value that counts instead of another: changed together, that one would not show.
fn hides_another(name: &str) -> bool {
    ["digest", "existingSecret", "fullnameOverride"].contains(&name)
}

/// Another member of a small set.
fn neighbour(schema: &Value, now: &Value) -> Option<Value> {
    if let Some(members) = schema["enum"].as_array() {
        return members.iter().find(|member| *member != now).cloned();
    }
    let most = schema.get("maximum").filter(|most| *most != now);
    now.as_bool().map(|on| json!(!on)).or_else(|| most.cloned())
}

/// A value of the kind of the default that holds the number.
fn numbered(path: &str, schema: &Value, default: &Value, number: usize) -> Value {
    let word = format!("other{number}");
    let peers = json!([{"podSelector": {"matchLabels": {"app": word}}}]);
    match path.rsplit('.').next().expect("a name") {
        "digest" => json!(format!("sha256:{number:064}")),
        "subject" => json!(format!("pre:{word}")),
        "url" if path.starts_with("externalBroker") => json!(format!("mqtts://{word}:8883")),
        "issuer" | "url" => json!(format!("https://{word}")),
        "wsUrl" => json!(format!("wss://{word}/ws/2")),
        "corsOrigins" => json!([format!("https://{word}")]),
        "cidrs" => json!([format!("10.{}.{}.0/24", number / 250, number % 250)]),
        "imagePullSecrets" => json!([{ "name": word }]),
        "devices" => json!([{"user": word, "thingId": "com.example:other"}]),
        "issuers" => json!({"other": {"issuer": word, "authSubjects": ["{{ jwt:sub }}"]}}),
        "extraEnv" => json!([{"name": "OTHER", "value": word}]),
        "scheduling" => json!({"nodeSelector": {word: "true"}}),
        "resources" => json!({"limits": {"cpu": format!("{number}m")}}),
        "annotations" | "labels" | "podAnnotations" => json!({"example.com/other": word}),
        "connectivityTo" | "thingModelsTo" => json!([{ "to": peers }]),
        name if name == "to" || name.ends_with("From") => peers,
        _ if schema["items"]["type"] == "integer" => json!([number]),
        _ if default.is_array() => json!([word]),
        _ => match default.as_str().map(|text| text.trim_start_matches(|c: char| c.is_ascii_digit())) {
            // A size, a time or a version keeps what stands behind its number.
            Some(unit) if default != unit => json!(format!("{number}{unit}")),
            Some(_) => json!(word),
            None => json!(number),
        },
    }
}

/// What a number is found by in what is rendered.
fn trace(value: &Value, number: usize) -> String {
    let cidr = value[0].as_str().filter(|text| text.starts_with("10."));
    cidr.map_or_else(|| number.to_string(), str::to_owned)
}

/// Renders all of these values, on every core.
fn render_all(documents: BTreeSet<String>) -> BTreeMap<String, String> {
    let documents: Vec<_> = documents.into_iter().collect();
    let (next, rendered) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some(document) = documents.get(next.fetch_add(1, Ordering::Relaxed)) {
            let file = tempfile::NamedTempFile::new().expect("a temporary file");
            std::fs::write(file.path(), document).expect("a temporary file");
            let text = template(&[], &["--values", file.path().to_str().expect("a path of text")]);
            rendered.lock().expect("no worker failed").insert(document.clone(), text);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    rendered.into_inner().expect("no worker failed")
}

/// A value with the documents that show its effect.
struct Shown {
    path: String,
    without: String,
    with: String,
    /// What must stand in the second and not in the first; none: they must differ.
    trace: Option<String>,
}

/// What is changed together: all values, and the path and the trace of each that was changed.
struct Batch {
    values: Value,
    traces: Vec<(String, String)>,
}

fn plan(values: &Values) -> Vec<Shown> {
    let mut plan = vec![];
    let mut batches: BTreeMap<(String, bool), Batch> = BTreeMap::new();
    for (index, path) in values.single().enumerate() {
        let (name, number) = (path.join("."), FIRST + index);
        let needs = needs(&name);
        let (schema, default) = (values.schema(path), values.default(path));
        let now = needs.pointer(&format!("/{}", path.join("/"))).unwrap_or(default);
        if let Some(other) = neighbour(&schema, now) {
            let mut changed = needs.clone();
            over(&mut changed, &at(path, other));
            plan.push(Shown {
                path: name,
                without: needs.to_string(),
                with: changed.to_string(),
                trace: None,
            });
            continue;
        }
        let other = numbered(&name, &schema, default, number);
        let key = (needs.to_string(), hides_another(path.last().expect("a name")));
        let batch = batches.entry(key).or_insert_with(|| Batch { values: needs.clone(), traces: vec![] });
        batch.traces.push((name, trace(&other, number)));
        over(&mut batch.values, &at(path, other));
    }
    for ((without, _), batch) in batches {
        let with = batch.values.to_string();
        plan.extend(batch.traces.into_iter().map(|(path, trace)| Shown {
            path,
            without: without.clone(),
            with: with.clone(),
            trace: Some(trace),
        }));
    }
    plan
}

#[test]
fn every_value_changes_what_is_rendered() {
    let plan = plan(&Values::read());
    let documents = plan.iter().flat_map(|one| [one.without.clone(), one.with.clone()]);
    let rendered = render_all(documents.collect());
    let has_effect = |one: &&Shown| {
        let (without, with) = (&rendered[&one.without], &rendered[&one.with]);
        one.trace.as_ref().map_or(without != with, |trace| with.contains(trace) && !without.contains(trace))
    };
    let idle: Vec<_> = plan.iter().filter(|one| !has_effect(one)).map(|one| &one.path).collect();
    assert!(idle.is_empty(), "changed, and nothing changes with them: {idle:?}");
    assert!(plan.len() > 150, "only {} values were changed", plan.len());
}
