//! Messages as fast as the broker passes them on: CPU of the bridge for each.
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{DEVICES, Site, WITHIN, WRITTEN, engine, payload, topic};
use crate::sample;
use crate::support::mqtt::{Device, Mosquitto};

const MESSAGES: u64 = 500_000;
/// For the bridge in Python, which writes each of them.
const MESSAGES_PYTHON: u64 = 5_000;
const ROUNDS: usize = 3;

pub fn run() {
    println!(
        "{MESSAGES} messages of {} bytes of {DEVICES} devices, engine on disk; load average {}",
        payload(7).len(),
        sample::load()
    );
    for qos in [0, 1] {
        let mut figures: [Vec<f64>; 5] = Default::default();
        for _ in 0..ROUNDS {
            for (all, one) in figures.iter_mut().zip(ours(qos)) {
                all.push(one);
            }
        }
        let [rate, cpu, per_core, writes, memory] = figures;
        println!("\n### QoS {qos}, {ROUNDS} rounds");
        sample::print("messages a second", "", rate);
        let ours = cpu.clone();
        sample::print("CPU of the bridge for each", "µs", cpu);
        sample::print("messages for each second of its CPU", "", per_core);
        sample::print("messages for each write", "", writes);
        sample::print("RSS at its highest", "MB", memory);
        let theirs = python(qos);
        sample::print("CPU of the bridge in Python for each", "µs", vec![theirs]);
        let mut ours = ours;
        ours.sort_by(f64::total_cmp);
        println!("so {:.0} times as much", theirs / ours[ours.len() / 2]);
    }
}

fn ours(qos: u8) -> [f64; 5] {
    let mut site = Site::warm(qos, true);
    let id = site.bridge.child.id();
    let writes = |site: &Site| site.bridge.metric(r#"mqtt_writes_total{result="taken"}"#);
    let (started, cpu, first) = (Instant::now(), sample::cpu(id), writes(&site));
    let topics: Vec<String> = (0..DEVICES).map(topic).collect();
    for number in 0..MESSAGES {
        site.say(qos, &topics[number as usize % DEVICES], &payload(number));
    }
    site.device.flush().expect("a broker");
    let mut last = 0;
    let mut changed = Instant::now();
    let count = sample::until("all messages", WITHIN, || {
        let now = site.bridge.metric(WRITTEN) - DEVICES as u64;
        if now != last {
            (last, changed) = (now, Instant::now());
        }
        // With QoS 0 a broker that is overrun drops some.
        (now == MESSAGES || qos == 0 && now > 0 && changed.elapsed() > Duration::from_secs(3)).then_some(now)
    });
    let took = changed.duration_since(started).as_secs_f64();
    let cpu = sample::cpu(id) - cpu;
    if count < MESSAGES {
        println!("{count} arrived");
    }
    let count = count as f64;
    let (_, peak) = sample::rss(id);
    [count / took, cpu * 1e6 / count, count / cpu, count / (writes(&site) - first) as f64, peak]
}

/// CPU for each message, in µs.
fn python(qos: u8) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine(folder.path(), true);
    let mosquitto = Mosquitto::start(folder.path(), "");
    let clients = Command::new("tests/clients/clients.sh").arg("path").output().expect("bash");
    let clients = String::from_utf8_lossy(&clients.stdout).trim().to_owned();
    let mut child = Command::new(format!("{clients}/py/bin/python"))
        .args([
            "bench/peers/python-bridge/bridge.py",
            &mosquitto.port.to_string(),
            &engine.ditto.url,
            &qos.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`make clients` has installed Python's packages");
    let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert_eq!(said.next().expect("a line").expect("text"), "ready");
    let cpu = sample::cpu(child.id());
    let mut device = Device::connect(mosquitto.port, "load").expect("a broker");
    let last = MESSAGES_PYTHON - 1;
    for number in 0..MESSAGES_PYTHON {
        device.send(&topic(number as usize % DEVICES), payload(number).as_bytes()).expect("a broker");
    }
    device.settle().expect("a broker");
    let path = format!("/things/org.bench:d{}/features/n/properties/value", last as usize % DEVICES);
    let expected: serde_json::Value = serde_json::from_str(&payload(last)).expect("JSON");
    sample::until("the last message", WITHIN, || {
        std::thread::sleep(Duration::from_millis(20));
        (engine.ditto.call("nginx:ditto", "GET", &path, None).1 == expected["n"]).then_some(())
    });
    let used = sample::cpu(child.id()) - cpu;
    child.stdin.take().expect("a pipe").flush().expect("it listens");
    let written: u64 = said.next().expect("a line").expect("text").parse().expect("a number");
    child.wait().expect("it ends");
    assert_eq!(written, MESSAGES_PYTHON);
    used * 1e6 / MESSAGES_PYTHON as f64
}
