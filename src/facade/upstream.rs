//! Ditto over HTTP: one pool of connections, one call at a time through it, always as the caller.
//!
//! What goes out is put together here from parts that were checked; no header of a client is ever passed on as such.
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use super::ask::Correlation;
use super::auth::Caller;
use super::names::{self, NameError, Shape};
use super::pool::{Drawn, Pool};
use super::problem::Problem;
use crate::telemetry::Telemetry;
use crate::telemetry::traces;
use crate::workers;

/// RFC 3986 §2.3, and the colon that every id holds.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');
/// What selectors and filters are made of stays readable in a log of Ditto's.
const QUERY: &AsciiSet = &SEGMENT.remove(b'/').remove(b',').remove(b'(').remove(b')').remove(b'*');
/// The longest answer that is read: a page of 200 things of Ditto's largest size, 100k characters each.
const ANSWER_BYTES_MAX: usize = 24 * 1_024 * 1_024;
/// What is left of an answer may come for so long at least, however late it began.
const REST: Duration = Duration::from_secs(1);
/// A host that is there answers a connect within milliseconds.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Fewer than the 60 s after which a server usually hangs up.
const IDLE_CONNECTION_AGE_MAX: Duration = Duration::from_secs(30);
/// Idle connections of a client for what is asked for seldom.
const IDLE_CONNECTIONS_MAX: usize = 4;
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("correlation-id");

/// An HTTP client for what is asked for seldom. Nothing is followed, and no proxy of the environment is used.
pub type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Connects over `http` and `https`.
pub fn connector(tls: &rustls::ClientConfig) -> HttpsConnector<HttpConnector> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_DEADLINE));
    HttpsConnectorBuilder::new()
        .with_tls_config(tls.clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector)
}

pub fn http_client(tls: &rustls::ClientConfig) -> HttpClient {
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_CONNECTION_AGE_MAX)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .pool_timer(TokioTimer::new())
        .build(connector(tls))
}

/// One request below `/api/2`.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    /// From `/api/2` on: path and query, percent-encoded.
    target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// In place of the usual deadline.
    pub deadline: Option<Duration>,
}

impl Call {
    pub fn new(method: Method, segments: &[&str]) -> Self {
        let mut target = String::with_capacity(256);
        target.push_str("/api/2");
        for segment in segments {
            target.push('/');
            target.extend(utf8_percent_encode(segment, SEGMENT));
        }
        Self { method, target, headers: HeaderMap::with_capacity(8), body: Bytes::new(), deadline: None }
    }

    pub fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
        self.target.push('=');
        self.target.extend(utf8_percent_encode(value, QUERY));
        self
    }

    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    #[must_use]
    pub fn json(self, body: impl Into<Bytes>) -> Self {
        self.body(HeaderValue::from_static("application/json"), body)
    }

    #[must_use]
    pub fn merge_patch(self, body: impl Into<Bytes>) -> Self {
        self.body(HeaderValue::from_static("application/merge-patch+json"), body)
    }

    #[must_use]
    pub fn body(mut self, kind: HeaderValue, body: impl Into<Bytes>) -> Self {
        self.headers.insert(header::CONTENT_TYPE, kind);
        self.body = body.into();
        self
    }

    /// Passes the conditions of the client on.
    #[must_use]
    pub fn conditions(mut self, of: &HeaderMap) -> Self {
        for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
            for value in of.get_all(&name) {
                self.headers.append(&name, value.clone());
            }
        }
        self
    }
}

/// What Ditto answered.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Drawn,
    /// When it must be here to its end.
    due: Instant,
}

impl Answer {
    /// The body as text.
    pub async fn text(self) -> Result<String, Problem> {
        String::from_utf8(Vec::from(self.bytes().await?)).map_err(|_| broke_off())
    }

    /// The body as it is.
    pub async fn bytes(self) -> Result<Bytes, Problem> {
        let due = self.due.max(Instant::now() + REST);
        let body = timeout_at(due, Limited::new(self.body, ANSWER_BYTES_MAX).collect()).await;
        let late = |_| {
            tracing::warn!("an answer of Ditto takes too long");
            Problem::unavailable()
        };
        Ok(body.map_err(late)?.map_err(|_| broke_off())?.to_bytes())
    }

    /// The body in the facade's names.
    pub async fn renamed(self, shape: Shape) -> Result<String, Problem> {
        names::to_client(&self.text().await?, shape).map_err(|error| foreign(&error))
    }

    pub fn etag(&self) -> Option<&HeaderValue> {
        self.headers.get(header::ETAG)
    }

    /// The answer itself where it says that all is done; a problem otherwise.
    pub async fn done(self) -> Result<Self, Problem> {
        match self.status.as_u16() {
            200 | 201 | 204 | 304 => Ok(self),
            _ => {
                let (status, headers) = (self.status, self.headers.clone());
                let body = self.text().await.unwrap_or_default();
                Err(Problem::of_ditto(status, &headers, body.as_bytes()))
            }
        }
    }
}

fn broke_off() -> Problem {
    let detail = "Ditto's answer broke off; try again";
    Problem::new(StatusCode::BAD_GATEWAY, "facade:ditto.failed", detail)
}

/// Ditto answered with what is no answer of Ditto's.
pub fn foreign(error: &NameError) -> Problem {
    tracing::warn!(%error, "an answer that is not Ditto's; check --ditto-url and any proxy before it");
    Problem::new(StatusCode::BAD_GATEWAY, "facade:ditto.failed", "Ditto could not do this; try again later")
}

/// Ditto, for every caller.
pub struct Upstream {
    /// One for each thread that serves: a connection to Ditto lives where it was opened.
    pools: Vec<Arc<Pool>>,
    url: String,
    /// What stands before `/api/2`, usually nothing.
    path: String,
    deadline: Duration,
    telemetry: Telemetry,
}

impl Upstream {
    /// `None` where the URL names no host.
    pub fn new(
        tls: &rustls::ClientConfig,
        url: &str,
        deadline: Duration,
        telemetry: Telemetry,
    ) -> Option<Self> {
        let ditto = Uri::try_from(url).ok()?;
        let pools =
            (0..workers::count()).map(|_| Pool::new(connector(tls), &ditto)).collect::<Option<_>>()?;
        let path = ditto.path().trim_end_matches('/').to_owned();
        Some(Self { pools, url: url.to_owned(), path, deadline, telemetry })
    }

    /// One call as `caller`; whatever Ditto answers is an answer.
    pub async fn send(&self, caller: &Caller, id: &Correlation, call: Call) -> Result<Answer, Problem> {
        let Call { method, target, mut headers, body, deadline } = call;
        let (name, value) = caller.login();
        headers.insert(name, value);
        headers.insert(CORRELATION_ID, id.id.clone());
        let target = if self.path.is_empty() { target } else { format!("{}{target}", self.path) };
        let uri = Uri::try_from(target).map_err(|_| {
            Problem::new(
                StatusCode::URI_TOO_LONG,
                "facade:url.toolong",
                "the id or the parameters are too long",
            )
        })?;
        let (verb, word) = (verb(&method), super::edge::word(&method));
        let span = tracing::debug_span!("ditto", verb, otel.kind = "client", otel.name = %format_args!("ditto {verb}"));
        traces::pass_on(&span, id.trace.as_ref(), &mut headers);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let deadline = deadline.unwrap_or(self.deadline);
        let due = Instant::now() + deadline;
        let pool = &self.pools[workers::here() % self.pools.len()];
        let asked = timeout_at(due, pool.ask(request)).instrument(span.clone());
        let (outcome, result) = match asked.await {
            Ok(Ok(response)) => {
                traces::describe(&span, word, None, response.status().as_u16());
                let (parts, body) = response.into_parts();
                let answer = Answer { status: parts.status, headers: parts.headers, body, due };
                (outcome(parts.status), Ok(answer))
            }
            Ok(Err(error)) => {
                tracing::warn!(ditto = self.url, error = %cause(&error), "Ditto does not answer");
                ("unreached", Err(Problem::unavailable()))
            }
            Err(_) => {
                tracing::warn!(ditto = self.url, waited = ?deadline, "Ditto takes too long");
                ("late", Err(Problem::unavailable()))
            }
        };
        self.telemetry.ditto_call(verb, outcome);
        result
    }

    /// As [`Self::send`], where anything but success is a problem.
    pub async fn ask(&self, caller: &Caller, id: &Correlation, call: Call) -> Result<Answer, Problem> {
        self.send(caller, id, call).await?.done().await
    }
}

/// The deepest cause: the outer ones only say that something failed.
pub fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "PUT" => "put",
        "POST" => "post",
        "PATCH" => "patch",
        _ => "delete",
    }
}

fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 | 304 => "done",
        400..=499 => "refused",
        _ => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_an_id_stays_one_segment_and_a_value_one_parameter() {
        let rows = [
            ("a:b", "/things/a:b"),
            ("a:x/../y", "/things/a:x%2F..%2Fy"),
            ("a:%2e%2e", "/things/a:%252e%252e"),
            ("a:x?y#z", "/things/a:x%3Fy%23z"),
            ("a:x;y\\z", "/things/a:x%3By%5Cz"),
            ("a:x\r\nb: c", "/things/a:x%0D%0Ab:%20c"),
        ];
        for (id, target) in rows {
            assert_eq!(Call::get(&["things", id]).target, format!("/api/2{target}"));
        }
        let call =
            Call::get(&["search", "things"]).query("filter", "eq(a,\"x&y=#\")").query("option", "size(1)");
        assert_eq!(call.target, "/api/2/search/things?filter=eq(a,%22x%26y%3D%23%22)&option=size(1)");
    }
}
