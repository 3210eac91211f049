//! Traces: the context of whoever calls us is passed on to Ditto, and our own spans go to an OpenTelemetry collector when
//! one is named. Source: W3C Trace Context §3; OTLP 1.x over HTTP with protobuf.
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HeaderExtractor, HeaderInjector, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::settings::Otlp;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The longest `tracestate` that is passed on, in bytes. Source: W3C Trace Context §3.3.1.5.
const TRACESTATE_BYTES_MAX: usize = 512;
/// How long one batch of spans may take to be sent.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the last spans.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("--otlp-endpoint: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("--otlp-endpoint: no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Sends spans as long as it lives; what is left is sent when it is dropped.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Spans wait in a queue of 2,048 and go in batches of 512, every 5 s at least; what finds the queue full is dropped,
    /// and the log says so. Source: `opentelemetry_sdk`, `OTEL_BSP_…`.
    pub fn start(otlp: &Otlp, runtime: Handle) -> Result<Self, TraceError> {
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(SEND_DEADLINE);
        if otlp.traces_url.starts_with("http:") {
            // No certificate is ever looked at, so the system's need not be there.
            client = client.tls_certs_only([]);
        }
        let client = client.build()?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&otlp.traces_url)
            .with_http_client(Sender { client, runtime })
            .build()?;
        let resource = Resource::builder()
            .with_service_name(otlp.service.clone())
            .with_attribute(opentelemetry::KeyValue::new("service.version", super::VERSION))
            .build();
        Ok(Self(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
    }

    pub(super) fn tracer(&self) -> Tracer {
        self.0.tracer("twinops")
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_DEADLINE) {
            tracing::warn!(%error, "the last spans may not have been sent");
        }
    }
}

/// The exporter asks from a thread of its own, outside the runtime that the client needs.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), request.try_into()?);
        let answered = async move {
            let answer = client.execute(request).await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, answer.bytes().await?))
        };
        let (status, headers, body) = self.runtime.spawn(answered).await??;
        let mut response = Response::new(body);
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }
}

/// The trace that a request belongs to, as its sender says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    parent: HeaderValue,
    state: Option<HeaderValue>,
}

impl TraceContext {
    /// `None` without a `traceparent`, and with one that is not well-formed: a new trace begins then.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let parent = headers.get(TRACEPARENT).filter(|value| is_traceparent(value.as_bytes()))?;
        let state = headers.get(TRACESTATE);
        let plain = |value: &&HeaderValue| {
            (1..=TRACESTATE_BYTES_MAX).contains(&value.len())
                && value.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte))
        };
        Some(Self { parent: parent.clone(), state: state.filter(plain).cloned() })
    }

    fn put(&self, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT, self.parent.clone());
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE, state.clone());
        }
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, lower case, neither id all zeros. Of a later version the same beginning is taken.
fn is_traceparent(text: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let some = |part: &[u8]| hex(part) && part.iter().any(|byte| *byte != b'0');
    let [a, b, b'-', rest @ ..] = text else { return false };
    if rest.len() != 52 || !hex(&[*a, *b]) || [*a, *b] == *b"ff" {
        return false;
    }
    let (trace, span, flags) = (&rest[..32], &rest[33..49], &rest[50..]);
    some(trace) && some(span) && hex(flags) && rest[32] == b'-' && rest[49] == b'-'
}

/// Makes `span` part of the trace that a request belongs to. Does nothing unless spans are sent.
pub fn join(span: &Span, context: &TraceContext) {
    let mut headers = HeaderMap::with_capacity(2);
    context.put(&mut headers);
    // It fails where no spans are sent.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&HeaderExtractor(&headers)));
}

/// Tells the next server which trace a call belongs to: to `span` where spans are sent, otherwise to the one that came in.
pub fn pass_on(span: &Span, came_in: Option<&TraceContext>, headers: &mut HeaderMap) {
    if !span.is_disabled() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut HeaderInjector(headers));
    }
    if let Some(context) = came_in.filter(|_| !headers.contains_key(TRACEPARENT)) {
        context.put(headers);
    }
}

/// Adds to what is sent of `span`, in OpenTelemetry's names for HTTP.
pub fn describe(span: &Span, method: &'static str, route: Option<&'static str>, status: u16) {
    if span.is_disabled() {
        return;
    }
    span.set_attribute("http.request.method", method);
    if let Some(route) = route {
        span.set_attribute("http.route", route);
    }
    span.set_attribute("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.set_status(opentelemetry::trace::Status::error(""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn s3_only_a_trace_that_is_one_is_passed_on() {
        let long = "a=b,".repeat(200);
        let rows = [
            (PARENT, "a=b", true, true),
            (PARENT, &long, true, false),
            (PARENT, "a=\u{fc}", true, false),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "", true, false),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "", false, false),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", "", false, false),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", "", false, false),
            ("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "", false, false),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", "", false, false),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", "", false, false),
            ("", "a=b", false, false),
        ];
        for (parent, state, passes, with_state) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, parent.parse().unwrap());
            headers.insert(TRACESTATE, HeaderValue::from_bytes(state.as_bytes()).unwrap());
            let context = TraceContext::of(&headers);
            assert_eq!(context.is_some(), passes, "{parent}");
            let mut passed = HeaderMap::new();
            pass_on(&Span::none(), context.as_ref(), &mut passed);
            assert_eq!(passed.get(TRACEPARENT).is_some_and(|value| value == parent), passes, "{parent}");
            assert_eq!(passed.contains_key(TRACESTATE), with_state, "{parent} {state:.20}");
        }
    }
}
