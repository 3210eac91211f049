//! Requests as nearly all clients send them: a method of the API, HTTP/1.1, a known and small length, the whole answer
//! in one piece. They are read here, for less than the HTTP library needs; it gets everything else.
use axum::body::{Body, Bytes};
use axum::http::response::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};

/// The longest usual head, in bytes.
const HEAD_MAX: usize = 8 * 1024;
/// The longest usual body, in bytes.
const BODY_MAX: usize = 16 * 1024;
/// What may be read of a connection before it is answered, in bytes: no more is needed to go on.
pub const READ_MAX: usize = HEAD_MAX + BODY_MAX;
/// Headers of a usual request.
const HEADERS_MAX: usize = 64;

/// What the bytes begin with.
#[expect(clippy::large_enum_variant, reason = "it lives for a moment, and mostly is the large one")]
pub enum Front {
    /// The beginning of a request: the rest is waited for.
    Part,
    /// A request, and how many bytes it takes.
    Whole(Request<Body>, usize),
    /// Something for the HTTP library.
    Unusual,
}

/// Looks at what was read so far.
pub fn front(read: &[u8]) -> Front {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(read) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if read.len() < HEAD_MAX => return Front::Part,
        _ => return Front::Unusual,
    };
    let Some((mut request, body)) = request(&head) else { return Front::Unusual };
    if body > 0 {
        let Some(body) = read.get(length..length + body) else { return Front::Part };
        *request.body_mut() = Body::from(Bytes::copy_from_slice(body));
    }
    Front::Whole(request, length + body)
}

/// The request without its body, and how long that is; `None` when any of it is unusual.
fn request(head: &httparse::Request<'_, '_>) -> Option<(Request<Body>, usize)> {
    let method = match head.method? {
        "GET" => Method::GET,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        "POST" => Method::POST,
        "DELETE" => Method::DELETE,
        _ => return None,
    };
    let target = head.path.filter(|path| path.starts_with('/'))?;
    if head.version != Some(1) {
        return None;
    }
    let (headers, body) = headers(head.headers)?;
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::try_from(target).ok()?;
    *request.headers_mut() = headers;
    Some((request, body))
}

fn headers(given: &[httparse::Header<'_>]) -> Option<(HeaderMap, usize)> {
    let (mut headers, mut body) = (HeaderMap::with_capacity(given.len()), None);
    for httparse::Header { name, value } in given {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        match name {
            header::TRANSFER_ENCODING | header::UPGRADE | header::EXPECT => return None,
            header::CONNECTION if !value.eq_ignore_ascii_case(b"keep-alive") => return None,
            header::ACCEPT if contains(value, b"text/event-stream") => return None,
            header::CONTENT_LENGTH if body.is_some() => return None,
            header::CONTENT_LENGTH => body = Some(number(value).filter(|length| *length <= BODY_MAX)?),
            _ => {}
        }
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some((headers, body.unwrap_or_default()))
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// Digits and nothing else.
fn number(text: &[u8]) -> Option<usize> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// Writes the head of an answer. A body of no known `length` ends with its connection.
pub fn write_head(answer: &Parts, length: Option<u64>, date: &str, out: &mut Vec<u8>) {
    let status = answer.status;
    let mut write = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    let reason = status.canonical_reason().unwrap_or("Unknown");
    write(&[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"]);
    for (name, value) in &answer.headers {
        write(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    let has_no_body = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    match length {
        None => write(&[b"connection: close\r\n"]),
        Some(_) if has_no_body || answer.headers.contains_key(header::CONTENT_LENGTH) => {}
        Some(length) => write(&[b"content-length: ", length.to_string().as_bytes(), b"\r\n"]),
    }
    write(&[b"date: ", date.as_bytes(), b"\r\n\r\n"]);
}

#[cfg(test)]
mod tests {
    use axum::http::Response;

    use super::*;

    const GET: &str = "GET /a?b=c HTTP/1.1\r\nhost: x\r\n";
    const PUT: &str = "PUT /a HTTP/1.1\r\ncontent-length: 2\r\n\r\n";

    /// How many bytes of these requests are taken, `None` when they go to the library, 0 when more is waited for.
    fn taken(text: &str) -> Option<usize> {
        match front(text.as_bytes()) {
            Front::Part => Some(0),
            Front::Whole(_, length) => Some(length),
            Front::Unusual => None,
        }
    }

    #[test]
    fn a_usual_request_is_taken_whole_and_nothing_behind_it() {
        let whole = format!("{GET}\r\n");
        assert_eq!(taken(&format!("{whole}GET /b")), Some(whole.len()));
        assert_eq!(taken(&format!("{PUT}12GET")), Some(PUT.len() + 2));
        for end in 0..whole.len() {
            assert_eq!(taken(&whole[..end]), Some(0), "{end}");
        }
        assert_eq!(taken(&format!("{PUT}1")), Some(0));
        let Front::Whole(request, _) =
            front(format!("{GET}a: 1\r\nA: 2\r\nconnection: Keep-Alive\r\n\r\n").as_bytes())
        else {
            panic!("it is usual")
        };
        let values: Vec<_> = request.headers().get_all("a").iter().collect();
        assert_eq!((request.uri().to_string().as_str(), values == ["1", "2"]), ("/a?b=c", true));
    }

    #[test]
    fn whatever_is_unusual_is_left_to_the_library() {
        let headers = [
            "transfer-encoding: chunked",
            "upgrade: websocket",
            "expect: 100-continue",
            "connection: close",
            "connection: keep-alive, upgrade",
            "accept: text/html, text/event-stream",
            "content-length: 1\r\ncontent-length: 1",
            "content-length: +1",
            "content-length: 1, 1",
            "content-length: ",
            "content-length: 16385",
            "content-length: 99999999999999999999",
            "a : 1",
            "a: 1\r\n folded: 2",
            "a: \u{1}",
        ];
        for header in headers {
            assert_eq!(taken(&format!("{GET}{header}\r\n\r\n1")), None, "{header}");
        }
        let many = "a: 1\r\n".repeat(HEADERS_MAX);
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(HEAD_MAX));
        let rows = [
            "HEAD / HTTP/1.1\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\n\r\n",
            "GET * HTTP/1.1\r\n\r\n",
            "GET http://x/ HTTP/1.1\r\n\r\n",
            "GET /?a=\"b\" HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\u{16}\u{3}\u{1}",
            &format!("{GET}{many}\r\n"),
            &long,
        ];
        for row in rows {
            assert_eq!(taken(row), None, "{row}");
        }
    }

    #[test]
    fn a_head_says_how_its_body_ends() {
        let rows = [
            (200, Some(3), "HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 3\r\ndate: now\r\n\r\n"),
            (204, Some(0), "HTTP/1.1 204 No Content\r\na: b\r\ndate: now\r\n\r\n"),
            (304, Some(0), "HTTP/1.1 304 Not Modified\r\na: b\r\ndate: now\r\n\r\n"),
            (202, Some(0), "HTTP/1.1 202 Accepted\r\na: b\r\ncontent-length: 0\r\ndate: now\r\n\r\n"),
            (200, None, "HTTP/1.1 200 OK\r\na: b\r\nconnection: close\r\ndate: now\r\n\r\n"),
        ];
        for (status, length, expected) in rows {
            let answer = Response::builder().status(status).header("a", "b").body(()).unwrap().into_parts().0;
            let mut out = vec![];
            write_head(&answer, length, "now", &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
