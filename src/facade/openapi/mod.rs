//! The document of the API, made from the tables beside it; `docs/openapi-facade.json` is a copy that a test compares.
mod operations;
mod schemas;

use serde_json::{Map, Value, json};

use operations::{OPERATIONS, Operation};
use schemas::{meaning, parameter, schemas, segment};

/// Refusals that every route behind the credentials may answer with.
const REFUSALS: [u16; 8] = [400, 401, 413, 414, 429, 431, 502, 503];
/// Routes for everybody.
const OPEN: &str = "Health";

/// The document as JSON text with a line at its end; the same for the same version.
pub fn openapi() -> String {
    let mut paths = Map::new();
    for operation in &OPERATIONS {
        let item = paths.entry(operation.path).or_insert_with(|| path_item(operation.path));
        item[operation.method] = described(operation);
    }
    let tags = ["Things", "Features", "Messages", "Policies", "Search", "Live", "Health"];
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "TwinOps",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Digital twins in Eclipse Ditto, for applications. Every route is there with and without a slash at its end. What you may see and do is what Ditto's policies say of you.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"basic": []}, {"bearer": []}, {"apiKey": []}],
        "tags": (tags.map(|name| json!({"name": name}))),
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": schemas(),
        },
    });
    format!("{document:#}\n")
}

fn path_item(path: &str) -> Value {
    let names = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = names.map(segment).collect();
    if parameters.is_empty() { json!({}) } else { json!({"parameters": parameters}) }
}

fn described(operation: &Operation) -> Value {
    let words = operation.path.split(['/', '{', '}', '_']).filter(|word| !word.is_empty());
    let words: Vec<&str> = std::iter::once(operation.method).chain(words).collect();
    let mut described = json!({
        "operationId": words.join("-"),
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": answers(operation),
    });
    if !operation.takes.is_empty() {
        described["parameters"] = operation.takes.iter().map(|name| parameter(name)).collect();
    }
    if let Some(schema) = operation.body {
        let kind =
            if operation.method == "patch" { "application/merge-patch+json" } else { "application/json" };
        described["requestBody"] = json!({"required": true, "content": content(kind, schema)});
    }
    if operation.tag == OPEN {
        described["security"] = json!([]);
    }
    described
}

fn answers(operation: &Operation) -> Value {
    let mut answers = Map::new();
    for (status, schema) in operation.answers {
        let mut answer = json!({"description": meaning(*status)});
        if !schema.is_empty() {
            let kind = if *schema == "EventStream" { "text/event-stream" } else { "application/json" };
            answer["content"] = content(kind, schema);
        }
        if matches!(operation.tag, "Things" | "Features" | "Policies") {
            answer["headers"] = headers(*status);
        }
        answers.insert(status.to_string(), answer);
    }
    let common: &[u16] = if operation.tag == OPEN { &[400, 431] } else { &REFUSALS };
    for status in common.iter().chain(operation.refusals) {
        let refusal = json!({"description": meaning(*status), "content": content("application/problem+json", "Problem")});
        answers.entry(status.to_string()).or_insert(refusal);
    }
    answers.sort_keys();
    Value::Object(answers)
}

fn content(kind: &str, schema: &str) -> Value {
    json!({kind: {"schema": {"$ref": format!("#/components/schemas/{schema}")}}})
}

fn headers(status: u16) -> Value {
    let text = |what: &str| json!({"description": what, "schema": {"type": "string"}});
    let mut headers = json!({"etag": text("the entity tag, for If-Match and If-None-Match")});
    if status == 201 {
        headers["location"] = text("where it is");
    }
    if matches!(status, 201 | 204) {
        headers["twinops-owner"] = text("the resource that keeps what was written, and will change it back");
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_only_what_it_defines() {
        let document: Value = serde_json::from_str(&openapi()).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        let mut ids: Vec<_> = OPERATIONS.iter().map(|o| described(o)["operationId"].to_string()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), OPERATIONS.len(), "every operation has an id of its own");
    }
}
