//! A folder of 1,000 twins into the engine, beside a plain writer of the same things.
use std::time::Instant;

use futures::{StreamExt, stream};
use serde_json::json;
use twinops::ditto::{Connection, Credentials, DittoClient};
use twinops::ports::Things;
use twinops::twin::id::ThingId;

use crate::sample;
use crate::support::ditto::{Engine, twinops};

const TWINS: usize = 1_000;
const ROUNDS: usize = 5;
/// As many as `apply` has under way.
const AT_ONCE: usize = 16;

pub fn run() {
    let files = sample::fleet(TWINS);
    let mut figures: [Vec<f64>; 6] = Default::default();
    for _ in 0..ROUNDS {
        let data = tempfile::tempdir().expect("a folder");
        let engine = Engine::start(data.path(), Some(&data.path().join("data")));
        let (wall, cpu) = apply(&engine, files.path());
        figures[0].push(wall);
        figures[1].push(cpu * 1_000.0);
        let (wall, cpu) = apply(&engine, files.path());
        figures[2].push(wall);
        figures[3].push(cpu * 1_000.0);
        let (wall, cpu) = plain(&engine);
        figures[4].push(wall);
        figures[5].push(cpu * 1_000.0);
    }
    let [first, first_cpu, second, second_cpu, plain, plain_cpu] = figures;
    println!("{TWINS} twins and a policy, engine on disk, {ROUNDS} rounds: median (min to max)");
    sample::print("apply, creating", "s", first);
    sample::print("apply, creating: CPU of apply", "ms", first_cpu);
    sample::print("apply again, nothing to do", "s", second);
    sample::print("apply again: CPU of apply", "ms", second_cpu);
    sample::print("plain writer, one PUT each", "s", plain);
    sample::print("plain writer: CPU", "ms", plain_cpu);
}

fn apply(engine: &Engine, files: &std::path::Path) -> (f64, f64) {
    let mut command = twinops();
    command.arg("apply").arg(files).args(["--ditto-url", &engine.ditto.url]);
    let (started, before) = (Instant::now(), sample::cpu_of_ended_children());
    let output = command.output().expect("twinops runs");
    let wall = started.elapsed().as_secs_f64();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (wall, sample::cpu_of_ended_children() - before)
}

fn plain(engine: &Engine) -> (f64, f64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (started, before) = (Instant::now(), sample::own_cpu());
    runtime.block_on(async {
        let connection = Connection {
            credentials: Credentials::PreAuthenticated("nginx:ditto".into()),
            ..Connection::new(&engine.ditto.url, "bench")
        };
        let client = DittoClient::new(connection).expect("a client");
        let mut writes = stream::iter(0..TWINS)
            .map(|index| {
                let client = client.clone();
                async move {
                    let id = ThingId::parse(&format!("org.plain:t{index}")).expect("an id");
                    let body = json!({
                        "policyId": "org.bench:policy",
                        "attributes": {"type": "sensor", "location": format!("hall-{index}"), "serial": format!("SN-{index:08}")},
                        "features": {"temperature": {"properties": {"value": 20.5, "unit": "celsius"}, "desiredProperties": {"interval": 30}}},
                    });
                    client.create_thing(&id, &body, &json!({"uid": "u"})).await.expect("created");
                }
            })
            .buffer_unordered(AT_ONCE);
        while writes.next().await.is_some() {}
    });
    (started.elapsed().as_secs_f64(), sample::own_cpu() - before)
}
