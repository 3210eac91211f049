//! `twinops`: one binary, one process per role. See `twinops --help`.
use std::process::ExitCode;

use clap::Parser;
use twinops::settings::{self, Surroundings, cli::Cli};
use twinops::{role, telemetry};

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
    let started = telemetry::start_logs(&settings.log_filter, settings.log_format)
        .map_err(anyhow::Error::from)
        .and_then(|()| Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?));
    match started.and_then(|runtime| runtime.block_on(role::run(settings))) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("twinops: {error:#}");
            ExitCode::from(role::NOTHING_TRIED)
        }
    }
}
