//! Traces: what comes in is passed on to Ditto, and our own spans arrive at a collector.
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use parking_lot::Mutex;
use prost::Message as _;
use twinops::settings::{Credentials, FacadeAuth};

use super::{Facade, PATIENCE, Recorder, settings};
use crate::support::ditto::{STARTS_WITHIN, get, last_after, twinops};
use crate::support::process::{Child, Signal};
use crate::support::wait_for;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Takes OTLP over HTTP as a collector does.
struct Collector {
    url: String,
    taken: Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>>,
    task: tokio::task::JoinHandle<()>,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    fn start() -> Self {
        let runtime = super::runtime();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let taken: Arc<Mutex<Vec<_>>> = Arc::default();
        let kept = Arc::clone(&taken);
        let take = async move |headers: HeaderMap, body: Bytes| {
            kept.lock().push((headers, ExportTraceServiceRequest::decode(body).expect("OTLP in protobuf")));
        };
        let router = Router::new().route("/v1/traces", post(take));
        let task = runtime.spawn(async move { drop(axum::serve(listener, router).await) });
        Self { url, taken, task, _runtime: runtime }
    }

    fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock();
        let scopes = taken.iter().flat_map(|(_, sent)| &sent.resource_spans).flat_map(|of| &of.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{name}: {other:?}"),
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A facade of its own process that sends spans, and where it listens.
fn facade(collector: &str, ditto: &str, folder: &std::path::Path) -> (Child, String) {
    let mut command = twinops();
    command.args(["facade", "--auth", "none", "--listen", "127.0.0.1:0", "--ditto-url", ditto]);
    command.args(["--management-listen", "127.0.0.1:0", "--drain-delay", "0s"]);
    // Sent at the end, so that nothing hangs on a clock.
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector).env("OTEL_BSP_SCHEDULE_DELAY", "600000");
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=plant-7");
    let child = Child::start("facade", &command, folder).unwrap();
    let base =
        wait_for("the facade to listen", STARTS_WITHIN, || last_after(&child.log(), "facade listening on "));
    (child, base)
}

#[test]
fn spans_arrive_at_a_collector_as_part_of_the_callers_trace() {
    let (collector, folder) = (Collector::start(), tempfile::tempdir().unwrap());
    let recorder = Recorder::answering(200, r#"{"thingId":"com.example:t"}"#);
    let (mut child, base) = facade(&collector.url, &recorder.base, folder.path());
    let runtime = super::runtime();
    let came = [("traceparent", PARENT), ("tracestate", "vendor=1")];
    let reply = super::ask(&runtime, &base, "GET", "/things/com.example:t", &came, None);
    assert_eq!(reply.status, 200, "{reply:?}");
    child.signal(Signal::Term);
    wait_for("the facade to end", PATIENCE, || child.ended());
    let spans = collector.spans();
    let named = |name: &str| {
        spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:?}"))
    };
    let (request, call) = (named("GET /things/{thing_id}"), named("ditto get"));
    assert_eq!(hex(&request.trace_id), TRACE);
    assert_eq!(hex(&request.parent_span_id), "b7ad6b7169203331");
    assert_eq!((&call.trace_id, &call.parent_span_id), (&request.trace_id, &request.span_id));
    assert_eq!((request.kind, call.kind), (SpanKind::Server as i32, SpanKind::Client as i32));
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/things/{thing_id}"),
        ("http.response.status_code", "200"),
        ("correlation_id", reply.header("correlation-id")),
    ] {
        assert_eq!(attribute(&request.attributes, name).as_deref(), Some(value), "{name}");
    }
    let seen = recorder.seen();
    let told = |name: &str| seen[0].headers.get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(told("traceparent"), format!("00-{TRACE}-{}-01", hex(&call.span_id)));
    assert_eq!(told("tracestate"), "vendor=1");
    let (headers, sent) = collector.taken.lock()[0].clone();
    assert_eq!(headers["x-tenant"], "plant-7");
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let resource = sent.resource_spans[0].resource.clone().unwrap();
    assert_eq!(attribute(&resource.attributes, "service.name").as_deref(), Some("twinops-facade"));
}

#[test]
fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, base) = facade("http://127.0.0.1:9", "http://127.0.0.1:9", folder.path());
    assert_eq!(get(&format!("{base}/things/com.example:t")).0, 503);
    child.signal(Signal::Term);
    assert!(wait_for("the facade to end", PATIENCE, || child.ended()).success(), "{}", child.log());
    assert!(child.log().contains("OTLP export"), "and says so:\n{}", child.log());
}

#[test]
fn a_failure_is_a_failed_span() {
    let (collector, folder) = (Collector::start(), tempfile::tempdir().unwrap());
    let (mut child, base) = facade(&collector.url, "http://127.0.0.1:9", folder.path());
    assert_eq!(get(&format!("{base}/things/com.example:t")).0, 503);
    child.signal(Signal::Term);
    wait_for("the facade to end", PATIENCE, || child.ended());
    let spans = collector.spans();
    let request = spans.iter().find(|span| span.name == "GET /things/{thing_id}").unwrap();
    assert_eq!(request.status.clone().map(|status| status.code), Some(StatusCode::Error as i32));
    assert!(request.parent_span_id.is_empty(), "a trace of its own");
}

#[test]
fn without_a_collector_the_callers_trace_is_passed_on_as_it_is() {
    let recorder = Recorder::answering(200, r#"{"thingId":"com.example:t"}"#);
    let auth = FacadeAuth::None(Credentials::PreAuthenticated("nginx:ditto".to_owned()));
    let facade = Facade::with(settings(&recorder.base, auth));
    let came = [("traceparent", PARENT), ("tracestate", "vendor=1")];
    assert_eq!(facade.ask("GET", "/things/com.example:t", &came, None).status, 200);
    let wrong = [("traceparent", "00-x-y-01"), ("tracestate", "vendor=1")];
    assert_eq!(facade.ask("GET", "/things/com.example:t", &wrong, None).status, 200);
    let seen = recorder.seen();
    assert_eq!(seen[0].headers["traceparent"], PARENT);
    assert_eq!(seen[0].headers["tracestate"], "vendor=1");
    assert!(!seen[1].headers.contains_key("traceparent") && !seen[1].headers.contains_key("tracestate"));
}
