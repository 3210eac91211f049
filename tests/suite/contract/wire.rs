//! HTTP as it goes over the wire: the target and the headers exactly as a transcript has them.
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than any answer of a Ditto (commands end after 60 s).
const PATIENCE: Duration = Duration::from_secs(75);

#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    /// Lower-case names, in order.
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

/// `base` is `http://host:port`, perhaps with a path in front of every target.
pub fn send(
    base: &str,
    method: &str,
    target: &str,
    headers: &[(String, String)],
    body: Option<&[u8]>,
) -> Reply {
    try_send(base, method, target, headers, body)
        .unwrap_or_else(|error| panic!("nobody listens on {base}: {error}"))
}

/// As [`send`]; an error when nobody listens.
pub fn try_send(
    base: &str,
    method: &str,
    target: &str,
    headers: &[(String, String)],
    body: Option<&[u8]>,
) -> io::Result<Reply> {
    let rest = base.strip_prefix("http://").expect("a base URL begins with http://");
    let (host, prefix) = rest.split_once('/').map_or((rest, String::new()), |(h, p)| (h, format!("/{p}")));
    let mut head = format!("{method} {prefix}{target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    if body.is_some() || matches!(method, "POST" | "PUT" | "PATCH") {
        let length = body.map_or(0, <[u8]>::len).to_string();
        head.extend(["content-length: ", &length, "\r\n"]);
    }
    let message = [head.as_bytes(), b"\r\n", body.unwrap_or_default()].concat();
    Ok(read(&exchange(host, &message)?).unwrap_or_default())
}

/// The whole answer to bytes that need not be a proper request.
pub fn raw(base: &str, message: &[u8]) -> String {
    let host = base.strip_prefix("http://").expect("a base URL begins with http://");
    let answer = exchange(host, message).unwrap_or_else(|error| panic!("nobody listens on {host}: {error}"));
    String::from_utf8_lossy(&answer).into_owned()
}

fn exchange(host: &str, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
    // the server may answer before it has read everything
    drop(stream.write_all(message));
    let mut bytes = vec![];
    drop(stream.read_to_end(&mut bytes));
    Ok(bytes)
}

pub fn read(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header =
        |line: &str| line.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()));
    let reply = Reply { status, headers: lines.filter_map(header).collect(), text: String::new() };
    let chunked = reply.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
    let body = if chunked { dechunk(&bytes[end + 4..]) } else { bytes[end + 4..].to_vec() };
    Some(Reply { text: String::from_utf8_lossy(&body).into_owned(), ..reply })
}

fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = vec![];
    while let Some(line) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size = String::from_utf8_lossy(&bytes[..line])
            .split(';')
            .next()
            .map(str::trim)
            .unwrap_or_default()
            .to_owned();
        let size = usize::from_str_radix(&size, 16).unwrap_or_default();
        let from = line + 2;
        if size == 0 || bytes.len() < from + size + 2 {
            break;
        }
        whole.extend_from_slice(&bytes[from..from + size]);
        bytes = &bytes[from + size + 2..];
    }
    whole
}
