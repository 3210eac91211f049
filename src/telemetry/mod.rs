//! What the process says about itself: log lines, metrics, health. The names of all metrics stand here and in
//! [`mqtt`].
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

mod logs;
mod mqtt;
mod readiness;
mod serve;
#[cfg(test)]
mod tests;
pub mod traces;

pub use logs::{LogError, start_logs};
pub use readiness::Readiness;
pub use serve::{Management, NoManagement, serve, serve_with};

/// The version of this program, as `/health` and `twinops_build_info` show it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Buckets of a pass in seconds: a pass without a write takes about a millisecond, a call to Ditto is
/// given up after ten seconds.
const PASS_SECONDS: [f64; 9] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

/// Buckets of a request in seconds: an answer that needs one call to Ditto takes some milliseconds.
const REQUEST_SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];

/// A request to the facade.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

/// Buckets of what is waited for in seconds, from a pass to an outage.
const WAIT_SECONDS: [f64; 9] = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0, 60.0, 600.0];

/// How a pass over one resource ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pass {
    kind: &'static str,
    result: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    call: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

/// How something ended, of one kind of resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindResult {
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// The metrics of this process; clones share them.
///
/// A label takes `&'static str`: a name from a closed list in the code, never text from outside, so that
/// nobody can make the metrics grow.
#[derive(Clone, Debug)]
pub struct Telemetry {
    registry: Arc<Registry>,
    passes: Family<Pass, Counter>,
    pass_duration: Family<Kind, Histogram>,
    ditto_calls: Family<Call, Counter>,
    queue_depth: Family<Kind, Gauge<u64, AtomicU64>>,
    twins: Family<State, Gauge<u64, AtomicU64>>,
    dropped: Family<What, Counter>,
    requests: Family<Request, Counter>,
    request_duration: Family<Route, Histogram>,
    sockets: Family<Kind, Gauge<u64, AtomicU64>>,
    logins: Family<Outcome, Counter>,
    events: Family<Reason, Counter>,
    drift: Family<KindResult, Counter>,
    time_to_ready: Family<Kind, Histogram>,
    resyncs: Family<Outcome, Counter>,
    resync_duration: Histogram,
    changes: Family<Outcome, Counter>,
    change_delay: Histogram,
    listening: Gauge,
    kept_properties: Family<State, Gauge<u64, AtomicU64>>,
    strays: Gauge<u64, AtomicU64>,
    foreign_statuses: Family<Kind, Counter>,
    leader: Gauge,
    tls_not_after: Family<What, Gauge<u64, AtomicU64>>,
    mqtt: mqtt::Mqtt,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("twinops");
        let telemetry = Self {
            registry: Arc::default(),
            passes: Family::default(),
            pass_duration: Family::new_with_constructor(|| Histogram::new(PASS_SECONDS)),
            ditto_calls: Family::default(),
            queue_depth: Family::default(),
            twins: Family::default(),
            dropped: Family::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            sockets: Family::default(),
            logins: Family::default(),
            events: Family::default(),
            drift: Family::default(),
            time_to_ready: Family::new_with_constructor(|| Histogram::new(WAIT_SECONDS)),
            resyncs: Family::default(),
            resync_duration: Histogram::new(WAIT_SECONDS),
            changes: Family::default(),
            change_delay: Histogram::new(WAIT_SECONDS),
            listening: Gauge::default(),
            kept_properties: Family::default(),
            strays: Gauge::default(),
            foreign_statuses: Family::default(),
            leader: Gauge::default(),
            tls_not_after: Family::default(),
            mqtt: mqtt::Mqtt::default(),
        };
        telemetry.register(&mut registry);
        Self { registry: Arc::new(registry), ..telemetry }
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("build", "This program", Info::new([("version", VERSION)]));
        registry.register("passes", "Passes over a resource, by how they ended", self.passes.clone());
        let help = "Time from the start of a pass to its report";
        registry.register_with_unit("pass_duration", help, Unit::Seconds, self.pass_duration.clone());
        registry.register("ditto_calls", "Calls to Ditto, by what came of them", self.ditto_calls.clone());
        registry.register("queue_depth", "Resources waiting for a pass", self.queue_depth.clone());
        registry.register("twins", "Twins, by whether they are Ready", self.twins.clone());
        let help = "What was let go because a limit was reached";
        registry.register("dropped", help, self.dropped.clone());
        registry.register("events", "Verdicts that were announced, by reason", self.events.clone());
        registry.register("drift", "Resources found to differ from what is declared", self.drift.clone());
        let help = "Time from when a new resource was first seen until it was Ready";
        registry.register_with_unit("time_to_ready", help, Unit::Seconds, self.time_to_ready.clone());
        registry.register("resyncs", "Resyncs, by how they ended", self.resyncs.clone());
        let help = "Time that a resync took";
        registry.register_with_unit("resync_duration", help, Unit::Seconds, self.resync_duration.clone());
        registry.register("changes", "Changes in Ditto that were heard of", self.changes.clone());
        let help = "Time from when a change was heard of until a pass had looked";
        registry.register_with_unit("change_delay", help, Unit::Seconds, self.change_delay.clone());
        let help = "Whether the stream of changes is open";
        registry.register("listening", help, self.listening.clone());
        let help = "Enforced properties, by whether a stream of changes tells of writes to them";
        registry.register("kept_properties", help, self.kept_properties.clone());
        let help = "Things with a mark of this cluster whose resource is gone";
        registry.register("strays", help, self.strays.clone());
        let help = "Statuses that somebody else wrote while this operator led";
        registry.register("foreign_statuses", help, self.foreign_statuses.clone());
        registry.register("leader", "Whether this operator leads", self.leader.clone());
        let help = "When the certificate that is shown is over, in seconds since 1970";
        let name = "tls_not_after_timestamp";
        registry.register_with_unit(name, help, Unit::Seconds, self.tls_not_after.clone());
        registry.register("requests", "Requests to the facade, by route and answer", self.requests.clone());
        let help = "Time from the head of a request to the head of its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, self.request_duration.clone());
        self.mqtt.register(registry);
        registry.register("sockets", "Sockets and event streams that are open", self.sockets.clone());
        registry.register("logins", "Passwords that were looked at", self.logins.clone());
    }

    /// A pass over a resource of this kind has ended.
    pub fn pass(&self, kind: &'static str, result: &'static str, reason: &'static str, took: Duration) {
        self.passes.get_or_create(&Pass { kind, result, reason }).inc();
        self.pass_duration.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
    }

    /// A call to Ditto has ended, e.g. `("patch_thing", "changed")`.
    pub fn ditto_call(&self, call: &'static str, outcome: &'static str) {
        self.ditto_calls.get_or_create(&Call { call, outcome }).inc();
    }

    /// So many resources of this kind wait for a pass.
    pub fn queue_depth(&self, kind: &'static str, waiting: usize) {
        self.queue_depth.get_or_create(&Kind { kind }).set(waiting as u64);
    }

    /// So many twins are Ready, and so many are not.
    pub fn twins(&self, ready: usize, not_ready: usize) {
        self.twins.get_or_create(&State { state: "ready" }).set(ready as u64);
        self.twins.get_or_create(&State { state: "not_ready" }).set(not_ready as u64);
    }

    /// Something was let go because a limit was reached.
    pub fn dropped(&self, what: &'static str) {
        self.dropped_many(what, 1);
    }

    pub fn dropped_many(&self, what: &'static str, more: u64) {
        self.dropped.get_or_create(&What { what }).inc_by(more);
    }

    /// A request to the facade was answered.
    pub fn request(&self, route: &'static str, method: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&Request { route, method, status }).inc();
        self.request_duration.get_or_create(&Route { route }).observe(took.as_secs_f64());
    }

    /// A socket of this kind was opened, or one has ended.
    pub fn socket(&self, kind: &'static str, opened: bool) {
        let sockets = self.sockets.get_or_create(&Kind { kind });
        if opened {
            sockets.inc()
        } else {
            sockets.dec()
        };
    }

    /// A password was `known` from before, `verified` by its hash, or `refused`.
    pub fn login(&self, result: &'static str) {
        self.logins.get_or_create(&Outcome { result }).inc();
    }

    /// A verdict changed and was announced.
    pub fn event(&self, reason: &'static str) {
        self.events.get_or_create(&Reason { reason }).inc();
    }

    /// A resource differed from what is declared.
    pub fn drift(&self, kind: &'static str, result: &'static str) {
        self.drift.get_or_create(&KindResult { kind, result }).inc();
    }

    /// A new resource became Ready.
    pub fn time_to_ready(&self, kind: &'static str, took: Duration) {
        self.time_to_ready.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
    }

    /// A resync has ended.
    pub fn resync(&self, result: &'static str, took: Duration) {
        self.resyncs.get_or_create(&Outcome { result }).inc();
        self.resync_duration.observe(took.as_secs_f64());
    }

    /// Somebody else changed something in Ditto.
    pub fn change(&self, result: &'static str) {
        self.changes.get_or_create(&Outcome { result }).inc();
    }

    /// A pass has looked at what changed.
    pub fn change_seen(&self, after: Duration) {
        self.change_delay.observe(after.as_secs_f64());
    }

    /// Whether the stream of changes is open.
    pub fn listens(&self, is_open: bool) {
        self.listening.set(i64::from(is_open));
    }

    /// So many enforced properties are listened for, and so many are not.
    pub fn kept_properties(&self, heard: usize, unheard: usize) {
        self.kept_properties.get_or_create(&State { state: "heard" }).set(heard as u64);
        self.kept_properties.get_or_create(&State { state: "unheard" }).set(unheard as u64);
    }

    /// So many things carry our mark, and nobody declares them.
    pub fn strays(&self, count: usize) {
        self.strays.set(count as u64);
    }

    /// Somebody else wrote the status of a resource.
    pub fn foreign_status(&self, kind: &'static str) {
        self.foreign_statuses.get_or_create(&Kind { kind }).inc();
    }

    /// How many there were, of these kinds.
    #[cfg(test)]
    pub fn foreign_statuses_of(&self, kinds: [&'static str; 2]) -> u64 {
        kinds.map(|kind| self.foreign_statuses.get_or_create(&Kind { kind }).get()).iter().sum()
    }

    /// Whether this process leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The certificate that the `facade` shows to its callers or the `bridge` to the broker is over then, in seconds since
    /// 1970.
    pub fn tls_not_after(&self, what: &'static str, end: u64) {
        self.tls_not_after.get_or_create(&What { what }).set(end);
    }

    /// All metrics as `OpenMetrics` 1.0 text.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
