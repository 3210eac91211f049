//! One module per command: everything meets here, and nothing is decided here.
mod apply;
mod bridge;
mod crds;
mod dev;
mod ditto;
mod engine;
mod facade;
mod health;
mod operator;
mod secrets;
mod stop;

use std::process::ExitCode;

use crate::engine::EngineError;
use crate::facade::FacadeError;
use crate::settings::cli::Api;
use crate::settings::{Role, Settings};

/// Nothing was tried: usage, folder, Ditto unreachable, or credentials refused.
pub const NOTHING_TRIED: u8 = 2;

/// Threads that a role works on; `None`: one for each core.
///
/// The operator mostly waits for the API server: one thread passes 700 twins a second, more than an API server takes, and
/// the same work handed between two costs half as much CPU again (docs/benchmarks.md).
pub fn threads(role: &Role) -> Option<usize> {
    matches!(role, Role::Operator(_)).then_some(1)
}

/// Runs the role that the settings name, until it is done or told to stop.
pub async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    match settings.role {
        Role::Apply(apply) => apply::run(apply).await,
        Role::Bridge(bridge) => bridge::run(*bridge).await,
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
        Role::Health(health) => health::run(health).await,
        Role::Secrets(secrets) => secrets::run(secrets).await,
        Role::Settings => {
            print!("{}", crate::settings::table());
            Ok(ExitCode::SUCCESS)
        }
        Role::Operator(operator) => operator::run(operator).await,
    }
}

/// Names the flag that chooses another address, where an address that cannot be listened on is what went wrong.
fn flagged<E>(flag: &'static str, cannot_listen: impl Fn(&E) -> bool) -> impl Fn(E) -> anyhow::Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |error| {
        let concerned = cannot_listen(&error);
        let error = anyhow::Error::from(error);
        if concerned { error.context(flag) } else { error }
    }
}

fn flagged_engine(flag: &'static str) -> impl Fn(EngineError) -> anyhow::Error {
    flagged(flag, |error| matches!(error, EngineError::Listen { .. }))
}

fn flagged_facade(flag: &'static str) -> impl Fn(FacadeError) -> anyhow::Error {
    flagged(flag, |error| matches!(error, FacadeError::Listen { .. }))
}
