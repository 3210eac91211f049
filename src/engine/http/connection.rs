//! Connections: how many, how patient, and who answers on them.
//!
//! Usual requests (see [`usual`]) are answered here. With the first that is not, the connection and what was read of it
//! go to the HTTP library, through [`Lenient`].
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::live::SUBSCRIBERS_MAX;
use super::door::Door;
use super::full::Full;
use super::lenient::Lenient;
use super::usual::{self, Front};
use super::{Server, answer};

/// Connections open at one time; more are told so, see [`Full`]. Below the 1,024 files many systems give a process.
const CONNECTIONS_MAX: usize = 900;
// requests still find a place when every socket and event stream is taken
const _: () = assert!(SUBSCRIBERS_MAX < CONNECTIONS_MAX);
/// How long the rest of a usual request is waited for, before the HTTP library does.
const PART_PATIENCE: Duration = Duration::from_secs(1);
/// What is read from the socket at once. In bytes.
const CHUNK: usize = 4 * 1024;
/// Longer answers are written apart from their heads rather than copied behind them. In bytes.
const COPIED_MAX: u64 = 16 * 1024;

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

/// Serves until the stop, and then what is under way.
pub async fn serve(listener: TcpListener, limits: Limits, server: Arc<Server>, stop: CancellationToken) {
    let mut door = Door::new(listener, limits.connections, Full::new(Arc::clone(&server.core.counts)));
    let connections = TaskTracker::new();
    loop {
        let (stream, place) = tokio::select! {
            entered = door.enter() => entered,
            () = stop.cancelled() => break,
        };
        let connection = Connection::new(stream, place, limits, Arc::clone(&server));
        let stop = stop.child_token();
        connections.spawn(async move {
            let ended = connection.run(&stop).await;
            ended.unwrap_or_else(|error| tracing::debug!(%error, "a connection broke"));
        });
    }
    drop(door);
    connections.close();
    connections.wait().await;
}

struct Connection {
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    limits: Limits,
    server: Arc<Server>,
    /// Read and not yet answered.
    read: Vec<u8>,
    /// When it last came or went on: the start of the connection, of a request, or the end of an answer.
    since: Instant,
    /// Whether nothing was answered yet.
    is_new: bool,
    /// Rings at the deadline or before it, and is then wound up again: so that it is left alone as long as requests come.
    clock: Pin<Box<Sleep>>,
    date: Date,
}

/// What became of waiting.
enum Waited {
    More,
    Late,
    End,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit, limits: Limits, server: Arc<Server>) -> Self {
        Self {
            stream,
            place,
            limits,
            server,
            read: Vec::with_capacity(CHUNK),
            since: Instant::now(),
            is_new: true,
            clock: Box::pin(sleep(limits.head)),
            date: Date::default(),
        }
    }

    async fn run(mut self, stop: &CancellationToken) -> io::Result<()> {
        let mut stopped = pin!(stop.cancelled());
        let mut out = Vec::with_capacity(CHUNK);
        loop {
            let front = if self.read.is_empty() { Front::Part } else { usual::front(&self.read) };
            match (front, self.read.is_empty()) {
                (Front::Unusual, _) => return self.hand_over(stop).await,
                (Front::Part, idle) => match self.more(stopped.as_mut()).await? {
                    Waited::More if idle => self.since = Instant::now(),
                    Waited::More => {}
                    Waited::Late if !idle => return self.hand_over(stop).await,
                    Waited::Late | Waited::End => return Ok(()),
                },
                (Front::Whole(request, length), _) => {
                    self.read.drain(..length);
                    let answer = tokio::select! {
                        biased;
                        answer = answer(&self.server, request) => answer,
                        () = gone(&mut self.stream, &mut self.read) => return Ok(()),
                    };
                    let goes_on = timeout(self.limits.idle, self.send(answer, &mut out)).await??;
                    if !goes_on {
                        return Ok(());
                    }
                    (self.since, self.is_new) = (Instant::now(), false);
                }
            }
        }
    }

    /// Waits for more of a request, or for the next one.
    async fn more(&mut self, mut stopped: Pin<&mut impl Future<Output = ()>>) -> io::Result<Waited> {
        let is_idle = self.read.is_empty();
        let patience = match is_idle {
            true if self.is_new => self.limits.head,
            true => self.limits.idle,
            false => self.limits.head.min(PART_PATIENCE),
        };
        let deadline = self.since + patience;
        if deadline < self.clock.deadline() {
            self.clock.as_mut().reset(deadline);
        }
        self.read.reserve(CHUNK);
        loop {
            tokio::select! {
                biased;
                read = self.stream.read_buf(&mut self.read) => {
                    return Ok(if read? == 0 { Waited::End } else { Waited::More });
                }
                () = stopped.as_mut(), if is_idle => return Ok(Waited::End),
                () = self.clock.as_mut() => {
                    if Instant::now() >= deadline {
                        return Ok(Waited::Late);
                    }
                    self.clock.as_mut().reset(deadline);
                }
            }
        }
    }

    /// Whether the connection goes on.
    async fn send(&mut self, answer: Response, out: &mut Vec<u8>) -> io::Result<bool> {
        let (head, mut body) = answer.into_parts();
        let length = body.size_hint().exact();
        out.clear();
        usual::write_head(&head, length, self.date.now(), out);
        let copied = length.is_some_and(|length| length <= COPIED_MAX);
        if !copied {
            self.stream.write_all(out).await?;
        }
        while let Some(data) = next(&mut body).await? {
            if copied {
                out.extend_from_slice(&data);
            } else {
                self.stream.write_all(&data).await?;
            }
        }
        if copied {
            self.stream.write_all(out).await?;
        }
        Ok(length.is_some())
    }

    async fn hand_over(self, stop: &CancellationToken) -> io::Result<()> {
        let Self { stream, place, limits, server, read, since, .. } = self;
        let stream = TokioIo::new(Lenient::new(stream, limits, place, (&read, since)));
        let service = service_fn(|request: hyper::Request<Incoming>| async {
            Ok::<_, Infallible>(answer(&server, request.map(Body::new)).await)
        });
        let mut connection = pin!(Builder::new().serve_connection(stream, service).with_upgrades());
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        ended.map_err(io::Error::other)
    }
}

async fn next(body: &mut Body) -> io::Result<Option<axum::body::Bytes>> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Returns when the other end has gone while it is owed an answer; keeps what else it sends.
async fn gone(stream: &mut TcpStream, read: &mut Vec<u8>) {
    while read.len() < usual::READ_MAX {
        read.reserve(CHUNK);
        if matches!(stream.read_buf(read).await, Ok(0) | Err(_)) {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// The time of an answer, written once a second.
#[derive(Default)]
struct Date {
    second: i64,
    text: String,
}

impl Date {
    fn now(&mut self) -> &str {
        let second = super::handle::now() / 1_000;
        if second != self.second {
            let time = jiff::Timestamp::from_second(second).unwrap_or_default();
            let printed = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time);
            self.text = printed.unwrap_or_default();
            self.second = second;
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::RwLock;

    use super::super::super::core::{Core, Stats};
    use super::super::super::live::Hub;
    use super::super::super::state::State;
    use super::super::Authentication;
    use super::*;

    const LIMITS: Limits =
        Limits { connections: 2, head: Duration::from_millis(50), idle: Duration::from_hours(1) };

    fn server() -> Arc<Server> {
        let counts = Arc::<Stats>::default();
        let hub = Hub::start(CancellationToken::new(), Arc::clone(&counts));
        let core = Core { state: Arc::new(RwLock::new(State::default())), counts, committer: None, hub };
        let authentication = Authentication { pre_authenticated: true, ..Authentication::default() };
        Arc::new(Server::new(core, authentication))
    }

    /// A client and the connection it has, which runs.
    async fn pair(limits: Limits, stop: CancellationToken) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tokio::spawn(serve(listener, limits, server(), stop));
        client
    }

    async fn read_some(client: &mut TcpStream) -> String {
        let mut bytes = vec![0; 64 * 1024];
        let length = client.read(&mut bytes).await.unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[tokio::test]
    async fn s10_who_does_not_finish_a_head_in_time_is_cut_off_and_nobody_else() {
        let rows: [(&str, bool); 6] = [
            ("", true),
            ("GET /health HTTP/1.1\r\n", true),
            ("GET /health HTTP/1.1\r\n\r\nGET", true),
            ("GET /?\"", true),
            ("GET /health HTTP/1.1\r\n\r\n", false),
            (
                "PUT /api/2/things/a:b HTTP/1.1\r\nx-ditto-pre-authenticated: a:b\r\ncontent-length: 5\r\n\r\n12",
                false,
            ),
        ];
        for (sent, cut_off) in rows {
            let mut client = pair(LIMITS, CancellationToken::new()).await;
            client.write_all(sent.as_bytes()).await.unwrap();
            let mut all = vec![];
            let ended = timeout(6 * LIMITS.head, client.read_to_end(&mut all)).await;
            assert_eq!(ended.is_ok(), cut_off, "{sent}: {}", String::from_utf8_lossy(&all));
        }
    }

    #[tokio::test]
    async fn s10_a_byte_now_and_then_buys_no_time() {
        let mut client = pair(LIMITS, CancellationToken::new()).await;
        let (mut reading, mut writing) = client.split();
        let drip = async {
            while writing.write_all(b"x").await.is_ok() {
                sleep(LIMITS.head / 10).await;
            }
        };
        let mut all = vec![];
        tokio::select! {
            () = drip => {}
            _ = reading.read_to_end(&mut all) => {}
            () = sleep(6 * LIMITS.head) => panic!("it may go on"),
        }
    }

    #[tokio::test]
    async fn requests_that_come_together_are_answered_in_their_order() {
        let mut client = pair(LIMITS, CancellationToken::new()).await;
        let requests =
            ["/status", "/health", "/none"].map(|path| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"));
        let last = "GET /?\" HTTP/1.1\r\nconnection: close\r\n\r\n";
        client.write_all((requests.concat() + last).as_bytes()).await.unwrap();
        let mut all = String::new();
        client.read_to_string(&mut all).await.unwrap();
        let places = ["version", "\"UP\"", "HTTP/1.1 404", "connection: close"].map(|text| all.find(text));
        assert!(places.is_sorted() && places[0].is_some(), "{all}");
        assert_eq!(all.matches("HTTP/1.1 404").count(), 2, "{all}");
    }

    #[tokio::test]
    async fn a_request_in_pieces_is_answered_and_so_is_the_next() {
        let mut client = pair(LIMITS, CancellationToken::new()).await;
        for piece in ["GET /hea", "lth HTTP/1.1\r\n", "\r\n"] {
            client.write_all(piece.as_bytes()).await.unwrap();
            sleep(LIMITS.head / 10).await;
        }
        assert!(read_some(&mut client).await.starts_with("HTTP/1.1 200 OK\r\n"));
        client.write_all(b"GET /health HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(read_some(&mut client).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }

    #[tokio::test]
    async fn the_stop_ends_connections_that_are_owed_nothing() {
        let stop = CancellationToken::new();
        let mut client = pair(Limits::default(), stop.clone()).await;
        client.write_all(b"GET /health HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(read_some(&mut client).await.starts_with("HTTP/1.1 200 OK\r\n"));
        stop.cancel();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[test]
    fn the_date_is_that_of_http() {
        let mut date = Date::default();
        let text = date.now().to_owned();
        assert!(text.len() == 29 && text.ends_with(" GMT"), "{text}");
    }
}
