//! Who is let in, and what is too much. What Ditto leaves to the proxy in front of it, the engine does itself.
use twinops::engine::{EngineError, EngineOptions};

use super::engine::Engine;
use super::wire::{self, Reply};

/// What it is, its headers, and the status it is answered with.
type Row = (&'static str, &'static [(&'static str, &'static str)], u16);

fn ask(base: &str, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Reply {
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    wire::send(base, method, target, &headers, body)
}

#[test]
fn users_of_the_file_are_let_in_and_nobody_else() {
    let users = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(users.path(), "# people\nditto:ditto\n").expect("a temporary file");
    let file = Some(users.path().to_owned());
    let engine =
        Engine::with(EngineOptions { basic_auth_file: file, ..Engine::options() }).expect("it starts");
    let rows: [Row; 6] = [
        ("the right password", &[("authorization", "Basic ZGl0dG86ZGl0dG8=")], 200),
        ("a wrong password", &[("authorization", "Basic ZGl0dG86b3R0aWQ=")], 401),
        ("no user at all", &[("authorization", "Basic !")], 401),
        ("a token", &[("authorization", "Bearer x.y.z")], 400),
        ("no credentials", &[], 401),
        (
            "s01: a header that only a trusted proxy may send",
            &[("x-ditto-pre-authenticated", "nginx:ditto")],
            401,
        ),
    ];
    for (what, headers, status) in rows {
        let reply = ask(&engine.base, "GET", "/api/2/whoami", headers, None);
        assert_eq!(reply.status, status, "{what}: {}", reply.text);
    }
    let forged = ask(&engine.base, "GET", "/api/2/whoami?x-ditto-pre-authenticated=nginx:ditto", &[], None);
    assert_eq!(forged.status, 401, "s02: the same as a parameter");
}

#[test]
fn nobody_in_particular_is_let_in_on_loopback_only() {
    let anonymous = || EngineOptions { anonymous: Some("nginx:ditto".to_owned()), ..Engine::options() };
    let open = EngineOptions { listen: "0.0.0.0:0".parse().expect("an address"), ..anonymous() };
    assert!(matches!(Engine::with(open).err(), Some(EngineError::AnonymousNotLoopback(_))));
    let engine = Engine::with(anonymous()).expect("it starts");
    let rows: [Row; 4] = [
        ("curl on this machine", &[], 200),
        ("a page of this machine", &[("origin", "http://localhost:3000")], 200),
        ("a page of another site", &[("origin", "https://evil.example")], 401),
        ("a page without an origin of its own", &[("origin", "null")], 401),
    ];
    for (what, headers, status) in rows {
        assert_eq!(ask(&engine.base, "GET", "/api/2/whoami", headers, None).status, status, "{what}");
    }
    let rebound = "GET /api/2/whoami HTTP/1.1\r\nhost: evil.example:8080\r\nconnection: close\r\n\r\n";
    assert!(
        wire::raw(&engine.base, rebound.as_bytes()).starts_with("HTTP/1.1 401"),
        "a name that points here"
    );
}

#[test]
fn a_taken_port_is_named() {
    let first = Engine::in_memory();
    let listen = first.base["http://".len()..].parse().expect("an address");
    let error = Engine::with(EngineOptions { listen, ..Engine::options() }).err().expect("the port is taken");
    assert!(
        matches!(error, EngineError::Listen { .. }) && error.to_string().contains(&listen.to_string()),
        "{error}"
    );
}

#[test]
fn s8_s12_too_much_is_refused_and_the_engine_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = Engine::on_disk(folder.path());
    let user = [("x-ditto-pre-authenticated", "nginx:ditto"), ("content-type", "application/json")];
    let thing = "/api/2/things/limits:t";
    assert_eq!(ask(&engine.base, "PUT", thing, &user, Some(b"{}")).status, 201);
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!("{}1{}", "{\"a\":".repeat(60), "}".repeat(60));
    let path = |segments: usize| format!("{thing}/attributes{}", "/a".repeat(segments));
    let rows = [
        ("a body above 1 MiB", thing.to_owned(), vec![b' '; 1024 * 1024 + 1], 413),
        ("arrays without end", format!("{thing}/attributes/a"), deep.into_bytes(), 400),
        ("a path without end", path(3_000), b"1".to_vec(), 400),
        ("a path and a body that are deep together", path(60), nested.into_bytes(), 400),
        ("a number above all numbers", format!("{thing}/attributes/a"), b"1e999999".to_vec(), 400),
        ("bytes that are no text", format!("{thing}/attributes/a"), b"\"\xff\"".to_vec(), 400),
        ("a byte order mark", format!("{thing}/attributes/a"), b"\xef\xbb\xbf1".to_vec(), 400),
        ("half of a surrogate pair", format!("{thing}/attributes/a"), b"\"\\ud800\"".to_vec(), 400),
        ("the deepest path that is taken", path(97), b"1".to_vec(), 201),
    ];
    for (what, target, body, status) in rows {
        let reply = ask(&engine.base, "PUT", &target, &user, Some(&body));
        assert_eq!(reply.status, status, "{what}: {}", reply.text);
    }
    let key = "/a".repeat(1_000);
    let notes = format!(r#"[{{"key":"{key}","value":1}}]"#);
    let reply = ask(&engine.base, "PUT", thing, &[user[0], ("put-metadata", &notes)], Some(b"{}"));
    assert_eq!(reply.status, 400, "metadata without end: {}", reply.text);
    drop(engine);
    let engine = Engine::on_disk(folder.path());
    assert_eq!(
        ask(&engine.base, "GET", &path(97), &user, None).text,
        "1",
        "the deepest path is there after a restart"
    );
}
