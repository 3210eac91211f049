//! `/docs` and `/openapi.json`: the page and its document, from the binary.
use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::problem::Problem;
use super::reply;

/// The page's own files and its own server, and nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// `GET /docs`
pub async fn page() -> Response {
    file("text/html; charset=utf-8", include_str!("docs/index.html"))
}

/// `GET /docs/{file}`
pub async fn part(Path(name): Path<String>) -> Result<Response, Problem> {
    match name.as_str() {
        "app.js" => Ok(file("text/javascript; charset=utf-8", include_str!("docs/app.js"))),
        "style.css" => Ok(file("text/css; charset=utf-8", include_str!("docs/style.css"))),
        _ => Err(Problem::not_found()),
    }
}

/// `GET /openapi.json`
pub async fn document() -> Response {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(super::openapi()));
    reply::json(StatusCode::OK, DOCUMENT.clone())
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
    response
}
