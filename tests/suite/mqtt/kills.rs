//! Kill -9 under `QoS` 1 load, again and again: after every kill every value that was acknowledged is there.
#![allow(clippy::cast_possible_truncation, reason = "small numbers")]
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{USER, create, rounds};
use crate::support::ditto::{Ditto, Engine, folder};
use crate::support::mqtt::{Bridge, Device, Mosquitto, SAVING};
use crate::support::wait_for;

const THINGS: u64 = 10;
/// Of each thing.
const NAMES: u64 = 100;
/// Messages that are acknowledged before the next are sent; far fewer than there are names of things.
const BATCH: u64 = 50;
/// Kills of each kind in `make soak`.
const KILLS_MAX: usize = 100;
/// From the last message to the last value: a broker and a bridge that are both just starting need some seconds.
const ENDS_WITHIN: Duration = Duration::from_mins(1);

/// The last acknowledged number by thing and name.
type Table = Vec<Vec<Option<u64>>>;

/// What the broker has acknowledged.
struct Acknowledged {
    all: Table,
    /// The first number of the batch that is not: some of it may be there.
    next: u64,
}

/// Devices that say numbers, each under a name of its own among a hundred, and what they said last. What the broker did
/// not acknowledge they say again.
struct Load {
    stop: Arc<AtomicBool>,
    said: Arc<AtomicU64>,
    /// Held while a batch is on its way.
    acknowledged: Arc<Mutex<Acknowledged>>,
    thread: JoinHandle<()>,
}

/// The places of a number.
fn of(number: u64) -> (usize, usize) {
    ((number % THINGS) as usize, (number / THINGS % NAMES) as usize)
}

impl Load {
    fn start(port: u16) -> Self {
        let (stop, said) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let none = || vec![vec![None; NAMES as usize]; THINGS as usize];
        let acknowledged = Arc::new(Mutex::new(Acknowledged { all: none(), next: 0 }));
        let (ends, counts, tells) = (Arc::clone(&stop), Arc::clone(&said), Arc::clone(&acknowledged));
        let thread = thread::spawn(move || {
            let mut life = 0;
            while !ends.load(Ordering::SeqCst) {
                life += 1;
                let Ok(mut device) = Device::connect(port, &format!("load-{life}")) else {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                };
                while !ends.load(Ordering::SeqCst) && batch(&mut device, &counts, &tells).is_ok() {
                    thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Self { stop, said, acknowledged, thread }
    }

    fn said(&self) -> u64 {
        self.said.load(Ordering::SeqCst)
    }

    /// Waits until so much more was said.
    fn goes_on(&self, more: u64) {
        let from = self.said();
        wait_for("the load to go on", ENDS_WITHIN, || (self.said() >= from + more).then_some(()));
    }

    /// Nothing is said as long as the value lives.
    fn pause(&self) -> MutexGuard<'_, Acknowledged> {
        self.acknowledged.lock().expect("no panic")
    }

    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("no panic");
    }
}

/// One that is not acknowledged is said again as a whole: each value once more, in order.
fn batch(device: &mut Device, said: &AtomicU64, acknowledged: &Mutex<Acknowledged>) -> std::io::Result<()> {
    let mut acknowledged = acknowledged.lock().expect("no panic");
    let first = acknowledged.next;
    for number in first..first + BATCH {
        let (thing, name) = of(number);
        let payload = format!("{{\"n{name}\": {number}}}");
        device.send(&format!("devices/org.k:t{thing}/telemetry"), payload.as_bytes())?;
    }
    device.settle()?;
    for number in first..first + BATCH {
        let (thing, name) = of(number);
        acknowledged.all[thing][name] = Some(number);
    }
    acknowledged.next += BATCH;
    said.store(acknowledged.next, Ordering::SeqCst);
    Ok(())
}

/// Every name of every thing has the last number that the broker acknowledged, or one of the batch under way.
#[track_caller]
fn everything_is_there(ditto: &Ditto, acknowledged: &Acknowledged) {
    let end = std::time::Instant::now() + ENDS_WITHIN;
    let under_way = acknowledged.next..acknowledged.next + BATCH;
    let wrong = loop {
        let held = held(ditto);
        let wrong: Vec<_> = (0..THINGS * NAMES)
            .map(of)
            .map(|(thing, name)| (thing, name, acknowledged.all[thing][name], held[thing][name]))
            .filter(|(_, _, said, held)| {
                said.is_some() && held != said && !held.is_some_and(|held| under_way.contains(&held))
            })
            .collect();
        if wrong.is_empty() || std::time::Instant::now() > end {
            break wrong;
        }
        thread::sleep(Duration::from_millis(50));
    };
    assert!(wrong.is_empty(), "thing, name, said, held: {wrong:?}");
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
        let acknowledged = load.pause();
        bridge = start();
        everything_is_there(&engine.ditto, &acknowledged);
    }
    let said = load.said();
    load.end();
    println!("{said} messages, at least {duplicates} of them twice");
}

/// What Ditto has under every name of every thing.
fn held(ditto: &Ditto) -> Table {
    let of_thing = |thing| {
        let (_, features) = ditto.call(USER, "GET", &format!("/things/org.k:t{thing}/features"), None);
        let value = |name| features[format!("n{name}")]["properties"]["value"].as_u64();
        (0..NAMES).map(value).collect()
    };
    (0..THINGS).map(of_thing).collect()
}

/// Says something more of each thing, and waits until Ditto has it: whatever the broker still had is there before.
fn all_the_broker_has_is_there(port: u16, ditto: &Ditto, round: usize) {
    let mut device = Device::connect(port, &format!("probe-{round}")).expect("a broker");
    for thing in 0..THINGS {
        let payload = format!("{{\"probe\": {round}}}");
        device.send(&format!("devices/org.k:t{thing}/telemetry"), payload.as_bytes()).expect("a broker");
    }
    device.settle().expect("the broker takes it");
    for thing in 0..THINGS {
        let path = format!("/things/org.k:t{thing}/features/probe/properties/value");
        let there = || (ditto.call(USER, "GET", &path, None).1.as_u64() == Some(round as u64)).then_some(());
        wait_for("what was said after the restart", ENDS_WITHIN, there);
    }
}

/// Mosquitto 2.0.11 takes a message that waits in its queue, and an acknowledgement of the bridge, for a change to save;
/// one that goes straight to the bridge it does not. So a kill loses what was on its way, whatever the settings, and the
/// publisher believes it kept. What can be held to: what was there stays, nothing older comes back, and the next word on
/// everything is the last.
#[test]
fn f35_a_broker_that_is_killed_again_and_again_brings_nothing_old_back() {
    let folder = folder(&[]);
    let engine = Engine::start(folder.path(), None);
    let mut mosquitto = Mosquitto::start(folder.path(), SAVING);
    things(&engine.ditto);
    let bridge = Bridge::start(folder.path(), mosquitto.port, &engine.ditto.url, &[]);
    let load = Load::start(mosquitto.port);
    let mut before = held(&engine.ditto);
    let mut gone = 0;
    for round in 1..=rounds(5, KILLS_MAX) {
        load.goes_on(200);
        thread::sleep(some_time(round));
        mosquitto.child.kill();
        let acknowledged = load.pause();
        mosquitto.again();
        all_the_broker_has_is_there(mosquitto.port, &engine.ditto, round);
        let now = held(&engine.ditto);
        for (thing, name) in (0..THINGS * NAMES).map(of) {
            let (was, is, said) = (before[thing][name], now[thing][name], acknowledged.all[thing][name]);
            assert!(
                is >= was,
                "round {round}, thing {thing}, name {name}: {was:?}, then {is:?}; said {said:?}"
            );
            gone += usize::from(is < said);
        }
        before = now;
    }
    // Each name once more, so that what died with the broker is not the last word about any of them.
    load.goes_on(THINGS * NAMES + 200);
    let said = load.said();
    everything_is_there(&engine.ditto, &load.pause());
    load.end();
    let connections = bridge.metric(r#"mqtt_connections_total{result="connected"}"#);
    println!("{said} messages, {connections} connections; {gone} values went with the broker");
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
        let acknowledged = load.pause();
        engine = on(port, folder.path(), &data);
        everything_is_there(&ditto, &acknowledged);
    }
    println!("{} messages", load.said());
    load.end();
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
