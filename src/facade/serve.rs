//! Connections: taken in, bounded, and let go in peace.
use std::io;
use std::net::{self, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::connection::{Close, Connection, HEAD_DEADLINE};
use super::tls;
use crate::workers::Workers;

/// Open at one time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;
/// From the connection to the end of the TLS handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long open requests may take after the stop; then they are cut off.
const DRAIN: Duration = Duration::from_secs(30);
/// After this a connection that could not be taken in (such as for want of file descriptors) is tried again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

pub struct Server {
    pub router: Router,
    pub workers: Workers,
    pub certificate: Option<tls::Server>,
    /// How long requests are still taken after the stop, until nobody sends any.
    pub drain_delay: Duration,
}

impl Server {
    /// Serves until `stop`, then for the delay, then until all is answered.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let acceptor = self.certificate.as_ref().map(tls::Server::acceptor);
        let follow = self.certificate.map(|certificate| tokio::spawn(certificate.follow()));
        let close = Close::default();
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let delayed = async {
            stop.cancelled().await;
            tokio::time::sleep(self.drain_delay).await;
        };
        let mut delayed = pin!(delayed);
        loop {
            let accepted = async {
                let permit = Arc::clone(&free).acquire_owned().await;
                (permit, listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                () = &mut delayed => break,
                accepted = accepted => accepted,
            };
            let Some((stream, peer)) = taken(accepted).await else { continue };
            let peer = peer.ip().to_canonical();
            let (router, close) = (self.router.clone(), close.clone());
            let connection = Connection { router, peer, head_deadline: HEAD_DEADLINE, close };
            let acceptor = acceptor.clone();
            self.workers.spawn(async move {
                serve(connection, stream, acceptor).await;
                drop(permit);
            });
        }
        drop(listener);
        close.close();
        self.workers.drained(DRAIN).await;
        if let Some(follow) = follow {
            follow.abort();
        }
    }
}

/// The connection, out of the hands of this runtime: another one serves it.
async fn taken(accepted: io::Result<(TcpStream, SocketAddr)>) -> Option<(net::TcpStream, SocketAddr)> {
    let accepted = accepted.and_then(|(stream, peer)| {
        // Answers are small: waiting to fill a packet would only delay them.
        drop(stream.set_nodelay(true));
        Ok((stream.into_std()?, peer))
    });
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be taken in");
            tokio::time::sleep(ACCEPT_AGAIN).await;
            None
        }
    }
}

async fn serve(connection: Connection, stream: net::TcpStream, acceptor: Option<TlsAcceptor>) {
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "a connection could not be served"),
    };
    match acceptor {
        None => connection.serve(stream).await,
        // In a box, so that a connection without TLS does not take up its place.
        Some(acceptor) => Box::pin(encrypted(connection, stream, acceptor)).await,
    }
}

async fn encrypted(connection: Connection, stream: TcpStream, acceptor: TlsAcceptor) {
    match tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => connection.serve(stream).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
        Err(_) => tracing::debug!("no TLS in time"),
    }
}
