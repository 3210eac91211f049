//! Connections to Ditto: kept between requests, and driven by the request that uses them.
//!
//! hyper leaves it to its caller who drives a connection. The usual pool gives each one a task of its own, which every
//! request wakes and is woken by; here a request does that work itself, in the task it runs in (docs/benchmarks.md).
use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{TrySendError, http1};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower_service::Service;

/// Shorter than the 60 s after which Ditto's gateway and nginx hang up, so that no call meets a closed connection.
const IDLE_AGE_MAX: Duration = Duration::from_secs(30);
/// Idle connections of one pool; each waits for its next request, and one more is closed.
const IDLE_MAX: usize = 128;

type Asked = Request<Full<Bytes>>;
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("cannot connect")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
}

/// Connections to one server.
pub struct Pool {
    connector: HttpsConnector<HttpConnector>,
    /// Scheme and authority.
    server: Uri,
    host: HeaderValue,
    /// Those that were used last stand last.
    idle: Mutex<Vec<(Instant, Box<Link>)>>,
    /// Usually [`IDLE_AGE_MAX`].
    age_max: Duration,
    is_swept: AtomicBool,
}

impl Pool {
    /// `None` where `server` names no host.
    pub fn new(connector: HttpsConnector<HttpConnector>, server: &Uri) -> Option<Arc<Self>> {
        let host = HeaderValue::try_from(server.authority()?.as_str()).ok()?;
        let (idle, is_swept) = (Mutex::default(), AtomicBool::default());
        let (server, age_max) = (server.clone(), IDLE_AGE_MAX);
        Some(Arc::new(Self { connector, server, host, idle, age_max, is_swept }))
    }

    /// Asks for a target such as `/api/2/things`. A request is sent again only where none of it was sent: on a kept
    /// connection that the server has closed.
    pub async fn ask(self: &Arc<Self>, mut request: Asked) -> Result<Response<Drawn>, PoolError> {
        request.headers_mut().insert(header::HOST, self.host.clone());
        loop {
            let kept = self.take();
            let was_kept = kept.is_some();
            let mut link = match kept {
                Some(link) => link,
                None => self.connect().await?,
            };
            let mut failed = match link.ask(request).await {
                Ok(response) => return Ok(response.map(|body| Drawn::new(body, link, self))),
                Err(failed) => failed,
            };
            match failed.take_message().filter(|_| was_kept) {
                Some(unsent) => request = unsent,
                None => return Err(PoolError::Broken(failed.into_error())),
            }
        }
    }

    async fn connect(self: &Arc<Self>) -> Result<Box<Link>, PoolError> {
        let stream = self.connector.clone().call(self.server.clone()).await.map_err(PoolError::Connect)?;
        let (sender, wire) = http1::Builder::new()
            // Requests are small: one buffer is sent faster than two.
            .writev(false)
            .handshake(stream)
            .await
            .map_err(PoolError::Broken)?;
        if !self.is_swept.swap(true, Ordering::Relaxed) {
            tokio::spawn(sweep(Arc::downgrade(self), self.age_max));
        }
        Ok(Box::new(Link { sender, wire: Some(wire) }))
    }

    /// The connection that was used last and can be used again.
    fn take(&self) -> Option<Box<Link>> {
        loop {
            let (since, mut link) = self.idle.lock().pop()?;
            if since.elapsed() < self.age_max && link.is_ready() {
                return Some(link);
            }
        }
    }

    fn put(&self, link: Box<Link>) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push((Instant::now(), link));
        }
    }
}

/// Closes what nobody asks on any more.
async fn sweep(pool: Weak<Pool>, age_max: Duration) {
    loop {
        tokio::time::sleep(age_max).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.idle.lock().retain(|(since, _)| since.elapsed() < age_max);
    }
}

/// One connection, which goes on only while somebody polls it.
struct Link {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    wire: Option<http1::Connection<Stream, Full<Bytes>>>,
}

impl Link {
    /// Sends and reads what can be; what a broken connection meant for an answer, that one tells.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(wire) = &mut self.wire
            && Pin::new(wire).poll(cx).is_ready()
        {
            self.wire = None;
        }
    }

    /// Whether it is open, and its last answer was read to the end.
    fn is_ready(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.wire.is_some() && self.sender.is_ready()
    }

    async fn ask(&mut self, request: Asked) -> Result<Response<Incoming>, TrySendError<Asked>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            self.drive(cx);
            answer.as_mut().poll(cx)
        })
        .await
    }
}

/// The body of an answer. Its connection is kept once it was read to its end.
pub struct Drawn {
    body: Incoming,
    link: Option<Box<Link>>,
    pool: Arc<Pool>,
}

impl Drawn {
    fn new(body: Incoming, link: Box<Link>, pool: &Arc<Pool>) -> Self {
        Self { body, link: Some(link), pool: Arc::clone(pool) }
    }
}

impl Body for Drawn {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        // Before the connection: it hands on only what is asked for. And after it, for what it has read.
        let mut frame = Pin::new(&mut this.body).poll_frame(cx);
        if frame.is_pending()
            && let Some(link) = &mut this.link
        {
            link.drive(cx);
            frame = Pin::new(&mut this.body).poll_frame(cx);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        let Some(mut link) = self.link.take() else { return };
        // Driven once more, where that can make a difference: what is left of a request nobody would send later.
        if (link.wire.is_some() && link.sender.is_ready()) || link.is_ready() {
            self.pool.put(link);
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
