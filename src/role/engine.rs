//! `twinops engine`: the engine as a server of its own.
use std::path::PathBuf;
use std::process::ExitCode;

use super::stop;
use crate::engine::{self, EngineOptions};
use crate::settings::{Data, Engine};

pub async fn run(settings: Engine) -> anyhow::Result<ExitCode> {
    let stop = stop::on_signal()?;
    let options = EngineOptions {
        listen: settings.listen,
        data: folder(settings.data),
        durability: settings.durability,
        pre_authenticated: settings.pre_authenticated,
        basic_auth_file: settings.basic_auth_file,
        anonymous: None,
    };
    let running = engine::start(options, stop).await.map_err(super::flagged_engine("--listen"))?;
    println!("engine listening on http://{}", running.address);
    running.stopped().await?;
    Ok(ExitCode::SUCCESS)
}

pub fn folder(data: Data) -> Option<PathBuf> {
    match data {
        Data::Folder(path) => Some(path),
        Data::Ephemeral => None,
    }
}
