//! Where the operator's requests come out: one at a time, each waiting for its answer.
use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use futures::FutureExt;
use kube::Client;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::ditto::wire::Wire;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Cluster,
    Ditto,
}

/// A request as it was sent.
#[derive(Clone)]
pub struct Asked {
    pub side: Side,
    pub request: Request<Vec<u8>>,
}

impl Asked {
    pub fn method(&self) -> &str {
        self.request.method().as_str()
    }

    pub fn path(&self) -> &str {
        self.request.uri().path()
    }

    pub fn body(&self) -> Value {
        serde_json::from_slice(self.request.body()).unwrap_or_default()
    }

    pub fn writes(&self) -> bool {
        self.method() != "GET"
    }

    pub fn drop_header(&mut self, name: &str) {
        self.request.headers_mut().remove(name);
    }

    pub fn drop_query(&mut self) {
        let path = self.path().parse().expect("a path that was one before");
        *self.request.uri_mut() = path;
    }

    /// The metadata of a resource, and not the whole of it.
    pub fn wants_metadata(&self) -> bool {
        let accept = self.request.headers().get("accept").and_then(|value| value.to_str().ok());
        accept.is_some_and(|accept| accept.contains("PartialObjectMetadata"))
    }

    /// It reads one twin with its status.
    pub fn is_of_whole_twin(&self) -> bool {
        self.method() == "GET" && self.path().contains("/digitaltwins/") && !self.wants_metadata()
    }

    pub fn is_search(&self) -> bool {
        self.side == Side::Ditto && self.path().contains("/search/")
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {}", self.side, self.method(), self.path())
    }
}

/// A request that waits for its answer.
pub struct Arrived {
    pub asked: Asked,
    answer: oneshot::Sender<Option<Response<Vec<u8>>>>,
}

impl Arrived {
    /// `None`: the connection breaks.
    pub fn answer(self, response: Option<Response<Vec<u8>>>) {
        // Nobody waits any more when the operator crashed.
        let _ = self.answer.send(response);
    }
}

/// Both wires end here.
#[derive(Clone, Default)]
pub struct Mailbox(Arc<Mutex<Option<Arrived>>>);

impl Mailbox {
    pub fn take(&self) -> Option<Arrived> {
        self.0.lock().take()
    }

    async fn ask(&self, asked: Asked) -> Option<Response<Vec<u8>>> {
        let (answer, answered) = oneshot::channel();
        let before = self.0.lock().replace(Arrived { asked, answer });
        assert!(before.is_none(), "two requests at once: the scheduler lost count");
        answered.await.ok().flatten()
    }

    /// A way to Ditto.
    pub fn ditto(&self) -> Box<Wire> {
        let mailbox = self.clone();
        Box::new(move |request| {
            let mailbox = mailbox.clone();
            async move {
                let (mut parts, ()) = Request::new(()).into_parts();
                parts.method = request.method().clone();
                let url = request.url();
                let target =
                    url.query().map_or_else(|| url.path().to_owned(), |q| format!("{}?{q}", url.path()));
                parts.uri = target.parse().map_err(|_| format!("{target} is no target"))?;
                parts.headers = request.headers().clone();
                let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default().to_vec();
                let asked = Asked { side: Side::Ditto, request: Request::from_parts(parts, body) };
                mailbox.ask(asked).await.ok_or_else(|| "the connection broke".to_owned())
            }
            .boxed()
        })
    }

    /// A way to Kubernetes.
    pub fn cluster(&self) -> Client {
        Client::new(Router::new().fallback(cluster).with_state(self.clone()), super::NAMESPACE)
    }
}

async fn cluster(State(mailbox): State<Mailbox>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a whole body").to_vec();
    let asked = Asked { side: Side::Cluster, request: Request::from_parts(parts, body) };
    if let Some(response) = mailbox.ask(asked).await {
        return response.map(Body::from);
    }
    let broken = std::io::Error::other("the connection broke");
    Body::from_stream(futures::stream::once(async { Err::<Vec<u8>, _>(broken) })).into_response()
}
