//! One connection: HTTP while its client asks, and nothing but the socket while it does not.
//!
//! For each connection that it serves hyper keeps 16 KB of buffers and the state of a request. So it has one only from
//! the first byte of a request until the answer is sent, and longer where the client asks again soon.
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::ask::Peer;
use super::talk::{Answered, Asked, Talk, Wire};

/// From the first byte of a head, or the end of the answer before it, to its end. Longer than the pools of clients keep
/// a connection that they do not use.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(75);
/// The largest head, in bytes: twice what Ditto takes of headers, and a token. Beyond it 431.
const HEAD_BYTES_MAX: usize = 24 * 1_024;
/// The most headers. Beyond it 431.
const HEADERS_MAX: usize = 64;
/// Who asks again within this time is kept ready for the next request, until it let pass as much.
const SOON: Duration = Duration::from_secs(1);

/// What is read and written: TCP, perhaps under TLS.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Says the end of TLS, so that the other side knows it for no attack.
async fn part(mut socket: impl Socket) {
    drop(tokio::time::timeout(SOON, socket.shutdown()).await);
}

/// A connection between two requests.
struct Idle<S> {
    socket: S,
    /// Of the next request.
    unread: Bytes,
    /// Whether there was a request before.
    asked: bool,
}

pub struct Connection {
    pub router: Router,
    pub peer: IpAddr,
    /// Usually [`HEAD_DEADLINE`].
    pub head_deadline: Duration,
    /// What is asked for until then is answered.
    pub close: Close,
}

/// When connections are to end.
#[derive(Clone, Default)]
pub struct Close {
    token: CancellationToken,
    /// The same: a look at the token takes a lock that all connections share.
    is_closed: Arc<AtomicBool>,
}

impl Close {
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.token.cancel();
    }
}

impl Connection {
    /// Serves until one of both sides hangs up.
    pub async fn serve(self, socket: impl Socket) {
        let mut idle = Idle { socket, unread: Bytes::new(), asked: false };
        let mut deadline = Instant::now() + self.head_deadline;
        let mut clock = pin!(sleep(self.head_deadline));
        let mut soon = false;
        loop {
            let Idle { socket, unread, .. } = idle;
            match self.talk(socket, unread, soon, clock.as_mut()).await {
                Some(left) => idle = left,
                None => return,
            }
            let since = Instant::now();
            // Bytes that are no request, such as a part of what TLS wraps, win no time.
            if idle.asked {
                deadline = since + self.head_deadline;
            }
            if idle.unread.is_empty() {
                clock.as_mut().reset(deadline);
                tokio::select! {
                    _ = idle.socket.tcp().readable() => {}
                    () = &mut clock => return,
                    () = self.close.token.cancelled() => return part(idle.socket).await,
                }
            }
            soon = idle.asked && since.elapsed() < SOON;
        }
    }

    /// Answers requests until there is none, or with `keeps` none within [`SOON`] by the clock; what is left to go on
    /// with, if the connection goes on.
    async fn talk<S: Socket>(
        &self,
        socket: S,
        unread: Bytes,
        keeps: bool,
        mut clock: Pin<&mut Sleep>,
    ) -> Option<Idle<S>> {
        let talk = Talk::begins();
        let (router, peer) = (TowerToHyperService::new(self.router.clone()), Peer(self.peer));
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let mut request = request.map(|body| Asked::body(body, &talk));
            request.extensions_mut().insert(peer);
            let (answer, talk) = (router.call(request), Arc::clone(&talk));
            async move { answer.await.map(|answer| answer.map(|body| Answered::new(body, talk))) }
        });
        let http = Builder::new()
            // It would set one for each request.
            .header_read_timeout(None)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(64 * 1_024)
            .serve_connection(TokioIo::new(Wire::new(socket, unread, Arc::clone(&talk))), service)
            .with_upgrades();
        // In a box: an idle connection does not hold the place for it.
        let mut http = Box::new(http);
        let mut close = pin!(self.close.token.cancelled());
        let (mut waits, mut closing, mut asked) = (false, false, 0);
        let pause = if keeps { SOON } else { self.head_deadline };
        clock.as_mut().reset(Instant::now() + pause);
        let ended = poll_fn(|cx| {
            // Asked once: it wakes this task whenever the time has come.
            if !waits {
                waits = close.as_mut().poll(cx).is_pending();
            }
            if !closing && self.close.is_closed.load(Ordering::Acquire) {
                closing = true;
                Pin::new(&mut *http).graceful_shutdown();
            }
            if let Poll::Ready(ended) = Pin::new(&mut *http).poll(cx) {
                return Poll::Ready(Some(ended.map_err(|error| error.to_string())));
            }
            if talk.is_idle() && !keeps {
                return Poll::Ready(None);
            }
            while clock.as_mut().poll(cx).is_ready() {
                if talk.is_idle() && talk.asked() == asked {
                    return Poll::Ready(None);
                }
                let left = self.head_deadline.saturating_sub(talk.waited().unwrap_or_default());
                if left.is_zero() {
                    return Poll::Ready(Some(Err(format!("no request within {:?}", self.head_deadline))));
                }
                asked = talk.asked();
                clock.as_mut().reset(Instant::now() + pause.min(left));
            }
            Poll::Pending
        });
        match ended.await {
            None => http.into_parts().map(|parts| {
                let (socket, unread) = parts.io.into_inner().into_parts(parts.read_buf);
                Idle { socket, unread, asked: talk.asked() > 0 }
            }),
            Some(Ok(())) => None,
            Some(Err(error)) => {
                tracing::debug!(%error, "a connection broke");
                None
            }
        }
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
