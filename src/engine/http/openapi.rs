//! What the engine answers, as an `OpenAPI` document: the paths are listed here, what they take is asked of [`route`].
use serde_json::{Map, Value, json};

use super::route::{self, Entrance};

/// Every path, and what it is for. Braces stand for one segment; a trailing `{+name}` for any number of them.
const PATHS: [(&str, &str); 42] = [
    ("/ws/2", "upgrades to a WebSocket that speaks the Ditto protocol"),
    ("/health", "whether the engine takes writes"),
    ("/status", "the version"),
    ("/status/health", "as /health"),
    ("/status/metrics", "what the engine counts"),
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
    ("/api/2/policies/{policyId}/actions/activateTokenIntegration", NEEDS_TOKEN),
    ("/api/2/policies/{policyId}/actions/deactivateTokenIntegration", NEEDS_TOKEN),
    ("/api/2/policies/{policyId}/entries/{label}/actions/activateTokenIntegration", NEEDS_TOKEN),
    ("/api/2/policies/{policyId}/entries/{label}/actions/deactivateTokenIntegration", NEEDS_TOKEN),
];
const NEEDS_TOKEN: &str = "always refused: it needs a token";

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
    let sampled = sample(path);
    if matches!(route::entrance(&sampled), Ok(Entrance::Open(_))) {
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

/// The path with something in place of each parameter.
fn sample(path: &str) -> String {
    let sample = |segment: &str| match segment {
        "{thingId}" | "{policyId}" | "{importedPolicyId}" => "org.acme:sample".to_owned(),
        "{+resource}" => "thing:/attributes".to_owned(),
        other => other.trim_matches(['{', '}']).trim_start_matches('+').to_owned(),
    };
    path.split('/').map(sample).collect::<Vec<_>>().join("/")
}

/// What the route takes that a path with samples in place of its parameters leads to.
fn methods(path: &str) -> Option<&'static str> {
    match route::entrance(&sample(path)).ok()? {
        Entrance::Open(route) | Entrance::Guarded(route) => Some(route.allowed()),
        Entrance::Socket => Some("GET"),
        Entrance::Api(segments) => route::api(&segments).ok().map(|route| route.allowed()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::super::live::Address;
    use super::super::route::Route;
    use super::*;

    #[test]
    fn every_path_leads_somewhere() {
        for (path, _) in PATHS {
            assert!(methods(path).is_some(), "{path}");
        }
    }

    /// The words the router knows, read from its source, those of mailboxes, and one for each kind of name in a path.
    fn vocabulary() -> BTreeSet<&'static str> {
        let code = include_str!("route.rs").split("#[cfg(test)]").next().unwrap();
        let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric());
        code.split('"')
            .skip(1)
            .step_by(2)
            .filter(is_word)
            .chain(["org.acme:sample", "thing:", "messages", "claim"])
            .collect()
    }

    /// The listed path that this one is an instance of.
    fn listed(path: &[&str]) -> Option<&'static str> {
        let fits = |template: &str| {
            let template: Vec<&str> = template.split('/').skip(1).collect();
            let many = template.last().is_some_and(|last| last.starts_with("{+"));
            let length = if many { path.len() >= template.len() } else { path.len() == template.len() };
            length
                && template.iter().zip(path).all(|(word, segment)| word.starts_with('{') || word == segment)
        };
        PATHS.iter().map(|(template, _)| *template).find(|template| fits(template))
    }

    /// Answered by anything but "there is no such path".
    fn is_answered(path: &[&str]) -> bool {
        let route = match route::entrance(&format!("/{}", path.join("/"))) {
            Ok(Entrance::Socket) => return true,
            Ok(Entrance::Open(route) | Entrance::Guarded(route)) => Ok(route),
            Ok(Entrance::Api(segments)) => route::api(&segments),
            Err(refused) => Err(refused),
        };
        match route {
            // a mailbox without a subject only streams, and a definition is not migrated here
            Ok(
                Route::NoMailbox | Route::MigrateDefinition | Route::Message(Address { subject: None, .. }),
            )
            | Err(_) => false,
            Ok(_) => true,
        }
    }

    /// Tries every word of the router's behind every path that is listed, and two where one leads nowhere.
    #[test]
    fn every_path_that_is_answered_is_listed() {
        let words = vocabulary();
        assert!(words.len() > 25 && words.contains("checkPermissions"), "{words:?}");
        let mut known = BTreeSet::new();
        // where a path leads nowhere itself, and more than one word behind it leads somewhere
        let starts =
            ["", "api/2", "api/2/things/org.acme:sample/inbox", "api/2/things/org.acme:sample/outbox"];
        let features =
            ["inbox", "outbox"].map(|mailbox| format!("api/2/things/org.acme:sample/features/x/{mailbox}"));
        let starts = starts.into_iter().chain(features.iter().map(String::as_str));
        let mut open: Vec<Vec<&str>> =
            starts.map(|start| start.split('/').filter(|word| !word.is_empty()).collect()).collect();
        while let Some(prefix) = open.pop() {
            for one in &words {
                for two in std::iter::once(None).chain(words.iter().map(Some)) {
                    let path: Vec<&str> = prefix.iter().copied().chain([*one]).chain(two.copied()).collect();
                    if !is_answered(&path) {
                        continue;
                    }
                    let template = listed(&path);
                    let template =
                        template.unwrap_or_else(|| panic!("/{} is answered and not listed", path.join("/")));
                    if known.insert(template) {
                        open.push(path);
                    }
                }
            }
        }
        let all: BTreeSet<&str> = PATHS.iter().map(|(path, _)| *path).collect();
        assert_eq!(
            all.difference(&known).collect::<Vec<_>>(),
            Vec::<&&str>::new(),
            "the search found every listed path"
        );
    }
}
