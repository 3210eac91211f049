//! The engine beyond what the transcripts show.
mod bad_input;
pub mod clients;
mod metrics;
mod openapi;
mod process;
mod rules;

use crate::contract::wire::{self, Reply};

/// A request of `nginx:ditto`, or of whom the headers name; a body is JSON unless the headers say otherwise.
fn ask(base: &str, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Reply {
    let mut all: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let given = |name: &str| headers.iter().any(|(n, _)| *n == name);
    if !given("x-ditto-pre-authenticated") {
        all.push(("x-ditto-pre-authenticated".to_owned(), "nginx:ditto".to_owned()));
    }
    if body.is_some() && !given("content-type") {
        let media_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        all.push(("content-type".to_owned(), media_type.to_owned()));
    }
    wire::send(base, method, target, &all, body)
}

/// Ditto's error code, or nothing.
fn code(reply: &Reply) -> String {
    let body: serde_json::Value = serde_json::from_str(&reply.text).unwrap_or_default();
    body["error"].as_str().unwrap_or_default().to_owned()
}
