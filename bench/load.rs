//! HTTP over raw sockets: as little work as possible on the asking side.
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One keep-alive connection, one request at a time.
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, read: Vec::with_capacity(64 * 1024) }
    }

    /// Sends a request as [`request`] makes it; the status and the body of the answer.
    pub async fn ask(&mut self, request: &[u8]) -> (u16, &[u8]) {
        self.stream.write_all(request).await.expect("the server reads");
        self.read.clear();
        let (head, length) = loop {
            assert!(
                self.stream.read_buf(&mut self.read).await.expect("the server answers") > 0,
                "the server hung up"
            );
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break (end + 4, length(&self.read[..end]));
            }
        };
        while self.read.len() < head + length {
            assert!(self.stream.read_buf(&mut self.read).await.expect("the rest") > 0, "the server hung up");
        }
        let status = std::str::from_utf8(&self.read[9..12]).ok().and_then(|text| text.parse().ok());
        (status.expect("a status"), &self.read[head..])
    }
}

/// The length of the body that follows this head.
pub fn length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    value.map_or(0, |text| text.trim().parse().expect("a number"))
}

pub fn request(method: &str, target: &str, body: &str) -> Vec<u8> {
    let about = if body.is_empty() {
        String::new()
    } else {
        format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
    };
    format!("{method} {target} HTTP/1.1\r\nhost: bench\r\nx-ditto-pre-authenticated: nginx:ditto\r\n{about}\r\n{body}").into_bytes()
}

/// Asks over many connections at once, until `turns` requests are answered or the time is over; how many were answered
/// and in how many seconds. `make` gets the number of the request.
pub async fn storm(
    address: &str,
    connections: usize,
    (turns, time): (usize, Duration),
    make: impl Fn(usize) -> Vec<u8> + Clone + Send + 'static,
) -> (usize, f64) {
    let started = Instant::now();
    let workers: Vec<_> = (0..connections)
        .map(|first| {
            let (address, make) = (address.to_owned(), make.clone());
            tokio::spawn(async move {
                let mut connection = Connection::open(&address).await;
                let mut answered = 0;
                for turn in (first..turns).step_by(connections) {
                    if started.elapsed() > time {
                        break;
                    }
                    let (status, body) = connection.ask(&make(turn)).await;
                    assert!((200..300).contains(&status), "{status} {}", String::from_utf8_lossy(body));
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let mut answered = 0;
    for worker in workers {
        answered += worker.await.expect("a connection");
    }
    (answered, started.elapsed().as_secs_f64())
}
