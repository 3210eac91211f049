//! `/openapi.json` and `/docs` are what the code says they are.
use serde_json::{Value, json};

use super::Facade;

fn document() -> Value {
    serde_json::from_str(&twinops::facade::openapi()).expect("JSON")
}

#[test]
fn the_document_in_docs_is_what_make_generate_writes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi-facade.json");
    let kept = std::fs::read_to_string(path).expect("the document is in docs/");
    assert_eq!(kept, twinops::facade::openapi(), "run `make generate`");
    assert_eq!(Facade::open().get("/openapi.json").json(), document());
}

#[test]
fn every_listed_method_is_answered_and_every_other_is_refused() {
    let facade = Facade::open();
    for (path, item) in document()["paths"].as_object().expect("paths") {
        let target = path
            .replace("{thing_id}", "openapi:t")
            .replace("{policy_id}", "openapi:t")
            .replace(['{', '}'], "");
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
            let listed = item.get(method.to_ascii_lowercase());
            let body = matches!(method, "PUT" | "POST" | "PATCH").then_some("[");
            if path == "/events" && method == "GET" {
                continue;
            }
            let reply = facade.ask(method, &target, &[], body);
            assert_eq!(reply.status != 405, listed.is_some(), "{method} {target}: {reply:?}");
            if let Some(operation) = listed {
                assert!(
                    operation["responses"].get(reply.status.to_string()).is_some(),
                    "{method} {target}: {}",
                    reply.status
                );
            }
        }
    }
}

#[test]
fn the_page_loads_nothing_from_elsewhere() {
    let facade = Facade::open();
    let page = facade.get("/docs");
    assert!(page.header("content-security-policy").contains("default-src 'none'"), "{page:?}");
    for file in ["/docs", "/docs/app.js", "/docs/style.css"] {
        let reply = facade.get(file);
        assert_eq!(reply.status, 200, "{file}");
        let elsewhere = reply.text.matches("://").count();
        assert_eq!(elsewhere, 0, "{file} names another server");
    }
    assert_eq!(facade.get("/docs/other.js").status, 404);
}

/// What a browser on the page sees after it has pressed a button.
#[test]
fn a_browser_tries_a_route_from_the_page() {
    let facade = Facade::before_engine(super::anybody());
    let mut page = super::browser::Page::open(&facade.runtime, &format!("{}/docs", facade.base));
    page.until("document.body.dataset.ready === 'true'");
    let create = "document.getElementById('post-things')";
    page.run(&format!("{create}.open = true; {create}.querySelector('button.try').click()"));
    page.until(&format!("{create}.querySelector('.status')?.textContent.startsWith('201')"));
    let read = "document.getElementById('get-things-thing-id')";
    page.run(&format!(
        "{read}.open = true; {read}.querySelector('button.try').click(); {read}.scrollIntoView()"
    ));
    page.until(&format!("{read}.querySelector('.body')?.textContent.includes('warehouse-1')"));
    assert_eq!(page.run(&format!("{read}.querySelector('.status').textContent")), json!("200 OK"));
    let picture = page.screenshot();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "{} bytes", picture.len());
    assert_eq!(page.errors(), Vec::<String>::new(), "nothing is refused by the page's own policy");
}
