//! Every condition and search filter in the recorded conversations, evaluated on the things made in them.
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::*;

/// The time the conversations are taken to happen at: behind all times in them.
const NOW: Now = Now { epoch_millis: 1_767_225_600_000 };

/// Things as the requests of a conversation leave them, in the order they were made.
#[derive(Default)]
struct Things(Vec<Value>);

impl Things {
    fn get(&self, id: &str) -> Option<&Value> {
        self.0.iter().find(|thing| thing["thingId"] == *id)
    }

    /// Takes in a successful request on `/api/2/things/{id}{rest}`.
    fn apply(&mut self, step: &Step, id: &str, rest: &str) {
        if self.get(id).is_none() {
            let (namespace, _) = id.split_once(':').unwrap();
            self.0.push(json!({
                "thingId": id, "policyId": id, "_namespace": namespace, "_revision": 0,
                "_created": "2025-12-31T23:59:00Z", "_modified": "2025-12-31T23:59:00Z",
            }));
        }
        let thing = self.0.iter_mut().find(|thing| thing["thingId"] == *id).unwrap();
        thing["_revision"] = json!(thing["_revision"].as_i64().unwrap() + 1);
        let segments: Vec<&str> = rest.split('/').filter(|s| !s.is_empty()).collect();
        let (method, body) = (step.method.as_str(), step.body.clone());
        match (method, segments.split_last()) {
            ("PUT", None) => {
                let members = thing.as_object_mut().unwrap();
                members.retain(|key, _| key.starts_with('_') || key.ends_with("Id"));
                members.extend(body.as_object().cloned().unwrap_or_default());
            }
            ("PUT", _) => *place(thing, &segments) = body,
            ("PATCH", _) => merge(place(thing, &segments), body),
            ("DELETE", Some((last, above))) => remove(place(thing, above), last),
            ("DELETE", None) => return self.0.retain(|thing| thing["thingId"] != *id),
            _ => {}
        }
        let of_metadata = |key: &str| format!("_metadata{rest}/{}", key.trim_start_matches('/'));
        if let Some(puts) = step.headers["put-metadata"].as_str() {
            for put in serde_json::from_str::<Vec<Value>>(puts).unwrap() {
                let path = of_metadata(put["key"].as_str().unwrap());
                *place(thing, &path.split('/').collect::<Vec<_>>()) = put["value"].clone();
            }
        }
        if let Some(key) = step.headers["delete-metadata"].as_str() {
            let path = of_metadata(key);
            let (above, last) = path.rsplit_once('/').unwrap();
            remove(place(thing, &above.split('/').collect::<Vec<_>>()), last);
        }
    }
}

fn place<'v>(thing: &'v mut Value, segments: &[&str]) -> &'v mut Value {
    segments.iter().fold(thing, |at, segment| &mut at[*segment])
}

fn remove(parent: &mut Value, key: &str) {
    parent.as_object_mut().unwrap().remove(key);
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            remove(target, &key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

struct Step {
    name: String,
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Value,
    body: Value,
    status: u64,
    answer: Value,
}

impl Step {
    fn parameters(&self, name: &str) -> Vec<&str> {
        self.query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// The HTTP requests of a conversation.
fn steps(scenario: &str) -> Vec<Step> {
    let file = format!("{}/tests/golden/{scenario}.json", env!("CARGO_MANIFEST_DIR"));
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8().unwrap().into_owned();
    let step = |(i, step): (usize, &Value)| {
        let request = &step["request"];
        let (path, query) =
            request["path"].as_str()?.split_once('?').unwrap_or((request["path"].as_str()?, ""));
        let body = match request["rawBody"].as_str() {
            Some(raw) => serde_json::from_str(raw).unwrap_or_default(),
            None => request["body"].clone(),
        };
        Some(Step {
            name: format!("{scenario} {i}: {}", decode(query)),
            method: request["method"].as_str()?.to_owned(),
            path: path.to_owned(),
            query: query
                .split('&')
                .filter_map(|p| p.split_once('='))
                .map(|(k, v)| (decode(k), decode(v)))
                .collect(),
            headers: request["headers"].clone(),
            body,
            status: step["response"]["status"].as_u64()?,
            answer: step["response"]["body"].clone(),
        })
    };
    golden["steps"].as_array().unwrap().iter().enumerate().filter_map(step).collect()
}

/// The thing a path names and what follows: `(id, "/attributes/a")`.
fn thing(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/api/2/things/")?;
    Some(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

/// The error code Ditto gives a filter that it does not take.
fn refused(text: &str, syntax: &'static str) -> Result<Expr, &'static str> {
    let expr = parse(text).map_err(|_| syntax)?;
    match schema::check(&expr) {
        Ok(()) => Ok(expr),
        Err(schema::SchemaError::DoubleSlash(_)) => Err("json.pointer.invalid"),
        Err(_) => Err("rql.expression.invalid"),
    }
}

#[test]
fn conditions_hold_as_recorded() {
    let mut checked = 0;
    for scenario in [
        "conditional-rql",
        "numbers-equality",
        "unicode-and-long-strings",
        "reconcile-fence",
        "things-put-create-replace",
    ] {
        let mut things = Things::default();
        for step in steps(scenario) {
            let Some((id, rest)) = thing(&step.path) else { continue };
            let condition =
                step.headers["condition"].as_str().or(step.parameters("condition").first().copied());
            if let (Some(condition), Some(thing)) = (condition, things.get(id)) {
                checked += 1;
                let error = step.answer["error"].as_str().unwrap_or_default();
                match refused(condition, "things:condition.invalid") {
                    Err(code) => assert_eq!(code, error, "{} {condition}", step.name),
                    Ok(expr) => {
                        let held = error != "things:condition.failed";
                        assert_eq!(condition::holds(&expr, thing, NOW), held, "{} {condition}", step.name);
                    }
                }
            }
            if step.status < 300 && step.method != "GET" {
                things.apply(&step, id, rest);
            }
        }
    }
    assert!(checked >= 50, "only {checked} conditions were found in the conversations");
}

#[test]
fn searches_find_what_was_recorded() {
    let mut checked = 0;
    for scenario in ["search-operators", "search-like", "search-errors", "search-updates"] {
        let mut things = Things::default();
        for step in steps(scenario) {
            if let Some((id, rest)) = thing(&step.path) {
                if step.status < 300 && step.method != "GET" {
                    things.apply(&step, id, rest);
                }
                continue;
            }
            let filters = step.parameters("filter");
            if !step.path.starts_with("/api/2/search/things") || filters.is_empty() {
                continue;
            }
            checked += 1;
            let expr = match refused(&format!("and({})", filters.join(",")), "rql.expression.invalid") {
                Ok(expr) => expr,
                Err(code) => {
                    assert_eq!(step.answer["error"], code, "{}", step.name);
                    continue;
                }
            };
            let mut found: Vec<&str> = things
                .0
                .iter()
                .filter(|thing| search::matches(&expr, *thing, &|_| true, NOW))
                .filter_map(|thing| thing["thingId"].as_str())
                .collect();
            found.sort_unstable();
            match &step.answer {
                Value::Number(count) => assert_eq!(Some(found.len() as u64), count.as_u64(), "{}", step.name),
                answer => {
                    let items = answer["items"].as_array().unwrap_or_else(|| panic!("{}", step.name));
                    let mut ids: Vec<&str> =
                        items.iter().filter_map(|item| item["thingId"].as_str()).collect();
                    ids.sort_unstable();
                    assert_eq!(found, ids, "{}", step.name);
                }
            }
        }
    }
    assert!(checked >= 150, "only {checked} filters were found in the conversations");
}
