//! A Ditto that answers from a script and remembers what it was asked.
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, Uri};
use axum::serve::ListenerExt;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("an ASCII header"))
    }

    /// `name=value` of the query, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let pairs = self.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()?;
        Some(percent_encoding::percent_decode_str(value).decode_utf8().expect("UTF-8").into_owned())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// Status, headers and body of an answer.
pub type Reply = (u16, Vec<(&'static str, String)>, String);

pub fn reply(status: u16, body: impl std::fmt::Display) -> Reply {
    (status, vec![], body.to_string())
}

pub fn wrote(status: u16, revision: u64) -> Reply {
    let headers = vec![("entity-revision", revision.to_string()), ("etag", format!("\"rev:{revision}\""))];
    (status, headers, String::new())
}

#[derive(Clone, Default)]
pub struct Fake {
    pub address: Option<SocketAddr>,
    script: Arc<Mutex<VecDeque<Reply>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    accepted: Arc<AtomicUsize>,
}

impl Fake {
    /// Starts on a free loopback port and ends with the runtime of its test. The last reply repeats.
    pub async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let fake = Self {
            address: Some(listener.local_addr().expect("an address")),
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            ..Self::default()
        };
        let (served, accepted) = (fake.clone(), fake.accepted.clone());
        let router = Router::new().fallback(move |method, uri, headers, body| async move {
            served.answer(Asked { method, uri, headers, body })
        });
        let listener = listener.tap_io(move |_| {
            accepted.fetch_add(1, Ordering::Relaxed);
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    fn answer(&self, asked: Asked) -> Response<Body> {
        self.asked.lock().push(asked);
        let mut script = self.script.lock();
        let last = script.len() <= 1;
        let next = if last { script.front().cloned() } else { script.pop_front() };
        let (status, headers, body) = next.expect("a script");
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        response.body(Body::from(body)).expect("an answer")
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address.expect("a started server"))
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// Connections that were opened.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// A server that reads a request, writes `answer` as it stands and then hangs up or stays silent.
pub async fn raw(answer: &'static str, hang_up: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let mut open = vec![];
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            if !hang_up {
                open.push(stream);
            }
        }
    });
    url
}
