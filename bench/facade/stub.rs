//! Stands in for Ditto: answers at once with what was made before, so that what is measured is what stands before it.
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// Things on a page.
pub const PAGE: usize = 200;
/// Between two bursts of events.
const TICK: Duration = Duration::from_millis(10);

/// What is answered.
struct Answers {
    thing: Bytes,
    page: Bytes,
}

/// `serve-stub RATE BYTES`: events a second on the WebSocket, and the size of each value. Prints where it listens.
pub fn serve(rate: u32, bytes: usize) {
    super::runtime().block_on(async {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let (http, ws) = (TcpListener::bind(local).await, TcpListener::bind(local).await);
        let (http, ws) = (http.expect("a port"), ws.expect("a port"));
        let [at, ws_at] = [&http, &ws].map(|listener| listener.local_addr().expect("an address"));
        println!("ws://{ws_at}/ws/2 http://{at}");
        tokio::spawn(events(ws, rate, bytes));
        requests(http).await;
    });
}

async fn requests(listener: TcpListener) {
    let answers = Arc::new(answers());
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&answers)));
            drop(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    answers: Arc<Answers>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let mut response = match (parts.method.as_str(), parts.uri.path()) {
        ("GET", path) if path.contains("/search/things") => Response::new(Full::new(answers.page.clone())),
        ("GET", _) => Response::new(Full::new(answers.thing.clone())),
        _ => {
            drop(body.collect().await);
            let mut empty = Response::new(Full::default());
            *empty.status_mut() = StatusCode::NO_CONTENT;
            empty
        }
    };
    if response.status() == StatusCode::OK {
        response.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
        response.headers_mut().insert("etag", "\"rev:7\"".parse().expect("a header"));
    }
    Ok(response)
}

fn answers() -> Answers {
    let thing = |n: usize| {
        let feature = |value: f64| json!({"properties": {"value": value, "unit": "celsius", "sampledAt": "2026-11-20T10:00:00Z"}});
        json!({
            "thingId": format!("org.bench:sensor-{n:06}"), "policyId": "org.bench:policy", "definition": "org.bench:sensor:1.0.0",
            "attributes": {
                "type": "temperature-sensor", "manufacturer": "Sensors and Sons", "serial": format!("SN-{n:08}"),
                "location": {"building": "hall-7", "floor": 3, "room": "017"}, "installed": "2024-03-17", "firmware": "1.4.12",
                "tags": ["telemetry", "line-12", "calibrated"],
                "note": "replaced after the flood, to be looked at again when the line stands still for its yearly service",
            },
            "features": {"temperature": feature(21.5), "humidity": feature(40.25), "battery": feature(3.3), "signal": feature(-67.0)},
            "_revision": 7, "_created": "2026-11-01T10:00:00Z", "_modified": "2026-11-20T10:00:00Z",
        })
    };
    let page: Vec<_> = (0..PAGE).map(thing).collect();
    Answers {
        thing: Bytes::from(thing(1).to_string()),
        page: Bytes::from(json!({"items": page}).to_string()),
    }
}

async fn events(listener: TcpListener, rate: u32, bytes: usize) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        tokio::spawn(session(stream, rate, bytes));
    }
}

/// Confirms a subscription and sends events until nobody takes them.
async fn session(stream: TcpStream, rate: u32, bytes: usize) {
    stream.set_nodelay(true).expect("a socket");
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    while let Some(Ok(frame)) = socket.next().await {
        if frame.to_text().is_ok_and(|text| text == "START-SEND-EVENTS") {
            break;
        }
    }
    if socket.send(Message::text("START-SEND-EVENTS:ACK")).await.is_err() {
        return;
    }
    let pad = "x".repeat(bytes);
    let mut ticks = tokio::time::interval(TICK);
    let (mut due, mut revision) = (0.0, 0_u64);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            frame = socket.next() => match frame {
                Some(Ok(_)) => continue,
                _ => return,
            },
        }
        due += f64::from(rate) * TICK.as_secs_f64();
        while due >= 1.0 {
            due -= 1.0;
            revision += 1;
            if socket.feed(Message::text(event(revision, &pad))).await.is_err() {
                return;
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

/// Its value begins with the time at which it was made, in nanoseconds, with 20 digits.
fn event(revision: u64, pad: &str) -> String {
    format!(
        r#"{{"topic":"org.bench/sensor-000001/things/twin/events/modified","headers":{{"correlation-id":"c-{revision}","content-type":"application/json"}},"path":"/features/t/properties/v","value":"@{:020}{pad}","revision":{revision},"timestamp":"2026-11-20T10:00:00Z"}}"#,
        now()
    )
}

/// Nanoseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_nanos()).expect("before 2554")
}
