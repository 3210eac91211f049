//! `twinops`: one binary, one process per role. See `twinops --help`.
use std::process::ExitCode;

use clap::Parser;
use twinops::settings::{self, Settings, Surroundings, cli::Cli};
use twinops::telemetry::traces::Traces;
use twinops::{role, telemetry};

// A request takes a tenth less CPU than with glibc's, and half of what it takes with musl's. See docs/benchmarks.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // kube and reqwest both ask rustls for the provider of the process, and panic without one.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let settings = match settings::check(Cli::parse(), &Surroundings::of_process()) {
        Ok(settings) => settings,
        Err(mistakes) => {
            for mistake in &mistakes {
                eprintln!("twinops: {mistake}");
            }
            eprintln!("twinops: see `twinops --help`");
            return ExitCode::from(role::NOTHING_TRIED);
        }
    };
    match start(settings) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("twinops: {error:#}");
            ExitCode::from(role::NOTHING_TRIED)
        }
    }
}

fn start(settings: Settings) -> anyhow::Result<ExitCode> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = role::threads(&settings.role) {
        runtime.worker_threads(threads);
    }
    let runtime = runtime.enable_all().build()?;
    let traces =
        settings.otlp.as_ref().map(|otlp| Traces::start(otlp, runtime.handle().clone())).transpose()?;
    telemetry::start_logs(&settings.log_filter, settings.log_format, traces.as_ref())?;
    let code = runtime.block_on(role::run(settings));
    // Before the runtime goes, which carries the last spans.
    drop(traces);
    code
}
