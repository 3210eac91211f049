//! `twinops engine`.
use tokio_util::sync::CancellationToken;

use super::{EngineError, EngineOptions, start};

/// Runs an engine until SIGINT or SIGTERM. Scripts wait for the one line it prints.
pub async fn run(options: EngineOptions) -> Result<(), EngineError> {
    let stop = CancellationToken::new();
    let running = start(options, stop.clone()).await?;
    println!("engine listening on http://{}", running.address);
    tokio::spawn(async move {
        signalled().await;
        stop.cancel();
    });
    running.stopped().await
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupted = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => {
            tokio::select! { _ = interrupted => {}, _ = terminated.recv() => {} }
        }
        Err(_) => drop(interrupted.await),
    }
}
