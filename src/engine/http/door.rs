//! Who gets in: so many connections at one time, see [`Full`] for the others.
use std::sync::Arc;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::full::Full;

/// Lets in as many connections as there are places.
pub struct Door {
    listener: TcpListener,
    free: Arc<Semaphore>,
    full: Full,
}

impl Door {
    pub fn new(listener: TcpListener, places: usize, full: Full) -> Self {
        Self { listener, free: Arc::new(Semaphore::new(places)), full }
    }

    pub async fn enter(&mut self) -> (TcpStream, OwnedSemaphorePermit) {
        loop {
            // axum's, which waits when there are no files left
            let (stream, _) = Listener::accept(&mut self.listener).await;
            // answers are small: waiting to fill a packet would only delay them
            drop(stream.set_nodelay(true));
            match Arc::clone(&self.free).try_acquire_owned() {
                Ok(place) => return (stream, place),
                Err(_) => self.full.tell(stream),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::super::core::Stats;
    use super::*;

    #[tokio::test]
    async fn s10_one_more_connection_is_told_so_until_another_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Stats::default());
        let mut door = Door::new(listener, 2, Full::new(Arc::clone(&counts)));
        let mut clients = vec![];
        for _ in 0..2 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let first = door.enter().await;
        let _second = door.enter().await;
        let mut third = TcpStream::connect(address).await.unwrap();
        third.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut told = String::new();
        tokio::select! {
            _ = door.enter() => panic!("there are two places"),
            read = third.read_to_string(&mut told) => drop(read.unwrap()),
        }
        assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("gateway:service.unavailable"), "{told}");
        assert_eq!(counts.connections_turned_away.load(Ordering::Relaxed), 1);
        drop(first);
        clients.push(TcpStream::connect(address).await.unwrap());
        let _third = door.enter().await;
    }
}
