//! A request after the edge: who asks, under which correlation id, with which parameters and which body.
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::Facade;
use super::auth::Caller;
use super::names::{self, NameError, Shape};
use super::problem::Problem;
use crate::telemetry::traces::TraceContext;
use crate::twin::id::{PolicyId, ThingId, is_key};

/// The largest body of a request, in bytes. Source: Ditto 3.8, `pekko.http.server.parsing.max-content-length`.
const BODY_BYTES_MAX: usize = 1_024 * 1_024;
/// From the head to the end of the body: who needs longer is not worth a connection.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// Under which id the request is known, here and in Ditto, and the trace it belongs to.
#[derive(Clone, Debug)]
pub struct Correlation {
    pub id: HeaderValue,
    pub trace: Option<TraceContext>,
}

/// From where the request comes.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// An authenticated request.
pub struct Ask {
    pub caller: Caller,
    pub id: Correlation,
    pub headers: HeaderMap,
    pub query: Query,
    /// Nobody else ever waits for it: a body alone may not be looked at from two threads, and a request may.
    body: Mutex<Body>,
}

impl FromRequest<Arc<Facade>> for Ask {
    type Rejection = Problem;

    async fn from_request(request: Request, facade: &Arc<Facade>) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let query = Query::read(parts.uri.query().unwrap_or_default())?;
        let caller = facade.auth.caller(&parts, None).await?;
        let id = correlation(&mut parts);
        Ok(Self { caller, id, headers: parts.headers, query, body: Mutex::new(body) })
    }
}

pub fn correlation(parts: &mut Parts) -> Correlation {
    let none = || Correlation { id: HeaderValue::from_static("none"), trace: None };
    parts.extensions.remove::<Correlation>().unwrap_or_else(none)
}

impl Ask {
    /// The body of a write, as JSON text in Ditto's names and as a tree in the client's.
    ///
    /// `kinds` are the media types that are taken. What a form in a browser can send is never among them.
    pub async fn json(&mut self, shape: Shape, kinds: &[&str]) -> Result<(String, Value), Problem> {
        self.media_type(|kind| kinds.contains(&kind), &kinds.join(" or "))?;
        let bytes = self.bytes().await?;
        let wrong = |why: String| Problem::invalid("json.invalid", why);
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("the body is no UTF-8".to_owned()))?;
        let tree: Value =
            serde_json::from_str(text).map_err(|error| wrong(format!("the body is no JSON: {error}")))?;
        if !tree.is_object() {
            return Err(wrong("the body is no JSON object".to_owned()));
        }
        let ditto = names::to_ditto(text, shape).map_err(|error| match error {
            error @ NameError::Malformed(_) => wrong(error.to_string()),
            error => Problem::invalid("facade:member.invalid", error.to_string()),
        })?;
        Ok((ditto, tree))
    }

    /// The type of the body without its parameters, if `fits`; 415 otherwise.
    pub fn media_type(&self, fits: impl Fn(&str) -> bool, wanted: &str) -> Result<HeaderValue, Problem> {
        let given = self.headers.get(header::CONTENT_TYPE);
        let kind = given.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match given {
            Some(value) if fits(&kind) => Ok(value.clone()),
            _ => {
                let detail = format!("send the body as {wanted}");
                Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "mediatype.unsupported", detail))
            }
        }
    }

    /// The whole body, within [`BODY_BYTES_MAX`] and [`BODY_DEADLINE`].
    pub async fn bytes(&mut self) -> Result<Bytes, Problem> {
        let too_large = || {
            let detail = format!("the body is larger than {BODY_BYTES_MAX} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "facade:body.toolarge", detail)
        };
        let coded = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
        if self.headers.get(header::CONTENT_ENCODING).is_some_and(coded) {
            let detail = "send the body without Content-Encoding";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "mediatype.unsupported", detail));
        }
        let announced =
            self.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: usize| length > BODY_BYTES_MAX) {
            return Err(too_large());
        }
        let body = Limited::new(std::mem::take(self.body.get_mut()), BODY_BYTES_MAX).collect();
        match tokio::time::timeout(BODY_DEADLINE, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Problem::invalid("facade:body.broken", "the body ended early")),
            Err(_) => {
                let detail = format!("the body took longer than {BODY_DEADLINE:?}");
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "facade:body.late", detail))
            }
        }
    }
}

/// The parameters of a URL.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn read(text: &str) -> Result<Self, Problem> {
        let word = |text: &str| {
            let text = text.replace('+', " ");
            let decoded = percent_decode_str(&text).decode_utf8().map(std::borrow::Cow::into_owned);
            decoded.map_err(|_| Problem::invalid("facade:query.invalid", "a parameter is no UTF-8"))
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((word(name)?, word(value)?))
        });
        Ok(Self(pairs.collect::<Result<_, Problem>>()?))
    }

    /// The parameters of this route: every other one, and one given twice, is a slip or an attack, and told.
    pub fn only(&self, names: &[&str]) -> Result<&Self, Problem> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            let shown: String = name.chars().take(60).collect();
            if !names.contains(&name.as_str()) {
                let detail = match names {
                    [] => format!("`{shown}`: this route takes no parameters"),
                    names => format!("`{shown}` is no parameter here; take {}", names.join(", ")),
                };
                return Err(Problem::invalid("facade:query.unknown", detail));
            }
            if self.0[..at].iter().any(|(before, _)| before == name) {
                return Err(Problem::invalid("facade:query.twice", format!("`{shown}` is given twice")));
            }
        }
        Ok(self)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// `true` and `false`, and the name alone for true.
    pub fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(_) => Err(Problem::invalid("facade:query.invalid", format!("`{name}` is true or false"))),
        }
    }
}

/// The segments of the path that have names, decoded.
async fn segments(parts: &mut Parts) -> Result<RawPathParams, Problem> {
    let wrong = |_| Problem::invalid("facade:path.invalid", "the path is no UTF-8");
    RawPathParams::from_request_parts(parts, &()).await.map_err(wrong)
}

fn named<'s>(segments: &'s RawPathParams, name: &str) -> &'s str {
    segments.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
}

/// `{thing_id}` of the path.
pub struct OfThing(pub ThingId);

/// `{policy_id}` of the path.
pub struct OfPolicy(pub PolicyId);

/// `{thing_id}` and `{feature_id}` of the path.
pub struct OfFeature(pub ThingId, pub String);

/// `{thing_id}` and `{subject}` of the path.
pub struct OfMessage(pub ThingId, pub String);

pub fn thing_id(text: &str) -> Result<ThingId, Problem> {
    ThingId::parse(text).map_err(|error| Problem::invalid("things:id.invalid", error.to_string()))
}

pub fn policy_id(text: &str) -> Result<PolicyId, Problem> {
    PolicyId::parse(text).map_err(|error| Problem::invalid("policies:id.invalid", error.to_string()))
}

impl<S: Sync> FromRequestParts<S> for OfThing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        thing_id(named(&segments(parts).await?, "thing_id")).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for OfPolicy {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        policy_id(named(&segments(parts).await?, "policy_id")).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for OfFeature {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let segments = segments(parts).await?;
        let feature = named(&segments, "feature_id").to_owned();
        if !is_key(&feature) || feature == "*" {
            let detail =
                "a feature id holds no `/`, no control characters and no U+007F to U+00FF, and is not `*`";
            return Err(Problem::invalid("facade:feature.invalid", detail));
        }
        Ok(Self(thing_id(named(&segments, "thing_id"))?, feature))
    }
}

impl<S: Sync> FromRequestParts<S> for OfMessage {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let segments = segments(parts).await?;
        let subject = named(&segments, "subject").to_owned();
        Ok(Self(thing_id(named(&segments, "thing_id"))?, message_subject(&subject)?))
    }
}

/// A subject is one segment of the path here.
pub fn message_subject(text: &str) -> Result<String, Problem> {
    if is_key(text) && text != "." && text != ".." {
        return Ok(text.to_owned());
    }
    let detail = "a subject holds no `/`, no control characters and no U+007F to U+00FF";
    Err(Problem::invalid("messages:subject.invalid", detail))
}
