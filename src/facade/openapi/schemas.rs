//! The shapes that go in and out, with an example of each.
use serde_json::{Map, Value, json};

const THING_ID: &str = "com.example:temperature-sensor-01";

/// A parameter by name: where it stands, what it holds, an example.
pub fn parameter(name: &str) -> Value {
    let (place, schema, what, example) = match name {
        "thing_id" => ("query", id(), "only events of this thing", json!(THING_ID)),
        "limit" => (
            "query",
            json!({"type": "integer", "minimum": 1, "maximum": 200, "default": 25}),
            "how many on a page",
            json!(25),
        ),
        "cursor" => ("query", text(), "the `cursor` of the page before", Value::Null),
        "fields" => {
            ("query", text(), "what to show of each thing", json!("thing_id,attributes(location),revision"))
        }
        "namespace" => ("query", text(), "one or more namespaces, parted by commas", json!("com.example")),
        "q" => (
            "query",
            text(),
            "a filter in RQL; without it all",
            json!("eq(attributes/location,\"warehouse-1\")"),
        ),
        "filter" => {
            ("query", text(), "a filter of events in RQL", json!("like(resource:path,\"/features/*\")"))
        }
        "sort" => ("query", text(), "an order; `-` turns it round", json!("-modified,thing_id")),
        "replace" => {
            ("query", json!({"type": "boolean", "default": false}), "replace the whole feature", json!(false))
        }
        "timeout" => (
            "query",
            json!({"type": "integer", "minimum": 0, "maximum": 60, "default": 10}),
            "seconds to wait for the device's answer; 0 waits for none",
            json!(0),
        ),
        "access_token" => {
            ("query", text(), "the bearer token, for browsers, which can set no header here", Value::Null)
        }
        "If-Match" => ("header", text(), "only when the entity tag is one of these", Value::Null),
        _ => ("header", text(), "only when the entity tag is none of these", Value::Null),
    };
    let mut parameter = json!({"name": name, "in": place, "description": what, "schema": schema});
    if !example.is_null() {
        parameter["example"] = example;
    }
    parameter
}

/// A segment of a path by name.
pub fn segment(name: &str) -> Value {
    let (schema, example) = match name {
        "thing_id" => (id(), json!(THING_ID)),
        "policy_id" => (id(), json!("com.example:sensors")),
        "feature_id" => (key(), json!("temperature")),
        _ => (key(), json!("restart")),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema, "example": example})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn key() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[^\\x00-\\x1F\\x7F-\\xFF/]+$"})
}

fn id() -> Value {
    json!({
        "type": "string",
        "maxLength": 256,
        "pattern": "^[a-zA-Z][a-zA-Z0-9_]*([.-][a-zA-Z][a-zA-Z0-9_]*)*:[^\\x00-\\x1F\\x7F-\\xFF/]+$",
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn closed(properties: Value, required: &[&str]) -> Value {
    let mut schema = json!({"type": "object", "required": required, "additionalProperties": false});
    schema["properties"] = properties;
    schema
}

fn thing(with_id: bool, null: bool) -> Value {
    let or_null = |kind: &str| if null { json!({"type": [kind, "null"]}) } else { json!({"type": kind}) };
    let feature = reference(if null { "FeaturePatch" } else { "Feature" });
    let mut features = or_null("object");
    features["additionalProperties"] =
        if null { json!({"anyOf": [feature, {"type": "null"}]}) } else { feature };
    let mut properties = json!({
        "policy_id": id(),
        "definition": {"type": ["string", "null"]},
        "attributes": or_null("object"),
        "features": features,
    });
    if with_id {
        properties["thing_id"] = id();
    }
    properties
}

fn shown(mut properties: Value) -> Value {
    properties["revision"] = json!({"type": "integer"});
    properties["created"] = json!({"type": "string", "format": "date-time"});
    properties["modified"] = json!({"type": "string", "format": "date-time"});
    properties
}

fn feature(null: bool) -> Value {
    let kind = if null { json!(["object", "null"]) } else { json!("object") };
    let definition = if null { json!(["array", "null"]) } else { json!("array") };
    closed(
        json!({
            "definition": {"type": definition, "items": {"type": "string"}, "minItems": 1},
            "properties": {"type": kind},
            "desired_properties": {"type": kind},
        }),
        &[],
    )
}

fn policy(with_id: bool) -> Value {
    let mut properties = json!({
        "entries": {"type": "object", "description": "Ditto's entries: by label, `subjects`, `resources` and `importable`"},
        "imports": {"type": "object"},
    });
    if with_id {
        properties["policy_id"] = id();
    }
    properties
}

fn page(items: &Value) -> Value {
    let properties = json!({
        "items": {"type": "array", "items": items},
        "cursor": {"type": "string", "description": "where the next page begins; missing on the last"},
        "next": {"type": "string", "description": "the address of the next page"},
    });
    closed(properties, &["items"])
}

fn with_example(mut schema: Value, example: Value) -> Value {
    schema["examples"] = Value::Array(vec![example]);
    schema
}

/// All named schemas.
pub fn schemas() -> Value {
    let named = things().into_iter().chain(others());
    Value::Object(named.map(|(name, schema)| (name.to_owned(), schema)).collect::<Map<_, _>>())
}

fn things() -> Vec<(&'static str, Value)> {
    let properties = json!({"value": 22.5, "unit": "celsius"});
    let attributes =
        json!({"type": "temperature-sensor", "location": "warehouse-1", "manufacturer": "Example Corp"});
    let features = json!({"temperature": {"properties": properties}});
    vec![
        (
            "NewThing",
            with_example(
                closed(thing(true, false), &["thing_id"]),
                json!({"thing_id": THING_ID, "attributes": attributes, "features": features}),
            ),
        ),
        (
            "ThingBody",
            with_example(
                closed(shown(thing(true, false)), &[]),
                json!({"attributes": attributes, "features": features}),
            ),
        ),
        (
            "ThingPatch",
            with_example(closed(thing(true, true), &[]), json!({"attributes": {"location": "warehouse-2"}})),
        ),
        ("Thing", closed(shown(thing(true, false)), &[])),
        ("ThingPage", page(&reference("Thing"))),
        ("Features", json!({"type": "object", "additionalProperties": reference("Feature")})),
        ("Feature", with_example(feature(false), json!({"properties": {"value": 24.0, "unit": "celsius"}}))),
        ("FeaturePatch", with_example(feature(true), json!({"properties": {"value": 25.0}}))),
    ]
}

fn others() -> Vec<(&'static str, Value)> {
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    let entries = json!({"owner": {
        "subjects": {"nginx:ditto": {"type": "the owner"}},
        "resources": {"thing:/": all, "policy:/": all, "message:/": all},
    }});
    let up = json!({"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]});
    vec![
        (
            "NewPolicy",
            with_example(
                closed(policy(true), &["entries"]),
                json!({"policy_id": "com.example:sensors", "entries": entries}),
            ),
        ),
        ("PolicyBody", with_example(closed(shown(policy(true)), &["entries"]), json!({"entries": entries}))),
        ("Policy", closed(shown(policy(true)), &[])),
        ("PolicyPage", page(&closed(json!({"policy_id": id()}), &["policy_id"]))),
        (
            "Command",
            with_example(
                closed(json!({"subject": key(), "value": {}}), &["subject"]),
                json!({"subject": "restart", "value": {"delay": 5}}),
            ),
        ),
        ("Anything", with_example(json!({}), json!({"delay": 5}))),
        ("Count", closed(json!({"count": {"type": "integer"}}), &["count"])),
        (
            "EventStream",
            with_example(
                text(),
                json!(
                    "data: {\"type\":\"thing.modified\",\"thing_id\":\"com.example:temperature-sensor-01\",\"path\":\"/features/temperature/properties/value\",\"value\":23,\"revision\":7,\"timestamp\":\"2026-01-01T00:00:00Z\"}\n\n"
                ),
            ),
        ),
        ("Up", up.clone()),
        (
            "Health",
            closed(
                json!({"status": {"enum": ["UP", "DOWN"]}, "version": text(), "ditto": up, "mqtt": up}),
                &["status", "version", "ditto", "mqtt"],
            ),
        ),
        ("Problem", problem()),
    ]
}

/// RFC 9457.
fn problem() -> Value {
    let example = json!({
        "type": "about:blank", "title": "Not Found", "status": 404, "code": "things:thing.notfound",
        "detail": "The Thing with ID 'com.example:pump' could not be found or requester had insufficient permissions to access it.",
        "correlation_id": "facade-3f2a9c1b7d40-12",
    });
    let properties = json!({
        "type": text(), "title": text(), "status": {"type": "integer"}, "detail": text(),
        "code": {"type": "string", "description": "Ditto's error code, or the facade's own"},
        "correlation_id": {"type": "string", "description": "the id under which Ditto and the logs know the request"},
    });
    with_example(
        closed(properties, &["type", "title", "status", "detail", "code", "correlation_id"]),
        example,
    )
}

/// What a status says.
pub fn meaning(status: u16) -> &'static str {
    match status {
        101 => "the socket is open",
        200 => "done",
        201 => "made",
        202 => "sent; nobody waits for an answer",
        204 => "done, with nothing to say",
        304 => "what you have still holds",
        400 => "the request is wrong",
        401 => "credentials are missing or wrong",
        403 => "not allowed",
        404 => "not there, or not for you to see",
        405 => "no such method",
        408 => "no answer in time",
        409 => "it is there already",
        412 => "a condition is not met",
        413 => "too large",
        414 => "the URL is too long",
        415 => "the body is of another media type",
        426 => "no upgrade to a WebSocket",
        429 => "too many requests",
        431 => "the headers are too large",
        502 => "Ditto failed",
        _ => "Ditto does not answer",
    }
}
