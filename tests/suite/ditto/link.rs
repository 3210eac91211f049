//! The link of the bridge: a socket that counts when Ditto agreed to it, and HTTP until it does.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use twinops::ditto::link::{self, Heard, LinkOptions, Order, SOCKET_AGAIN, What};

use super::fake::{Fake, reply};
use super::{client, thing};

const SOON: Duration = Duration::from_secs(20);
/// In which nothing is to happen.
const A_WHILE: Duration = Duration::from_millis(300);

fn options(ws: &TcpListener, http: &str, socket_again: Duration) -> LinkOptions {
    let ws_url = format!("ws://{}/ws/2", ws.local_addr().expect("an address"));
    LinkOptions { ws_url, client: client(http), ca_file: None, socket_again }
}

type Socket = WebSocketStream<TcpStream>;

async fn accepted(listener: &TcpListener) -> Socket {
    let (stream, _) = timeout(SOON, listener.accept()).await.expect("a connection").expect("a connection");
    tokio_tungstenite::accept_async(stream).await.expect("a WebSocket")
}

/// Takes both subscriptions.
async fn subscribed(socket: &mut Socket) {
    for start in ["START-SEND-EVENTS?filter=", "START-SEND-MESSAGES"] {
        let frame = timeout(SOON, socket.next()).await.expect("a frame").expect("a frame").expect("a frame");
        assert!(frame.to_text().expect("a text").starts_with(start), "{frame:?}");
    }
}

async fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.expect("the link reads");
}

async fn hears(heard: &mut mpsc::Receiver<Heard>) -> Heard {
    timeout(SOON, heard.recv()).await.expect("something is heard").expect("the link is there")
}

#[tokio::test]
async fn a_socket_counts_when_ditto_has_agreed_to_both_subscriptions() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let mut link = link::open(options(&listener, "http://127.0.0.1:9", SOCKET_AGAIN), stop.clone()).unwrap();
    let mut socket = accepted(&listener).await;
    subscribed(&mut socket).await;
    assert!(timeout(A_WHILE, link.heard.recv()).await.is_err(), "it is not up yet");
    say(&mut socket, "START-SEND-EVENTS:ACK").await;
    let event = json!({"topic": "a/b/things/twin/events/modified", "headers": {}, "path": "/attributes/a", "value": 1});
    say(&mut socket, &event.to_string()).await;
    assert_eq!(hears(&mut link.heard).await, Heard::Changed { thing: thing("a:b") }, "and nothing gets lost");
    assert!(timeout(A_WHILE, link.heard.recv()).await.is_err(), "messages are not heard yet");
    say(&mut socket, "START-SEND-MESSAGES:ACK").await;
    assert_eq!(hears(&mut link.heard).await, Heard::Up { epoch: 1, live: true });

    // A Ditto that does not agree is told of, and asked again.
    drop(socket);
    assert!(matches!(hears(&mut link.heard).await, Heard::Down { epoch: 1, .. }));
    let mut socket = accepted(&listener).await;
    subscribed(&mut socket).await;
    let error = json!({
        "topic": "unknown/unknown/things/twin/errors", "headers": {}, "path": "/", "status": 400,
        "value": {"status": 400, "error": "rql.expression.invalid", "message": "no such operator"},
    });
    say(&mut socket, &error.to_string()).await;
    let Heard::Down { why, .. } = hears(&mut link.heard).await else { panic!("it is down") };
    assert!(why.contains("no subscription: 400 no such operator"), "{why}");
    let mut socket = accepted(&listener).await;
    subscribed(&mut socket).await;
    say(&mut socket, "START-SEND-MESSAGES:ACK").await;
    say(&mut socket, "START-SEND-EVENTS:ACK").await;
    assert_eq!(hears(&mut link.heard).await, Heard::Up { epoch: 2, live: true });
    stop.cancel();
}

fn merge(epoch: u64, number: u64) -> Order {
    Order {
        epoch,
        number,
        thing: thing("a:b"),
        what: What::Merge(json!({"t": {"properties": {"value": number}}})),
    }
}

#[tokio::test]
async fn a_socket_is_tried_again_beside_the_calls_over_http() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ditto = Fake::start([
        reply(200, json!({"defaultSubject": "nginx:ditto", "subjects": ["nginx:ditto"]})),
        reply(204, ""),
    ])
    .await;
    let stop = CancellationToken::new();
    let link = link::open(options(&listener, &ditto.url(), A_WHILE), stop.clone()).unwrap();
    let (orders, mut heard) = (link.orders, link.heard);
    // Hangs up until HTTP is taken.
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let (give_back, given_back) = tokio::sync::oneshot::channel();
    let end = CancellationToken::new();
    let ended = end.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                accepted = listener.accept() => drop(accepted),
                () = ended.cancelled() => break,
            }
            count.fetch_add(1, Ordering::SeqCst);
        }
        drop(give_back.send(listener));
    });
    let epoch = loop {
        match hears(&mut heard).await {
            Heard::Up { epoch, live: false } => break epoch,
            Heard::Down { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    end.cancel();
    let listener = given_back.await.unwrap();

    // While the next try hangs, orders are carried out as fast as ever.
    let (stream, _) = timeout(SOON, listener.accept()).await.expect("another try").unwrap();
    for number in 1..=20 {
        let start = Instant::now();
        orders.send(merge(epoch, number)).await.unwrap();
        assert_eq!(hears(&mut heard).await, Heard::Answer { epoch, number, result: Ok(Value::Null) });
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    // It opens at last: nothing is waited for between the two.
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    subscribed(&mut socket).await;
    say(&mut socket, "START-SEND-EVENTS:ACK").await;
    assert!(timeout(A_WHILE, heard.recv()).await.is_err(), "HTTP goes on until the socket counts");
    let start = Instant::now();
    say(&mut socket, "START-SEND-MESSAGES:ACK").await;
    assert!(matches!(hears(&mut heard).await, Heard::Down { epoch: ended, .. } if ended == epoch));
    let Heard::Up { epoch, live: true } = hears(&mut heard).await else { panic!("it is up") };
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    orders.send(merge(epoch, 21)).await.unwrap();
    let frame = timeout(SOON, socket.next()).await.expect("an order").expect("an order").expect("an order");
    let frame: Value = serde_json::from_str(frame.to_text().unwrap()).unwrap();
    assert_eq!(frame["topic"], "a/b/things/twin/commands/merge");
    assert!(refused.load(Ordering::SeqCst) >= 3);
    stop.cancel();
}
