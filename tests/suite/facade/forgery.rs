//! What a client says of itself, and requests that can be read in two ways: S1 to S6.
use std::io::{Read, Write};
use std::net::TcpStream;

use super::attacks::{THING, recorded};
use super::{Facade, login};

#[test]
fn s1_a_client_cannot_say_who_it_is() {
    let (facade, recorder) = recorded((200, THING));
    let names = [
        "x-ditto-pre-authenticated",
        "X-Ditto-Pre-Authenticated",
        "x_ditto_pre_authenticated",
        "X-DITTO_pre-authenticated",
    ];
    for name in names {
        let headers = [
            ("authorization", login("ada")),
            (name, "nginx:admin".to_owned()),
            (name, "nginx:root".to_owned()),
        ];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(facade.ask("GET", "/things/com.example:t", &headers, None).status, 200, "{name}");
        for seen in recorder.seen() {
            let told: Vec<_> = seen.headers.get_all("x-ditto-pre-authenticated").iter().collect();
            assert_eq!(told, ["nginx:ada"], "{name}");
            assert!(!seen.headers.values().any(|value| value == "nginx:admin"), "{seen:?}");
        }
    }
    let unknown = [("x-ditto-pre-authenticated", "nginx:ditto")];
    assert_eq!(
        facade.ask("GET", "/things/com.example:t", &unknown, None).status,
        401,
        "and without credentials it is nobody"
    );
    assert!(recorder.seen().is_empty());
}

#[test]
fn s2_nor_say_it_in_the_url() {
    let (facade, recorder) = recorded((200, THING));
    for path in [
        "/things/",
        "/things/com.example:t",
        "/search/things",
        "/policies/",
        "/events",
        "/ws/events",
        "/ws/ditto",
    ] {
        for name in [
            "x-ditto-pre-authenticated",
            "X-Ditto-Pre-Authenticated",
            "x%2dditto%2dpre-authenticated",
            "ditto-sudo",
            "put-metadata",
            "allow-policy-lockout",
        ] {
            let reply = facade.by("ada", "GET", &format!("{path}?{name}=nginx:admin"), None);
            assert_eq!((reply.status, reply.code().as_str()), (400, "facade:query.unknown"), "{path} {name}");
        }
    }
    assert!(recorder.seen().is_empty());
}

#[test]
fn s3_only_headers_of_a_list_are_passed_on() {
    let (facade, recorder) = recorded((200, THING));
    let login = login("ada");
    let headers = [
        ("authorization", login.as_str()),
        ("x-ditto-dummy-auth", "x"),
        ("ditto-originator", "x"),
        ("ditto-sudo", "true"),
        ("ditto-read-subjects", "[]"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-user", "admin"),
        ("cookie", "a=b"),
        ("put-metadata", "[]"),
        ("delete-metadata", "x"),
        ("allow-policy-lockout", "true"),
        ("requested-acks", "x"),
        ("channel", "live"),
        ("connection", "x-ditto-pre-authenticated"),
        ("x-request-id", "mine-1"),
        ("if-none-match", "\"rev:9\""),
        ("accept", "application/td+json"),
    ];
    assert_eq!(facade.ask("GET", "/things/com.example:t", &headers, None).status, 200);
    let body = Some(r#"{"attributes":{}}"#);
    assert_eq!(facade.ask("PATCH", "/things/com.example:t", &headers, body).status, 200);
    for seen in recorder.seen() {
        let allowed = [
            "host",
            "content-length",
            "content-type",
            "correlation-id",
            "if-match",
            "if-none-match",
            "x-ditto-pre-authenticated",
        ];
        let strangers: Vec<_> =
            seen.headers.keys().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(strangers.is_empty(), "{} {strangers:?}", seen.method);
        assert_eq!(seen.headers["correlation-id"], "mine-1");
    }
}

/// The status line of what is answered to these bytes, and whether the connection is closed after it.
pub fn raw(facade: &Facade, bytes: &[u8]) -> (String, bool) {
    let mut stream = TcpStream::connect(facade.address).unwrap();
    stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = vec![];
    let ended = stream.read_to_end(&mut answer).is_ok();
    (String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned(), ended)
}

#[test]
fn s4_a_request_that_can_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    let (facade, recorder) = recorded((200, THING));
    let head = format!(
        "POST /things/ HTTP/1.1\r\nHost: x\r\nauthorization: {}\r\ncontent-type: application/json\r\n",
        login("ada")
    );
    let rows = [
        ("two lengths", "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"),
        (
            "a length and chunks",
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        ("chunked, but not last", "Transfer-Encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        ("a folded header", "X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}"),
        ("a zero byte in a header", "X-A: b\0c\r\nContent-Length: 2\r\n\r\n{}"),
        ("a length that is no number", "Content-Length: +2\r\n\r\n{}"),
        ("a space before the colon", "Content-Length : 2\r\n\r\n{}"),
    ];
    for (name, rest) in rows {
        let (status, ended) = raw(&facade, format!("{head}{rest}").as_bytes());
        assert!(status.starts_with("HTTP/1.1 400") && ended, "{name}: {status}");
    }
    assert!(recorder.seen().is_empty(), "nothing of it reaches Ditto");
}

#[test]
fn s5_an_id_cannot_end_a_line() {
    let (facade, recorder) = recorded((200, THING));
    for path in [
        "/things/com.example:t%0d%0aX:1",
        "/things/com.example:t%00",
        "/things/com.example:t/features/f%0aX",
        "/policies/com.example:p%0d%0aX:1",
    ] {
        assert_eq!(facade.by("ada", "GET", path, None).status, 400, "{path}");
    }
    let forged = [("authorization", login("ada")), ("correlation-id", "twinops-operator-1".to_owned())];
    let forged: Vec<_> = forged.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert!(
        facade
            .ask("GET", "/things/com.example:t", &forged, None)
            .header("correlation-id")
            .starts_with("facade-")
    );
    assert_eq!(recorder.seen().len(), 1);
}

#[test]
fn s6_no_path_leads_out_of_things_and_policies() {
    let (facade, recorder) = recorded((200, THING));
    let paths = [
        "/things/..%2f..%2fdevops",
        "/things/%2e%2e/%2e%2e/devops/logging",
        "/things/com.example:x%2f..%2f..%2fdevops",
        "//devops",
        "/devops",
        "/devops/logging",
        "/connections",
        "/overall/status",
        "/api/2/things",
        "/api/2/things/../../devops/logging",
        "/things/;/devops",
        "/things/..;/devops",
        "/things/\\..\\devops",
        "/things/%252e%252e%252fdevops",
        "/status",
        "/stats/things",
        "/api/2/connections",
        "/things/com.example:t/messages/..",
        "/things/com.example:t/features/..%2f..",
        "/whoami",
        "/ws/2",
    ];
    for path in paths {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nauthorization: {}\r\nconnection: close\r\n\r\n",
            login("ada")
        );
        let (status, _) = raw(&facade, request.as_bytes());
        let refused =
            ["HTTP/1.1 404", "HTTP/1.1 400", "HTTP/1.1 405"].iter().any(|start| status.starts_with(start));
        assert!(refused, "{path}: {status}");
    }
    let dots = facade.by("ada", "GET", "/things/com.example:%2e%2e", None);
    assert_eq!(dots.status, 200, "an id may look so, and stays one segment");
    let seen = recorder.seen();
    assert!(seen.iter().all(|seen| seen.target.starts_with("/api/2/things/com.example:..?")), "{seen:?}");
}
