//! What a request says: its headers, and the query parameters that stand for headers.
use std::time::Duration;

use axum::http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::super::command::{Condition, Headers, IfEqual, Live, Metadata, Verb};
use super::super::depth::DEPTH_MAX;
use super::super::failure::Failure;
use super::super::fields::Selector;
use super::super::history::Moment;
use super::super::length::Length;
use super::super::live::Cause;
use super::super::precondition::{Preconditions, Tags};
use super::super::{thing, time};
use super::refusal::Refusal;
use crate::rql::{self, ParseError};
use crate::twin::json::Pointer;

/// All names and values of the request's headers together, in bytes. Source: Ditto 3.8, `LIMITS_MESSAGES_HEADERS_SIZE` (`5k`).
const HEADERS_MAX: usize = 5 * 1024;
/// One header value and the number of headers. Source: Ditto 3.8, `pekko.http.server.parsing`.
const HEADER_VALUE_MAX: usize = 16 * 1024;
const HEADER_COUNT_MAX: usize = 64;
/// Path and query, in bytes. Source: Ditto 3.8, `pekko.http.server.parsing`.
const TARGET_MAX: usize = 8 * 1024;
/// How long an answer from outside is waited for when nothing is said, and the longest `timeout` of a command.
/// Source: Ditto 3.8, `gateway.conf`, `http.request-timeout` and `command.max-timeout`.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Query parameters that Ditto reads as headers. Source: Ditto 3.8, `gateway.conf` `query-params-as-headers`.
const PARAMETERS_AS_HEADERS: [&str; 14] = [
    "accept",
    "channel",
    "correlation-id",
    "requested-acks",
    "declared-acks",
    "response-required",
    "timeout",
    "live-channel-timeout-strategy",
    "allow-policy-lockout",
    "condition",
    "live-channel-condition",
    "at-historical-revision",
    "at-historical-timestamp",
    "dry-run",
];

/// Headers that change what a command does or how it is answered. One that is missing here would be ignored, see
/// [`Request::is_plain`]; so [`Request::header`] reads none that stands in neither list.
const SPEAKING: [&str; 19] = [
    "if-match",
    "if-none-match",
    "if-equal",
    "condition",
    "merge-thing-patch-conditions",
    "put-metadata",
    "get-metadata",
    "delete-metadata",
    "requested-acks",
    "response-required",
    "timeout",
    "channel",
    "live-channel-condition",
    "live-channel-timeout-strategy",
    "allow-policy-lockout",
    "dry-run",
    "at-historical-revision",
    "at-historical-timestamp",
    "declared-acks",
];

/// Headers that say who asks and what the body or the answer is: the same for every command.
const SILENT: [&str; 13] = [
    "accept",
    "authorization",
    "content-type",
    "correlation-id",
    "host",
    "last-event-id",
    "origin",
    "x-ditto-pre-authenticated",
    "ce-dataschema",
    "ce-id",
    "ce-source",
    "ce-specversion",
    "ce-type",
];

pub struct Request {
    /// Raw, without the query.
    pub path: String,
    pub parameters: Vec<(String, String)>,
    pub headers: HeaderMap,
    /// Given, or made up.
    pub correlation_id: String,
}

impl Request {
    pub fn read(target: &axum::http::Uri, headers: HeaderMap) -> Result<Self, Refusal> {
        let (path, query) = (target.path(), target.query().unwrap_or_default());
        if path.len() + query.len() > TARGET_MAX {
            return Err(Refusal::Text(414, "the request-target is longer than 8 KiB"));
        }
        if headers.len() > HEADER_COUNT_MAX || headers.values().any(|value| value.len() > HEADER_VALUE_MAX) {
            return Err(Refusal::Text(431, "more than 64 headers, or one longer than 16 KiB"));
        }
        let parameters = form(query.as_bytes());
        let request = Self { path: path.to_owned(), parameters, headers, correlation_id: String::new() };
        let of_parameters =
            request.parameters.iter().filter(|(name, _)| PARAMETERS_AS_HEADERS.contains(&name.as_str()));
        let size =
            request.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
                + of_parameters.map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if size > HEADERS_MAX {
            let message = format!("the headers are {size} bytes long, at most {HEADERS_MAX} are allowed");
            return Err(Failure::new(431, "headers.too.large", message).into());
        }
        Ok(request)
    }

    /// Whether a command is to be carried out just so: no parameter and no header says how.
    pub fn is_plain(&self) -> bool {
        self.parameters.is_empty() && !self.headers.keys().any(|name| SPEAKING.contains(&name.as_str()))
    }

    /// The header, several of one name joined by commas; bytes that are no UTF-8 become U+FFFD.
    pub fn header(&self, name: &str) -> Option<String> {
        debug_assert!(SPEAKING.contains(&name) || SILENT.contains(&name), "{name} stands in no list");
        let values: Vec<_> = self
            .headers
            .get_all(name)
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            .collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.parameters.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A header that may also be given as a query parameter.
    pub fn setting(&self, name: &str) -> Option<String> {
        debug_assert!(PARAMETERS_AS_HEADERS.contains(&name));
        self.parameter(name).map(str::to_owned).or_else(|| self.header(name))
    }

    pub fn fields(&self) -> Result<Option<Selector>, Failure> {
        let fields: Vec<&str> = self.all("fields").collect();
        if fields.is_empty() { Ok(None) } else { Selector::parse(&fields.join(",")).map(Some) }
    }

    /// The headers a command on a thing or policy understands.
    pub fn command_headers(&self) -> Result<Headers, Failure> {
        if self.is_plain() {
            return Ok(Headers::default());
        }
        self.check_words()?;
        let tags = |name| self.header(name).map(|text| Tags::parse(&text, name)).transpose();
        Ok(Headers {
            live: match self.setting("live-channel-condition") {
                _ if self.is_live() => Live::Always,
                Some(text) => Live::If(syntax(&text)),
                None => Live::Never,
            },
            condition: self.setting("condition").map(|text| syntax(&text)),
            patch_conditions: self.patch_conditions()?,
            preconditions: Preconditions {
                if_match: tags("if-match")?,
                if_none_match: tags("if-none-match")?,
            },
            if_equal: match self.header("if-equal").as_deref() {
                Some("skip") => IfEqual::Skip,
                Some("skip-minimizing-merge") => IfEqual::SkipMinimizingMerge,
                _ => IfEqual::Update,
            },
            metadata: self.metadata()?,
            fields: self.fields()?,
            moment: self.moment()?,
            allow_policy_lockout: self.allows_lockout(),
        })
    }

    /// The revision counts when both headers are given.
    fn moment(&self) -> Result<Option<Moment>, Failure> {
        const REVISION: &str = "at-historical-revision";
        const TIMESTAMP: &str = "at-historical-timestamp";
        let revision = |text: String| {
            let number = text.parse::<i64>();
            let number =
                number.map_err(|_| Failure::bad_header(REVISION, format!("`{text}` is no whole number")))?;
            // there is nothing before the first revision, so any number that never was one stands for it
            Ok(Moment::Revision(u64::try_from(number).unwrap_or(u64::MAX)))
        };
        let timestamp = |text: String| {
            let time = time::parse(&text).ok_or_else(|| {
                Failure::bad_header(TIMESTAMP, format!("`{text}` is no time like `2026-01-31T12:00:00Z`"))
            })?;
            Ok(Moment::Time(time))
        };
        match self.setting(REVISION) {
            Some(text) => revision(text).map(Some),
            None => self.setting(TIMESTAMP).map(timestamp).transpose(),
        }
    }

    fn patch_conditions(&self) -> Result<Vec<(Pointer, Condition)>, Failure> {
        const NAME: &str = "merge-thing-patch-conditions";
        let Some(text) = self.header(NAME) else { return Ok(vec![]) };
        let invalid = || Failure::bad_header(NAME, "it must be a JSON object of pointers and conditions");
        let parsed: Value = serde_json::from_str(&text).map_err(|_| invalid())?;
        let parts = parsed.as_object().ok_or_else(invalid)?.iter();
        parts
            .map(|(part, text)| Ok((Pointer::parse(part), syntax(text.as_str().ok_or_else(invalid)?))))
            .collect()
    }

    fn metadata(&self) -> Result<Metadata, Failure> {
        let [put, get, delete] = ["put-metadata", "get-metadata", "delete-metadata"]
            .map(|name| self.header(name).filter(|t| !t.is_empty()));
        // both are field selectors
        let places = |name, text: String| {
            let trimmed: Vec<&str> = text.split(',').map(str::trim).collect();
            let selector = Selector::parse(&trimmed.join(","));
            selector.map(Selector::places).map_err(|failure| Failure::bad_header(name, failure.message))
        };
        match (put, get, delete) {
            (None, None, None) => Ok(Metadata::None),
            (Some(text), None, None) => put_metadata(&text),
            (None, Some(text), None) => places("get-metadata", text).map(Metadata::Get),
            (None, None, Some(text)) => places("delete-metadata", text).map(Metadata::Delete),
            _ => Err(Failure::new(
                400,
                "things:metadata.headersconflict",
                "give only one of put-, get- and delete-metadata",
            )),
        }
    }

    /// Whether the answer is waited for; `false` answers 202 at once. Observed on Ditto 3.8.12: `timeout=0`
    /// alone means the same for writes, and both are refused for reads.
    pub fn waits(&self, verb: Verb) -> Result<bool, Failure> {
        if self.is_plain() {
            return Ok(true);
        }
        let required = self.response_required()?;
        let at_once = self.timeout()? == Some(Duration::ZERO);
        let asks_acks = self.setting("requested-acks").is_some() && required != Some(false);
        match (verb, required) {
            (Verb::Get, Some(false)) => Err(Failure::new(
                400,
                "command.headers.invalid",
                "a read needs an answer: drop response-required=false",
            )),
            (_, Some(true)) if at_once => {
                Err(Failure::bad_header("timeout", "0 leaves no time for the answer"))
            }
            _ if at_once && (verb == Verb::Get || asks_acks) => {
                Err(Failure::bad_header("timeout", "0 leaves no time for the answer"))
            }
            (_, required) => Ok(required.unwrap_or(!at_once)),
        }
    }

    pub fn response_required(&self) -> Result<Option<bool>, Failure> {
        match self.setting("response-required").as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => {
                Err(Failure::bad_header("response-required", format!("`{other}` is neither true nor false")))
            }
        }
    }

    /// Whether a write with `timeout=0` asks for acknowledgements: it is refused, but carried out. Observed on Ditto 3.8.12.
    pub fn asks_too_late(&self, verb: Verb) -> bool {
        verb != Verb::Get
            && matches!(self.timeout(), Ok(Some(Duration::ZERO)))
            && matches!(self.response_required(), Ok(None))
    }

    /// What the events of the request tell of it.
    pub fn cause(&self, acks: Vec<String>) -> Cause {
        let correlation_id = self.correlation_id.clone();
        Cause { correlation_id, acks, timeout: self.setting("timeout"), session: None }
    }

    /// How long an answer from outside is waited for; a longer time than `most` is no time.
    pub fn patience(&self, most: Duration) -> Result<Duration, Failure> {
        let Some(text) = self.setting("timeout") else { return Ok(PATIENCE) };
        length(&text).filter(|timeout| *timeout <= most).ok_or_else(|| no_time(&text))
    }

    /// The `timeout` of a command.
    pub fn timeout(&self) -> Result<Option<Duration>, Failure> {
        let Some(text) = self.setting("timeout") else { return Ok(None) };
        let timeout = length(&text).ok_or_else(|| no_time(&text))?;
        if timeout > PATIENCE {
            return Err(Failure::new(400, "gateway:timeout.invalid", format!("{text} is longer than 60 s")));
        }
        Ok(Some(timeout))
    }
}

fn length(text: &str) -> Option<Duration> {
    Length::parse(text).map(Length::duration)
}

fn no_time(text: &str) -> Failure {
    Failure::new(400, "timeout.invalid", format!("`{text}` is no time here: write `42s`, `250ms` or `1m`"))
}

/// `application/x-www-form-urlencoded`, in order; `+` is a space.
pub fn form(text: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(text);
    let decode = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect()
}

fn syntax(text: &str) -> Condition {
    rql::parse(text)
        .map_err(|error: ParseError| Failure::new(400, "things:condition.invalid", error.to_string()))
}

/// A condition that names nothing unknown.
pub fn condition(text: &str) -> Condition {
    let parsed = syntax(text)?;
    thing::known(&parsed)?;
    Ok(parsed)
}

/// What is no JSON array is ignored; an entry without key or value is refused. Observed on Ditto 3.8.12.
fn put_metadata(text: &str) -> Result<Metadata, Failure> {
    let Ok(Value::Array(entries)) = serde_json::from_str(text) else { return Ok(Metadata::None) };
    let note =
        |entry: &Value| Some((Pointer::parse(entry.get("key")?.as_str()?), entry.get("value")?.clone()));
    let notes = entries.iter().map(|entry| {
        let note = note(entry).filter(|(key, _)| (1..=DEPTH_MAX).contains(&key.segments().len()));
        note.ok_or_else(|| {
            Failure::bad_header(
                "put-metadata",
                "each entry needs `key`, of at most 100 segments, and `value`",
            )
        })
    });
    notes.collect::<Result<_, _>>().map(Metadata::Put)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, header: Option<&'static str>) -> Request {
        let headers = header.map(|name| (name.parse().unwrap(), "x".parse().unwrap())).into_iter().collect();
        Request::read(&target.parse().unwrap(), headers).unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    #[test]
    fn a_request_is_plain_when_no_parameter_and_no_header_says_how() {
        assert!(request("/a", None).is_plain());
        assert!(SILENT.iter().all(|name| request("/a", Some(name)).is_plain()));
        assert!(!SPEAKING.iter().any(|name| request("/a", Some(name)).is_plain()));
        assert!(!request("/a?fields=b", None).is_plain());
    }

    /// What a command would read from a header that no list names, a plain request would be answered without.
    #[test]
    #[should_panic(expected = "stands in no list")]
    fn a_header_in_no_list_is_not_read() {
        request("/a", None).header("if-modified-since");
    }

    #[test]
    fn parameters_that_stand_for_headers_are_headers() {
        let listed = |name: &&str| SPEAKING.contains(name) || SILENT.contains(name);
        assert!(PARAMETERS_AS_HEADERS.iter().all(listed));
    }
}
