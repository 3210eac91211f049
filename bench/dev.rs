//! From the start of `twinops dev` to its first reconcile, and what it weighs with the samples.
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::sample;
use crate::support::ditto::twinops;

const ROUNDS: usize = 7;
const WITHIN: Duration = Duration::from_secs(20);

pub fn run() {
    let mut figures: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let mut command: Command = twinops();
        command.args([
            "dev",
            "manifests/samples",
            "--facade-listen",
            "127.0.0.1:0",
            "--engine-listen",
            "127.0.0.1:0",
            "--mqtt-listen",
            "127.0.0.1:0",
            "--management-listen",
            "127.0.0.1:0",
        ]);
        command.arg("--data").arg(folder.path().join("data"));
        command.stdout(std::fs::File::create(&log).expect("a log")).stderr(Stdio::null());
        let started = Instant::now();
        let mut child = command.spawn().expect("twinops runs");
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        sample::until("the first reconcile", WITHIN, || said().contains("applied      ").then_some(()));
        figures[0].push(started.elapsed().as_secs_f64() * 1_000.0);
        sample::until("all samples", WITHIN, || {
            said().contains("default/temperature-sensor-01 ").then_some(())
        });
        figures[1].push(started.elapsed().as_secs_f64() * 1_000.0);
        std::thread::sleep(Duration::from_secs(2));
        let (now, peak) = sample::rss(child.id());
        figures[2].push(now);
        figures[3].push(peak);
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
    let [first, all, now, peak] = figures;
    println!("the samples, engine on disk, {ROUNDS} rounds: median (min to max)");
    sample::print("start to the first reconcile", "ms", first);
    sample::print("start to all samples in sync", "ms", all);
    sample::print("RSS after 2 s", "MB", now);
    sample::print("RSS at its highest", "MB", peak);
}
