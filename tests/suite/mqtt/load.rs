//! A load that goes on: memory and open files stay as they are. `TWINOPS_SOAK_SECONDS` says how long; `make soak` 1,800.
use std::time::{Duration, Instant};

use serde_json::json;

use super::telemetry::memory;
use super::{Site, becomes, create};
use crate::support::mqtt::{Bridge, Device};

const THINGS: usize = 100;
/// A message of each thing so often in a second.
const PER_SECOND: u32 = 10;

#[test]
fn memory_and_open_files_stay_flat_under_load() {
    let told = std::env::var("TWINOPS_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let whole = Duration::from_secs(told.unwrap_or(60));
    let site = Site::start(&[]);
    (0..THINGS).for_each(|thing| create(site.ditto(), &format!("org.s:t{thing}")));
    let mut device = Device::connect(site.mosquitto.port, "soak").expect("a broker");
    let (start, mut round, mut samples) = (Instant::now(), 0_u32, vec![]);
    while start.elapsed() < whole {
        round += 1;
        for thing in 0..THINGS {
            let payload =
                json!({"t": round, "text": format!("{round:064}"), "gps": {"lat": round, "lon": thing}});
            device
                .send(&format!("devices/org.s:t{thing}/telemetry"), payload.to_string().as_bytes())
                .unwrap();
        }
        device.flush().expect("a broker");
        let next = start + round * Duration::from_secs(1) / PER_SECOND;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        if round.is_multiple_of(PER_SECOND * 5) {
            samples.push((memory(&site.bridge), files(&site.bridge)));
        }
    }
    device.settle().expect("the broker takes everything");
    for thing in 0..THINGS {
        becomes(site.ditto(), &format!("org.s:t{thing}"), "t", &json!(round));
    }
    // The first seconds make the lanes; after a third everything is there.
    let settled = &samples[samples.len() / 3..];
    let (least, most) = (settled.iter().map(|(mb, _)| *mb).min(), settled.iter().map(|(mb, _)| *mb).max());
    let (least, most) = (least.expect("samples"), most.expect("samples"));
    println!("{round} rounds of {THINGS} messages: RSS {least} to {most} MB, files {:?}", samples.last());
    assert!(most <= least + 8, "RSS in MB and files, every 5 s: {samples:?}");
    assert!(settled.iter().all(|(_, files)| *files == settled[0].1), "{samples:?}");
    assert_eq!(site.bridge.metric(r#"mqtt_connections_total{result="connected"}"#), 1);
}

fn files(bridge: &Bridge) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", bridge.child.id())).map_or(0, Iterator::count)
}
