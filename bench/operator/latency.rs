//! One twin at a time, nothing else going on: from the create to the event that says Ready.
use std::time::{Duration, Instant};

use futures::{StreamExt, pin_mut};
use kube::api::{PostParams, WatchEvent, WatchParams};

use super::stage::{Operator, Stage, is_ready, twin};
use crate::sample;

const TWINS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(20);

pub fn run() {
    println!("\n### One twin at a time, {TWINS} of them: create to Ready; load average {}", sample::load());
    for operator in Operator::ALL {
        let stage = Stage::new();
        let child = stage.start(operator, &[]);
        std::thread::sleep(Duration::from_secs(3));
        sample::print_percentiles(operator.name(), stage.runtime.block_on(measure(&stage)));
        drop(child);
    }
}

/// Milliseconds of each.
async fn measure(stage: &Stage) -> Vec<f64> {
    let twins = stage.twins();
    let mut latencies = Vec::new();
    let events = twins.watch(&WatchParams::default().timeout(290), "0").await.expect("a watch");
    pin_mut!(events);
    for index in 0..TWINS {
        let name = format!("t{index}");
        let started = Instant::now();
        twins.create(&PostParams::default(), &twin(index)).await.expect("created");
        loop {
            let event = events.next().await.expect("the watch goes on").expect("an event");
            let (WatchEvent::Added(seen) | WatchEvent::Modified(seen)) = event else { continue };
            if seen.metadata.name.as_deref() == Some(&name) && is_ready(&seen) {
                break;
            }
        }
        latencies.push(started.elapsed().as_secs_f64() * 1_000.0);
        tokio::time::sleep(PAUSE).await;
    }
    latencies
}
