//! TLS that follows its files, and an end in which nothing is lost.
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use twinops::settings::{self, Credentials, FacadeAuth, Tls};

use super::{Facade, PATIENCE};
use crate::contract::engine::Engine;
use crate::support::ditto::{self, STARTS_WITHIN, last_after};
use crate::support::process::{Child, Signal};
use crate::support::wait_for;

fn open() -> FacadeAuth {
    FacadeAuth::None(Credentials::PreAuthenticated("nginx:ditto".to_owned()))
}

/// A certificate for `localhost`, signed by itself, made by the openssl that every Debian with ca-certificates has.
fn certificate(folder: &Path, name: &str, days: &str) {
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        days,
    ]);
    command.args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=DNS:localhost"]);
    let made =
        command.arg("-keyout").arg(folder.join("key.pem")).arg("-out").arg(folder.join("cert.pem")).output();
    let made = made.expect("no openssl: install it with `apt-get install openssl`");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// In seconds.
const DAY: u64 = 24 * 60 * 60;

/// When the certificate is over, as the metrics tell it.
fn end(facade: &Facade) -> u64 {
    let text = facade.telemetry.text().unwrap();
    let name = "twinops_tls_not_after_timestamp_seconds{what=\"facade\"} ";
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap_or_else(|| panic!("no {name}in\n{text}")).parse().unwrap()
}

/// The name in the certificate that is shown.
fn shown(facade: &Facade) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &facade.address.to_string(), "-servername", "localhost"]);
    let said = command.stdin(std::process::Stdio::null()).output().expect("openssl runs");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let subject = text.lines().find_map(|line| line.strip_prefix("subject=")).unwrap_or_default();
    subject.rsplit(['=', ' ']).next().unwrap_or_default().to_owned()
}

#[test]
fn a_new_certificate_is_shown_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "first", "1");
    let (engine, path) = (Engine::in_memory(), folder.path());
    let tls = Some(Tls { certificate: path.join("cert.pem"), key: path.join("key.pem") });
    let facade = Facade::with(twinops::settings::Facade { tls, ..super::settings(&engine.base, open()) });
    assert_eq!((facade.get("/health").status, shown(&facade).as_str()), (200, "first"));
    let first = end(&facade);
    certificate(path, "second", "3");
    wait_for("the second certificate", PATIENCE, || (shown(&facade) == "second").then_some(()));
    assert!(end(&facade) > first + DAY, "{first}, {}", end(&facade));
    std::fs::write(path.join("cert.pem"), "nonsense").unwrap();
    let file = std::fs::File::options().append(true).open(path.join("key.pem")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!((facade.get("/health").status, shown(&facade).as_str()), (200, "second"));
}

#[test]
fn f48_an_end_under_load_loses_no_request_and_says_so_to_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let engine = ditto::Engine::start(folder.path(), None);
    let mut command = ditto::twinops();
    command.args([
        "facade",
        "--auth",
        "none",
        "--listen",
        "127.0.0.1:0",
        "--management-listen",
        "127.0.0.1:0",
    ]);
    command.args(["--ditto-url", &engine.ditto.url, "--drain-delay", "2s"]);
    let mut child = Child::start("facade", &command, folder.path()).unwrap();
    let base =
        wait_for("the facade to listen", STARTS_WITHIN, || last_after(&child.log(), "facade listening on "));
    let runtime = super::runtime();
    let socket = base.replacen("http", "ws", 1) + "/ws/events";
    let (mut socket, _) = runtime.block_on(tokio_tungstenite::connect_async(&socket)).unwrap();
    let (stopped, answered, failed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (base, stopped, answered, failed) =
                (base.clone(), Arc::clone(&stopped), Arc::clone(&answered), Arc::clone(&failed));
            runtime.spawn(async move {
                let client = reqwest::Client::builder().no_proxy().build().unwrap();
                while !stopped.load(Ordering::Relaxed) {
                    match client.get(format!("{base}/things/")).timeout(PATIENCE).send().await {
                        Ok(response) if response.status() == 200 => answered.fetch_add(1, Ordering::Relaxed),
                        _ => failed.fetch_add(1, Ordering::Relaxed),
                    };
                }
            })
        })
        .collect();
    wait_for("some answers", PATIENCE, || (answered.load(Ordering::Relaxed) > 50).then_some(()));
    child.signal(Signal::Term);
    // As a load balancer does: it looks whether the replica is ready, and sends nobody there once it is not.
    wait_for("the replica to be not ready", PATIENCE, || {
        (ditto::get(&format!("{base}/readyz")).0 == 503).then_some(())
    });
    stopped.store(true, Ordering::Relaxed);
    runtime.block_on(futures::future::join_all(load));
    assert_eq!(failed.load(Ordering::Relaxed), 0, "{} were answered", answered.load(Ordering::Relaxed));
    let close = runtime.block_on(async {
        use futures::StreamExt as _;
        loop {
            match tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time") {
                Some(Ok(tokio_tungstenite::tungstenite::Message::Close(close))) => {
                    return close.map(|close| u16::from(close.code));
                }
                Some(Ok(_)) => {}
                _ => return None,
            }
        }
    });
    assert_eq!(close, Some(1001));
    wait_for("the facade to end", PATIENCE, || child.ended()).success().then_some(()).expect("it ends well");
}

#[test]
fn an_answer_of_ditto_that_stalls_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ditto = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut open = vec![];
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            assert!(stream.read(&mut [0; 4_096]).unwrap() > 0);
            let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"thingId\":";
            stream.write_all(half).unwrap();
            open.push(stream);
        }
    });
    let short = Duration::from_millis(300);
    let facade = Facade::with(settings::Facade { ditto_timeout: short, ..super::settings(&ditto, open()) });
    for _ in 0..2 {
        let reply = facade.get("/things/com.example:t");
        assert_eq!((reply.status, reply.code().as_str()), (503, "facade:ditto.unavailable"));
    }
}

#[test]
fn a_port_that_is_taken_is_told_with_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    let rows: [(&str, &[&str]); 6] = [
        ("--listen", &["engine", "--ephemeral", "--listen", &address]),
        ("--listen", &["facade", "--auth", "none", "--management-listen", free, "--listen", &address]),
        (
            "--management-listen",
            &["facade", "--auth", "none", "--management-listen", &address, "--listen", free],
        ),
        ("--engine-listen", &["dev", "--ephemeral", "--engine-listen", &address]),
        (
            "--facade-listen",
            &[
                "dev",
                "--mqtt-listen",
                free,
                "--ephemeral",
                "--engine-listen",
                free,
                "--management-listen",
                free,
                "--facade-listen",
                &address,
            ],
        ),
        (
            "--management-listen",
            &[
                "dev",
                "--ephemeral",
                "--mqtt-listen",
                free,
                "--engine-listen",
                free,
                "--management-listen",
                &address,
            ],
        ),
    ];
    for (flag, arguments) in rows {
        let mut command = ditto::twinops();
        command.args(arguments);
        let told = crate::support::process::run(command, "").refused();
        let expected = format!("twinops: {flag}: cannot listen on {address}: ");
        assert!(told.contains(&expected), "{arguments:?}: {told}");
    }
}
