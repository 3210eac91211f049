//! One connection pool, one call at a time through it.
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Certificate;
use reqwest::header::HeaderValue;

use crate::ports::{Refused, Said};

use super::answer::{Answer, amend, read_answer};
use super::calls::Calls;
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
        let verb = request.verb;
        let number = inner.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let correlation_id = inner.correlation_id(number);
        let result = match tokio::time::timeout(inner.deadline, inner.send(request, &correlation_id)).await {
            Ok(result) => result,
            Err(_) => Err(inner.no_answer(&format!("no answer within {:?}", inner.deadline))),
        };
        let result = result.map_err(|refused| {
            amend(refused, |said| {
                said.message = inner.login.redact(&said.message);
                if said.correlation_id.is_empty() {
                    said.correlation_id = correlation_id;
                }
            })
        });
        if matches!(result, Err(Refused::Unauthorized(_))) {
            inner.login.doubt();
        }
        inner.calls.count(verb, &result);
        result
    }
}

impl Inner {
    fn correlation_id(&self, number: u64) -> String {
        format!("twinops-{}-{number}", self.instance)
    }

    async fn send(&self, request: Request, correlation_id: &str) -> Result<Answer, Refused> {
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
            let response = wire(request).await.map_err(|why| self.no_answer(&why))?;
            return read_answer(response.status().as_u16(), response.headers(), response.body());
        }
        let mut response = outgoing.send().await.map_err(|error| self.unreached(error))?;
        let body = self.read_body(&mut response).await?;
        read_answer(response.status().as_u16(), response.headers(), &body)
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
