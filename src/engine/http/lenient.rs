//! What is mended on the way in to the HTTP library, and how patient a connection is.
//!
//! Ditto takes `?filter=eq(attributes/a,"x")` as it stands, and people write it that way; the HTTP library
//! refuses such a request before we see it. So the request line is mended: `"`, `<`, `>` in the query become
//! `%22`, `%3C`, `%3E`. Nothing else is touched. Following the heads for that, a connection also knows which
//! of them is late.
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::Limits;
use super::mender::{Mender, Phase};

/// What is read from the socket at once. In bytes.
const CHUNK: usize = 8 * 1024;

pub struct Lenient {
    stream: TcpStream,
    mender: Mender,
    mended: Vec<u8>,
    /// How much of `mended` the reader has.
    given: usize,
    limits: Limits,
    /// When the connection is given up; not looked at once it is upgraded.
    clock: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Lenient {
    /// `read` was read before, `since` a moment.
    pub fn new(
        stream: TcpStream,
        limits: Limits,
        place: OwnedSemaphorePermit,
        (read, since): (&[u8], Instant),
    ) -> Self {
        let clock = Box::pin(sleep_until(since + limits.head));
        let mut this = Self {
            stream,
            mender: Mender::default(),
            mended: vec![],
            given: 0,
            limits,
            clock,
            _place: place,
        };
        this.mender.mend(read, &mut this.mended);
        if !read.is_empty() && !matches!(this.mender.phase(), Phase::InHead | Phase::Lost) {
            this.give_up_at(limits.idle);
        }
        this
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
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;
    use tokio::time::sleep;

    use super::*;

    const LIMITS: Limits =
        Limits { connections: 2, head: Duration::from_millis(50), idle: Duration::from_hours(1) };

    async fn pair(limits: Limits) -> (TcpStream, Lenient) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = listener.accept().await.unwrap().0;
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (client, Lenient::new(stream, limits, place, (&[], Instant::now())))
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
    async fn what_was_read_before_comes_first() {
        let (mut client, server) = pair(LIMITS).await;
        let Lenient { stream, _place: place, .. } = server;
        let mut server = Lenient::new(stream, LIMITS, place, (b"GET /?\"", Instant::now()));
        client.write_all(b" HTTP/1.1\r\n\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        let mut bytes = vec![];
        server.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), "GET /?%22 HTTP/1.1\r\n\r\n");
    }
}
