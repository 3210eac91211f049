//! One connection pool, one call at a time through it.
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Certificate, StatusCode};
use serde_json::Value;

use crate::ports::{Refused, Said};
use crate::telemetry::Telemetry;

use super::answer::{Answer, NOT_MODIFIED, amend, read_answer};
use super::calls::{Calls, Outcome, Verb};
use super::connection::{Base, Connection, SetupError, check_instance};
use super::login::Login;
use super::request::Request;

/// The longest answer that is read. Ditto's largest thing or policy has 100k characters; a batch of many
/// that grows beyond this is asked for again in halves.
pub const BODY_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// All request headers together, else 431. Query parameters that act as headers count too.
/// Source: Ditto 3.8, `LIMITS_MESSAGES_HEADERS_SIZE`.
pub const HEADER_BYTES_MAX: usize = 5_120;
/// What Ditto adds to the headers before it measures them, most of it the subjects of the caller.
const HEADER_BYTES_OF_DITTO: usize = 320;
/// A host that is there answers a connect within milliseconds, one in a cluster that restarts within seconds.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Shorter than the 60 s after which Ditto's gateway and nginx hang up, so that no call meets a closed connection.
const IDLE_CONNECTION_AGE_MAX: Duration = Duration::from_secs(30);
/// Idle connections kept. The callers' concurrency is a few dozen at most.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// The code in [`Said`] when an answer was longer than [`BODY_BYTES_MAX`].
pub(super) const OVERSIZED: &str = "twinops:answer.toolarge";
const USER_AGENT: &str = concat!("twinops/", env!("CARGO_PKG_VERSION"));

/// A client of Ditto's HTTP API. Clones share connections and counters.
#[derive(Clone)]
pub struct DittoClient(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    base: Base,
    login: Login,
    deadline: Duration,
    instance: String,
    sent: AtomicU64,
    calls: Calls,
    telemetry: OnceLock<Telemetry>,
    /// Carries requests instead of the network.
    #[cfg(test)]
    wire: Option<Box<super::wire::Wire>>,
}

impl DittoClient {
    /// Checks everything that can be checked without a network.
    pub fn new(connection: Connection) -> Result<Self, SetupError> {
        check_instance(&connection.instance)?;
        if connection.deadline.is_zero() {
            return Err(SetupError::Deadline);
        }
        let base = Base::parse(&connection.url)?;
        Ok(Self(Arc::new(Inner {
            http: http_client(&base, connection.ca_file.as_deref())?,
            login: Login::new(connection.credentials)?,
            base,
            deadline: connection.deadline,
            instance: connection.instance,
            sent: AtomicU64::new(0),
            calls: Calls::default(),
            telemetry: OnceLock::new(),
            #[cfg(test)]
            wire: None,
        })))
    }

    /// A client whose requests go over `wire`; all else is as always.
    #[cfg(test)]
    pub fn on_wire(connection: Connection, wire: Box<super::wire::Wire>) -> Result<Self, SetupError> {
        let Self(inner) = Self::new(connection)?;
        let inner = Arc::into_inner(inner).expect("a client that nobody shares yet");
        Ok(Self(Arc::new(Inner { wire: Some(wire), ..inner })))
    }

    pub fn calls(&self) -> &Calls {
        &self.0.calls
    }

    /// Where calls are counted from now on, besides here. The first one given stays.
    pub fn report_to(&self, telemetry: Telemetry) {
        let _ = self.0.telemetry.set(telemetry);
    }

    /// The address of `/api/2`, for messages.
    pub fn url(&self) -> &str {
        self.0.base.as_str()
    }

    /// What is left of Ditto's [`HEADER_BYTES_MAX`] for a patch's [`header_bytes`](super::header_bytes).
    pub fn header_room(&self) -> usize {
        let inner = &self.0;
        let fixed = [
            ("host", inner.base.host().len()),
            ("user-agent", USER_AGENT.len()),
            ("accept", "*/*".len()),
            ("content-type", "application/merge-patch+json".len()),
            ("content-length", "1048576".len()),
            ("correlation-id", inner.correlation_id(u64::MAX).len()),
        ];
        let fixed: usize = fixed.iter().map(|(name, value)| name.len() + value).sum();
        HEADER_BYTES_MAX.saturating_sub(HEADER_BYTES_OF_DITTO + fixed + inner.login.header_bytes())
    }

    pub(super) async fn call(&self, request: Request) -> Result<Answer, Refused> {
        let inner = &self.0;
        let (verb, correlation_id) = (request.verb, inner.next_correlation_id());
        inner.counted(verb, &correlation_id, inner.send(request, &correlation_id)).await
    }

    /// Opens a stream, whose body is the caller's to read, for as long as it takes. It is a call that has
    /// ended when it opens.
    pub(super) async fn open(&self, request: Request) -> Result<Opened, Refused> {
        let inner = &self.0;
        let (verb, correlation_id) = (request.verb, inner.next_correlation_id());
        let opening = async {
            let mut response = inner.dispatch(request, &correlation_id).await?;
            if response.status() == StatusCode::OK {
                return Ok(Opened { response, client: self.clone() });
            }
            let body = inner.read_body(&mut response).await?;
            let answer = read_answer(response.status().as_u16(), response.headers(), &body)?;
            Err(inner.no_answer(&format!("{} instead of a stream", answer.status)))
        };
        inner.counted(verb, &correlation_id, opening).await
    }

    /// The header that says who we are, for a socket.
    pub(super) async fn login_header(&self) -> Result<Option<(HeaderName, HeaderValue)>, Refused> {
        self.0.login.header().await
    }

    /// Ditto refused who we are on a socket.
    pub(super) fn doubt_login(&self) {
        self.0.login.doubt();
    }

    /// What the correlation ids of this client, and of no other, start with.
    pub(super) fn own_prefix(&self) -> String {
        self.0.own_prefix()
    }
}

/// A stream that Ditto has opened.
pub(super) struct Opened {
    response: reqwest::Response,
    client: DittoClient,
}

impl Opened {
    /// What came next; an error when that is nothing, or nothing within `silence`.
    pub async fn chunk(&mut self, silence: Duration) -> Result<Bytes, Refused> {
        let inner = &self.client.0;
        match tokio::time::timeout(silence, self.response.chunk()).await {
            Ok(Ok(Some(chunk))) => Ok(chunk),
            Ok(Ok(None)) => Err(inner.no_answer("the stream was ended")),
            Ok(Err(error)) => Err(inner.unreached(error)),
            Err(_) => Err(inner.no_answer(&format!("the stream was silent for {silence:?}"))),
        }
    }
}

impl Inner {
    fn correlation_id(&self, number: u64) -> String {
        format!("{}{number}", self.own_prefix())
    }

    fn next_correlation_id(&self) -> String {
        self.correlation_id(self.sent.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The result of a call, or an error when there is none in time.
    async fn counted<T>(
        &self,
        verb: Verb,
        correlation_id: &str,
        call: impl Future<Output = Result<T, Refused>>,
    ) -> Result<T, Refused> {
        let result = match tokio::time::timeout(self.deadline, call).await {
            Ok(result) => result,
            Err(_) => Err(self.no_answer(&format!("no answer within {:?}", self.deadline))),
        };
        let result = result.map_err(|refused| {
            amend(refused, |said| {
                said.message = self.login.redact(&said.message);
                if said.correlation_id.is_empty() {
                    correlation_id.clone_into(&mut said.correlation_id);
                }
            })
        });
        if matches!(result, Err(Refused::Unauthorized(_))) {
            self.login.doubt();
        }
        self.count(verb, &result);
        result
    }

    fn own_prefix(&self) -> String {
        format!("twinops-{}-", self.instance)
    }

    fn count<T>(&self, verb: Verb, result: &Result<T, Refused>) {
        self.calls.count(verb, result);
        if let Some(telemetry) = self.telemetry.get() {
            telemetry.ditto_call(verb.word(), Outcome::of(result).word());
        }
    }

    async fn send(&self, request: Request, correlation_id: &str) -> Result<Answer, Refused> {
        let is_conditional = request.verb == Verb::Get && request.headers.contains_key("if-none-match");
        let mut response = self.dispatch(request, correlation_id).await?;
        let body = self.read_body(&mut response).await?;
        let status = response.status().as_u16();
        if is_conditional && status == NOT_MODIFIED {
            return Ok(Answer { status, revision: None, body: Value::Null });
        }
        read_answer(status, response.headers(), &body)
    }

    async fn dispatch(&self, request: Request, correlation_id: &str) -> Result<reqwest::Response, Refused> {
        let mut headers = request.headers;
        if let Some((name, value)) = self.login.header().await? {
            headers.insert(name, value);
        }
        if let Ok(id) = HeaderValue::from_str(correlation_id) {
            headers.insert("correlation-id", id);
        }
        let url = format!("{}{}", self.base, request.target);
        let mut outgoing = self.http.request(request.verb.method(), url).headers(headers);
        if let Some(body) = request.body {
            outgoing = outgoing.body(body);
        }
        #[cfg(test)]
        if let Some(wire) = &self.wire {
            let request = outgoing.build().map_err(|error| self.unreached(error))?;
            return wire(request).await.map(reqwest::Response::from).map_err(|why| self.no_answer(&why));
        }
        outgoing.send().await.map_err(|error| self.unreached(error))
    }

    async fn read_body(&self, response: &mut reqwest::Response) -> Result<Vec<u8>, Refused> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreached(error))? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                self.calls.count_oversized();
                return Err(Refused::TooLarge(Said {
                    status: response.status().as_u16(),
                    code: OVERSIZED.to_owned(),
                    message: format!("{} answers with more than {BODY_BYTES_MAX} bytes", self.base),
                    ..Said::default()
                }));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unreached(&self, error: reqwest::Error) -> Refused {
        let connecting = error.is_connect();
        let error = error.without_url();
        let mut cause: &dyn Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let text = cause.to_string();
        if connecting && text.contains("certificate") {
            let message = format!(
                "{}: its certificate is not accepted ({text}); name the CA it comes from with --ditto-ca-file (DITTO_CA_FILE)",
                self.base
            );
            return Refused::Unavailable(Said { message, ..Said::default() });
        }
        if connecting {
            self.no_answer(&format!("cannot connect: {cause}"))
        } else {
            self.no_answer(&format!("the connection broke: {cause}"))
        }
    }

    fn no_answer(&self, why: &str) -> Refused {
        let message = format!(
            "{}: {why}; check that Ditto runs there and that --ditto-url (DITTO_API_URL) names it",
            self.base
        );
        Refused::Unavailable(Said { message, ..Said::default() })
    }
}

/// Redirects, proxies of the environment and hidden retries are off: one call is one request to one place.
fn http_client(base: &Base, ca_file: Option<&Path>) -> Result<reqwest::Client, SetupError> {
    // reqwest panics when nobody has chosen a provider yet; a second choice changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_DEADLINE)
        .pool_idle_timeout(IDLE_CONNECTION_AGE_MAX)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
    if !base.encrypted {
        // No certificate is ever looked at, so the system's need not be there.
        builder = builder.tls_certs_only([]);
    } else if let Some(path) = ca_file {
        builder = builder.tls_certs_only(certificates(path)?);
    }
    builder.build().map_err(|error| {
        let cause = error.source().map(ToString::to_string);
        SetupError::Tls(cause.unwrap_or_else(|| error.to_string()))
    })
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, SetupError> {
    let wrong = |why: String| SetupError::CaFile { path: path.to_owned(), why };
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&text).map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("it holds no certificate".to_owned())) } else { Ok(found) }
}

impl fmt::Debug for DittoClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DittoClient")
            .field("url", &self.0.base.as_str())
            .field("instance", &self.0.instance)
            .field("deadline", &self.0.deadline)
            .finish_non_exhaustive()
    }
}
