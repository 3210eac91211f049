//! One module per command: everything meets here, and nothing is decided here.
mod apply;
mod crds;
mod dev;
mod ditto;
mod engine;
mod facade;
mod operator;
mod stop;

use std::process::ExitCode;

use crate::settings::cli::Api;
use crate::settings::{Role, Settings};

/// Nothing was tried: usage, folder, Ditto unreachable, or credentials refused.
pub const NOTHING_TRIED: u8 = 2;

/// Runs the role that the settings name, until it is done or told to stop.
pub async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    match settings.role {
        Role::Apply(apply) => apply::run(apply).await,
        Role::Crds { out } => crds::run(out.as_deref()),
        Role::Dev(dev) => dev::run(dev).await,
        Role::Engine(engine) => engine::run(engine).await,
        Role::Facade(facade) => facade::run(*facade).await,
        Role::Openapi(api) => {
            let text = match api {
                Api::Engine => crate::engine::openapi(),
                Api::Facade => crate::facade::openapi(),
            };
            print!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        Role::Settings => {
            print!("{}", crate::settings::table());
            Ok(ExitCode::SUCCESS)
        }
        Role::Operator(operator) => operator::run(operator).await,
    }
}
