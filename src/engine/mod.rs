//! A server that speaks Ditto 3.8's `/api/2`, for laptops, tests and small edge sites.
//!
//! A request becomes a [`command`]; [`apply`] answers it against the [`state`] and names the changes, without
//! effects; [`core`] puts them in memory and hands them to the [`store`], whose committer makes them durable
//! before the answer leaves. [`http`] is the only part that knows about bytes.
mod apply;
mod command;
mod core;
mod depth;
pub mod enforce;
mod failure;
mod fields;
#[cfg(test)]
mod fuzz;
mod history;

mod http;
mod length;
mod live;
mod parse;
mod place;
mod policy;
mod precondition;
mod search;
mod state;
mod store;
mod thing;
mod time;

pub use core::Stats;
#[cfg(test)]
pub use http::in_process;
pub use http::openapi::openapi;
pub use store::Durability;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::core::Core;
use http::{Authentication, LenientListener, Limits, Server, Users};
use state::State;
use store::Store;
use store::committer::Committer;

use crate::workers::{self, Workers};

/// How long open requests may take after the stop; then they are cut off.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct EngineOptions {
    pub listen: SocketAddr,
    /// `None` keeps nothing.
    pub data: Option<PathBuf>,
    pub durability: Durability,
    /// Trusts the header `x-ditto-pre-authenticated`; only behind a proxy that sets it.
    pub pre_authenticated: bool,
    /// `user:password` lines; user `u` is subject `nginx:u`.
    pub basic_auth_file: Option<PathBuf>,
    /// The subject of requests without credentials; on loopback only.
    pub anonymous: Option<String>,
}

/// Why the engine does not run, by what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(
        "requests without credentials are taken on loopback only, and {0} is not: configure credentials or listen on 127.0.0.1"
    )]
    AnonymousNotLoopback(SocketAddr),
    #[error("the users file {}: {cause}", path.display())]
    Users { path: PathBuf, cause: String },
    #[error("cannot listen on {address}: {cause}; choose another address, or stop what listens there")]
    Listen { address: SocketAddr, cause: std::io::Error },
    #[error("the data folder {} is used by another engine: stop it, or choose another folder", path.display())]
    Locked { path: PathBuf },
    #[error("the data folder {}: {cause}; check that it is a writable folder with free space", path.display())]
    Folder { path: PathBuf, cause: String },
    #[error("the data folder {} is damaged: {cause}; restore it from a backup, or move it away to start empty", path.display())]
    Damaged { path: PathBuf, cause: String },
    #[error("the data folder {} has format {found}, this engine knows {expected}: use the version that wrote it", path.display())]
    Format { path: PathBuf, found: u64, expected: u64 },
    #[error(
        "cannot start the threads that serve: {0}; raise the limit of threads (ulimit -u, pids of the container)"
    )]
    Threads(std::io::Error),
    #[error("the engine stopped: {0}")]
    Stopped(String),
}

/// An engine that listens. Dropping it does not stop it; its stop token does.
pub struct Running {
    pub address: SocketAddr,
    pub stats: Arc<Stats>,
    task: JoinHandle<Result<(), EngineError>>,
}

impl Running {
    /// Waits until everything is answered and written.
    pub async fn stopped(self) -> Result<(), EngineError> {
        self.task.await.map_err(|error| EngineError::Stopped(error.to_string()))?
    }
}

/// Reads the folder, listens, and returns; the engine then runs until `stop` is cancelled.
pub async fn start(options: EngineOptions, stop: CancellationToken) -> Result<Running, EngineError> {
    if options.anonymous.is_some() && !options.listen.ip().is_loopback() {
        return Err(EngineError::AnonymousNotLoopback(options.listen));
    }
    let users = options.basic_auth_file.as_deref().map(Users::read).transpose()?.unwrap_or_default();
    let authentication =
        Authentication { pre_authenticated: options.pre_authenticated, users, anonymous: options.anonymous };
    let counts = Arc::new(Stats::default());
    let (state, committer) = open(options.data, options.durability, &counts).await?;
    let listen = |cause| EngineError::Listen { address: options.listen, cause };
    let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let hub = live::Hub::start(stop.clone(), Arc::clone(&counts));
    let core = Core { state, counts: Arc::clone(&counts), committer, hub };
    let server = Arc::new(Server::new(core, authentication));
    let workers = Workers::start("engine", workers::count()).map_err(EngineError::Threads)?;
    let task = tokio::spawn(serve(listener, server, workers, stop));
    Ok(Running { address, stats: counts, task })
}

type Opened = (Arc<RwLock<State>>, Option<Committer>);

async fn open(
    data: Option<PathBuf>,
    durability: Durability,
    counts: &Arc<Stats>,
) -> Result<Opened, EngineError> {
    let Some(path) = data else { return Ok((Arc::default(), None)) };
    let counts = Arc::clone(counts);
    let opened = tokio::task::spawn_blocking(move || {
        let (store, state) = Store::open(&path)?;
        let (things, policies) = state.count();
        tracing::info!(folder = %path.display(), things, policies, "the engine has read its folder");
        let state = Arc::new(RwLock::new(state));
        let committer = Committer::start(store, durability, Arc::clone(&state), counts);
        let committer = committer.map_err(|cause| EngineError::Folder { path, cause: cause.to_string() })?;
        Ok((state, Some(committer)))
    });
    opened.await.map_err(|error| EngineError::Stopped(error.to_string()))?
}

async fn serve(
    listener: TcpListener,
    server: Arc<Server>,
    workers: Workers,
    stop: CancellationToken,
) -> Result<(), EngineError> {
    let mut listener = LenientListener::new(listener, Limits::default(), Arc::clone(&server.core.counts));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        workers.spawn(http::connection(accepted, Arc::clone(&server), stop.clone()));
    }
    drop(listener);
    workers.drained(DRAIN).await;
    drop(workers);
    let closed = tokio::task::spawn_blocking(move || {
        if let Some(committer) = &server.core.committer {
            committer.close();
        }
    });
    closed.await.map_err(|error| EngineError::Stopped(error.to_string()))
}
