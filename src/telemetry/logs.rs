//! Log lines on stderr: stdout is for results. Spans beside them, when they are sent.
use std::io::IsTerminal;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::traces::Traces;
use crate::settings::LogFormat;

/// Why log lines cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("LOG_LEVEL is no filter: {0}; write e.g. info or info,twinops=debug")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("log lines are set up already: start them once, first thing in main")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends log lines to stderr, in colour when that is a terminal, and our own spans to `traces`. Once per process.
pub fn start_logs(filter: &str, format: LogFormat, traces: Option<&Traces>) -> Result<(), LogError> {
    let stderr = std::io::stderr;
    let coloured = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let Some(traces) = traces else {
        return Ok(lines(filter, format, coloured, stderr)?.try_init()?);
    };
    // Whatever the log shows of them: all spans are sent, and nothing that libraries say.
    let ours = Targets::new().with_target(env!("CARGO_PKG_NAME"), LevelFilter::DEBUG);
    let spans = tracing_opentelemetry::layer()
        .with_tracer(traces.tracer())
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_filter(ours);
    let fmt = tracing_subscriber::fmt::layer().with_ansi(coloured).with_writer(stderr);
    let fmt = match format {
        LogFormat::Text => fmt.with_target(false).boxed(),
        LogFormat::Json => fmt.json().flatten_event(true).boxed(),
    };
    let fmt = fmt.with_filter(EnvFilter::try_new(filter)?);
    Ok(tracing_subscriber::registry().with(fmt).with(spans).try_init()?)
}

pub(super) fn lines<W>(
    filter: &str,
    format: LogFormat,
    coloured: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter)?)
        .with_ansi(coloured)
        .with_writer(writer);
    Ok(match format {
        LogFormat::Text => Box::new(builder.with_target(false).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}
