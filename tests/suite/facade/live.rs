//! Sockets and event streams, slow listeners, a Ditto that goes away, and tokens that end.
use std::net::SocketAddr;
use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;
use twinops::settings::{Credentials, FacadeAuth};

use super::auth::{Issuer, Key, now};
use super::{Facade, PATIENCE, Reply, login, settings};
use crate::contract::engine::Engine;

/// A client's socket.
struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

async fn connect(facade: &Facade, path: &str, headers: &[(&'static str, &str)]) -> Result<Socket, u16> {
    let mut request =
        format!("{}{path}", facade.base.replacen("http", "ws", 1)).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(Socket(socket)),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{path}: {error}"),
    }
}

impl Socket {
    /// The next text as JSON; the close code when the socket ends.
    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a frame in time");
            match frame {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(text.as_str()).unwrap_or_else(|_| json!(text.as_str())));
                }
                Some(Ok(Message::Close(close))) => return Err(close.map_or(1005, |close| close.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("the socket takes it");
    }
}

fn make(facade: &Facade, id: &str) -> Reply {
    let thing = json!({"thing_id": id, "features": {"f": {"properties": {"v": 0}}}}).to_string();
    let made = facade.ask("POST", "/things/", &[], Some(&thing));
    assert_eq!(made.status, 201, "{made:?}");
    made
}

fn write(facade: &Facade, id: &str, value: u64) {
    let body = json!({"properties": {"v": value}}).to_string();
    let put = facade.ask("PUT", &format!("/things/{id}/features/f"), &[], Some(&body));
    assert_eq!(put.status, 204, "{put:?}");
}

#[test]
fn events_come_over_a_socket_in_the_names_of_the_facade() {
    let facade = Facade::open();
    let revision = make(&facade, "com.live:a").revision();
    make(&facade, "com.live:b");
    let mut all =
        facade.runtime.block_on(connect(&facade, "/ws/events?namespace=com.live", &[])).ok().unwrap();
    let path = "/ws/events/?thing_id=com.live:b&filter=gt(features/f/properties/v,1)";
    let mut some = facade.runtime.block_on(connect(&facade, path, &[])).ok().unwrap();
    write(&facade, "com.live:a", 1);
    write(&facade, "com.live:b", 1);
    write(&facade, "com.live:b", 2);
    facade.runtime.block_on(async {
        let first = all.next().await.unwrap();
        assert_eq!(
            (&first["type"], &first["thing_id"], &first["path"], &first["value"], &first["revision"]),
            (
                &json!("thing.modified"),
                &json!("com.live:a"),
                &json!("/features/f/properties"),
                &json!({"v": 1}),
                &json!(revision + 1)
            )
        );
        for value in [1, 2] {
            assert_eq!(all.next().await.unwrap()["value"], json!({"v": value}));
        }
        let only = some.next().await.unwrap();
        assert_eq!((&only["thing_id"], &only["value"]), (&json!("com.live:b"), &json!({"v": 2})));
    });
}

/// A stream of events, read as it comes.
async fn stream(facade: &Facade, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.get(format!("{}{path}", facade.base));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// The events of a stream until one passes.
async fn until(response: &mut reqwest::Response, found: impl Fn(&Value) -> bool) -> Value {
    let mut text = String::new();
    loop {
        let chunk =
            tokio::time::timeout(PATIENCE, response.chunk()).await.expect("in time").unwrap().expect("more");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            let data = event.strip_prefix("data: ").and_then(|data| serde_json::from_str(data.trim()).ok());
            if let Some(data) = data.filter(|data| found(data)) {
                return data;
            }
        }
    }
}

#[test]
fn the_same_events_come_as_a_stream() {
    let facade = Facade::open();
    make(&facade, "com.live:s");
    let mut response = facade.runtime.block_on(stream(&facade, "/events?thing_id=com.live:s", &[]));
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    write(&facade, "com.live:s", 7);
    assert_eq!(facade.ask("DELETE", "/things/com.live:s", &[], None).status, 204);
    let event = facade.runtime.block_on(until(&mut response, |event| event["type"] == "thing.modified"));
    assert_eq!(event["value"], json!({"v": 7}));
    let gone = facade.runtime.block_on(until(&mut response, |event| event["type"] == "thing.deleted"));
    assert_eq!((gone.get("value"), &gone["path"]), (None, &json!("/")));
}

#[test]
fn s17_nobody_hears_of_what_he_may_not_read() {
    let facade = Facade::basic();
    let (ada, bob) = (login("ada"), login("bob"));
    let mut hers =
        facade.runtime.block_on(connect(&facade, "/ws/events", &[("authorization", &ada)])).ok().unwrap();
    let mut his =
        facade.runtime.block_on(connect(&facade, "/ws/events", &[("authorization", &bob)])).ok().unwrap();
    for user in ["ada", "bob"] {
        let thing = json!({"thing_id": format!("com.hear:{user}")}).to_string();
        assert_eq!(facade.by(user, "POST", "/things/", Some(&thing)).status, 201);
    }
    let first = |socket: &mut Socket| facade.runtime.block_on(socket.next()).unwrap()["thing_id"].clone();
    assert_eq!((first(&mut hers), first(&mut his)), (json!("com.hear:ada"), json!("com.hear:bob")));
}

#[test]
fn s30_pages_of_other_sites_open_no_socket() {
    let facade = Facade::basic();
    let ada = login("ada");
    let opened = |origin: &str| {
        let headers = [("authorization", ada.as_str()), ("origin", origin)];
        let both = ["/ws/events", "/ws/ditto"]
            .map(|path| facade.runtime.block_on(connect(&facade, path, &headers)).err());
        assert_eq!(both[0], both[1], "{origin}");
        both[0]
    };
    assert_eq!((opened("https://evil.example"), opened("null")), (Some(403), Some(403)));
    assert_eq!((opened("https://app.example"), opened(&facade.base)), (None, None));
    assert_eq!(facade.runtime.block_on(connect(&facade, "/ws/events", &[])).err(), Some(401));
    assert_eq!(facade.ask("GET", "/ws/events", &[("authorization", &ada)], None).status, 426);
}

#[test]
fn the_ditto_protocol_passes_through_and_simple_words_are_understood() {
    let facade = Facade::open();
    make(&facade, "com.live:p");
    let mut socket = facade.runtime.block_on(connect(&facade, "/ws/ditto", &[])).ok().unwrap();
    let mut say = |text: &str| {
        facade.runtime.block_on(async {
            socket.send(text).await;
            socket.next().await.unwrap()
        })
    };
    assert_eq!(say(r#"{"type":"subscribe","filter":"like(thingId,'*')"}"#), "START-SEND-EVENTS:ACK");
    let read = json!({"topic": "com.live/p/things/twin/commands/retrieve", "headers": {"correlation-id": "c-1"}, "path": "/"});
    let answer = say(&read.to_string());
    assert_eq!((&answer["status"], &answer["headers"]["correlation-id"]), (&json!(200), &json!("c-1")));
    assert_eq!(say("nonsense")["status"], 400);
    write(&facade, "com.live:p", 5);
    let event = facade.runtime.block_on(socket.next()).unwrap();
    assert_eq!(event["topic"], "com.live/p/things/twin/events/modified");
    let mut say = |text: &str| {
        facade.runtime.block_on(async {
            socket.send(text).await;
            socket.next().await.unwrap()
        })
    };
    assert_eq!(say(r#"{"type":"unsubscribe"}"#), "STOP-SEND-EVENTS:ACK");
}

#[test]
fn s33_nobody_becomes_somebody_else_inside_a_socket() {
    let facade = Facade::basic();
    assert_eq!(facade.by("ada", "POST", "/things/", Some(r#"{"thing_id":"com.env:t"}"#)).status, 201);
    let (ada, bob) = (login("ada"), login("bob"));
    let mut his =
        facade.runtime.block_on(connect(&facade, "/ws/ditto", &[("authorization", &bob)])).ok().unwrap();
    let mut hers =
        facade.runtime.block_on(connect(&facade, "/ws/ditto", &[("authorization", &ada)])).ok().unwrap();
    let forged = json!({
        "topic": "com.env/t/things/twin/commands/retrieve", "path": "/",
        "headers": {"correlation-id": "c", "x-ditto-pre-authenticated": "nginx:ada", "authorization": ada, "ditto-sudo": true, "ditto-read-subjects": ["nginx:bob"]},
    });
    facade.runtime.block_on(async {
        his.send(&forged.to_string()).await;
        assert_eq!(his.next().await.unwrap()["status"], 404);
        hers.send("START-SEND-EVENTS").await;
        assert_eq!(hers.next().await.unwrap(), "START-SEND-EVENTS:ACK");
    });
    assert_eq!(facade.by("ada", "PATCH", "/things/com.env:t", Some(r#"{"attributes":{"a":1}}"#)).status, 204);
    let event = facade.runtime.block_on(hers.next()).unwrap();
    let told = event["headers"].as_object().unwrap();
    assert!(
        !told.keys().any(|name| name.starts_with("x-ditto") || name == "host" || name == "authorization"),
        "{told:?}"
    );
}

#[test]
fn s34_a_socket_ends_with_the_token_that_opened_it() {
    let key = Key::new("k-1");
    let issuer = Issuer::with(&[&key]);
    let engine = Engine::in_memory();
    let facade = Facade::with(settings(&engine.base, issuer.auth()));
    let mut claims = issuer.claims("ada");
    claims["exp"] = json!(now() + 2);
    let token = key.token(&claims);
    let sockets = ["/ws/events", "/ws/ditto"].map(|path| {
        facade.runtime.block_on(connect(&facade, &format!("{path}?access_token={token}"), &[])).ok().unwrap()
    });
    let mut events = facade.runtime.block_on(stream(&facade, &format!("/events?access_token={token}"), &[]));
    for mut socket in sockets {
        assert_eq!(facade.runtime.block_on(socket.next()), Err(1008));
    }
    facade.runtime.block_on(async { while events.chunk().await.unwrap().is_some() {} });
}

/// Lies between the facade and Ditto, and can be cut.
struct Wire {
    base: String,
    cut: Arc<Mutex<CancellationToken>>,
    opened: Arc<Mutex<usize>>,
    task: tokio::task::JoinHandle<()>,
    _runtime: tokio::runtime::Runtime,
}

impl Wire {
    fn to(ditto: &str) -> Self {
        let runtime = super::runtime();
        let target: SocketAddr = ditto["http://".len()..].parse().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let cut: Arc<Mutex<CancellationToken>> = Arc::default();
        let opened: Arc<Mutex<usize>> = Arc::default();
        let (current, count) = (Arc::clone(&cut), Arc::clone(&opened));
        let task = runtime.spawn(async move {
            while let Ok((mut here, _)) = listener.accept().await {
                let (ended, count) = (current.lock().clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let Ok(mut there) = TcpStream::connect(target).await else { return };
                    let mut head = [0; 4_096];
                    let Ok(read) = here.read(&mut head).await else { return };
                    if head[..read].starts_with(b"GET /ws/2") {
                        *count.lock() += 1;
                    }
                    if there.write_all(&head[..read]).await.is_ok() {
                        ended.run_until_cancelled(tokio::io::copy_bidirectional(&mut here, &mut there)).await;
                    }
                });
            }
        });
        Self { base, cut, opened, task, _runtime: runtime }
    }

    /// Ends everything that is open.
    fn cut(&self) {
        std::mem::take(&mut *self.cut.lock()).cancel();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn rounds(usual: usize) -> usize {
    std::env::var("TWINOPS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn f46_clients_stay_when_ditto_goes_and_share_one_session() {
    let engine = Engine::in_memory();
    let wire = Wire::to(&engine.base);
    let auth = FacadeAuth::None(Credentials::PreAuthenticated("nginx:ditto".to_owned()));
    let facade = Facade::with(settings(&wire.base, auth));
    make(&facade, "com.live:g");
    let clients = rounds(50).min(1_000);
    let sockets = facade
        .runtime
        .block_on(futures::future::join_all((0..clients).map(|_| connect(&facade, "/ws/events", &[]))));
    let mut sockets: Vec<Socket> = sockets.into_iter().map(|socket| socket.ok().unwrap()).collect();
    assert_eq!(*wire.opened.lock(), 1, "one session for all");
    wire.cut();
    for socket in &mut sockets {
        assert_eq!(
            facade.runtime.block_on(socket.next()).unwrap(),
            json!({"type": "gap", "reason": "ditto"})
        );
    }
    assert_eq!(*wire.opened.lock(), 2, "and one more, not one for each");
    write(&facade, "com.live:g", 3);
    for socket in &mut sockets {
        assert_eq!(facade.runtime.block_on(socket.next()).unwrap()["value"], json!({"v": 3}));
    }
}

#[test]
fn f45_who_does_not_read_is_told_of_the_gap_and_holds_nobody_up() {
    let facade = Facade::open();
    // Large enough that the buffers of the kernel do not take them all.
    let large = "x".repeat(60_000);
    make(&facade, "com.live:slow");
    let mut slow = facade.runtime.block_on(connect(&facade, "/ws/events", &[])).ok().unwrap();
    let mut quick = facade.runtime.block_on(connect(&facade, "/ws/events", &[])).ok().unwrap();
    let writes = 600;
    for n in 0..writes {
        let body = json!({"properties": {"v": n, "pad": large}}).to_string();
        assert_eq!(facade.ask("PUT", "/things/com.live:slow/features/f", &[], Some(&body)).status, 204);
        let heard = facade.runtime.block_on(quick.next()).unwrap();
        assert_eq!(heard["value"]["v"], n, "the quick one misses nothing");
    }
    let mut gap = None;
    let mut last = Value::Null;
    facade.runtime.block_on(async {
        loop {
            match slow.next().await {
                Ok(frame) if frame["type"] == "gap" => gap = frame["missed"].as_u64(),
                Ok(frame) => {
                    last = frame["value"]["v"].clone();
                    if last == writes - 1 {
                        return;
                    }
                }
                Err(code) => {
                    assert!(matches!(code, 1006 | 1013), "{code}");
                    gap = Some(0);
                    return;
                }
            }
        }
    });
    assert!(gap.is_some(), "it ended with {last} and was told of no gap");
    assert!(facade.telemetry.text().unwrap().contains("twinops_sockets{kind=\"events\"}"));
}

#[test]
fn f47_requests_that_are_given_up_leave_nothing_behind() {
    let facade = Facade::open();
    make(&facade, "com.live:x");
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let target = "POST /things/com.live:x/commands?timeout=30 HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{\"subject\":\"x\"}";
    facade.runtime.block_on(async {
        for _ in 0..rounds(200).min(10_000) {
            let mut stream = TcpStream::connect(facade.address).await.unwrap();
            stream.write_all(target.as_bytes()).await.unwrap();
            drop(stream);
        }
    });
    assert_eq!(facade.get("/things/com.live:x").status, 200);
    crate::support::wait_for("files to be closed", PATIENCE, || (open() < before + 60).then_some(()));
}
