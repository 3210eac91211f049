//! What a connection knows of the talk on it: whether a request is under way, and whether all that was said is heard.
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Looked at between two turns of the connection's task, in which nothing of it changes.
pub struct Talk {
    /// Requests that have begun.
    asked: AtomicU64,
    begun: Instant,
    /// When the last answer was at its end, or a part of it was sent, in milliseconds since then.
    moved: AtomicU64,
    /// An answer is not at its end.
    answering: AtomicBool,
    /// The body of the request is not read to its end.
    unread: AtomicBool,
    /// Bytes came that are no request yet.
    heard: AtomicBool,
    /// Nothing more was there to read.
    quiet: AtomicBool,
    /// Bytes are written that the socket may not have.
    unsent: AtomicBool,
    closing: AtomicBool,
}

impl Talk {
    pub fn begins() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            moved: AtomicU64::default(),
            asked: AtomicU64::default(),
            answering: AtomicBool::default(),
            unread: AtomicBool::default(),
            heard: AtomicBool::default(),
            quiet: AtomicBool::default(),
            unsent: AtomicBool::default(),
            closing: AtomicBool::default(),
        })
    }

    /// A request is there.
    fn begin(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
        self.unread.store(false, Ordering::Relaxed);
        self.heard.store(false, Ordering::Relaxed);
    }

    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn moves(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(since, Ordering::Relaxed);
    }

    /// How long there has been no request, and no part of an answer sent; `None` while one is answered.
    pub fn waited(&self) -> Option<Duration> {
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        let answering = self.answering.load(Ordering::Relaxed);
        (!answering).then(|| self.begun.elapsed().saturating_sub(moved))
    }

    /// Whether everything that was asked is answered, the answers are sent, and nothing of a next request is there.
    pub fn is_idle(&self) -> bool {
        let under_way = [&self.answering, &self.unread, &self.heard, &self.unsent, &self.closing];
        self.quiet.load(Ordering::Relaxed) && !under_way.iter().any(|flag| flag.load(Ordering::Relaxed))
    }
}

/// The body of a request, as the router takes it.
pub struct Asked {
    body: Incoming,
    talk: Arc<Talk>,
}

impl Asked {
    /// A request begins, with this body.
    pub fn body(body: Incoming, talk: &Arc<Talk>) -> Body {
        talk.begin();
        if body.is_end_stream() {
            return Body::empty();
        }
        talk.unread.store(true, Ordering::Relaxed);
        Body::new(Self { body, talk: Arc::clone(talk) })
    }
}

impl HttpBody for Asked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.talk.unread.store(false, Ordering::Relaxed);
            // What came since the head was this. What came with its end is not: it goes on with the socket.
            self.talk.heard.store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer; the answer is at its end when this is dropped.
pub struct Answered {
    body: Body,
    talk: Arc<Talk>,
    /// The number of its request.
    number: u64,
}

impl Answered {
    pub fn new(body: Body, talk: Arc<Talk>) -> Self {
        let number = talk.asked();
        Self { body, talk, number }
    }
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        if self.talk.asked() == self.number {
            self.talk.moves();
            self.talk.answering.store(false, Ordering::Relaxed);
        }
    }
}

/// A socket that notes what is read and written, after bytes that were read before.
pub struct Wire<S> {
    socket: S,
    before: Bytes,
    talk: Arc<Talk>,
}

impl<S> Wire<S> {
    pub fn new(socket: S, before: Bytes, talk: Arc<Talk>) -> Self {
        Self { socket, before, talk }
    }

    /// The socket, and what was read from it but not used: first `read`, then what is still here.
    pub fn into_parts(self, read: Bytes) -> (S, Bytes) {
        let unread = match (read.is_empty(), self.before.is_empty()) {
            // Not `read`: without a byte in it, it holds the whole buffer that it was cut from.
            (true, true) => Bytes::new(),
            (false, true) => read,
            (true, false) => self.before,
            (false, false) => [read, self.before].concat().into(),
        };
        (self.socket, unread)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let length = self.before.len().min(into.remaining());
            into.put_slice(&self.before.split_to(length));
            self.talk.heard.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        let filled = into.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, into);
        self.talk.quiet.store(read.is_pending(), Ordering::Relaxed);
        ready!(read)?;
        if into.filled().len() > filled {
            self.talk.heard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.talk.unsent.store(true, Ordering::Relaxed);
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        self.talk.moves();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.talk.unsent.store(true, Ordering::Relaxed);
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, slices))?;
        self.talk.moves();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.talk.unsent.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.talk.closing.store(true, Ordering::Relaxed);
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
