//! What is answered when a request is not done: problem JSON (RFC 9457), with Ditto's code and without anything that
//! tells where Ditto is or how it is built.
use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The longest detail passed on of Ditto, in characters: its own sentences stay below.
const DETAIL_CHARS_MAX: usize = 600;
/// The longest code passed on, in characters. Ditto's own stay under 60.
const CODE_CHARS_MAX: usize = 100;

/// A request that was not done, and why. The edge adds the correlation id and makes it an answer.
#[derive(Clone, Debug)]
pub struct Problem {
    pub status: StatusCode,
    /// Ditto's `error`, or `facade:…` where the facade itself refuses.
    pub code: Cow<'static, str>,
    pub detail: String,
    /// Such as `etag`, `retry-after`, `www-authenticate`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), headers: vec![] }
    }

    /// 400 `facade:<what>`: the request is wrong and stays so.
    pub fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "facade:route.notfound", "no such route; see /docs")
    }

    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "facade:authentication.failed", detail)
    }

    /// 503: Ditto is not there. What exactly went wrong is for the log, not for the caller.
    pub fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "facade:ditto.unavailable",
            "Ditto does not answer; try again",
        )
        .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// What Ditto refused. Its words are passed on where the caller can act on them: with a 4xx that bears Ditto's own
    /// code. Everything else came from a proxy or from inside, and only the status is told.
    pub fn of_ditto(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let code = brief(text("error"), CODE_CHARS_MAX);
        let detail = [text("message"), text("description")].join(" ");
        let detail = brief(detail.trim(), DETAIL_CHARS_MAX);
        match (status.as_u16(), code.as_str()) {
            (401, _) | (400, "jwt:invalid") => Self::unauthorized("Ditto does not take these credentials"),
            (404, "" | "api.version.notsupported") | (..=399 | 405 | 407, _) => not_ditto(),
            (413, "") => Self::new(status, "facade:body.toolarge", "larger than Ditto takes"),
            (414 | 431, "") => {
                Self::new(status, "facade:head.toolarge", "the URL or the headers are too large")
            }
            (429, _) => {
                let wait = headers.get(header::RETRY_AFTER).cloned().unwrap_or(HeaderValue::from_static("1"));
                let code = if code.is_empty() { "too.many.requests".to_owned() } else { code };
                Self::new(status, code, "too many requests; try again later").with(header::RETRY_AFTER, wait)
            }
            (400..=499, code) if !code.is_empty() => {
                let problem = Self::new(status, code.to_owned(), detail);
                match headers.get(header::ETAG) {
                    Some(etag) => problem.with(header::ETAG, etag.clone()),
                    None => problem,
                }
            }
            (400..=499, _) => Self::new(status, "facade:refused", "Ditto refuses the request"),
            (503 | 504, _) => Self::unavailable(),
            _ => not_ditto(),
        }
    }

    /// The answer, with `correlation_id` in its body.
    pub fn answer(&self, correlation_id: &HeaderValue) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Refused"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
            "correlation_id": correlation_id.to_str().unwrap_or_default(),
        });
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let mut response = (self.status, [kind], body.to_string()).into_response();
        for (name, value) in &self.headers {
            response.headers_mut().append(name, value.clone());
        }
        response
    }
}

fn not_ditto() -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "facade:ditto.failed", "Ditto could not do this; try again later")
}

/// One line, cut at `limit` characters.
fn brief(text: &str, limit: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(limit).collect()
}

/// Without a body: the edge takes the problem out of the extensions and writes it there.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s22_only_what_ditto_means_for_its_callers_is_passed_on() {
        let ditto = |code: &str| {
            json!({"status": 1, "error": code, "message": "m.", "description": "d."}).to_string()
        };
        let secret = "java.lang.IllegalStateException at mongo-0.internal:27017";
        let rows = [
            (404, ditto("things:thing.notfound"), 404, "things:thing.notfound", "m. d."),
            (412, ditto("things:precondition.failed"), 412, "things:precondition.failed", "m. d."),
            (400, ditto("jwt:invalid"), 401, "facade:authentication.failed", ""),
            (401, secret.to_owned(), 401, "facade:authentication.failed", ""),
            (404, secret.to_owned(), 502, "facade:ditto.failed", ""),
            (500, ditto("internalerror"), 502, "facade:ditto.failed", ""),
            (500, secret.to_owned(), 502, "facade:ditto.failed", ""),
            (
                503,
                json!({"error": "ask.error", "message": secret}).to_string(),
                503,
                "facade:ditto.unavailable",
                "",
            ),
            (400, secret.to_owned(), 400, "facade:refused", ""),
            (302, String::new(), 502, "facade:ditto.failed", ""),
            (429, String::new(), 429, "too.many.requests", ""),
        ];
        for (status, body, expected, code, detail) in rows {
            let status = StatusCode::from_u16(status).unwrap();
            let problem = Problem::of_ditto(status, &HeaderMap::new(), body.as_bytes());
            assert_eq!((problem.status.as_u16(), &*problem.code), (expected, code), "{status} {body}");
            assert!(detail.is_empty() || problem.detail == detail, "{problem:?}");
            assert!(!problem.detail.contains("mongo") && !problem.detail.is_empty(), "{problem:?}");
        }
    }

    #[test]
    fn s23_a_problem_is_one_line_of_limited_length() {
        let long = json!({"error": "a\r\nb", "message": "x\u{1b}[2J\n".repeat(1_000)}).to_string();
        let problem = Problem::of_ditto(StatusCode::BAD_REQUEST, &HeaderMap::new(), long.as_bytes());
        assert!(problem.detail.chars().count() <= DETAIL_CHARS_MAX);
        assert!(!problem.detail.chars().chain(problem.code.chars()).any(char::is_control), "{problem:?}");
    }
}
