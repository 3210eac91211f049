//! What the kernel knows of a process.
use std::fs;
use std::time::{Duration, Instant};

/// Clock ticks a second, in `/proc/<pid>/stat`: 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of a process so far, in seconds.
pub fn cpu(pid: u32) -> f64 {
    ticks(pid, 13) + ticks(pid, 14)
}

/// User and system time of our children that have ended, in seconds.
pub fn cpu_of_ended_children() -> f64 {
    ticks(std::process::id(), 15) + ticks(std::process::id(), 16)
}

/// Our own user and system time, in seconds.
pub fn own_cpu() -> f64 {
    cpu(std::process::id())
}

fn ticks(pid: u32, field: usize) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; the numbers start after it.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let value = rest.split_whitespace().nth(field - 2).and_then(|word| word.parse::<f64>().ok());
    value.unwrap_or(0.0) / TICKS_PER_SECOND
}

/// Resident memory now and at its highest, in MB.
pub fn rss(pid: u32) -> (f64, f64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0) / 1_024.0
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// The highest is from now on.
pub fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("a process of ours");
}

pub fn load() -> String {
    fs::read_to_string("/proc/loadavg")
        .unwrap_or_default()
        .split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Waits until `look` finds something, looking every millisecond. Panics after `within`.
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < within, "waited {within:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// `name: median (min to max) unit` of several rounds.
pub fn print(name: &str, unit: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let middle = values[values.len() / 2];
    println!("{name}: {middle:.2} ({:.2} to {:.2}) {unit}", values[0], values[values.len() - 1]);
}

/// `name: p50, p99, max` of many latencies in milliseconds.
pub fn print_percentiles(name: &str, mut milliseconds: Vec<f64>) {
    milliseconds.sort_by(f64::total_cmp);
    let at = |percent: usize| milliseconds[(milliseconds.len() - 1) * percent / 100];
    println!("{name}: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", at(50), at(99), at(100));
}

/// `name: p50, p99, max` of many latencies in milliseconds, to the microsecond.
pub fn print_microseconds(name: &str, mut milliseconds: Vec<f64>) {
    milliseconds.sort_by(f64::total_cmp);
    let at = |percent: usize| milliseconds[(milliseconds.len() - 1) * percent / 100];
    println!("{name}: p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms", at(50), at(99), at(100));
}

/// A folder with `count` twins in files of a hundred, and their policy.
pub fn fleet(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let policy = "apiVersion: twinops.dev/v1alpha1
kind: TwinPolicy
metadata: {name: bench}
spec:
  policyId: org.bench:policy
  entries:
    people:
      subjects: {'nginx:ditto': {type: user}}
      resources: {'thing:/': {grant: [READ, WRITE]}, 'policy:/': {grant: [READ, WRITE]}}
";
    std::fs::write(folder.path().join("policy.yaml"), policy).expect("a file");
    let twins: Vec<String> = (0..count).map(twin).collect();
    for (index, part) in twins.chunks(100).enumerate() {
        std::fs::write(folder.path().join(format!("twins-{index:03}.yaml")), part.join("---\n"))
            .expect("a file");
    }
    folder
}

/// One twin of about 500 bytes.
pub fn twin(index: usize) -> String {
    format!(
        "apiVersion: twinops.dev/v1alpha1
kind: DigitalTwin
metadata: {{name: t{index}}}
spec:
  thingId: org.bench:t{index}
  policyRef: {{name: bench}}
  attributes: {{type: sensor, location: hall-{index}, serial: 'SN-{index:08}'}}
  features:
    temperature:
      properties: {{value: 20.5, unit: celsius}}
      desiredProperties: {{interval: 30}}
"
    )
}
