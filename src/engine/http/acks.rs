//! `requested-acks`: whose word the answer waits for. Source: Ditto 3.8, `AcknowledgementLabel`.
use serde_json::{Map, Value, json};

use super::super::command::Answer;
use super::super::failure::Failure;
use super::request::Request;

const NAME: &str = "requested-acks";
const TWIN: &str = "twin-persisted";
const SEARCH: &str = "search-persisted";
const LIVE: &str = "live-response";

/// What the answer to a write looks like. State and search are one here, so both words come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// As without the header.
    Twin,
    /// Only that the write can be found: a bare 204.
    Search,
    /// Both, each under its label.
    Both,
}

impl Acks {
    pub fn of(request: &Request) -> Result<Self, Failure> {
        let Some(text) = request.setting(NAME) else { return Ok(Self::Twin) };
        let labels = labels(&text).ok_or_else(|| {
            Failure::bad_header(NAME, "it must list labels of 3 to 100 letters, digits, `-`, `_` or `:`")
        })?;
        let has = |label: &str| labels.iter().any(|l| l == label);
        match labels.iter().find(|label| ![TWIN, SEARCH, LIVE].contains(&label.as_str())) {
            Some(label) => Err(Failure::not_built(&format!("waiting for the acknowledgement `{label}`"))),
            None if has(SEARCH) && has(TWIN) => Ok(Self::Both),
            None if has(SEARCH) => Ok(Self::Search),
            None => Ok(Self::Twin),
        }
    }

    /// The answer as the labels ask for it. `location` is the place of what was created.
    pub fn shape(self, answer: Answer, location: Option<&str>) -> Answer {
        match self {
            Self::Twin => answer,
            Self::Search => Answer { status: 204, ..Answer::default() },
            Self::Both => {
                let mut headers = Map::from_iter([("response-required".to_owned(), json!(false))]);
                let values = [
                    ("entity-revision", answer.revision.map(Value::from)),
                    ("etag", answer.etag.map(Value::from)),
                    ("location", location.filter(|_| answer.created).map(Value::from)),
                ];
                headers
                    .extend(values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
                let mut twin = json!({"status": answer.status, "headers": headers});
                if let Some(payload) = answer.body {
                    twin["payload"] = payload;
                }
                let search = json!({"status": 204, "headers": {"response-required": false}});
                Answer::found(json!({TWIN: twin, SEARCH: search}), None, None)
            }
        }
    }
}

/// A JSON array of strings or a comma list.
fn labels(text: &str) -> Option<Vec<String>> {
    let labels: Vec<String> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).ok()?
    } else {
        text.split(',').map(|label| label.trim().to_owned()).collect()
    };
    let is_label = |label: &String| {
        (3..=100).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':'))
    };
    labels.iter().all(is_label).then_some(labels)
}
