//! Requests nobody should send. Each has its answer, none its own memory, and the engine goes on.
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::process::Process;
use super::{ask, code};
use crate::contract::engine::Engine;
use crate::contract::wire;
use crate::support::wait_for;

const MEBIBYTE: usize = 1024 * 1024;

fn repeated(count: u32, part: impl Fn(u32) -> String) -> String {
    (0..count).map(part).collect::<Vec<_>>().concat()
}

/// Percent-encodes all but letters and digits.
fn encoded(id: &str) -> String {
    id.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[test]
fn s7_ids_are_taken_and_refused_as_in_ditto() {
    let engine = Engine::in_memory();
    let long = |length: usize| format!("a:{}", "x".repeat(length - 2));
    let rows = [
        ("an id of 256 characters", long(256), 201, ""),
        ("an id of 257 characters", long(257), 400, "things:id.invalid"),
        ("characters above U+00FF", "a:\u{100}\u{4e16}".to_owned(), 201, ""),
        ("an emoji", "a:\u{1f600}".to_owned(), 201, ""),
        ("composed", "a:\u{1e69}".to_owned(), 201, ""),
        ("decomposed: another thing", "a:s\u{323}\u{307}".to_owned(), 201, ""),
        ("a colon in the name", "a:b:c".to_owned(), 201, ""),
        ("a slash", "a:b/c".to_owned(), 400, "things:id.invalid"),
        ("a control character", "a:b\u{1}".to_owned(), 400, "things:id.invalid"),
        ("U+007F", "a:b\u{7f}".to_owned(), 400, "things:id.invalid"),
        ("U+00E9", "a:caf\u{e9}".to_owned(), 400, "things:id.invalid"),
        ("no colon", "nothing".to_owned(), 400, "things:id.invalid"),
        ("no name", "a:".to_owned(), 400, "things:id.invalid"),
        ("a namespace of dots", "..:x".to_owned(), 400, "things:id.invalid"),
        ("a namespace with an empty part", "a..b:x".to_owned(), 400, "things:id.invalid"),
        ("a namespace that begins with a digit", "1a:x".to_owned(), 400, "things:id.invalid"),
        ("a namespace with a space", "a b:x".to_owned(), 400, "things:id.invalid"),
    ];
    for (what, id, status, error) in rows {
        let target = format!("/api/2/things/{}", encoded(&id));
        let reply = ask(&engine.base, "PUT", &target, &[], Some(b"{}"));
        assert_eq!((reply.status, code(&reply).as_str()), (status, error), "{what}: {}", reply.text);
        if status == 201 {
            let place = reply.header("location").expect("what was created has a place");
            assert!(place.is_ascii(), "{what}: {place}");
            let found = ask(&engine.base, "GET", &place[engine.base.len()..], &[], None).status == 200;
            assert!(found, "{what}: {place}");
        }
    }
}

#[test]
fn s8_a_body_one_byte_too_long_is_refused_before_it_is_read() {
    let engine = Process::start();
    let thing = "/api/2/things/s08:t";
    let spaces = |length: usize| [b"{}".as_slice(), &vec![b' '; length - 2]].concat();
    assert_eq!(ask(&engine.base, "PUT", thing, &[], Some(&spaces(MEBIBYTE))).status, 201);
    assert_eq!(ask(&engine.base, "PUT", thing, &[], Some(&spaces(MEBIBYTE + 1))).status, 413);
    let head = "PUT /api/2/things/s08:u HTTP/1.1\r\nhost: x\r\nx-ditto-pre-authenticated: nginx:ditto\r\n";
    let announced = format!("{head}content-length: 10000000000\r\n\r\n");
    assert!(wire::raw(&engine.base, announced.as_bytes()).starts_with("HTTP/1.1 413"), "a length of 10 GB");
    let negative = format!("{head}content-length: -1\r\n\r\n");
    assert!(wire::raw(&engine.base, negative.as_bytes()).starts_with("HTTP/1.1 400"), "a negative length");
    let twice = format!("{head}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}");
    assert!(wire::raw(&engine.base, twice.as_bytes()).starts_with("HTTP/1.1 400"), "two lengths");
    let early = format!("{head}content-length: 2\r\nconnection: close\r\n\r\n{{}}GET / HTTP/1.1\r\n\r\n");
    assert!(wire::raw(&engine.base, early.as_bytes()).starts_with("HTTP/1.1 201"), "more than announced");
}

#[test]
fn s8_chunks_without_end_are_cut_off() {
    let engine = Process::start();
    let mut stream = TcpStream::connect(&engine.base["http://".len()..]).expect("it listens");
    let head = "PUT /api/2/things/s08:c HTTP/1.1\r\nhost: x\r\nx-ditto-pre-authenticated: nginx:ditto\r\n\
        transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("it reads heads");
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x1_0000], b"\r\n"].concat();
    let endless = 100 * MEBIBYTE / chunk.len();
    let sent = (0..endless).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!(sent < endless, "it read all of {sent} chunks");
    assert!(engine.peak() < 100, "{} MiB", engine.peak());
    assert_eq!(ask(&engine.base, "GET", "/health", &[], None).status, 200);
}

#[test]
fn s9_headers_without_measure_are_refused() {
    let engine = Process::start();
    let headers = |count: u32| repeated(count, |n| format!("x-h{n}: v\r\n"));
    let long = |length: usize| format!("x-h: {}\r\n", "v".repeat(length));
    let rows = [
        ("65 headers", headers(65), "431"),
        ("1,000 headers", headers(1_000), "431"),
        ("more than 5 KiB together", long(5 * 1024), "431"),
        ("a header of 64 KiB", long(64 * 1024), "431"),
        ("a name with a space", "x h: v\r\n".to_owned(), "400"),
        ("a line folded as of old", "x-h: v\r\n w\r\n".to_owned(), "400"),
    ];
    for (what, headers, status) in rows {
        let head = format!("GET /api/2/whoami HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        let answer = wire::raw(&engine.base, head.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{what}: {answer:.80}");
    }
    let flood = long(20 * MEBIBYTE);
    let upgrade = format!("GET /ws/2 HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n{flood}\r\n");
    // it may close the socket before it has read everything: then there is no answer to be read
    let answer = wire::raw(&engine.base, upgrade.as_bytes());
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:.80}");
    assert!(engine.peak() < 100, "{} MiB", engine.peak());
    assert_eq!(ask(&engine.base, "GET", "/health", &[], None).status, 200);
}

/// As docs/engine.md has it.
const CONNECTIONS_MAX: usize = 900;
/// For a head, with time to notice. After that a connection is cut off.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(30);

/// Connections that begin a head and never end it, held by a process of their own: they would be too many files for this
/// one. They are closed when it is dropped.
struct HalfOpen(Child);

impl HalfOpen {
    fn to(base: &str, count: usize) -> Self {
        const OPEN: &str = r#"
            trap "" PIPE
            for ((n = 0; n < $2; n++)); do
                exec {stream}<>"/dev/tcp/127.0.0.1/$1" || exit
                # Who is turned away may not be listened to any more.
                printf "GET / HTTP/1.1\r\nx" >&"$stream" 2> /dev/null
            done
            echo open
            read -r
        "#;
        let port = base.rsplit(':').next().expect("a port");
        let mut command = Command::new("bash");
        command.args(["-c", OPEN, "bash", port, &count.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash is there");
        let mut said = String::new();
        let stdout = child.stdout.as_mut().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut said).expect("a line on stdout");
        assert_eq!(said, "open\n", "{count} connections");
        Self(child)
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Asks over a connection that goes on afterwards; the status.
fn ask_again(stream: &mut TcpStream) -> u16 {
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").expect("it reads");
    stream.set_read_timeout(Some(CUT_OFF_WITHIN)).expect("a timeout above zero");
    let (mut bytes, mut chunk) = (vec![], [0; 4_096]);
    loop {
        let read = stream.read(&mut chunk).expect("an answer in time");
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&chunk[..read]);
        let whole = wire::read(&bytes)
            .filter(|reply| reply.header("content-length") == Some(reply.text.len().to_string()));
        if let Some(reply) = whole {
            return reply.status;
        }
    }
}

#[test]
fn s10_half_open_connections_keep_nobody_out() {
    let engine = Process::start();
    let before = engine.peak();
    let mut known = TcpStream::connect(&engine.base["http://".len()..]).expect("it listens");
    assert_eq!(ask_again(&mut known), 200);
    let all = HalfOpen::to(&engine.base, CONNECTIONS_MAX - 1);
    // One more is told so at once, and a crowd uses up nobody's files; who was there before is served.
    let told = ask(&engine.base, "GET", "/health", &[], None);
    assert_eq!((told.status, code(&told).as_str()), (503, "gateway:service.unavailable"), "{}", told.text);
    let crowd = HalfOpen::to(&engine.base, 100);
    assert_eq!(ask_again(&mut known), 200);
    // They are held open, and cut off all the same.
    wait_for("a free place", CUT_OFF_WITHIN, || {
        (ask(&engine.base, "GET", "/health", &[], None).status == 200).then_some(())
    });
    drop((all, crowd));
    let counted = ask(&engine.base, "GET", "/status/metrics", &[], None);
    let counted: Value = serde_json::from_str(&counted.text).expect("JSON");
    assert!(counted["connectionsTurnedAway"].as_u64() >= Some(101), "{counted}");
    assert!(engine.peak() < before + 60, "{before} MiB, then {} MiB", engine.peak());
}

#[test]
fn s11_coded_bodies_are_refused_unread() {
    let engine = Engine::in_memory();
    for coding in ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x"] {
        let headers = [("content-encoding", coding)];
        let reply = ask(&engine.base, "PUT", "/api/2/things/s11:t", &headers, Some(b"{}"));
        assert_eq!((reply.status, code(&reply).as_str()), (415, "mediatype.unsupported"), "{coding}");
    }
    let plain =
        ask(&engine.base, "PUT", "/api/2/things/s11:t", &[("content-encoding", "identity")], Some(b"{}"));
    assert_eq!(plain.status, 201);
}

#[test]
fn s12_json_that_is_none_or_too_much_is_refused_in_constant_memory() {
    let engine = Process::start();
    let thing = "/api/2/things/s12:t";
    assert_eq!(ask(&engine.base, "PUT", thing, &[], Some(b"{}")).status, 201);
    let keys = repeated(60_000, |n| format!("\"k{n}\":1,"));
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    let rows: [(&str, Vec<u8>, u16, &str); 14] = [
        ("arrays 100,000 deep", deep("[", "]").into(), 400, "json.invalid"),
        ("objects 100,000 deep", deep("{\"a\":", "}").into(), 400, "json.invalid"),
        ("never closed", "[".repeat(500_000).into(), 400, "json.invalid"),
        ("60,000 keys", format!("{{{keys}\"z\":1}}").into(), 413, "things:thing.toolarge"),
        (
            "a million empty arrays",
            format!("[{}[]]", "[],".repeat(340_000)).into(),
            413,
            "things:thing.toolarge",
        ),
        ("a number above all numbers", b"1e999999".to_vec(), 400, "json.invalid"),
        (
            "a string of 200,000 characters",
            format!("\"{}\"", "x".repeat(200_000)).into(),
            413,
            "things:thing.toolarge",
        ),
        ("bytes that are no UTF-8", b"\"\xff\xfe\"".to_vec(), 400, "json.invalid"),
        ("a lone surrogate", br#""\ud800""#.to_vec(), 400, "json.invalid"),
        ("a byte order mark", b"\xef\xbb\xbf1".to_vec(), 400, "json.invalid"),
        ("something after the end", b"1 2".to_vec(), 400, "json.invalid"),
        ("a comma too many", b"[1,]".to_vec(), 400, "json.invalid"),
        ("not a number", b"NaN".to_vec(), 400, "json.invalid"),
        ("U+0000", br#""\u0000""#.to_vec(), 400, "json.invalid"),
    ];
    for (what, body, status, error) in rows {
        let reply = ask(&engine.base, "PUT", &format!("{thing}/attributes/a"), &[], Some(&body));
        assert_eq!((reply.status, code(&reply).as_str()), (status, error), "{what}: {:.200}", reply.text);
    }
    assert!(engine.peak() < 200, "{} MiB", engine.peak());
    let twice =
        ask(&engine.base, "PUT", &format!("{thing}/attributes"), &[], Some(br#"{"a":1,"b":2,"a":3}"#));
    assert_eq!(twice.status, 201);
    let kept = ask(&engine.base, "GET", &format!("{thing}/attributes"), &[], None);
    assert_eq!(kept.text, r#"{"a":3,"b":2}"#, "the last of two equal keys, at the place of the first");
}

#[test]
fn s27_filters_without_end_are_refused() {
    let engine = Process::start();
    let nested = |depth: usize| format!("{}eq(attributes/a,1){}", "and(".repeat(depth), ")".repeat(depth));
    let values = repeated(10_000, |n| format!(",{n}"));
    let form = |filter: &str| format!("filter={}", encoded(filter)).into_bytes();
    let many = format!("in(attributes/a{values})");
    let rows = [
        ("nested 100,000 deep", form(&nested(100_000)), 400),
        ("nested 10,000 deep", form(&nested(10_000)), 400),
        ("a megabyte of one name", form(&format!("eq({},1)", "a".repeat(MEBIBYTE - 100))), 400),
        ("never closed", form(&"not(".repeat(80_000)), 400),
        ("10,000 values", form(&many), 400),
    ];
    for (what, body, status) in rows {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let reply = ask(&engine.base, "POST", "/api/2/search/things", &headers, Some(&body));
        assert_eq!(reply.status, status, "{what}: {:.200}", reply.text);
        assert_eq!(code(&reply), "rql.expression.invalid", "{what}");
    }
    assert!(engine.peak() < 200, "{} MiB", engine.peak());
}
