//! The sides of a conversation that stay open: sockets and event streams, as a client sees them.
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::HandshakeError;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

use super::wire::Reply;

/// How long an answer may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

fn host(base: &str) -> &str {
    base.strip_prefix("http://").expect("a base URL begins with http://")
}

fn connect(base: &str) -> TcpStream {
    let stream = TcpStream::connect(host(base)).unwrap_or_else(|error| panic!("nobody listens: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
    stream
}

/// Collects what comes until it is as much as expected, and then, when `quiet` is given, whatever comes besides.
fn collect(
    expected: usize,
    quiet: Option<Duration>,
    mut next: impl FnMut(Duration) -> Option<Value>,
) -> Vec<Value> {
    let mut found = vec![];
    let until = Instant::now() + PATIENCE;
    while found.len() < expected
        && let Some(left) = until.checked_duration_since(Instant::now())
    {
        match next(left) {
            Some(value) => {
                let ended = is_end(&value);
                found.push(value);
                if ended {
                    return found;
                }
            }
            None => break,
        }
    }
    let until = quiet.map(|quiet| Instant::now() + quiet);
    while let Some(left) = until.and_then(|until| until.checked_duration_since(Instant::now())) {
        match next(left) {
            Some(value) => found.push(value),
            None => break,
        }
        if found.last().is_some_and(is_end) {
            break;
        }
    }
    found
}

fn is_end(value: &Value) -> bool {
    *value == "<closed>" || value["closed"] == true
}

pub struct Socket(WebSocket<TcpStream>);

impl Socket {
    /// The socket, or the status of the refusal.
    pub fn open(base: &str, target: &str, headers: &[(String, String)]) -> Result<Self, u16> {
        let mut request = format!("ws://{}{target}", host(base)).into_client_request().expect("a URL");
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().expect("a header name");
            request.headers_mut().insert(name, value.parse().expect("a header value"));
        }
        match client(request, connect(base)) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
            Err(error) => panic!("{target}: {error}"),
        }
    }

    /// A closed socket takes anything and answers nothing.
    pub fn send(&mut self, text: &str) {
        drop(self.0.send(Message::text(text)));
    }

    pub fn expect(&mut self, expected: usize, quiet: Option<Duration>) -> Vec<Value> {
        collect(expected, quiet, |left| self.next(left))
    }

    pub fn next(&mut self, within: Duration) -> Option<Value> {
        let until = Instant::now() + within;
        loop {
            let left = until.checked_duration_since(Instant::now())?.max(Duration::from_millis(1));
            self.0.get_ref().set_read_timeout(Some(left)).expect("a timeout above zero");
            match self.0.read() {
                Ok(Message::Text(text)) => {
                    let text = text.as_str();
                    return Some(serde_json::from_str(text).unwrap_or_else(|_| json!(text)));
                }
                Ok(Message::Close(_)) => return Some(json!("<closed>")),
                Ok(_) => {}
                Err(Error::Io(error)) if is_timeout(&error) => return None,
                Err(_) => return Some(json!("<closed>")),
            }
        }
    }

    /// The code the server closed with, once it has.
    pub fn close_code(&mut self) -> Option<u16> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match self.0.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
        None
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        self.0.get_mut()
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

pub struct Events {
    stream: TcpStream,
    /// Not taken apart yet, chunk sizes included.
    bytes: Vec<u8>,
    ended: bool,
}

impl Events {
    /// The stream, or the answer that is none.
    pub fn open(base: &str, target: &str, headers: &[(String, String)]) -> Result<Self, Reply> {
        let mut head = format!("GET {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", host(base));
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        let mut events = Self { stream: connect(base), bytes: vec![], ended: false };
        events.stream.write_all(head.as_bytes()).expect("the server takes a request");
        let end = loop {
            if let Some(end) = find(&events.bytes, b"\r\n\r\n") {
                break end;
            }
            assert!(events.more(PATIENCE), "no answer to {target}");
        };
        let head = String::from_utf8_lossy(&events.bytes[..end]).to_ascii_lowercase();
        if head.contains("content-type: text/event-stream") {
            events.bytes.drain(..end + 4);
            return Ok(events);
        }
        while events.more(PATIENCE) {}
        Err(super::wire::read(&events.bytes).expect("an answer"))
    }

    pub fn expect(&mut self, expected: usize, quiet: Option<Duration>) -> Vec<Value> {
        collect(expected, quiet, |left| self.next(left))
    }

    fn next(&mut self, within: Duration) -> Option<Value> {
        let until = Instant::now() + within;
        loop {
            while let Some(event) = self.event() {
                if event["data"] != "" {
                    return Some(event);
                }
            }
            if self.ended {
                return Some(json!({"closed": true}));
            }
            let left = until.checked_duration_since(Instant::now())?.max(Duration::from_millis(1));
            self.more(left);
        }
    }

    /// Whether more came; at the end of the stream `ended` is set.
    fn more(&mut self, within: Duration) -> bool {
        self.stream.set_read_timeout(Some(within)).expect("a timeout above zero");
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.ended = true,
            Ok(read) => {
                self.bytes.extend_from_slice(&chunk[..read]);
                return true;
            }
            Err(error) => self.ended = !is_timeout(&error),
        }
        false
    }

    /// Each event is a chunk of its own, as this engine sends them, or several lines of one.
    fn event(&mut self) -> Option<Value> {
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        let end = text.find("\n\n")?;
        let mut event = Map::new();
        for line in text[..end].lines().map(str::trim_end) {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.strip_prefix(' ').unwrap_or(value);
            if matches!(name, "data" | "event" | "id") {
                let before = event.get(name).and_then(Value::as_str).map(|text| format!("{text}\n"));
                event.insert(name.to_owned(), json!(before.unwrap_or_default() + value));
            }
        }
        if let Some(data) = event.get("data").and_then(Value::as_str).filter(|data| !data.is_empty()) {
            let data = serde_json::from_str(data).unwrap_or_else(|_| json!(data));
            event.insert("data".to_owned(), data);
        }
        self.bytes.drain(..end + 2);
        event.entry("data").or_insert_with(|| json!(""));
        Some(Value::Object(event))
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
