//! Every metric that is promised is fed.
use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use super::{DEVICE, Desk, QUICK_RESYNC, SOON, USER, condition, ditto};
use crate::support::ditto::Ditto;
use crate::support::gate::Gate;
use crate::support::wait_for;

/// What other roles feed.
const OF_OTHERS: [&str; 6] = [
    "twinops_mqtt_",
    "twinops_request",
    "twinops_sockets",
    "twinops_logins",
    "twinops_build",
    "twinops_tls_",
];
/// What is nought most of the time, and there all the same.
const MAY_BE_ZERO: &str = "twinops_queue_depth";

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn names_in(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("twinops_").map(|(at, _)| &text[at..]);
    starts.map(|rest| rest.chars().take_while(|c| is_word(*c)).collect()).collect()
}

/// The metrics of the operator: those it declares, the dashboard asks for, and its page names.
fn promised(scraped: &str) -> BTreeSet<String> {
    let dashboard = fs::read_to_string("manifests/grafana-dashboard.json").expect("the dashboard");
    let page = fs::read_to_string("docs/operations.md").expect("docs/operations.md");
    let (_, table) = page.split_once("## Metrics").expect("a table of metrics");
    let table = table.split("\n## ").next().unwrap_or(table);
    let declared = scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let mut names = names_in(&dashboard);
    names.extend(names_in(table));
    names.extend(declared.map(str::to_owned));
    names.retain(|name| !OF_OTHERS.iter().any(|other| name.starts_with(other)));
    names
}

/// The largest sample of a metric.
fn largest(scraped: &str, name: &str) -> Option<f64> {
    let is_it = |found: &str| {
        let rest = found.strip_prefix(name);
        rest.is_some_and(|rest| ["", "_total", "_count", "_info"].contains(&rest))
    };
    let samples = scraped.lines().filter(|line| !line.starts_with('#'));
    let ours = samples.filter(|line| is_it(line.split(['{', ' ']).next().unwrap_or_default()));
    ours.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).reduce(f64::max)
}

fn starved(scraped: &str) -> Vec<String> {
    let is_fed = |name: &String| largest(scraped, name).is_some_and(|n| n > 0.0 || name == MAY_BE_ZERO);
    promised(scraped).into_iter().filter(|name| !is_fed(name)).collect()
}

#[test]
fn every_metric_that_is_declared_documented_or_shown_is_fed() {
    let gate = Gate::before(&ditto().url);
    let desk = Desk::beside(&Ditto { url: gate.url.clone() }, QUICK_RESYNC, &[]);
    desk.sensor("pump");
    desk.sensor("stray");
    desk.wait("tp", "sensors", "knew its users", |policy| (policy["status"]["usedBy"] == 2).then_some(()));
    // Drift that the stream tells of, telemetry, a thing without a resource, and a search that fails.
    wait_for("the stream of changes", SOON, || {
        (desk.operator.metric("twinops_listening") == 1).then_some(())
    });
    desk.patch_thing(USER, "pump", &json!({"attributes": {"location": "elsewhere"}}));
    desk.patch_thing(DEVICE, "pump", &json!({"features": {"temperature": {"properties": {"value": 1}}}}));
    desk.wait("dt", "pump", "told its drift", |twin| (twin["status"]["drift"]["count"] == 1).then_some(()));
    let forged = r#"{"status": {"revision": 7}}"#;
    desk.kubectl(&["patch", "dt", "pump", "--subresource=status", "--type=merge", "-p", forged]).ok();
    // Who is paused leaves its thing behind, with the mark.
    desk.kubectl(&["annotate", "dt", "stray", "twinops.dev/paused=true"]).ok();
    desk.wait("dt", "stray", "paused", |twin| {
        (condition(twin, "ReconciliationPaused")["status"] == "True").then_some(())
    });
    desk.delete("dt", "stray");
    desk.wait_gone("dt", "stray");
    let search = |line: &str| line.contains("/search/things");
    gate.refuse(search, (503, vec![], ""));
    wait_for("a search that failed", SOON, || {
        (desk.operator.metric("twinops_dropped_total{what=\"searches_for_strays\"}") > 0).then_some(())
    });
    gate.let_through();

    let deadline = std::time::Instant::now() + SOON;
    loop {
        let (_, scraped) = desk.operator.get("/metrics");
        let starved = starved(&scraped);
        if starved.is_empty() {
            return assert!(promised(&scraped).len() > 20, "{:?}", promised(&scraped));
        }
        assert!(std::time::Instant::now() < deadline, "{starved:?} in\n{scraped}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}
