//! The engine in this process, for tests that need a Ditto.
use std::net::SocketAddr;
use std::path::Path;

use tokio_util::sync::CancellationToken;
use twinops::engine::{Durability, EngineError, EngineOptions, Running, start};

/// An engine in this process; stops, and lets go of its folder, when dropped.
pub struct Engine {
    /// `http://127.0.0.1:port`
    pub base: String,
    stop: CancellationToken,
    running: Option<Running>,
    runtime: tokio::runtime::Runtime,
}

impl Engine {
    pub fn in_memory() -> Self {
        Self::try_start(None).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn on_disk(folder: &Path) -> Self {
        Self::try_start(Some(folder)).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn try_start(folder: Option<&Path>) -> Result<Self, EngineError> {
        Self::with(EngineOptions { data: folder.map(Into::into), pre_authenticated: true, ..Self::options() })
    }

    /// On a free port of loopback, keeping nothing, letting nobody in.
    pub fn options() -> EngineOptions {
        EngineOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: None,
            durability: Durability::Durable,
            pre_authenticated: false,
            basic_auth_file: None,
            anonymous: None,
        }
    }

    pub fn with(options: EngineOptions) -> Result<Self, EngineError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let stop = CancellationToken::new();
        let running = runtime.block_on(start(options, stop.clone()))?;
        Ok(Self { base: format!("http://{}", running.address), stop, running: Some(running), runtime })
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until it is dropped")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            drop(self.runtime.block_on(running.stopped()));
        }
    }
}
