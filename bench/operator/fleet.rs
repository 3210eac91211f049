//! Ten thousand twins that nobody changes (P5, P7): memory, and what a resync and a restart cost.
use std::time::Duration;

use super::stage::{MANAGEMENT, Operator, Stage};
use crate::sample;
use crate::support::ditto::{get, last_after};
use crate::support::process::Child;

const TWINS: u32 = 10_000;
const RESYNC: Duration = Duration::from_mins(1);

pub fn run() {
    println!("\n### {TWINS} twins, one round");
    let resync = format!("{}s", RESYNC.as_secs());
    let stage = Stage::new();
    let child = stage.start(Operator::TwinOps, &["--resync", &resync]);
    std::thread::sleep(Duration::from_secs(3));
    let (empty, _) = sample::rss(child.id());
    println!("twinops: creating took {:.1} s", stage.create(0..TWINS));
    stage.wait_ready(TWINS);
    std::thread::sleep(Duration::from_secs(10));
    weigh("twinops", &child, empty);
    watch_resync(&stage, &child);
    drop(child);

    let restarted = stage.start(Operator::TwinOps, &["--resync", &resync]);
    std::thread::sleep(Duration::from_secs(20));
    let (rss, peak) = sample::rss(restarted.id());
    println!(
        "twinops, restarted, after 20 s: CPU {:.2} s, RSS {rss:.1} MB, at its highest {peak:.1} MB",
        sample::cpu(restarted.id())
    );
    calls(&restarted);
    drop(restarted);
    relist(&stage, &resync);
}

/// Everything is listed anew beside what is kept, as after a watch that expired.
fn relist(stage: &Stage, resync: &str) {
    const PART: &str = "/digitaltwins?";
    let (child, gate) = stage.start_behind_gate(&["--resync", resync]);
    std::thread::sleep(Duration::from_secs(20));
    let (before, _) = sample::rss(child.id());
    sample::forget_peak(child.id());
    gate.forget();
    gate.age(PART);
    gate.cut(|line| line.contains(PART) && line.contains("watch=true"));
    std::thread::sleep(Duration::from_secs(20));
    let (after, peak) = sample::rss(child.id());
    let pages =
        gate.passed().iter().filter(|line| line.contains(PART) && !line.contains("watch=true")).count();
    println!(
        "twinops, a new list of all ({pages} pages): RSS {before:.1} MB before, at its highest {peak:.1} MB ({:.2} times), {after:.1} MB after",
        peak / before
    );
}

pub fn peer() {
    println!("\n### {TWINS} twins, one round");
    let stage = Stage::new();
    let child = stage.start(Operator::ControllerRuntime, &[]);
    std::thread::sleep(Duration::from_secs(3));
    let (empty, _) = sample::rss(child.id());
    stage.create(0..TWINS);
    stage.wait_ready(TWINS);
    std::thread::sleep(Duration::from_secs(10));
    weigh("controller-runtime", &child, empty);
}

fn weigh(name: &str, child: &Child, empty: f64) {
    let (rss, peak) = sample::rss(child.id());
    let each = (rss - empty) * 1_024.0 / f64::from(TWINS);
    println!(
        "{name}: RSS {rss:.1} MB, empty {empty:.1} MB, {each:.2} KB a twin, at its highest {peak:.1} MB"
    );
}

/// What one whole resync interval costs when nothing changed.
fn watch_resync(stage: &Stage, child: &Child) {
    let (cpu, writes) = (sample::cpu(child.id()), stage.api_writes());
    println!("before a resync interval:");
    calls(child);
    std::thread::sleep(RESYNC + Duration::from_secs(5));
    println!(
        "after it ({} s): CPU {:.2} s, writes to the API server {}",
        RESYNC.as_secs() + 5,
        sample::cpu(child.id()) - cpu,
        stage.api_writes() - writes
    );
    calls(child);
}

/// The operator's own count of its calls to Ditto and its resyncs.
fn calls(child: &Child) {
    let Some(address) = last_after(&child.log(), MANAGEMENT) else {
        return println!("  no management port in the log");
    };
    let (_, metrics) = get(&format!("{}/metrics", address.trim_end_matches('/')));
    let is_told = |line: &&str| {
        let names = ["twinops_ditto_calls", "twinops_resyncs", "twinops_resync_duration_seconds_sum"];
        names.iter().any(|name| line.starts_with(name))
    };
    for line in metrics.lines().filter(is_told) {
        println!("  {line}");
    }
}
