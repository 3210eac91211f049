//! `docs/openapi-engine.json` is what the code says it is.
use serde_json::Value;

use super::ask;
use crate::contract::engine::Engine;

#[test]
fn the_document_in_docs_is_what_make_generate_writes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi-engine.json");
    let kept = std::fs::read_to_string(path).expect("the document is in docs/");
    assert_eq!(kept, twinops::engine::openapi(), "run `make generate`");
}

#[test]
fn every_listed_method_is_answered_and_every_other_is_refused() {
    let document: Value = serde_json::from_str(&twinops::engine::openapi()).expect("JSON");
    let engine = Engine::in_memory();
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 30, "{}", paths.len());
    // an upgrade is not asked for its method first
    for (path, item) in paths.iter().filter(|(path, _)| *path != "/ws/2") {
        let target = path
            .replace("{resource}", "thing:/x")
            .replace("{thingId}", "openapi:t")
            .replace("{policyId}", "openapi:t")
            .replace("{importedPolicyId}", "openapi:t")
            .replace(['{', '}'], "");
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
            let listed = item.get(method.to_ascii_lowercase()).is_some();
            let body = matches!(method, "PUT" | "POST" | "PATCH").then_some(b"[".as_slice());
            let status = ask(&engine.base, method, &format!("{target}?timeout=1"), &[], body).status;
            assert_eq!(status != 405, listed, "{method} {target}: {status}");
        }
    }
}
