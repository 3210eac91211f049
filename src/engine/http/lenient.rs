//! Quotes in the query. Ditto takes `?filter=eq(attributes/a,"x")` as it stands, and people write it that
//! way; the HTTP library refuses such a request before we see it. So the request line is mended on its way
//! in: `"`, `<`, `>` in the query become `%22`, `%3C`, `%3E`. Nothing else is touched.
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// A head longer than this is passed on as it is; the HTTP library has its own limit. In bytes.
const HEAD_MAX: usize = 64 * 1024;
/// What is read from the socket at once. In bytes.
const CHUNK: usize = 8 * 1024;

pub struct LenientListener(pub TcpListener);

impl Listener for LenientListener {
    type Io = Lenient;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Lenient, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // answers are small: waiting to fill a packet would only delay them
        drop(stream.set_nodelay(true));
        (Lenient { stream, mender: Mender::default(), mended: vec![], given: 0 }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

pub struct Lenient {
    stream: TcpStream,
    mender: Mender,
    mended: Vec<u8>,
    /// How much of `mended` the reader has.
    given: usize,
}

impl AsyncRead for Lenient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.given == self.mended.len() {
            if self.mender.state == State::Rest {
                return Pin::new(&mut self.stream).poll_read(cx, out);
            }
            let mut chunk = [0; CHUNK];
            let mut buffer = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let this = &mut *self;
            this.mended.clear();
            this.given = 0;
            if buffer.filled().is_empty() {
                this.mended.append(&mut this.mender.head);
                this.mender.state = State::Rest;
                if this.mended.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            } else {
                this.mender.mend(buffer.filled(), &mut this.mended);
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
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// So many bytes of a body are to come.
    Body(u64),
    /// No more heads are looked for: a chunked body, an upgrade, or what is no HTTP.
    Rest,
}

/// Follows the requests of one connection to know where each head begins.
#[derive(Default)]
struct Mender {
    state: State,
    /// The head so far.
    head: Vec<u8>,
}

impl Mender {
    fn mend(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            match self.state {
                State::Rest => {
                    out.extend_from_slice(bytes);
                    return;
                }
                State::Body(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    out.extend_from_slice(&bytes[..taken]);
                    bytes = &bytes[taken..];
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::Head } else { State::Body(left) };
                }
                State::Head => bytes = self.take_head(bytes, out),
            }
        }
    }

    /// Adds to the head; returns what comes after it.
    fn take_head<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<u8>) -> &'b [u8] {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let from = before.saturating_sub(3);
        let end =
            self.head[from..].windows(4).position(|window| window == b"\r\n\r\n").map(|at| from + at + 4);
        if let Some(end) = end {
            write_mended(&self.head[..end], out);
            self.state = after(&self.head[..end]);
            self.head.clear();
            return &bytes[end - before..];
        }
        if self.head.len() > HEAD_MAX {
            out.append(&mut self.head);
            self.state = State::Rest;
        }
        &[]
    }
}

fn write_mended(head: &[u8], out: &mut Vec<u8>) {
    let line = head.iter().position(|byte| *byte == b'\r').unwrap_or(head.len());
    let (line, rest) = head.split_at(line);
    let query = line.iter().position(|byte| *byte == b'?').unwrap_or(line.len());
    out.extend_from_slice(&line[..query]);
    for byte in &line[query..] {
        match byte {
            b'"' => out.extend_from_slice(b"%22"),
            b'<' => out.extend_from_slice(b"%3C"),
            b'>' => out.extend_from_slice(b"%3E"),
            other => out.push(*other),
        }
    }
    out.extend_from_slice(rest);
}

fn after(head: &[u8]) -> State {
    let mut state = State::Head;
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"transfer-encoding") || name.eq_ignore_ascii_case(b"upgrade") {
            return State::Rest;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            match std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
                Some(0) => {}
                Some(length) => state = State::Body(length),
                None => return State::Rest,
            }
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(input: &[u8], step: usize) -> Vec<u8> {
        let (mut mender, mut out) = (Mender::default(), vec![]);
        input.chunks(step).for_each(|chunk| mender.mend(chunk, &mut out));
        out
    }

    #[test]
    fn quotes_are_mended_in_every_query_and_nowhere_else() {
        let input = b"PUT /a\"b?c=\"1\" HTTP/1.1\r\nif-match: \"rev:1\"\r\nContent-Length: 24\r\n\r\nGET /?\"<> HTTP/1.1\r\n\r\n\"\"GET /?\"<>\" HTTP/1.1\r\n\r\n";
        let expected = b"PUT /a\"b?c=%221%22 HTTP/1.1\r\nif-match: \"rev:1\"\r\nContent-Length: 24\r\n\r\nGET /?\"<> HTTP/1.1\r\n\r\n\"\"GET /?%22%3C%3E%22 HTTP/1.1\r\n\r\n";
        for step in 1..=input.len() {
            assert_eq!(mended(input, step), expected, "in steps of {step}");
        }
    }

    #[test]
    fn what_cannot_be_followed_is_passed_on() {
        let chunked = b"PUT /?\" HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n?\"\r\n0\r\n\r\nGET /?\" HTTP/1.1\r\n\r\n";
        let out = mended(chunked, 7);
        assert!(out.starts_with(b"PUT /?%22 HTTP/1.1") && out.ends_with(b"GET /?\" HTTP/1.1\r\n\r\n"));
        let endless = vec![b'?'; HEAD_MAX + 2 * CHUNK];
        assert_eq!(mended(&endless, CHUNK), endless);
    }
}
