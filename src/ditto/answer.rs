//! The whole meaning of HTTP, in one place and without a client in sight.
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{DATE, ETAG, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use serde_json::Value;

use crate::ports::{Refused, Said};

/// The longest message kept of an answer, in characters: enough for Ditto's own, short enough for a
/// status and a log line when a proxy answers with a page.
const MESSAGE_CHARS_MAX: usize = 500;
/// The longest code or correlation id kept, in characters. Ditto's own codes stay under 60.
const CODE_CHARS_MAX: usize = 100;
const CORRELATION_ID: HeaderName = HeaderName::from_static("correlation-id");
const ENTITY_REVISION: HeaderName = HeaderName::from_static("entity-revision");

/// To a conditional GET: it is as the caller knows it. To anything else no answer of Ditto's.
pub const NOT_MODIFIED: u16 = 304;

/// What Ditto did and says.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// 200, 201 or 204; or 304 to a conditional GET.
    pub status: u16,
    /// The revision the entity has now, of `entity-revision` or of the `ETag` `"rev:n"`.
    pub revision: Option<u64>,
    /// `null` when the answer has no body.
    pub body: Value,
}

/// A body, as far as it can be understood.
enum Page {
    Json(Value),
    Html,
    Text(String),
}

/// Reads an answer of Ditto, or of whatever answers in its place.
///
/// - A missing thing is only what Ditto itself says: a 404 without Ditto's code comes from a wrong URL or
///   a proxy, and taking it for "deleted" would lose things. It is [`Refused::Unavailable`], as is
///   every answer that no edit of a resource can change: redirects, pages, 405.
/// - `202` promises a later answer, so nothing is known yet.
/// - `400 jwt:invalid` is how Ditto answers a bad bearer token.
/// - `409 namespace.blocked` passes when somebody unblocks the namespace, like a right that is
///   missing: [`Refused::Forbidden`]. Other 409 mean "somebody was faster".
/// - `Retry-After` counts on 429 only. Ditto sends none with 503, and a caller backs off there anyway.
///
/// Source: Ditto 3.8, exceptions in `*/model/**/exceptions/*.java`; RFC 9110 §10.2.3 and §15.
pub fn read_answer(status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Answer, Refused> {
    let page = read_page(headers, body);
    match (status, page) {
        (200 | 201 | 204, Page::Json(body)) => Ok(Answer { status, revision: revision(headers), body }),
        (200 | 201 | 204, _) => Err(Refused::Unavailable(said(status, headers, &Page::Html))),
        (status, page) => Err(refuse(status, headers, &page)),
    }
}

fn refuse(status: u16, headers: &HeaderMap, page: &Page) -> Refused {
    let said = said(status, headers, page);
    match (status, said.code.as_str()) {
        (401 | 407, _) | (400, "jwt:invalid") => Refused::Unauthorized(said),
        (403, _) | (409, "namespace.blocked") => Refused::Forbidden(said),
        (404, code) if !matches!(code, "" | "api.version.notsupported") => Refused::Missing(said),
        (409 | 412, _) => Refused::Changed(said),
        (413 | 414 | 431, _) => Refused::TooLarge(said),
        (429, _) => Refused::RateLimited { after_ms: retry_after_ms(headers), said },
        (404 | 405 | 408 | 421 | 424 | 425, _) => Refused::Unavailable(said),
        (400..=499, _) if !matches!(page, Page::Html) => Refused::Invalid(said),
        _ => Refused::Unavailable(said),
    }
}

fn read_page(headers: &HeaderMap, body: &[u8]) -> Page {
    if body.is_empty() {
        return Page::Json(Value::Null);
    }
    if let Ok(json) = serde_json::from_slice(body) {
        return Page::Json(json);
    }
    let html = text(headers, &reqwest::header::CONTENT_TYPE).is_some_and(|kind| kind.contains("html"));
    if html { Page::Html } else { Page::Text(String::from_utf8_lossy(body).into_owned()) }
}

fn said(status: u16, headers: &HeaderMap, page: &Page) -> Said {
    Said {
        status,
        code: brief(code(page), CODE_CHARS_MAX),
        message: brief(&message(status, headers, page), MESSAGE_CHARS_MAX),
        correlation_id: brief(text(headers, &CORRELATION_ID).unwrap_or(""), CODE_CHARS_MAX),
    }
}

/// Ditto's `error`; empty when the answer is not Ditto's.
fn code(page: &Page) -> &str {
    match page {
        Page::Json(body) => body["error"].as_str().unwrap_or(""),
        Page::Html | Page::Text(_) => "",
    }
}

fn message(status: u16, headers: &HeaderMap, page: &Page) -> String {
    const NOT_DITTO: &str = "not an answer of Ditto's API; check the Ditto URL and any proxy before it";
    let foreign = matches!(code(page), "" | "api.version.notsupported");
    let own = match page {
        Page::Json(body) => {
            let part = |name: &str| body[name].as_str().unwrap_or("");
            [part("message"), part("description")].join(" ").trim().to_owned()
        }
        Page::Text(text) => text.trim().to_owned(),
        Page::Html => String::new(),
    };
    match (status, own.as_str(), page) {
        (202, ..) => "only accepted, not done; let Ditto answer with the result".to_owned(),
        (300..=399, ..) => {
            // The query is left out: some gateways put a login state into it.
            let target = text(headers, &LOCATION).unwrap_or("nowhere").split(['?', '#']).next().unwrap_or("");
            format!("a redirect to {target}; let the Ditto URL name Ditto itself")
        }
        (404 | 405, ..) if foreign => NOT_DITTO.to_owned(),
        (200..=299, ..) | (_, _, Page::Html) => NOT_DITTO.to_owned(),
        (429, "", _) => "too many requests".to_owned(),
        (_, "", _) => "no reason given".to_owned(),
        _ => own,
    }
}

/// One line without control characters, cut at `limit` characters.
fn brief(text: &str, limit: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(limit).collect()
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// A proxy that compresses turns the `ETag` into a weak one.
fn revision(headers: &HeaderMap) -> Option<u64> {
    let own = || text(headers, &ENTITY_REVISION)?.trim().parse().ok();
    let tag = || {
        let tag = text(headers, &ETAG)?.trim();
        tag.strip_prefix("W/").unwrap_or(tag).strip_prefix("\"rev:")?.strip_suffix('"')?.parse().ok()
    };
    own().or_else(tag)
}

/// Seconds, or a date that is read against the `Date` of the same answer, so that no clock is needed.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let after = text(headers, &RETRY_AFTER)?.trim();
    if let Ok(seconds) = after.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let moment = |text: &str| Some(DateTimeParser::new().parse_timestamp(text).ok()?.as_millisecond());
    let wait = moment(after)?.saturating_sub(moment(text(headers, &DATE)?.trim())?);
    Some(u64::try_from(wait).unwrap_or(0))
}

/// Changes what was said and keeps what it means.
pub(super) fn amend(mut refused: Refused, change: impl FnOnce(&mut Said)) -> Refused {
    match &mut refused {
        Refused::RateLimited { said, .. }
        | Refused::Unavailable(said)
        | Refused::Unauthorized(said)
        | Refused::Forbidden(said)
        | Refused::Missing(said)
        | Refused::Changed(said)
        | Refused::Invalid(said)
        | Refused::TooLarge(said) => change(said),
    }
    refused
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
