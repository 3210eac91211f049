//! Connections: taken in, bounded, and let go in peace.
use std::io;
use std::net::{self, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ask::Peer;
use super::tls;
use super::workers::Workers;

/// Open at one time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;
/// From the first byte of a head, or the end of the answer before it, to its end. Longer than the pools of clients keep
/// a connection that they do not use.
const HEAD_DEADLINE: Duration = Duration::from_secs(75);
/// From the connection to the end of the TLS handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// The largest head, in bytes: twice what Ditto takes of headers, and a token. Beyond it 431.
const HEAD_BYTES_MAX: usize = 24 * 1_024;
/// The most headers. Beyond it 431.
const HEADERS_MAX: usize = 64;
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
        let (tasks, close) = (TaskTracker::new(), CancellationToken::new());
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
            let connection = Connection { router: self.router.clone(), peer, close: close.clone() };
            let acceptor = acceptor.clone();
            self.workers.spawn(tasks.track_future(async move {
                connection.run(stream, acceptor).await;
                drop(permit);
            }));
        }
        drop(listener);
        close.cancel();
        tasks.close();
        if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
            tracing::warn!(open = tasks.len(), "connections are cut off");
        }
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

struct Connection {
    router: Router,
    peer: SocketAddr,
    close: CancellationToken,
}

impl Connection {
    async fn run(self, stream: net::TcpStream, acceptor: Option<TlsAcceptor>) {
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "a connection could not be served"),
        };
        match acceptor {
            None => self.serve(stream).await,
            // In a box, so that a connection without TLS does not take up its place.
            Some(acceptor) => Box::pin(self.encrypted(stream, acceptor)).await,
        }
    }

    async fn encrypted(self, stream: TcpStream, acceptor: TlsAcceptor) {
        match tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
            Err(_) => tracing::debug!("no TLS in time"),
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let (router, peer) = (TowerToHyperService::new(self.router), Peer(self.peer.ip().to_canonical()));
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            router.call(request)
        });
        let connection = Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(64 * 1_024)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.close.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }
}
