//! What a refused command answers.
use std::borrow::Cow;

use serde_json::{Value, json};

/// A refusal with Ditto's status and error code. Clients match on those two, never on the message.
/// Source: Ditto 3.8, `DittoRuntimeException` and its subclasses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status} {error}: {message}")]
pub struct Failure {
    pub status: u16,
    pub error: Cow<'static, str>,
    pub message: String,
    /// The entity tag of what is there now; failed preconditions carry it.
    pub etag: Option<String>,
    /// The header that could not be read.
    pub header: Option<&'static str>,
}

impl Failure {
    pub fn new(status: u16, error: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { status, error: error.into(), message: message.into(), etag: None, header: None }
    }

    pub fn bad_json(message: impl Into<String>) -> Self {
        Self::new(400, "json.invalid", message)
    }

    pub fn bad_key(key: &str) -> Self {
        Self::new(
            400,
            "json.key.invalid",
            format!(
                "`{key}` is no valid key: no `/`, no control characters, no U+007F to U+00FF, at most 256 characters"
            ),
        )
    }

    pub fn missing_field(name: &str) -> Self {
        Self::new(400, "json.field.missing", format!("the field `{name}` is missing"))
    }

    pub fn bad_header(name: &'static str, message: impl Into<String>) -> Self {
        Self { header: Some(name), ..Self::new(400, "header.invalid", message) }
    }

    /// The command belongs to Ditto's API and this engine does not answer it.
    pub fn not_built(what: &str) -> Self {
        Self::new(
            501,
            "engine:not.supported",
            format!("{what} is not supported by this engine; use Ditto for it"),
        )
    }

    #[must_use]
    pub fn with_etag(self, etag: Option<String>) -> Self {
        Self { etag, ..self }
    }

    pub fn body(&self) -> Value {
        let mut body = json!({"status": self.status, "error": self.error, "message": self.message});
        if let Some(header) = self.header {
            body["invalidHeaderKey"] = json!(header);
        }
        body
    }
}
