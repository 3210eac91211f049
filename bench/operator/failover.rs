//! A leader that is stopped or killed (P14): how long until the next one has brought a new twin to Ready.
use std::time::{Duration, Instant};

use kube::api::PostParams;

use super::stage::{MANAGEMENT, Operator, Stage, is_ready, twin};
use crate::sample;
use crate::support::ditto::{get, last_after};
use crate::support::process::{Child, Signal};

const TWINS: u32 = 1_000;
const ROUNDS: u32 = 3;
/// The default.
const LEASE: &str = "15s";
const WITHIN: Duration = Duration::from_mins(1);

pub fn run() {
    println!("\n### A leader of {TWINS} twins goes, lease {LEASE}: until a twin made then is Ready");
    let stage = Stage::new();
    let mut leader = start(&stage, 1);
    stage.create(0..TWINS);
    stage.wait_ready(TWINS);
    let (mut stopped, mut killed, mut starts) = (Vec::new(), Vec::new(), 1);
    for round in 0..ROUNDS {
        for (kills, times) in [(false, &mut stopped), (true, &mut killed)] {
            starts += 1;
            let next = start(&stage, starts);
            // Its lists are there, and it follows.
            std::thread::sleep(Duration::from_secs(3));
            assert!(leads(&leader) && !leads(&next), "one leads");
            let before = revisions(&stage);
            let started = Instant::now();
            if kills {
                leader.child.kill();
            } else {
                leader.child.signal(Signal::Term);
            }
            times.push(until_ready(&stage, TWINS + 2 * round + u32::from(kills), started));
            assert_eq!(revisions(&stage), before, "nothing was written twice");
            leader = next;
        }
    }
    sample::print("SIGTERM", "s", stopped);
    sample::print("SIGKILL", "s", killed);
}

/// An operator, and where it is asked.
struct Candidate {
    child: Child,
    management: String,
}

fn start(stage: &Stage, nth: usize) -> Candidate {
    let child = stage.start(Operator::TwinOps, &["--lease-duration", LEASE]);
    // All starts of one name share a log.
    let management = sample::until("its management port", WITHIN, || {
        let log = child.log();
        (log.matches(MANAGEMENT).count() == nth).then(|| last_after(&log, MANAGEMENT)).flatten()
    });
    Candidate { child, management }
}

fn leads(operator: &Candidate) -> bool {
    get(&format!("{}/metrics", operator.management.trim_end_matches('/'))).1.contains("twinops_leader 1")
}

/// Seconds since `started` until a twin that is made now is Ready.
fn until_ready(stage: &Stage, index: u32, started: Instant) -> f64 {
    let twins = stage.twins();
    stage.runtime.block_on(async {
        twins.create(&PostParams::default(), &twin(index)).await.expect("created");
        while !is_ready(&twins.get(&format!("t{index}")).await.expect("found")) {
            assert!(started.elapsed() < WITHIN, "t{index} is not Ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    started.elapsed().as_secs_f64()
}

/// Of some twins' things.
fn revisions(stage: &Stage) -> Vec<u64> {
    let revision = |index: u32| {
        let path = format!("/things/org.bench:t{index}?fields=_revision");
        stage.engine.ditto.call("nginx:ditto", "GET", &path, None).1["_revision"].as_u64().expect("a thing")
    };
    (0..TWINS).step_by(100).map(revision).collect()
}
