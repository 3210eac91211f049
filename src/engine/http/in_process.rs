//! The engine without a socket: requests go in and answers come out in one call, for tests that must
//! know the order of everything.
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response};
use futures::FutureExt;
use http_body_util::BodyExt;
use parking_lot::RwLock;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::super::core::{Core, Stats};
use super::super::live::Hub;
use super::super::state::{Kind, State};
use super::{Authentication, Server, answer};

/// An engine that keeps everything in memory and believes the header `x-ditto-pre-authenticated`.
pub struct InProcess(Arc<Server>);

/// What an engine held at one moment.
#[derive(Clone)]
pub struct Snapshot(State);

impl InProcess {
    /// Must be called inside a runtime.
    #[allow(clippy::new_without_default)] // a default would not say where it must be called
    pub fn new() -> Self {
        Self::with(State::default())
    }

    /// Another engine, which holds what `snapshot` does.
    pub fn at(snapshot: &Snapshot) -> Self {
        Self::with(snapshot.0.clone())
    }

    fn with(state: State) -> Self {
        let counts = Arc::<Stats>::default();
        let hub = Hub::start(CancellationToken::new(), Arc::clone(&counts));
        let core = Core { state: Arc::new(RwLock::new(state)), counts, committer: None, hub };
        let authentication = Authentication { pre_authenticated: true, ..Authentication::default() };
        Self(Arc::new(Server::new(core, authentication)))
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.0.core.snapshot())
    }

    /// The thing as it stands, with every field.
    pub fn thing(&self, id: &str) -> Option<Arc<Value>> {
        self.0.core.state.read().get(Kind::Thing, id)
    }

    /// The policy as it stands, with every field.
    pub fn policy(&self, id: &str) -> Option<Arc<Value>> {
        self.0.core.state.read().get(Kind::Policy, id)
    }

    /// Answers at once: without a disk nothing is waited for.
    pub fn call(&self, request: Request<Vec<u8>>) -> Response<Vec<u8>> {
        let answering = async {
            let (parts, body) = answer(Arc::clone(&self.0), request.map(Body::from)).await.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
            Response::from_parts(parts, body)
        };
        answering.now_or_never().expect("an answer at once")
    }
}
