//! What must not get through, against the engine and against a server that notes what reaches it.
use serde_json::{Value, json};
use twinops::settings::{Credentials, FacadeAuth};

use super::forgery::raw;
use super::{Facade, Recorder, login, settings};

/// A facade whose users are those of a file, in front of a recorder.
pub fn recorded(answer: (u16, &'static str)) -> (Facade, Recorder) {
    let recorder = Recorder::answering(answer.0, answer.1);
    let users = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(users.path(), "ada:ada\n").unwrap();
    let auth = FacadeAuth::Basic { users: users.path().to_owned() };
    let mut facade = Facade::with(settings(&recorder.base, auth));
    facade.users = Some(users);
    (facade, recorder)
}

pub const THING: &str = r#"{"thingId":"com.example:t"}"#;

#[test]
fn s13_a_definition_that_is_an_address_is_passed_on_and_never_fetched() {
    let trap = Recorder::answering(200, "{}");
    let facade = Facade::open();
    for (n, url) in [
        format!("{}/model", trap.base),
        "http://169.254.169.254/latest".to_owned(),
        "http://[::ffff:127.0.0.1]/".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let thing = json!({"thing_id": format!("com.example:ssrf-{n}"), "definition": url}).to_string();
        assert!(matches!(facade.ask("POST", "/things/", &[], Some(&thing)).status, 201 | 400), "{url}");
    }
    for url in ["file:///etc/passwd", "gopher://127.0.0.1/"] {
        let thing = json!({"thing_id": "com.example:ssrf", "definition": url}).to_string();
        assert_eq!(facade.ask("POST", "/things/", &[], Some(&thing)).status, 400, "{url}");
    }
    assert!(trap.seen().is_empty());
}

#[test]
fn s14_other_sites_may_read_nothing_unless_they_are_configured() {
    let (facade, _recorder) = recorded((200, THING));
    let login = login("ada");
    let asked = |origin: &str| {
        facade.ask(
            "GET",
            "/things/com.example:t",
            &[("authorization", login.as_str()), ("origin", origin)],
            None,
        )
    };
    for origin in ["https://evil.example", "null", "https://app.example.evil", "http://app.example"] {
        let reply = asked(origin);
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, ""), "{origin}");
    }
    let reply = asked("https://app.example");
    assert_eq!(reply.header("access-control-allow-origin"), "https://app.example");
    assert_eq!((reply.header("access-control-allow-credentials"), reply.header("vary")), ("", "origin"));
    let preflight = |origin: &str| {
        facade.ask(
            "OPTIONS",
            "/things/",
            &[("origin", origin), ("access-control-request-method", "POST")],
            None,
        )
    };
    assert_eq!(preflight("https://app.example").status, 204);
    let refused = preflight("https://evil.example");
    assert_eq!((refused.status, refused.header("access-control-allow-methods")), (405, ""));
}

#[test]
fn s16_guessing_passwords_ends_in_429() {
    let (facade, _recorder) = recorded((200, THING));
    let wrong = "Basic YWRhOndyb25n"; // ada:wrong
    let statuses: Vec<u16> = (0..12)
        .map(|_| facade.ask("GET", "/things/com.example:t", &[("authorization", wrong)], None).status)
        .collect();
    assert_eq!(statuses[..10], [401; 10]);
    assert_eq!(statuses[10..], [429; 2]);
    assert_eq!(
        facade.by("ada", "GET", "/things/com.example:t", None).status,
        429,
        "even with the right one, for a while"
    );
}

#[test]
fn s17_what_belongs_to_another_is_not_there_by_any_route() {
    let facade = Facade::basic();
    let thing =
        r#"{"thing_id":"com.bola:t","attributes":{"secret":7},"features":{"f":{"properties":{"p":1}}}}"#;
    assert_eq!(facade.by("ada", "POST", "/things/", Some(thing)).status, 201);
    let body = Some(r#"{"properties":{"p":2}}"#);
    let rows = [
        ("GET", "/things/com.bola:t", None),
        ("GET", "/things/com.bola:t/features", None),
        ("GET", "/things/com.bola:t/features/f", None),
        ("GET", "/policies/com.bola:t", None),
        ("PUT", "/things/com.bola:t", Some("{}")),
        ("PATCH", "/things/com.bola:t", Some(r#"{"attributes":{"secret":8}}"#)),
        ("PUT", "/things/com.bola:t/features/f", body),
        ("PATCH", "/things/com.bola:t/features/f", body),
        ("DELETE", "/things/com.bola:t/features/f", None),
        ("DELETE", "/things/com.bola:t", None),
        ("DELETE", "/policies/com.bola:t", None),
    ];
    for (method, path, body) in rows {
        let status = facade.by("bob", method, path, body).status;
        assert!(
            if method == "GET" { status == 404 } else { matches!(status, 403 | 404) },
            "{method} {path} {status}"
        );
    }
    for path in ["/things/", "/search/things?q=eq(attributes/secret,7)", "/policies/"] {
        let list = facade.by("bob", "GET", path, None).json();
        assert_eq!(list["items"], Value::from(Vec::<Value>::new()), "{path}");
    }
    assert_eq!(
        facade.by("bob", "GET", "/search/things/count?q=exists(attributes/secret)", None).json()["count"],
        0
    );
    assert_eq!(facade.by("ada", "GET", "/things/com.bola:t", None).json()["attributes"]["secret"], 7);
    let reader = r#"{"entries":{"owner":{"subjects":{"nginx:ada":{"type":"t"}},"resources":{"thing:/":{"grant":["READ","WRITE"],"revoke":[]},"policy:/":{"grant":["READ","WRITE"],"revoke":[]}}},"reader":{"subjects":{"nginx:bob":{"type":"t"}},"resources":{"thing:/attributes":{"grant":["READ"],"revoke":[]}}}}}"#;
    assert_eq!(facade.by("ada", "PUT", "/policies/com.bola:t", Some(reader)).status, 204);
    let seen = facade.by("bob", "GET", "/things/com.bola:t", None).json();
    assert_eq!(
        seen,
        json!({"thing_id": "com.bola:t", "attributes": {"secret": 7}}),
        "what may be read, and nothing else"
    );
    assert_eq!(
        facade.by("bob", "PATCH", "/things/com.bola:t", Some(r#"{"attributes":{"secret":8}}"#)).status,
        403
    );
}

#[test]
fn s18_what_only_ditto_writes_is_refused() {
    let (facade, recorder) = recorded((200, THING));
    for member in [
        "_policy",
        "_created",
        "_metadata",
        "_revision",
        "_copyPolicyFrom",
        "__proto__",
        "constructor",
        "_pol\\u0069cy",
    ] {
        for (method, path) in [
            ("PUT", "/things/com.example:t"),
            ("PATCH", "/things/com.example:t"),
            ("POST", "/things/"),
            ("POST", "/policies/"),
        ] {
            let body = format!("{{\"thing_id\":\"com.example:t\",\"{member}\":{{}}}}")
                .replace(if path == "/policies/" { "thing_id" } else { "-" }, "policy_id");
            let reply = facade.by("ada", method, path, Some(&body));
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (400, "facade:member.invalid"),
                "{method} {path} {member}"
            );
        }
    }
    assert!(recorder.seen().is_empty());
}

#[test]
fn s19_metrics_and_the_like_are_on_another_port() {
    let facade = Facade::open();
    for path in ["/metrics", "/debug", "/debug/pprof", "/healthz", "/admin", "/.env"] {
        assert_eq!(facade.get(path).status, 404, "{path}");
    }
}

#[test]
fn s20_a_method_is_what_the_request_line_says() {
    let (facade, recorder) = recorded((200, THING));
    let login = login("ada");
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let headers = [("authorization", login.as_str()), (name, "DELETE")];
        assert_eq!(facade.ask("GET", "/things/com.example:t", &headers, None).status, 200);
    }
    assert!(recorder.seen().iter().all(|seen| seen.method == "GET"));
    for line in [
        "TRACE /things/com.example:t",
        "CONNECT 127.0.0.1:8080",
        "get /things/com.example:t",
        "PROPFIND /things/com.example:t",
    ] {
        let request =
            format!("{line} HTTP/1.1\r\nHost: x\r\nauthorization: {login}\r\nconnection: close\r\n\r\n");
        let (status, _) = raw(&facade, request.as_bytes());
        assert!(["400", "404", "405"].iter().any(|code| status.contains(code)), "{line}: {status}");
    }
    assert!(recorder.seen().is_empty());
}

#[test]
fn s21_what_a_form_can_send_is_no_json() {
    let (facade, recorder) = recorded((200, THING));
    let login = login("ada");
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain; application/json",
    ] {
        for (method, path) in [
            ("POST", "/things/"),
            ("PUT", "/things/com.example:t"),
            ("PATCH", "/things/com.example:t"),
            ("POST", "/things/com.example:t/messages/m"),
        ] {
            let headers = [("authorization", login.as_str()), ("content-type", kind)];
            let reply = facade.ask(method, path, &headers, Some(r#"{"thing_id":"com.example:t"}"#));
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (415, "mediatype.unsupported"),
                "{method} {path} {kind}"
            );
        }
    }
    let evil = [("authorization", login.as_str()), ("origin", "https://evil.example")];
    assert_eq!(
        facade.ask("POST", "/things/", &evil, Some(r#"{"thing_id":"com.example:t"}"#)).code(),
        "facade:origin.forbidden"
    );
    assert!(recorder.seen().is_empty());
}

#[test]
fn s22_what_goes_wrong_inside_stays_inside() {
    let answers: [(u16, &'static str); 6] = [
        (
            500,
            r#"{"status":500,"error":"internalerror","message":"java.lang.NullPointerException at mongo-0.internal:27017"}"#,
        ),
        (502, "<html>nginx/1.25 upstream 10.1.2.3:8080</html>"),
        (404, "<html>nginx</html>"),
        (200, "not json mongo-0.internal"),
        (503, r#"{"error":"ask.error","message":"pekko://ditto@10.1.2.3:2551"}"#),
        (302, "mongo-0.internal"),
    ];
    for answer in answers {
        let (facade, recorder) = recorded(answer);
        let reply = facade.by("ada", "GET", "/things/com.example:t", None);
        assert!(matches!(reply.status, 502 | 503), "{answer:?} {reply:?}");
        reply.code();
        let told = format!("{:?} {}", reply.headers, reply.text);
        for secret in ["mongo", "java", "10.1.2.3", "nginx/", "pekko", &recorder.base["http://".len()..]] {
            assert!(!told.contains(secret), "{secret}: {told}");
        }
    }
    let nobody =
        settings("http://127.0.0.1:9", FacadeAuth::None(Credentials::PreAuthenticated("a:b".to_owned())));
    let facade = Facade::with(nobody);
    let reply = facade.get("/things/com.example:t");
    assert_eq!((reply.status, reply.code().as_str()), (503, "facade:ditto.unavailable"));
    assert!(!reply.text.contains("127.0.0.1"), "{reply:?}");
    assert_eq!(facade.get("/health").status, 503);
}

#[test]
fn s24_conditions_that_are_none_are_refused() {
    let facade = Facade::open();
    assert_eq!(facade.ask("POST", "/things/", &[], Some(r#"{"thing_id":"com.example:cond"}"#)).status, 201);
    for value in ["garbage", "rev:1"] {
        let reply = facade.ask("PUT", "/things/com.example:cond", &[("if-match", value)], Some("{}"));
        assert_eq!((reply.status, reply.code().as_str()), (400, "header.invalid"), "{value}");
    }
    let long = format!("\"{}\"", "x".repeat(64 * 1024));
    let request = format!(
        "GET /things/com.example:cond HTTP/1.1\r\nHost: localhost\r\nif-match: {long}\r\nconnection: close\r\n\r\n"
    );
    let (status, _) = raw(&facade, request.as_bytes());
    assert!(status.starts_with("HTTP/1.1 431"), "{status}");
}

#[test]
fn s25_a_page_cannot_be_made_larger_or_a_cursor_made_up() {
    let facade = Facade::open();
    for query in [
        "limit=1000000000",
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=1&limit=200",
        "cursor=made-up",
        "cursor=a),size(200",
        "cursor=",
    ] {
        for path in ["/things/", "/search/things", "/policies/"] {
            let reply = facade.get(&format!("{path}?{query}"));
            assert_eq!(reply.status, 400, "{path}?{query} {reply:?}");
        }
    }
}
