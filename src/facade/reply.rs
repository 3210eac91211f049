//! Answers that are successes.
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::names::Shape;
use super::problem::Problem;
use super::upstream::Answer;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `status` with JSON text.
pub fn json(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// `status` without a body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Passes on what Ditto answered to a read or a write: 200 and 201 in the facade's names, 204 and 304 without a body.
/// `location` is where a 201 made something.
pub async fn of(answer: Answer, shape: Shape, location: &str) -> Result<Response, Problem> {
    let status = answer.status;
    let etag = answer.etag().cloned();
    let mut response = match status {
        StatusCode::OK | StatusCode::CREATED => json(status, answer.renamed(shape).await?),
        status => empty(status),
    };
    if let Some(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    if status == StatusCode::CREATED {
        set(response.headers_mut(), header::LOCATION, location);
    }
    Ok(response)
}

/// Sets a header unless the text does not fit one.
pub fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
