//! A declared value changed behind the operator's back while telemetry runs (P6): how long until it is right again.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::stage::{Operator, Stage};
use crate::load::{Connection, request};
use crate::sample;

const TWINS: u32 = 1_000;
const DRIFTS: u32 = 200;
const TELEMETRY_PER_SECOND: u32 = 5_000;
const WRITERS: u32 = 8;
const WITHIN: Duration = Duration::from_secs(30);

pub fn run() {
    println!("\n### Drift of {DRIFTS} twins, one after the other, while devices write");
    let stage = Stage::new();
    let child = stage.start(Operator::TwinOps, &[]);
    stage.create(0..TWINS);
    stage.wait_ready(TWINS);
    std::thread::sleep(Duration::from_secs(3));
    let address = stage.engine.ditto.url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let (written, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    for writer in 0..WRITERS {
        stage.runtime.spawn(devices(address.clone(), writer, written.clone(), stop.clone()));
    }
    let (started, before) = (Instant::now(), sample::cpu(child.id()));
    let latencies = stage.runtime.block_on(repairs(&address, "attributes/location", "\"elsewhere\""));
    let seconds = started.elapsed().as_secs_f64();
    let (written_then, cpu) = (written.load(Ordering::Relaxed), sample::cpu(child.id()) - before);
    sample::print_percentiles("an attribute is repaired", latencies);
    stage.runtime.block_on(enforce_units(&stage));
    std::thread::sleep(Duration::from_secs(5));
    let unit = "features/temperature/properties/unit";
    let latencies = stage.runtime.block_on(repairs(&address, unit, "\"kelvin\""));
    stop.store(true, Ordering::Relaxed);
    sample::print_percentiles("an enforced property is repaired", latencies);
    println!(
        "meanwhile {:.0} device writes a second (aim of the load {TELEMETRY_PER_SECOND}), CPU of the operator {:.1} ms a repair",
        f64::from(written_then) / seconds,
        cpu * 1_000.0 / f64::from(DRIFTS),
    );
}

/// One writer's share of the telemetry.
async fn devices(address: String, writer: u32, written: Arc<AtomicU32>, stop: Arc<AtomicBool>) {
    let mut connection = Connection::open(&address).await;
    let mut tick = tokio::time::interval(Duration::from_secs(1) * WRITERS / TELEMETRY_PER_SECOND);
    for turn in 0_u32.. {
        tick.tick().await;
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let thing = (turn * WRITERS + writer) % TWINS;
        let target = format!("/api/2/things/org.bench:t{thing}/features/temperature/properties/value");
        let (status, _) = connection.ask(&request("PUT", &target, &turn.to_string())).await;
        assert_eq!(status, 204);
        written.fetch_add(1, Ordering::Relaxed);
    }
}

/// From now on the unit of some twins is enforced, beside the telemetry.
async fn enforce_units(stage: &Stage) {
    let fields = json!([{"path": "/features/temperature/properties/unit", "mode": "Enforce"}]);
    let patch = Patch::Merge(json!({"spec": {"management": {"fields": fields}}}));
    let twins = stage.twins();
    for index in 0..DRIFTS {
        twins.patch(&format!("t{index}"), &PatchParams::default(), &patch).await.expect("patched");
    }
}

/// Milliseconds until each changed value was the declared one again.
async fn repairs(address: &str, path: &str, wrong: &str) -> Vec<f64> {
    let mut connection = Connection::open(address).await;
    let mut latencies = Vec::new();
    for index in 0..DRIFTS {
        let target = format!("/api/2/things/org.bench:t{index}/{path}");
        let (status, _) = connection.ask(&request("PUT", &target, wrong)).await;
        assert_eq!(status, 204);
        let started = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let (_, body) = connection.ask(&request("GET", &target, "")).await;
            if body != wrong.as_bytes() {
                break;
            }
            assert!(started.elapsed() < WITHIN, "t{index} is not repaired");
        }
        latencies.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    latencies
}
