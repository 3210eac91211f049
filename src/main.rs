//! The `twinops` command.
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use twinops::engine::{EngineOptions, role};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A server with Ditto's HTTP API, for development, tests and small sites.
    Engine {
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Where things and policies are kept; nothing is kept without it.
        #[arg(long)]
        data: Option<PathBuf>,
        /// Trust the header x-ditto-pre-authenticated.
        #[arg(long)]
        pre_authenticated: bool,
        /// A file of user:password lines.
        #[arg(long)]
        basic_auth_file: Option<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Engine { listen, data, pre_authenticated, basic_auth_file } => {
            let options = EngineOptions { listen, data, pre_authenticated, basic_auth_file, anonymous: None };
            Ok(role::run(options).await?)
        }
    }
}
