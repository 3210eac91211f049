//! Log lines on stderr: stdout is for results.
use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::LogFormat;

/// Why log lines cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("LOG_LEVEL is no filter: {0}; write e.g. info or info,twinops=debug")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("log lines are set up already: start them once, first thing in main")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends log lines to stderr, in colour when that is a terminal. Once per process.
pub fn start_logs(filter: &str, format: LogFormat) -> Result<(), LogError> {
    let stderr = std::io::stderr;
    let coloured = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    Ok(lines(filter, format, coloured, stderr)?.try_init()?)
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
