//! Devices over MQTT: the bridge between the real Mosquitto and the engine, beside a bridge in Python.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers")]
mod latency;
mod overload;
mod throughput;

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::sample;
use crate::support::ditto::{Ditto, Engine};
use crate::support::mqtt::{Bridge, Device, Mosquitto};

pub use latency::run as latency;
pub use overload::run as overload;
pub use throughput::run as throughput;

/// Whatever comes may wait in the broker, which would drop what is beyond it.
const QUEUED_MAX: u32 = 1_000_000;
const DEVICES: usize = 1_000;
const WITHIN: Duration = Duration::from_mins(2);
/// Messages whose values Ditto has.
const WRITTEN: &str = r#"mqtt_messages_total{result="written"}"#;

/// Engine, Mosquitto and bridge, with the connection that all devices speak over. Fields end in this order.
struct Site {
    device: Device,
    bridge: Bridge,
    _mosquitto: Mosquitto,
    engine: Engine,
    _folder: tempfile::TempDir,
}

impl Site {
    /// Each device has spoken once: every thing is known before it counts.
    fn warm(qos: u8, on_disk: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = engine(folder.path(), on_disk);
        let mosquitto = Mosquitto::start(folder.path(), &format!("max_queued_messages {QUEUED_MAX}\n"));
        let bridge = bridge(folder.path(), &mosquitto, &engine.ditto.url, &["--mqtt-qos", &qos.to_string()]);
        let mut device = Device::connect(mosquitto.port, "load").expect("a broker");
        for number in 0..DEVICES {
            device.send(&topic(number), payload(0).as_bytes()).expect("a broker");
        }
        device.settle().expect("a broker");
        sample::until("the first messages", WITHIN, || {
            (bridge.metric(WRITTEN) >= DEVICES as u64).then_some(())
        });
        Self { device, bridge, _mosquitto: mosquitto, engine, _folder: folder }
    }

    fn say(&mut self, qos: u8, topic: &str, payload: &str) {
        let said = if qos == 0 {
            self.device.throw(topic, payload.as_bytes())
        } else {
            self.device.send(topic, payload.as_bytes())
        };
        said.expect("a broker");
    }
}

/// A message of about 100 bytes.
fn payload(number: u64) -> String {
    format!(r#"{{"temperature": {}.{:02}, "humidity": {}, "n": {number:012}1, "status": "nominal", "unit": "celsius"}}"#, number % 50, number % 100, number % 101)
        .replace("\"n\": 0", "\"n\": 1")
}

fn topic(device: usize) -> String {
    format!("devices/org.bench:d{device}/telemetry")
}

/// An engine with a thing for every device, in memory or on disk.
fn engine(folder: &Path, on_disk: bool) -> Engine {
    let data = folder.join("data");
    let engine = Engine::start(folder, on_disk.then_some(data.as_path()));
    things(&engine.ditto, DEVICES);
    engine
}

fn things(ditto: &Ditto, count: usize) {
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    let (status, body) = ditto.call(
        "nginx:ditto",
        "PUT",
        "/policies/org.bench:all",
        Some(&json!({"entries": {"all": {
            "subjects": {"nginx:ditto": {"type": "user"}},
            "resources": {"thing:/": all, "policy:/": all, "message:/": all},
        }}})),
    );
    assert!(status < 300, "{status} {body}");
    for device in 0..count {
        let thing = json!({"policyId": "org.bench:all"});
        let (status, body) =
            ditto.call("nginx:ditto", "PUT", &format!("/things/org.bench:d{device}"), Some(&thing));
        assert!(status < 300, "{body}");
    }
}

fn bridge(folder: &Path, mosquitto: &Mosquitto, ditto: &str, more: &[&str]) -> Bridge {
    Bridge::start(folder, mosquitto.port, ditto, more)
}
