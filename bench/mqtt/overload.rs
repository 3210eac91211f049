//! A Ditto that takes 5 ms for a write, eight at a time, and ten times as many messages as it can write: how long after
//! the end of the load the last value of every path is there, and what the bridge weighs.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::tungstenite::Message;

use super::{DEVICES, bridge, topic};
use crate::sample;
use crate::support::ditto::RUNTIME;
use crate::support::mqtt::{Device, Mosquitto};

const WRITE: Duration = Duration::from_millis(5);
const AT_ONCE: usize = 8;
/// Writes a second that the Ditto can take.
const CAPACITY: u32 = 1_600;
const OVERLOAD: u32 = 10;
const SECONDS: u32 = 10;
const PATHS: usize = 100;

type Values = Arc<Mutex<HashMap<(String, String), (u64, Instant)>>>;

pub fn run() {
    println!(
        "A Ditto that takes {AT_ONCE} writes at a time, {WRITE:?} each; {} messages a second for {SECONDS} s, {DEVICES} devices with {PATHS} paths; load average {}",
        CAPACITY * OVERLOAD,
        sample::load()
    );
    let folder = tempfile::tempdir().expect("a folder");
    let values = Values::default();
    let ditto = RUNTIME.block_on(slow(Arc::clone(&values)));
    let mosquitto = Mosquitto::start(folder.path(), "");
    let bridge = bridge(folder.path(), &mosquitto, &ditto, &[]);
    let mut device = Device::connect(mosquitto.port, "load").expect("a broker");
    // Every path of every device once, so that there are a hundred thousand.
    let topics: Vec<String> = (0..DEVICES).map(topic).collect();
    let all: Value =
        (0..PATHS).map(|path| (format!("p{path}"), json!(0))).collect::<serde_json::Map<_, _>>().into();
    for topic in &topics {
        device.send(topic, all.to_string().as_bytes()).expect("a broker");
    }
    device.settle().expect("a broker");
    sample::until("all paths", Duration::from_mins(1), || {
        (values.lock().len() == DEVICES * PATHS).then_some(())
    });
    let before = sample::rss(bridge.child.id()).0;

    let (started, cpu) = (Instant::now(), sample::cpu(bridge.child.id()));
    let mut last = HashMap::new();
    let per_tick = u64::from(CAPACITY * OVERLOAD / 1_000);
    let mut number = 0_u64;
    for tick in 0..SECONDS * 1_000 {
        let due = started + tick * Duration::from_millis(1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        for _ in 0..per_tick {
            number += 1;
            let (at, path) = (number as usize % DEVICES, number as usize / DEVICES % PATHS);
            let payload = format!(r#"{{"p{path}": {number}, "padding": "{:064}"}}"#, 0);
            device.send(&topics[at], payload.as_bytes()).expect("a broker");
            last.insert((format!("org.bench:d{at}"), format!("p{path}")), number);
        }
        device.flush().expect("a broker");
    }
    let sending = started.elapsed();
    let ended = Instant::now();
    device.settle().expect("a broker");
    let rest = sample::until("the last values", Duration::from_mins(1), || {
        let held = values.lock();
        let right = last.iter().all(|(key, number)| held.get(key).is_some_and(|(value, _)| value == number));
        right.then(|| {
            held.values().map(|(_, at)| at.saturating_duration_since(ended)).max().unwrap_or_default()
        })
    });
    let used = sample::cpu(bridge.child.id()) - cpu;
    let (now, peak) = sample::rss(bridge.child.id());
    let writes = bridge.metric(r#"mqtt_writes_total{result="taken"}"#);
    println!("{number} messages in {:.1} s; {writes} writes in all", sending.as_secs_f64());
    println!("all last values right {:.0} ms after the end of the load", rest.as_secs_f64() * 1_000.0);
    println!(
        "RSS {before:.1} MB before, {now:.1} MB after, {peak:.1} MB at its highest; CPU {:.1} µs a message",
        used * 1e6 / number as f64
    );
}

/// A Ditto as far as the bridge sees it.
async fn slow(values: Values) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let places = Arc::new(Semaphore::new(AT_ONCE));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (values, places) = (Arc::clone(&values), Arc::clone(&places));
            tokio::spawn(async move {
                let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
                let (mut sink, mut source) = socket.split();
                let (answers, mut answered) = mpsc::unbounded_channel::<String>();
                tokio::spawn(async move {
                    while let Some(text) = answered.recv().await {
                        if sink.send(Message::text(text)).await.is_err() {
                            return;
                        }
                    }
                });
                while let Some(Ok(Message::Text(text))) = source.next().await {
                    let Ok(frame) = serde_json::from_str::<Value>(text.as_str()) else {
                        let word = text.split('?').next().unwrap_or_default();
                        drop(answers.send(format!("{word}:ACK")));
                        continue;
                    };
                    let (values, places, answers) =
                        (Arc::clone(&values), Arc::clone(&places), answers.clone());
                    tokio::spawn(async move {
                        let _place = places.acquire_owned().await.expect("open");
                        tokio::time::sleep(WRITE).await;
                        drop(answers.send(answer(&frame, &values)));
                    });
                }
            });
        }
    });
    format!("http://{address}")
}

fn answer(frame: &Value, values: &Values) -> String {
    let topic = frame["topic"].as_str().unwrap_or_default();
    let mut words = topic.split('/');
    let thing = format!("{}:{}", words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = json!({"correlation-id": frame["headers"]["correlation-id"]});
    if topic.ends_with("/retrieve") {
        let value = json!({"thingId": thing, "_revision": 1});
        return json!({"topic": topic, "headers": headers, "path": "/", "value": value, "status": 200})
            .to_string();
    }
    let now = Instant::now();
    let mut held = values.lock();
    for (name, feature) in frame["value"].as_object().into_iter().flatten() {
        if let Some(number) = feature["properties"]["value"].as_u64() {
            held.insert((thing.clone(), name.clone()), (number, now));
        }
    }
    json!({"topic": topic, "headers": headers, "path": "/features", "status": 204}).to_string()
}
