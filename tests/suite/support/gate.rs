//! A server between an operator and another server, which remembers what passed and holds answers back.
//!
//! A request always goes on at once; what a closed gate holds is the answer, also in the middle of it. So
//! the other side has done what was asked, and the operator does not know.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::Response;
use axum::http::uri::PathAndQuery;
use futures::{StreamExt, future};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// No request of ours is longer.
const BODY_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// Whether a request, `GET /path?query`, is meant.
type Matcher = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Ends with the value.
pub struct Gate {
    pub url: String,
    inner: Arc<Inner>,
    runtime: Option<Runtime>,
}

struct Inner {
    upstream: String,
    http: reqwest::Client,
    passed: Mutex<Vec<String>>,
    held: watch::Sender<Option<Matcher>>,
    refused: Mutex<Option<(Matcher, Reply)>>,
    cut: watch::Sender<Option<Matcher>>,
    /// Watches that still have to ask for a version that is forgotten, by a part of their paths.
    aged: Mutex<BTreeSet<&'static str>>,
}

/// Status, headers and body.
pub type Reply = (u16, Vec<(&'static str, &'static str)>, &'static str);

impl Gate {
    /// Stands before `upstream`, whose certificate is not looked at.
    pub fn before(upstream: &str) -> Self {
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tls_danger_accept_invalid_certs(true);
        let inner = Arc::new(Inner {
            upstream: upstream.trim_end_matches('/').to_owned(),
            http: http.build().expect("a client"),
            passed: Mutex::default(),
            held: watch::Sender::new(None),
            refused: Mutex::default(),
            cut: watch::Sender::new(None),
            aged: Mutex::default(),
        });
        let serving = Arc::clone(&inner);
        let url = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let url = format!("http://{}", listener.local_addr().expect("an address"));
            let router = Router::new().fallback(move |request: Request| pass(Arc::clone(&serving), request));
            tokio::spawn(async move { axum::serve(listener, router).await });
            url
        });
        Self { url, inner, runtime: Some(runtime) }
    }

    /// Holds the answers to these requests, those under way included, until [`Gate::open`].
    pub fn hold(&self, matches: impl Fn(&str) -> bool + Send + Sync + 'static) {
        self.inner.held.send_replace(Some(Arc::new(matches)));
    }

    pub fn open(&self) {
        self.inner.held.send_replace(None);
    }

    /// Answers these requests with `reply` instead of passing them on, until [`Gate::let_through`].
    pub fn refuse(&self, matches: impl Fn(&str) -> bool + Send + Sync + 'static, reply: Reply) {
        *self.inner.refused.lock() = Some((Arc::new(matches), reply));
    }

    pub fn let_through(&self) {
        *self.inner.refused.lock() = None;
    }

    /// Ends the answers to these requests where they are.
    pub fn cut(&self, matches: impl Fn(&str) -> bool + Send + Sync + 'static) {
        self.inner.cut.send_replace(Some(Arc::new(matches)));
    }

    /// The next watch with this in its path asks for the first version there ever was, which no API server remembers.
    pub fn age(&self, part: &'static str) {
        self.inner.aged.lock().insert(part);
    }

    /// All requests so far, `GET /path?query` each.
    pub fn passed(&self) -> Vec<String> {
        self.inner.passed.lock().clone()
    }

    pub fn forget(&self) {
        self.inner.passed.lock().clear();
    }
}

impl Inner {
    fn of_its_age(&self, target: String) -> String {
        const VERSION: &str = "resourceVersion=";
        let mut aged = self.aged.lock();
        let part = aged.iter().find(|part| target.contains("watch=true") && target.contains(**part)).copied();
        let (Some(part), Some((before, rest))) = (part, target.split_once(VERSION)) else { return target };
        aged.remove(part);
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{before}{VERSION}1{after}")
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_millis(100));
        }
    }
}

async fn pass(inner: Arc<Inner>, request: Request) -> Response<Body> {
    let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
    let line = format!("{} {target}", request.method());
    inner.passed.lock().push(line.clone());
    let refused =
        inner.refused.lock().as_ref().filter(|(matches, _)| matches(&line)).map(|(_, reply)| reply.clone());
    if let Some((status, headers, body)) = refused {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        return response.body(Body::from(body)).expect("an answer");
    }
    let target = inner.of_its_age(target);
    let mut cuts = inner.cut.subscribe();
    cuts.borrow_and_update();
    let (parts, body) = request.into_parts();
    let body: Bytes = to_bytes(body, BODY_BYTES_MAX).await.expect("a request of ours");
    let of_the_connection: BTreeSet<&str> =
        ["host", "connection", "content-length", "transfer-encoding"].into();
    let mut headers = parts.headers;
    for name in &of_the_connection {
        headers.remove(*name);
    }
    let sent =
        inner.http.request(parts.method, format!("{}{target}", inner.upstream)).headers(headers).body(body);
    let answer = match sent.send().await {
        Ok(answer) => answer,
        Err(error) => {
            return Response::builder().status(502).body(Body::from(error.to_string())).expect("an answer");
        }
    };
    until_open(&inner, &line).await;
    let mut response = Response::builder().status(answer.status());
    for (name, value) in
        answer.headers().iter().filter(|(name, _)| !of_the_connection.contains(name.as_str()))
    {
        response = response.header(name, value);
    }
    let cut_line = line.clone();
    let cut = async move {
        let is_meant = |cut: &Option<Matcher>| cut.as_ref().is_some_and(|matches| matches(&cut_line));
        while cuts.changed().await.is_ok() {
            if is_meant(&cuts.borrow_and_update()) {
                return;
            }
        }
        future::pending::<()>().await;
    };
    let chunks = answer.bytes_stream().take_until(Box::pin(cut)).then(move |chunk| {
        let (inner, line) = (Arc::clone(&inner), line.clone());
        async move {
            until_open(&inner, &line).await;
            chunk
        }
    });
    response.body(Body::from_stream(chunks)).expect("an answer")
}

async fn until_open(inner: &Inner, line: &str) {
    let is_open = |held: &Option<Matcher>| held.as_ref().is_none_or(|matches| !matches(line));
    // An error means that the gate ends: then nothing passes any more.
    if inner.held.subscribe().wait_for(is_open).await.is_err() {
        future::pending::<()>().await;
    }
}
