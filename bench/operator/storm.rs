//! A thousand twins created at once (P4): who brings them to Ready with how much CPU.
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use twinops::api::DigitalTwin;
use twinops::ditto::{Connection, Credentials, DittoClient};
use twinops::ports::Things;
use twinops::twin::id::ThingId;

use super::stage::{Operator, Stage, twin};
use crate::sample;

const TWINS: u32 = 1_000;
const ROUNDS: usize = 3;
/// Writes under way at once in the plain writer.
const AT_ONCE: usize = 16;

/// Which of the figures of a round is [`FIGURES`]' twins a second of CPU.
const PER_CPU: usize = 3;
const FIGURES: [(&str, &str); 7] = [
    ("first create to last Ready", "s"),
    ("of it, until the last create returned", "s"),
    ("CPU of the operator", "s"),
    ("twins a second of its CPU", ""),
    ("RSS after 2 s", "MB"),
    ("RSS at its highest", "MB"),
    ("writes to the API server for each twin", ""),
];

/// In turns, so that a machine that becomes slower does so for all.
pub fn run() {
    let operators = [Operator::TwinOps, Operator::ControllerRuntime, Operator::Kopf];
    println!("### {TWINS} twins, engine on disk, {ROUNDS} rounds in turns: median (min to max)");
    let rounds: Vec<[[f64; 7]; 3]> = (0..ROUNDS).map(|_| operators.map(storm)).collect();
    for (at, operator) in operators.into_iter().enumerate() {
        for (figure, (name, unit)) in FIGURES.into_iter().enumerate() {
            let values = rounds.iter().map(|round| round[at][figure]).collect();
            sample::print(&format!("{}: {name}", operator.name()), unit, values);
        }
    }
    for (at, peer) in operators.into_iter().enumerate().skip(1) {
        let ratios = rounds.iter().map(|round| round[0][PER_CPU] / round[at][PER_CPU]).collect();
        sample::print(&format!("twinops: twins a second of CPU, {} being 1", peer.name()), "", ratios);
    }
    plain();
}

fn storm(operator: Operator) -> [f64; 7] {
    let stage = Stage::new();
    let child = stage.start(operator, &[]);
    std::thread::sleep(Duration::from_secs(3));
    let (started, idle, writes) = (Instant::now(), sample::cpu(child.id()), stage.api_writes());
    let creating = stage.create(0..TWINS);
    stage.wait_ready(TWINS);
    let wall = started.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(2));
    let cpu = sample::cpu(child.id()) - idle;
    let (rss, peak) = sample::rss(child.id());
    let writes = (stage.api_writes() - writes) / f64::from(TWINS) - 1.0;
    [wall, creating, cpu, f64::from(TWINS) / cpu, rss, peak, writes]
}

/// The same writes without a watch and without a decision: the ceiling.
fn plain() {
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let stage = Stage::new();
        let connection = Connection {
            credentials: Credentials::PreAuthenticated("nginx:ditto".into()),
            ..Connection::new(&stage.engine.ditto.url, "bench")
        };
        let ditto = DittoClient::new(connection).expect("a client");
        let twins = stage.twins();
        let (started, before) = (Instant::now(), sample::own_cpu());
        stage.runtime.block_on(async {
            let mut writes = stream::iter(0..TWINS)
                .map(|index| {
                    let (twins, ditto, twin) = (twins.clone(), ditto.clone(), twin(index));
                    async move { write_one(&twins, &ditto, &twin).await }
                })
                .buffer_unordered(AT_ONCE);
            while writes.next().await.is_some() {}
        });
        walls.push(started.elapsed().as_secs_f64());
        cpus.push(sample::own_cpu() - before);
    }
    sample::print("plain writer: create, finalizer, thing, status", "s", walls);
    sample::print("plain writer: CPU, creates included", "s", cpus);
}

async fn write_one(twins: &Api<DigitalTwin>, ditto: &DittoClient, twin: &DigitalTwin) {
    let name = twin.name_any();
    twins.create(&PostParams::default(), twin).await.expect("created");
    let finalizer = json!({"metadata": {"finalizers": ["twinops.dev/ditto"]}});
    twins.patch(&name, &PatchParams::default(), &Patch::Merge(&finalizer)).await.expect("patched");
    let id = ThingId::parse(twin.spec.thing_id.as_deref().unwrap_or_default()).expect("an id");
    let body = json!({"attributes": twin.spec.attributes, "features": twin.spec.features});
    ditto.create_thing(&id, &body, &json!({"uid": "u"})).await.expect("created");
    let status = json!({
        "apiVersion": "twinops.dev/v1alpha1", "kind": "DigitalTwin",
        "status": {"thingId": id.as_str(), "observedGeneration": 1},
    });
    let apply = PatchParams::apply("bench").force();
    twins.patch_status(&name, &apply, &Patch::Apply(&status)).await.expect("patched");
}
