//! Kill -9 under `QoS` 1 load, again and again: every value is there at the end.
#![allow(clippy::cast_possible_truncation, reason = "small numbers")]
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{USER, create, rounds};
use crate::support::ditto::{Ditto, Engine, folder};
use crate::support::mqtt::{Bridge, Device, Mosquitto, SAVING};
use crate::support::wait_for;

const THINGS: u64 = 10;
/// Kills of each kind in `make soak`.
const KILLS_MAX: usize = 100;
/// From the last message to the last value: a broker and a bridge that are both just starting need some seconds.
const ENDS_WITHIN: Duration = Duration::from_mins(1);

/// Devices that say numbers, each under a name of its own among a hundred, and what they said last. What the broker did
/// not acknowledge they say again.
struct Load {
    stop: Arc<AtomicBool>,
    said: Arc<AtomicU64>,
    thread: JoinHandle<Vec<Vec<Option<u64>>>>,
}

const NAMES: u64 = 100;

impl Load {
    fn start(port: u16) -> Self {
        let (stop, said) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counts) = (Arc::clone(&stop), Arc::clone(&said));
        let thread = thread::spawn(move || {
            let mut last = vec![vec![None; NAMES as usize]; THINGS as usize];
            let (mut number, mut life) = (0_u64, 0);
            while !ends.load(Ordering::SeqCst) {
                life += 1;
                let Ok(mut device) = Device::connect(port, &format!("load-{life}")) else {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                };
                while !ends.load(Ordering::SeqCst) {
                    // A batch that is not acknowledged is said again as a whole: each value once more, in order.
                    let batch: Vec<u64> = (number..number + 50).collect();
                    let say = |number: &u64, device: &mut Device| {
                        let (thing, name) = (number % THINGS, number / THINGS % NAMES);
                        let payload = format!("{{\"n{name}\": {number}}}");
                        device.send(&format!("devices/org.k:t{thing}/telemetry"), payload.as_bytes())
                    };
                    let sent = batch
                        .iter()
                        .try_for_each(|number| say(number, &mut device))
                        .and_then(|()| device.settle());
                    if sent.is_err() {
                        break;
                    }
                    for number in &batch {
                        last[(number % THINGS) as usize][(number / THINGS % NAMES) as usize] = Some(*number);
                    }
                    number += 50;
                    counts.store(number, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(2));
                }
            }
            last
        });
        Self { stop, said, thread }
    }

    fn said(&self) -> u64 {
        self.said.load(Ordering::SeqCst)
    }

    /// Waits until so much more was said.
    fn goes_on(&self, more: u64) {
        let from = self.said();
        wait_for("the load to go on", ENDS_WITHIN, || (self.said() >= from + more).then_some(()));
    }

    fn end(self) -> Vec<Vec<Option<u64>>> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("no panic")
    }
}

/// Every name of every thing has the last number that the broker acknowledged.
#[track_caller]
fn everything_is_there(ditto: &Ditto, last: &[Vec<Option<u64>>]) {
    for (thing, names) in last.iter().enumerate() {
        let end = std::time::Instant::now() + ENDS_WITHIN;
        let wrong = loop {
            let (_, features) = ditto.call(USER, "GET", &format!("/things/org.k:t{thing}/features"), None);
            let held = |name: usize| features[format!("n{name}")]["properties"]["value"].as_u64();
            let differs =
                names.iter().enumerate().filter(|(name, said)| said.is_some() && held(*name) != **said);
            let wrong: Vec<_> = differs.map(|(name, said)| (name, *said, held(name))).collect();
            if wrong.is_empty() || std::time::Instant::now() > end {
                break wrong;
            }
            thread::sleep(Duration::from_millis(50));
        };
        assert!(wrong.is_empty(), "thing {thing}: name, said, held: {wrong:?}");
    }
}

fn things(ditto: &Ditto) {
    (0..THINGS).for_each(|thing| create(ditto, &format!("org.k:t{thing}")));
}

fn some_time(round: usize) -> Duration {
    Duration::from_millis(20 + (round as u64 * 37) % 180)
}

#[test]
fn f36_f37_a_bridge_that_is_killed_again_and_again_loses_nothing() {
    let folder = folder(&[]);
    let engine = Engine::start(folder.path(), None);
    let mosquitto = Mosquitto::start(folder.path(), "");
    things(&engine.ditto);
    let start = || {
        let broker = format!("mqtt://127.0.0.1:{}", mosquitto.port);
        Bridge::starting("bridge", folder.path(), &broker, &engine.ditto.url, &[])
    };
    // Its session must be there before the first message, or the broker has nobody to keep it for.
    drop(Bridge::start(folder.path(), mosquitto.port, &engine.ditto.url, &[]));
    let mut bridge = start();
    let load = Load::start(mosquitto.port);
    let mut duplicates = 0;
    for round in 0..rounds(5, KILLS_MAX) {
        load.goes_on(200);
        thread::sleep(some_time(round));
        duplicates += bridge.metric(r#"mqtt_messages_total{result="duplicate"}"#);
        bridge.child.kill();
        bridge = start();
    }
    load.goes_on(200);
    let said = load.said();
    everything_is_there(&engine.ditto, &load.end());
    println!("{said} messages, at least {duplicates} of them twice");
}

#[test]
fn f35_a_broker_that_is_killed_again_and_again_loses_nothing_it_had_kept() {
    let folder = folder(&[]);
    let engine = Engine::start(folder.path(), None);
    let mut mosquitto = Mosquitto::start(folder.path(), SAVING);
    things(&engine.ditto);
    let bridge = Bridge::start(folder.path(), mosquitto.port, &engine.ditto.url, &[]);
    let load = Load::start(mosquitto.port);
    for round in 0..rounds(5, KILLS_MAX) {
        load.goes_on(200);
        thread::sleep(some_time(round));
        mosquitto.child.kill();
        mosquitto.again();
    }
    // Each name once more, so that what died with the broker is not the last word about any of them.
    load.goes_on(THINGS * NAMES + 200);
    let said = load.said();
    everything_is_there(&engine.ditto, &load.end());
    println!("{said} messages; {}", bridge.metric(r#"mqtt_connections_total{result="connected"}"#));
}

#[test]
fn f38_an_engine_that_is_killed_again_and_again_loses_nothing() {
    let folder = folder(&[]);
    let data = folder.path().join("data");
    let port = crate::support::free_port();
    let mut engine = on(port, folder.path(), &data);
    let ditto = Ditto { url: format!("http://127.0.0.1:{port}") };
    let mosquitto = Mosquitto::start(folder.path(), "");
    things(&ditto);
    let bridge = Bridge::start(folder.path(), mosquitto.port, &ditto.url, &[]);
    let load = Load::start(mosquitto.port);
    for round in 0..rounds(5, KILLS_MAX) {
        load.goes_on(200);
        thread::sleep(some_time(round));
        engine.kill();
        engine = on(port, folder.path(), &data);
    }
    load.goes_on(200);
    let last = load.end();
    everything_is_there(&ditto, &last);
    let (_, rejected) = crate::support::ditto::get(&format!("{}/metrics", bridge.management));
    let lost = rejected
        .lines()
        .filter(|line| line.starts_with("twinops_mqtt_rejected_total") && !line.ends_with(" 0"));
    assert_eq!(lost.collect::<Vec<_>>(), [""; 0], "{}", bridge.child.log());
}

/// An engine on a port that it had before.
fn on(port: u16, logs: &Path, data: &Path) -> crate::support::process::Child {
    let mut command = crate::support::ditto::twinops();
    command
        .args(["engine", "--listen", &format!("127.0.0.1:{port}"), "--pre-authenticated", "--data"])
        .arg(data);
    let mut child =
        crate::support::process::Child::start("engine", &command, logs).expect("the engine starts");
    let url = format!("http://127.0.0.1:{port}/health");
    child.wait_ready(ENDS_WITHIN, || crate::support::ditto::get(&url).0 == 200).expect("the engine listens");
    child
}
