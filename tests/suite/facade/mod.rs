//! The facade in front of the engine, or of any Ditto named in `DITTO_URL`.
mod attacks;
mod auth;
mod browser;
mod documents;
mod endings;
mod forgery;
mod live;
mod rest;
mod schemathesis;
mod serving;
mod shared;
mod traces;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use parking_lot::Mutex;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use twinops::facade::{Running, start};
use twinops::settings::{self, Credentials, FacadeAuth};
use twinops::telemetry::Telemetry;

use crate::contract::engine::Engine;

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A facade in this process.
pub struct Facade {
    pub base: String,
    pub address: SocketAddr,
    pub runtime: Runtime,
    pub telemetry: Telemetry,
    stop: CancellationToken,
    running: Option<Running>,
    engine: Option<Engine>,
    shared: Option<shared::Shared>,
    users: Option<tempfile::NamedTempFile>,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The number in the entity tag of a whole thing.
    #[track_caller]
    pub fn revision(&self) -> u64 {
        let tag = self.header("etag");
        let number = tag.strip_prefix("\"rev:").and_then(|rest| rest.strip_suffix('"')?.parse().ok());
        number.unwrap_or_else(|| panic!("no revision in {tag:?}: {self:?}"))
    }

    /// The code of a problem, whose body must be whole.
    #[track_caller]
    pub fn code(&self) -> String {
        let problem = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["correlation_id"], self.header("correlation-id"));
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Settings for a facade in front of `ditto`.
pub fn settings(ditto: &str, auth: FacadeAuth) -> settings::Facade {
    settings::Facade {
        listen: LOOPBACK.into(),
        management_listen: LOOPBACK.into(),
        ditto_url: ditto.to_owned(),
        ditto_ws_url: format!("{}/ws/2", ditto.replacen("http", "ws", 1)),
        ditto_ca_file: None,
        ditto_timeout: PATIENCE,
        auth,
        origins: vec!["https://app.example".to_owned()],
        operator_subject: None,
        bridge_subject: None,
        devops: None,
        mqtt: None,
        tls: None,
        drain_delay: Duration::ZERO,
    }
}

/// Everybody on this machine is `nginx:ditto`.
pub fn anybody() -> FacadeAuth {
    FacadeAuth::None(Credentials::PreAuthenticated("nginx:ditto".to_owned()))
}

pub fn runtime() -> Runtime {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

impl Facade {
    /// Everybody on this machine is `nginx:ditto`.
    pub fn open() -> Self {
        Self::before_ditto(anybody())
    }

    /// With the users `ada`, `bob` and `ditto`, each with its name as the password.
    pub fn basic() -> Self {
        let users = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(users.path(), "ada:ada\nbob:bob\nditto:ditto\n").expect("a temporary file");
        let auth = FacadeAuth::Basic { users: users.path().to_owned() };
        let mut facade = Self::before_ditto(auth);
        facade.users = Some(users);
        facade
    }

    pub fn before_ditto(auth: FacadeAuth) -> Self {
        if let Some(shared) = shared::Shared::named() {
            let mut facade = Self::with(settings(&shared.url, auth));
            facade.shared = Some(shared);
            return facade;
        }
        Self::before_engine(auth)
    }

    /// Before an engine of its own, whatever the environment names.
    pub fn before_engine(auth: FacadeAuth) -> Self {
        let engine = Engine::in_memory();
        let mut facade = Self::with(settings(&engine.base, auth));
        facade.engine = Some(engine);
        facade
    }

    pub fn with(settings: settings::Facade) -> Self {
        let (runtime, stop, telemetry) = (runtime(), CancellationToken::new(), Telemetry::new());
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let running = runtime.block_on(start(settings, telemetry.clone(), stop.clone()));
        let running = running.unwrap_or_else(|error| panic!("{error}"));
        let address = running.address;
        let base = format!("{scheme}://{address}");
        let running = Some(running);
        Self { base, address, runtime, telemetry, stop, running, engine: None, shared: None, users: None }
    }

    /// Waits until it has stopped.
    pub fn stopped(&mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stopped());
        }
    }

    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], None)
    }

    /// One request; a body is JSON unless the headers say otherwise.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Reply {
        let reply = ask(&self.runtime, &self.base, method, path, headers, body);
        if let Some(shared) = &self.shared {
            shared.note(&reply);
        }
        reply
    }

    /// As a user of [`Self::basic`].
    #[track_caller]
    pub fn by(&self, user: &str, method: &str, path: &str, body: Option<&str>) -> Reply {
        self.ask(method, path, &[("authorization", &login(user))], body)
    }
}

impl Drop for Facade {
    fn drop(&mut self) {
        self.stopped();
        if let Some(shared) = self.shared.take() {
            self.runtime.block_on(shared.tidy());
        }
    }
}

/// Basic credentials of a user whose password is its name.
pub fn login(user: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{user}")))
}

#[track_caller]
pub fn ask(
    runtime: &Runtime,
    base: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Reply {
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
        let client = client.build().expect("a client");
        let mut request = client.request(method.parse().expect("a method"), format!("{base}{path}"));
        if body.is_some() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body.to_owned());
        }
        let response =
            request.timeout(PATIENCE).send().await.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Reply { status, headers, text: response.text().await.unwrap_or_default() }
    })
}

/// What a [`Recorder`] was sent.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: HeaderMap,
}

/// Stands in for Ditto, notes every request, and answers all of them the same way.
pub struct Recorder {
    pub base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
    _runtime: Runtime,
}

impl Recorder {
    pub fn answering(status: u16, body: &'static str) -> Self {
        let runtime = runtime();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let notes = Arc::clone(&seen);
        let router = Router::new().fallback(async move |request: axum::extract::Request| {
            let (parts, body_in) = request.into_parts();
            drop(axum::body::to_bytes(body_in, usize::MAX).await);
            notes.lock().push(Seen {
                method: parts.method.to_string(),
                target: parts.uri.to_string(),
                headers: parts.headers,
            });
            let status = axum::http::StatusCode::from_u16(status).expect("a status");
            (status, [("content-type", "application/json"), ("server", "mongo-0.internal")], body)
        });
        let listener =
            runtime.block_on(tokio::net::TcpListener::bind(SocketAddr::from(LOOPBACK))).expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let task = runtime.spawn(async move { drop(axum::serve(listener, router).await) });
        Self { base, seen, task, _runtime: runtime }
    }

    /// What it was sent since it was asked last.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}
