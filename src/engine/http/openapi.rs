//! What the engine answers, as an `OpenAPI` document: the paths are listed here, what they take is asked of [`route`].
use serde_json::{Map, Value, json};

use super::route::{self, Entrance};

/// Every path, and what it is for. Braces stand for one segment; a trailing `{+name}` for any number of them.
const PATHS: [(&str, &str); 38] = [
    ("/ws/2", "upgrades to a WebSocket that speaks the Ditto protocol"),
    ("/health", "whether the engine takes writes"),
    ("/status", "the version"),
    ("/status/health", "as /health"),
    ("/api/2/whoami", "the subjects of the caller"),
    ("/api/2/checkPermissions", "what the caller may do"),
    ("/api/2/cloudevents", "a command inside a cloud event, in binary mode"),
    ("/api/2/things", "several things, or a new one with a made-up id"),
    ("/api/2/things/{thingId}", "a thing"),
    ("/api/2/things/{thingId}/policyId", "the id of its policy"),
    ("/api/2/things/{thingId}/definition", "its definition"),
    ("/api/2/things/{thingId}/attributes", "its attributes"),
    ("/api/2/things/{thingId}/attributes/{+path}", "a value in its attributes"),
    ("/api/2/things/{thingId}/features", "its features"),
    ("/api/2/things/{thingId}/features/{featureId}", "a feature"),
    ("/api/2/things/{thingId}/features/{featureId}/definition", "the definition of a feature"),
    ("/api/2/things/{thingId}/features/{featureId}/properties", "the properties of a feature"),
    ("/api/2/things/{thingId}/features/{featureId}/properties/{+path}", "a value in them"),
    ("/api/2/things/{thingId}/features/{featureId}/desiredProperties", "the desired properties of a feature"),
    ("/api/2/things/{thingId}/features/{featureId}/desiredProperties/{+path}", "a value in them"),
    ("/api/2/things/{thingId}/inbox/claim", "claims a thing"),
    ("/api/2/things/{thingId}/inbox/messages/{+subject}", "a message to a thing"),
    ("/api/2/things/{thingId}/outbox/messages/{+subject}", "a message from a thing"),
    ("/api/2/things/{thingId}/features/{featureId}/inbox/messages/{+subject}", "a message to a feature"),
    ("/api/2/things/{thingId}/features/{featureId}/outbox/messages/{+subject}", "a message from a feature"),
    ("/api/2/policies", "a new policy with a made-up id"),
    ("/api/2/policies/{policyId}", "a policy"),
    ("/api/2/policies/{policyId}/entries", "its entries"),
    ("/api/2/policies/{policyId}/entries/{label}", "an entry"),
    ("/api/2/policies/{policyId}/entries/{label}/subjects", "the subjects of an entry"),
    ("/api/2/policies/{policyId}/entries/{label}/subjects/{+subjectId}", "a subject"),
    ("/api/2/policies/{policyId}/entries/{label}/resources", "the resources of an entry"),
    (
        "/api/2/policies/{policyId}/entries/{label}/resources/{+resource}",
        "what is granted and revoked on a resource",
    ),
    ("/api/2/policies/{policyId}/imports", "its imports"),
    ("/api/2/policies/{policyId}/imports/{importedPolicyId}", "an import"),
    ("/api/2/search/things", "the things a filter finds, a page at a time"),
    ("/api/2/search/things/count", "how many things a filter finds"),
    (
        "/api/2/policies/{policyId}/entries/{label}/actions/activateTokenIntegration",
        "always refused: it needs a token",
    ),
];

/// The document as JSON text with a line at its end; the same for the same version.
pub fn openapi() -> String {
    let paths: Map<String, Value> = PATHS
        .iter()
        .filter_map(|(path, what)| Some((path.replace("{+", "{"), path_item(path, what)?)))
        .collect();
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "The TwinOps engine",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The routes of Eclipse Ditto 3.8 that the engine answers, with Ditto's own bodies and errors. A path parameter at the end of a path may hold slashes.",
        },
        "security": [{"basic": []}, {"preAuthenticated": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "preAuthenticated": {"type": "apiKey", "in": "header", "name": "x-ditto-pre-authenticated"},
            },
            "schemas": {"Error": {
                "type": "object",
                "required": ["status", "error", "message"],
                "properties": {
                    "status": {"type": "integer"},
                    "error": {"type": "string", "examples": ["things:thing.notfound"]},
                    "message": {"type": "string"},
                },
            }},
        },
    });
    format!("{document:#}\n")
}

/// `None` when the path leads nowhere, which a test rules out.
fn path_item(path: &str, what: &str) -> Option<Value> {
    let operations =
        methods(path)?.split(", ").map(|method| (method.to_ascii_lowercase(), operation(method, what)));
    let parameters: Vec<Value> = names(path).map(parameter).collect();
    let mut item: Map<String, Value> = operations.collect();
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), Value::Array(parameters));
    }
    if !path.starts_with("/api/") && path != "/ws/2" {
        item.values_mut().filter(|operation| operation.is_object()).for_each(|o| o["security"] = json!([]));
    }
    Some(Value::Object(item))
}

fn operation(method: &str, what: &str) -> Value {
    let error = json!({"description": "refused", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}});
    let mut operation = json!({"summary": what, "responses": {"2XX": {"description": "done"}, "4XX": error}});
    let media_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    if matches!(method, "PUT" | "PATCH") {
        operation["requestBody"] = json!({"content": {media_type: {"schema": {}}}});
    }
    operation
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|s| Some(s.strip_prefix('{')?.strip_suffix('}')?.trim_start_matches('+')))
}

fn parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
}

/// What the route takes that a path with samples in place of its parameters leads to.
fn methods(path: &str) -> Option<&'static str> {
    let sample = |segment: &str| match segment {
        "{thingId}" | "{policyId}" | "{importedPolicyId}" => "org.acme:sample".to_owned(),
        "{+resource}" => "thing:/attributes".to_owned(),
        other => other.trim_matches(['{', '}']).trim_start_matches('+').to_owned(),
    };
    let sampled: Vec<String> = path.split('/').map(sample).collect();
    match route::entrance(&sampled.join("/")).ok()? {
        Entrance::Open(route) => Some(route.allowed()),
        Entrance::Socket => Some("GET"),
        Entrance::Api(segments) => route::api(&segments).ok().map(|route| route.allowed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_leads_somewhere() {
        for (path, _) in PATHS {
            assert!(methods(path).is_some(), "{path}");
        }
    }
}
