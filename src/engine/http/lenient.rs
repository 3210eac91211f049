//! Connections: how many, how patient, and what is mended on the way in.
//!
//! Ditto takes `?filter=eq(attributes/a,"x")` as it stands, and people write it that way; the HTTP library
//! refuses such a request before we see it. So the request line is mended: `"`, `<`, `>` in the query become
//! `%22`, `%3C`, `%3E`. Nothing else is touched. Following the heads for that, a connection also knows which
//! of them is late.
use std::future::Future as _;
use std::io;
use std::net;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use super::super::core::Stats;
use super::super::live::SUBSCRIBERS_MAX;
use super::full::Full;
use super::mender::{Mender, Phase};

/// Connections open at one time; more are told so, see [`Full`]. Below the 1,024 files many systems give a process.
const CONNECTIONS_MAX: usize = 900;
// requests still find a place when every socket and event stream is taken
const _: () = assert!(SUBSCRIBERS_MAX < CONNECTIONS_MAX);
/// What is read from the socket at once. In bytes.
const CHUNK: usize = 8 * 1024;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open at one time.
    pub connections: usize,
    /// From the first byte of a head (or the start of the connection) to its end.
    pub head: Duration,
    /// Without a byte in either direction; longer than the longest wait for an answer (a claim, 600 s).
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: CONNECTIONS_MAX, head: Duration::from_secs(10), idle: Duration::from_mins(11) }
    }
}

pub struct LenientListener {
    listener: TcpListener,
    limits: Limits,
    free: Arc<Semaphore>,
    full: Full,
}

impl LenientListener {
    pub fn new(listener: TcpListener, limits: Limits, counts: Arc<Stats>) -> Self {
        let free = Arc::new(Semaphore::new(limits.connections));
        Self { listener, limits, free, full: Full::new(counts) }
    }
}

impl LenientListener {
    pub async fn accept(&mut self) -> Accepted {
        loop {
            // an error is waited out
            let (stream, _) = Listener::accept(&mut self.listener).await;
            // answers are small: waiting to fill a packet would only delay them
            drop(stream.set_nodelay(true));
            let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
                self.full.tell(stream);
                continue;
            };
            match stream.into_std() {
                Ok(stream) => return Accepted { stream, limits: self.limits, permit },
                Err(error) => tracing::warn!(%error, "a connection could not be taken in"),
            }
        }
    }
}

/// A connection on its way to the thread that will serve it.
pub struct Accepted {
    stream: net::TcpStream,
    limits: Limits,
    permit: OwnedSemaphorePermit,
}

impl Accepted {
    /// The connection, in the hands of the runtime that this is called in.
    pub fn open(self) -> io::Result<Lenient> {
        Ok(Lenient::new(TcpStream::from_std(self.stream)?, self.limits, self.permit))
    }
}

pub struct Lenient {
    stream: TcpStream,
    mender: Mender,
    mended: Vec<u8>,
    /// How much of `mended` the reader has.
    given: usize,
    limits: Limits,
    /// When the connection is given up; not looked at once it is upgraded.
    clock: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Lenient {
    fn new(stream: TcpStream, limits: Limits, permit: OwnedSemaphorePermit) -> Self {
        let clock = Box::pin(sleep(limits.head));
        let mender = Mender::default();
        Self { stream, mender, mended: vec![], given: 0, limits, clock, _permit: permit }
    }

    fn give_up_at(&mut self, wait: Duration) {
        self.clock.as_mut().reset(Instant::now() + wait);
    }

    /// A stream of events keeps its connection, though nothing comes in.
    fn answered(&mut self) {
        if self.mender.phase() == Phase::Between {
            self.give_up_at(self.limits.idle);
        }
    }

    /// A head that has begun keeps its deadline; everything else starts a new one.
    fn wind(&mut self, before: Phase) {
        match (before, self.mender.phase()) {
            (Phase::InHead | Phase::Lost, Phase::InHead | Phase::Lost) | (_, Phase::Upgraded) => {}
            (_, Phase::InHead | Phase::Lost) => self.give_up_at(self.limits.head),
            (_, Phase::Between | Phase::Body) => self.give_up_at(self.limits.idle),
        }
    }
}

impl AsyncRead for Lenient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.given == self.mended.len() {
            if self.mender.phase() == Phase::Upgraded {
                return Pin::new(&mut self.stream).poll_read(cx, out);
            }
            if self.clock.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let mut chunk = [0; CHUNK];
            let mut buffer = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let this = &mut *self;
            this.mended.clear();
            this.given = 0;
            if buffer.filled().is_empty() {
                this.mender.end(&mut this.mended);
                if this.mended.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let before = this.mender.phase();
                this.mender.mend(buffer.filled(), &mut this.mended);
                this.wind(before);
            }
        }
        let ready = &self.mended[self.given..];
        let taken = ready.len().min(out.remaining());
        out.put_slice(&ready[..taken]);
        self.given += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lenient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.answered();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.answered();
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const LIMITS: Limits =
        Limits { connections: 2, head: Duration::from_millis(50), idle: Duration::from_hours(1) };

    async fn pair(limits: Limits) -> (TcpStream, Lenient) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, LenientListener::new(listener, limits, Arc::default()).accept().await.open().unwrap())
    }

    /// Reads until nothing more comes; the error that ended it.
    async fn end(server: &mut Lenient) -> Option<io::ErrorKind> {
        let mut bytes = vec![];
        server.read_to_end(&mut bytes).await.err().map(|error| error.kind())
    }

    #[tokio::test]
    async fn s10_who_does_not_finish_a_head_in_time_is_cut_off_and_nobody_else() {
        let endless = vec![b'x'; 70_000];
        let rows: [(&[u8], bool); 8] = [
            (b"", true),
            (b"GET / HTTP/1.1\r\n", true),
            (b"GET / HTTP/1.1\r\n\r\nGET", true),
            (&endless, true),
            (b"GET / HTTP/1.1\r\n\r\n", false),
            (b"PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\n12", false),
            (b"PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n", false),
            (b"GET /ws/2 HTTP/1.1\r\nupgrade: websocket\r\n\r\n", false),
        ];
        for (sent, cut_off) in rows {
            let (mut client, mut server) = pair(LIMITS).await;
            client.write_all(sent).await.unwrap();
            let ended = tokio::time::timeout(4 * LIMITS.head, end(&mut server)).await;
            let expected = cut_off.then_some(Some(io::ErrorKind::TimedOut));
            assert_eq!(ended.ok(), expected, "{}", String::from_utf8_lossy(&sent[..sent.len().min(80)]));
        }
    }

    #[tokio::test]
    async fn s10_a_byte_now_and_then_buys_no_time() {
        let (mut client, mut server) = pair(LIMITS).await;
        let drip = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                sleep(LIMITS.head / 10).await;
            }
        });
        assert_eq!(end(&mut server).await, Some(io::ErrorKind::TimedOut));
        drip.abort();
    }

    #[tokio::test]
    async fn s10_one_more_connection_is_told_so_until_another_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Stats::default());
        let mut listener = LenientListener::new(listener, LIMITS, Arc::clone(&counts));
        let mut clients = vec![];
        for _ in 0..2 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let first = listener.accept().await;
        let _second = listener.accept().await;
        let mut third = TcpStream::connect(address).await.unwrap();
        third.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut told = String::new();
        {
            let accepting = listener.accept();
            tokio::select! {
                _ = accepting => panic!("there are two places"),
                read = third.read_to_string(&mut told) => drop(read.unwrap()),
            }
        }
        assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("gateway:service.unavailable"), "{told}");
        assert_eq!(counts.connections_turned_away.load(std::sync::atomic::Ordering::Relaxed), 1);
        drop(first);
        clients.push(TcpStream::connect(address).await.unwrap());
        let _third = listener.accept().await;
    }
}
