//! Answers that are no success: Ditto's JSON errors, and the plain text of the HTTP layer below it.
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::super::failure::Failure;

#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Ditto's error body.
    Failure(Failure),
    /// Plain text, as the HTTP server under Ditto answers.
    Text(u16, &'static str),
    /// 405 with the methods that are allowed.
    Method(&'static str),
    /// 401 that asks for the operator's password.
    Operators,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Refusal {
    pub const NOT_FOUND: Self = Self::Text(404, "The requested resource could not be found.");
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Failure(failure) => {
                let status =
                    StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut response = match status {
                    StatusCode::NOT_MODIFIED => status.into_response(),
                    _ => (status, axum::Json(failure.body())).into_response(),
                };
                if let Some(etag) = failure.etag.and_then(|etag| HeaderValue::from_str(&etag).ok()) {
                    response.headers_mut().insert(header::ETAG, etag);
                }
                response
            }
            Self::Text(status, text) => {
                (StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), text).into_response()
            }
            Self::Method(allowed) => {
                (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed)], "HTTP method not allowed")
                    .into_response()
            }
            Self::Operators => {
                let realm = "Basic realm=\"DITTO-STATUS\",charset=UTF-8";
                (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, realm)], "operators only")
                    .into_response()
            }
        }
    }
}
