//! The metrics of the bridge.
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Kind, Outcome, Reason, State, What};

#[derive(Clone, Debug, Default)]
pub(super) struct Mqtt {
    messages: Family<Outcome, Counter>,
    rejected: Family<Reason, Counter>,
    writes: Family<Outcome, Counter>,
    commands: Family<Kind, Counter>,
    connections: Family<Outcome, Counter>,
    connected: Family<What, Gauge>,
    devices: Family<State, Gauge<u64, AtomicU64>>,
    waiting: Family<What, Gauge<u64, AtomicU64>>,
}

impl Mqtt {
    pub fn register(&self, registry: &mut Registry) {
        let help = "Messages of devices, by what came of them";
        registry.register("mqtt_messages", help, self.messages.clone());
        let help = "Messages of devices that were not written";
        registry.register("mqtt_rejected", help, self.rejected.clone());
        registry.register(
            "mqtt_writes",
            "Calls of the bridge to Ditto, by what came of them",
            self.writes.clone(),
        );
        registry.register("mqtt_commands", "What devices were told and answered", self.commands.clone());
        let help = "Connections of the bridge to the broker, by how they ended or began";
        registry.register("mqtt_connections", help, self.connections.clone());
        registry.register(
            "mqtt_connected",
            "Whether the bridge reaches the other side",
            self.connected.clone(),
        );
        registry.register("mqtt_devices", "Devices by whether they are heard of", self.devices.clone());
        let help = "What waits in the bridge: bytes, calls and how many may be, messages, commands";
        registry.register("mqtt_waiting", help, self.waiting.clone());
    }
}

/// All of them take what was added since the last time.
impl super::Telemetry {
    pub fn mqtt_messages(&self, result: &'static str, more: u64) {
        self.mqtt.messages.get_or_create(&Outcome { result }).inc_by(more);
    }

    pub fn mqtt_rejected(&self, reason: &'static str, more: u64) {
        self.mqtt.rejected.get_or_create(&Reason { reason }).inc_by(more);
    }

    pub fn mqtt_writes(&self, result: &'static str, more: u64) {
        self.mqtt.writes.get_or_create(&Outcome { result }).inc_by(more);
    }

    pub fn mqtt_commands(&self, kind: &'static str, more: u64) {
        self.mqtt.commands.get_or_create(&Kind { kind }).inc_by(more);
    }

    pub fn mqtt_connection(&self, result: &'static str) {
        self.mqtt.connections.get_or_create(&Outcome { result }).inc();
    }

    /// `what` is `broker`, `ditto` or `ditto_live`.
    pub fn mqtt_connected(&self, what: &'static str, is_connected: bool) {
        self.mqtt.connected.get_or_create(&What { what }).set(i64::from(is_connected));
    }

    pub fn mqtt_devices(&self, state: &'static str, count: u64) {
        self.mqtt.devices.get_or_create(&State { state }).set(count);
    }

    pub fn mqtt_waiting(&self, what: &'static str, count: u64) {
        self.mqtt.waiting.get_or_create(&What { what }).set(count);
    }
}
