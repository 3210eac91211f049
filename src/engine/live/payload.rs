//! What a message carries: bytes in HTTP, a JSON value in the Ditto Protocol.
//! Source: Ditto 3.8, `MessageAdaptableHelper.java`.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::failure::Failure;
use super::super::parse;

/// The largest payload, in bytes. Source: Ditto 3.8, `LIMITS_MESSAGES_MAX_SIZE` (`250k`).
pub const SIZE_MAX: usize = 250 * 1024;
/// The type of what comes without one.
const UNTYPED: &str = "application/octet-stream";
const EMPTY: &str = "none/none";

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload {
    pub content_type: Option<String>,
    /// JSON as it is, text as a string, anything else in base64.
    pub value: Option<Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Text,
    Bytes,
}

fn form(content_type: &str) -> Form {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media_type == "application/json" || media_type.ends_with("+json") {
        Form::Json
    } else if media_type.starts_with("text/") {
        Form::Text
    } else {
        Form::Bytes
    }
}

impl Payload {
    /// From the body of a request.
    pub fn of_bytes(content_type: Option<String>, bytes: &[u8]) -> Result<Self, Failure> {
        if bytes.len() > SIZE_MAX {
            return Err(too_large());
        }
        if bytes.is_empty() {
            return Ok(Self {
                content_type: Some(content_type.unwrap_or_else(|| EMPTY.to_owned())),
                value: None,
            });
        }
        let content_type = content_type.unwrap_or_else(|| UNTYPED.to_owned());
        let value = match form(&content_type) {
            Form::Json => parse::json(bytes)?,
            Form::Text => Value::String(String::from_utf8_lossy(bytes).into_owned()),
            Form::Bytes => Value::String(STANDARD.encode(bytes)),
        };
        Ok(Self { content_type: Some(content_type), value: Some(value) })
    }

    /// From an envelope.
    pub fn of_value(content_type: Option<String>, value: Option<Value>) -> Result<Self, Failure> {
        if value.as_ref().is_some_and(|value| value.to_string().len() > SIZE_MAX) {
            return Err(too_large());
        }
        Ok(Self { content_type, value })
    }

    /// The bytes a reader by HTTP gets. A string that should be base64 and is not goes out as it is.
    pub fn bytes(&self) -> Vec<u8> {
        let form = self.content_type.as_deref().map_or(Form::Bytes, form);
        match (&self.value, form) {
            (None, _) => vec![],
            (Some(Value::String(text)), Form::Text) => text.clone().into_bytes(),
            (Some(Value::String(text)), Form::Bytes) => {
                STANDARD.decode(text).unwrap_or_else(|_| text.clone().into_bytes())
            }
            (Some(value), _) => value.to_string().into_bytes(),
        }
    }
}

fn too_large() -> Failure {
    Failure::new(413, "messages:payload.toolarge", format!("a message carries at most {SIZE_MAX} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let rows = [
            (Some("application/json"), "{\"a\":1}", json!({"a": 1})),
            (Some("application/vnd.x+json; charset=utf-8"), "[1]", json!([1])),
            (Some("text/plain; charset=utf-8"), "level 5", json!("level 5")),
            (Some("application/octet-stream"), "bytes", json!("Ynl0ZXM=")),
            (None, "bytes", json!("Ynl0ZXM=")),
        ];
        for (content_type, bytes, value) in rows {
            let payload = Payload::of_bytes(content_type.map(str::to_owned), bytes.as_bytes()).unwrap();
            assert_eq!(
                (payload.value.as_ref(), payload.bytes().as_slice()),
                (Some(&value), bytes.as_bytes())
            );
        }
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        let refused = |content_type: &str, bytes: &[u8]| {
            Payload::of_bytes(Some(content_type.to_owned()), bytes).unwrap_err().error
        };
        assert_eq!(refused("application/json", b"{bad"), "json.invalid");
        assert_eq!(refused("text/plain", &vec![b'x'; SIZE_MAX + 1]), "messages:payload.toolarge");
    }
}
