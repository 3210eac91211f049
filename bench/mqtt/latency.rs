//! From the publish of a message to the event that says it can be read, at 1,000 messages a second.
use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::{DEVICES, Site, payload, topic};
use crate::sample;
use crate::support::ditto::RUNTIME;

const PER_SECOND: u32 = 1_000;
const SECONDS: u32 = 20;
/// One of so many is looked at.
const WATCHED: u32 = 10;

pub fn run() {
    println!(
        "{PER_SECOND} messages of {} bytes a second of {DEVICES} devices for {SECONDS} s; load average {}",
        payload(1).len(),
        sample::load()
    );
    for qos in [0, 1] {
        for (name, on_disk) in [("engine in memory", false), ("engine on disk", true)] {
            round(qos, name, on_disk);
        }
    }
}

fn round(qos: u8, name: &str, on_disk: bool) {
    let mut site = Site::warm(qos, on_disk);
    let cpu = sample::cpu(site.bridge.child.id());
    let watched = PER_SECOND * SECONDS / WATCHED;
    let (started, waited) = (Instant::now(), listen(&site.engine.ditto.url, watched as usize));
    let mut sent = HashMap::new();
    for number in 0..PER_SECOND * SECONDS {
        let due = started + Duration::from_millis(500) + number * Duration::from_secs(1) / PER_SECOND;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // The watched ones are of a device that the listener hears.
        let device_of = if number % WATCHED == 0 { 0 } else { 1 + number as usize % (DEVICES - 1) };
        let (number, topic) = (u64::from(number) + 1, topic(device_of));
        sent.insert(number, Instant::now());
        site.say(qos, &topic, &payload(number));
        site.device.flush().expect("a broker");
    }
    let seen = RUNTIME.block_on(waited).expect("no panic");
    let delays =
        seen.iter().filter_map(|(number, at)| Some((*at - *sent.get(number)?).as_secs_f64() * 1_000.0));
    let delays: Vec<f64> = delays.collect();
    println!("QoS {qos}: {} of {watched} were seen", delays.len());
    sample::print_percentiles(name, delays);
    let used = (sample::cpu(site.bridge.child.id()) - cpu) * 1e6 / f64::from(PER_SECOND * SECONDS);
    println!("CPU of the bridge for each message: {used:.1} µs");
}

/// The number in the value that [`payload`] makes of it.
fn number_of(value: u64) -> u64 {
    value / 10 % 10_u64.pow(11)
}

/// When each number was seen at the first device.
fn listen(ditto: &str, count: usize) -> tokio::task::JoinHandle<Vec<(u64, Instant)>> {
    let mut request =
        format!("{}/ws/2", ditto.replacen("http", "ws", 1)).into_client_request().expect("a URL");
    request.headers_mut().insert("x-ditto-pre-authenticated", "nginx:ditto".parse().expect("a header"));
    RUNTIME.spawn(async move {
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("a socket");
        let filter = "START-SEND-EVENTS?filter=eq(thingId,%22org.bench:d0%22)";
        socket.send(Message::text(filter)).await.expect("a socket");
        let mut seen = vec![];
        while seen.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(5), socket.next()).await;
            let Ok(Some(Ok(Message::Text(text)))) = next else { break };
            let Ok(event) = serde_json::from_str::<Value>(text.as_str()) else { continue };
            if let Some(number) = event["value"]["n"]["properties"]["value"].as_u64() {
                seen.push((number_of(number), Instant::now()));
            }
        }
        seen
    })
}
