//! What a connection is told that is one too many: 503 in Ditto's form, rather than nothing until others end.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::super::core::Stats;
use super::super::failure::Failure;

/// Told at the same time; with the connections served they stay below the 1,024 files of a process. More are closed.
const TOLD_MAX: usize = 50;
/// For the answer to be taken and the connection to be closed by its other end.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is read of a request before its connection is closed under it, in bytes.
const READ_MAX: u64 = 64 * 1024;

pub struct Full {
    free: Arc<Semaphore>,
    counts: Arc<Stats>,
}

impl Full {
    pub fn new(counts: Arc<Stats>) -> Self {
        Self { free: Arc::new(Semaphore::new(TOLD_MAX)), counts }
    }

    /// Answers, and closes once the other end has or should have.
    pub fn tell(&self, stream: TcpStream) {
        self.counts.connections_turned_away.fetch_add(1, Ordering::Relaxed);
        let Ok(place) = Arc::clone(&self.free).try_acquire_owned() else { return };
        tokio::spawn(async move {
            drop(timeout(PATIENCE, answer(stream)).await);
            drop(place);
        });
    }
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let failure = Failure::new(503, "gateway:service.unavailable", "all connections are taken: try again");
    let body = failure.body().to_string();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    stream.shutdown().await?;
    // what is left unread would make the system throw away the answer, too
    tokio::io::copy(&mut stream.take(READ_MAX), &mut tokio::io::sink()).await.map(drop)
}
