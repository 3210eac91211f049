//! What stands in front of a Ditto in production: TLS, tokens, and a search that lags behind.
use std::{collections::VecDeque, fs::File, io::BufReader, net::SocketAddr, path::Path, sync::Arc};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Response, uri::PathAndQuery};
use axum::serve::Listener;
use futures::StreamExt;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::ditto::{Ditto, RUNTIME};

/// Where the certificates of the tests are.
pub const TLS: &str = "tests/data/tls";
/// As whom a caller with the right token reaches the Ditto behind.
const SUBJECT: &str = "nginx:operator";

/// A server that passes calls on to a Ditto.
pub struct Gateway {
    pub ditto: Ditto,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    behind: String,
    client: reqwest::Client,
    /// The one that is taken, when callers need one.
    token: watch::Sender<Option<String>>,
    /// Answers to the next searches for users of a policy, as an index that lags gives them.
    stale: Mutex<VecDeque<String>>,
}

impl Gateway {
    pub fn start(behind: &Ditto) -> Self {
        Self::serve(behind, "http", |listener| listener)
    }

    /// Speaks TLS with the certificate in [`TLS`].
    pub fn encrypted(behind: &Ditto) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(certificate()));
        Self::serve(behind, "https", |listener| Encrypted { listener, acceptor })
    }

    fn serve<L: Listener<Addr = SocketAddr>>(
        behind: &Ditto,
        scheme: &str,
        listen: impl FnOnce(TcpListener) -> L,
    ) -> Self {
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let state = Arc::new(State {
            behind: behind.url.clone(),
            client: reqwest::Client::builder().no_proxy().build().expect("a client"),
            token: watch::Sender::default(),
            stale: Mutex::default(),
        });
        let _inside = RUNTIME.enter();
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let passing = state.clone();
        let router = Router::new().fallback(move |request: Request| {
            let state = passing.clone();
            async move { state.pass_on(request).await }
        });
        let listener = listen(listener);
        let task = tokio::spawn(async move {
            let _ends_with_the_test = axum::serve(listener, router).await;
        });
        Self { ditto: Ditto { url: format!("{scheme}://{address}") }, state, task }
    }

    /// From now on callers need this token. Answers under way are cut off, as Ditto ends the streams of a
    /// token that is over.
    pub fn take_token(&self, token: &str) {
        self.state.token.send_replace(Some(token.to_owned()));
    }

    /// The next searches for users of a policy find this thing, as if it were still there.
    pub fn lag(&self, thing: &str, searches: usize) {
        let found = format!(r#"{{"items":[{{"thingId":"{thing}","_revision":1}}]}}"#);
        self.state.stale.lock().extend(std::iter::repeat_n(found, searches));
    }

    /// How many of them were not asked for yet.
    pub fn lags(&self) -> usize {
        self.state.stale.lock().len()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    async fn pass_on(&self, request: Request) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let mut tokens = self.token.subscribe();
        let token = tokens.borrow_and_update().clone();
        let given = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
        if token.is_some() && given != token.as_ref().map(|token| format!("Bearer {token}")).as_deref() {
            let error = r#"{"status":401,"error":"gateway:authentication.failed","message":"the JWT could not be verified"}"#;
            return answer(401, error.to_owned());
        }
        let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        if target.contains("/search/things")
            && target.contains("policyId")
            && let Some(stale) = self.stale.lock().pop_front()
        {
            return answer(200, stale);
        }
        let mut headers = parts.headers;
        for name in ["host", "content-length", "authorization"] {
            headers.remove(name);
        }
        if token.is_some() {
            headers.insert("x-ditto-pre-authenticated", SUBJECT.parse().expect("a header"));
        }
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        let request = self.client.request(parts.method, format!("{}{target}", self.behind));
        let said = request.headers(headers).body(body).send().await.expect("the Ditto behind answers");
        let mut response = Response::builder().status(said.status());
        for (name, value) in said.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
            response = response.header(name, value);
        }
        let ended = async move {
            if tokens.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        response.body(Body::from_stream(said.bytes_stream().take_until(Box::pin(ended)))).expect("an answer")
    }
}

fn answer(status: u16, json: String) -> Response<Body> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Body::from(json)).expect("an answer")
}

fn certificate() -> ServerConfig {
    let open = |name: &str| {
        let path = Path::new(TLS).join(name);
        BufReader::new(File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    let chain = CertificateDer::pem_reader_iter(open("server.pem")).map(|one| one.expect("a certificate"));
    let key = PrivateKeyDer::from_pem_reader(open("server.key")).expect("a key");
    ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain.collect(), key)
        .expect("the certificate fits the key")
}

struct Encrypted {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Encrypted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            // A caller that does not trust us hangs up here.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
