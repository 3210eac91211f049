use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::settings::LogFormat;

const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// Status, header block and body of a GET.
async fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn readiness_is_served_with_its_reasons_and_liveness_without() {
    let readiness = Readiness::new(["ditto", "folder"]);
    let stop = CancellationToken::new();
    let server = serve(ANY_PORT.into(), Telemetry::new(), readiness.clone(), stop.clone()).await.unwrap();
    let seen = |path| get(server.address, path);

    assert_eq!(seen("/livez").await.0, 200);
    let (status, _, body) = seen("/readyz").await;
    assert_eq!((status, body.as_str()), (503, "ditto: not checked yet\nfolder: not checked yet\n"));

    readiness.set("folder", Ok(()));
    readiness.set("ditto", Err("refused\r\nset DITTO_API_URL".into()));
    let (status, _, body) = seen("/readyz").await;
    assert_eq!((status, body.as_str()), (503, "ditto: refused  set DITTO_API_URL\n"));
    let (status, _, body) = seen("/health").await;
    let expected = json!({
        "status": "DOWN",
        "version": VERSION,
        "ditto": {"status": "DOWN", "reason": "refused  set DITTO_API_URL"},
        "folder": {"status": "UP"},
    });
    assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()), (503, expected));

    readiness.set("ditto", Ok(()));
    assert_eq!(seen("/readyz").await.0, 200);
    let (status, _, body) = seen("/health").await;
    assert_eq!((status, &serde_json::from_str::<Value>(&body).unwrap()["status"]), (200, &json!("UP")));
    assert_eq!(seen("/debug").await.0, 404);

    stop.cancel();
    server.task.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_client_that_sends_nothing_does_not_hold_up_the_end() {
    let stop = CancellationToken::new();
    let readiness = Readiness::new([]);
    let server = serve(ANY_PORT.into(), Telemetry::new(), readiness, stop.clone()).await.unwrap();
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost:").await.unwrap();
    assert_eq!(get(server.address, "/readyz").await.0, 200);
    stop.cancel();
    server.task.await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_and_not_a_panic() {
    let stop = CancellationToken::new();
    let first = serve(ANY_PORT.into(), Telemetry::new(), Readiness::new([]), stop.clone()).await.unwrap();
    let second = serve(first.address, Telemetry::new(), Readiness::new([]), stop).await;
    let told = second.unwrap_err().to_string();
    assert!(told.starts_with("--management-listen: ") && told.contains(&first.address.to_string()), "{told}");
}

#[tokio::test]
async fn metrics_have_the_names_that_dashboards_rely_on() {
    let telemetry = Telemetry::new();
    telemetry.pass("DigitalTwin", "ready", "Applied", Duration::from_millis(20));
    telemetry.pass("DigitalTwin", "ready", "Applied", Duration::from_millis(20));
    telemetry.ditto_call("patch_thing", "changed");
    telemetry.queue_depth("TwinPolicy", 3);
    telemetry.twins(20, 1);
    telemetry.dropped("log_lines");
    telemetry.event("NotAdoptable");
    telemetry.drift("DigitalTwin", "repaired");
    telemetry.time_to_ready("DigitalTwin", Duration::from_millis(8));
    telemetry.resync("whole", Duration::from_millis(200));
    telemetry.change("of_twins");
    telemetry.change_seen(Duration::from_millis(5));
    telemetry.listens(true);
    telemetry.leads(true);
    telemetry.kept_properties(3, 1);
    telemetry.tls_not_after("facade", 2_000_000_000);
    let dashboard = include_str!("../../manifests/grafana-dashboard.json");
    let known = telemetry.text().unwrap();
    for name in names_in(dashboard) {
        let is_known = known.lines().any(|line| line.split(['{', ' ']).next() == Some(&name));
        assert!(is_known, "the dashboard asks for {name}, which is not in\n{known}");
    }
    let server =
        serve(ANY_PORT.into(), telemetry, Readiness::new([]), CancellationToken::new()).await.unwrap();
    let (status, head, body) = get(server.address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    for line in [
        &format!("twinops_build_info{{version=\"{VERSION}\"}} 1"),
        r#"twinops_passes_total{kind="DigitalTwin",result="ready",reason="Applied"} 2"#,
        r#"twinops_pass_duration_seconds_bucket{le="0.01",kind="DigitalTwin"} 0"#,
        r#"twinops_pass_duration_seconds_bucket{le="0.03",kind="DigitalTwin"} 2"#,
        r#"twinops_ditto_calls_total{call="patch_thing",outcome="changed"} 1"#,
        r#"twinops_queue_depth{kind="TwinPolicy"} 3"#,
        r#"twinops_twins{state="ready"} 20"#,
        r#"twinops_twins{state="not_ready"} 1"#,
        r#"twinops_dropped_total{what="log_lines"} 1"#,
        r#"twinops_events_total{reason="NotAdoptable"} 1"#,
        r#"twinops_drift_total{kind="DigitalTwin",result="repaired"} 1"#,
        r#"twinops_time_to_ready_seconds_count{kind="DigitalTwin"} 1"#,
        r#"twinops_resyncs_total{result="whole"} 1"#,
        "twinops_resync_duration_seconds_count 1",
        r#"twinops_changes_total{result="of_twins"} 1"#,
        "twinops_change_delay_seconds_count 1",
        "twinops_listening 1",
        "twinops_leader 1",
        r#"twinops_tls_not_after_timestamp_seconds{what="facade"} 2000000000"#,
        "# EOF",
    ] {
        assert!(body.lines().any(|found| found == line), "{line} is missing in\n{body}");
    }
}

/// Every metric of ours that a text names.
fn names_in(text: &str) -> Vec<String> {
    let starts = text.match_indices("twinops_").map(|(at, _)| &text[at..]);
    let names = starts
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    assert!(names.len() > 10, "{names:?}");
    names
}

/// A place to write to that a test can read.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut *self.0.lock(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(filter: &str, format: LogFormat, say: impl FnOnce()) -> String {
    let paper = Paper::default();
    let writer = paper.clone();
    let lines = logs::lines(filter, format, false, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(lines, say);
    String::from_utf8(paper.0.lock().clone()).unwrap()
}

#[test]
fn log_lines_are_for_people_or_for_programs() {
    let say = || tracing::info!(twin = "default/pump", "applied");
    let text = written("info", LogFormat::Text, say);
    assert!(text.contains("INFO") && text.ends_with("applied twin=\"default/pump\"\n"), "{text}");
    let line: Value = serde_json::from_str(&written("info", LogFormat::Json, say)).unwrap();
    assert_eq!((&line["message"], &line["twin"]), (&json!("applied"), &json!("default/pump")));
}

#[test]
fn the_filter_decides_what_is_logged() {
    let say = || {
        tracing::debug!(target: "hyper", "a header");
        tracing::debug!(target: "twinops::ditto", "a call");
    };
    assert_eq!(written("info", LogFormat::Text, say), "");
    let detailed = written("info,twinops=debug", LogFormat::Text, say);
    assert!(detailed.contains("a call") && !detailed.contains("a header"), "{detailed}");
    assert!(logs::lines("twinops=loud", LogFormat::Text, false, io::sink).is_err());
}

#[test]
fn s23_what_others_wrote_cannot_forge_a_line() {
    let forged = "pump\r\n2026-01-01T00:00:00Z ERROR all is lost \u{1b}[2J";
    let say = || tracing::warn!(twin = forged, "refused");
    for format in [LogFormat::Text, LogFormat::Json] {
        let text = written("info", format, say);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
