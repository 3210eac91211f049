//! A small REST and WebSocket API in front of any Ditto, for the people who write applications.
//!
//! A request is taken in by [`serve`], given a correlation id at the [`edge`], authenticated by [`auth`], and becomes one or
//! a few calls of [`upstream`] to Ditto as its caller; Ditto alone decides what the caller may see and do. The routes
//! stand in [`routes`]. What is said in other words here than in Ditto is translated by [`names`] and [`words`].
mod ask;
mod auth;
mod connection;
mod edge;
mod ended;
mod features;
mod health;
mod live;
mod made;
mod messages;
mod names;
mod openapi;
mod origin;
mod owner;
mod page;
mod pages;
mod policies;
mod pool;
mod problem;
mod reply;
mod routes;
mod scan;
mod search;
mod serve;
mod talk;
mod things;
mod tls;
mod upstream;
mod words;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use openapi::openapi;

use crate::settings;
use crate::telemetry::Telemetry;
use crate::workers;

/// Why the facade does not run, by what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum FacadeError {
    #[error("cannot listen on {address}: {cause}; choose another address, or stop what listens there")]
    Listen { address: SocketAddr, cause: std::io::Error },
    #[error("{0}")]
    Credentials(String),
    #[error(
        "without credentials only loopback is served, and {0} is not: choose another --auth, or listen on 127.0.0.1"
    )]
    OpenNotLoopback(SocketAddr),
    #[error(
        "the Ditto URL {0} names no host; set --ditto-url (DITTO_API_URL) to something like http://127.0.0.1:8080"
    )]
    Url(String),
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    #[error(
        "cannot start the threads that serve: {0}; raise the limit of threads (ulimit -u, pids of the container)"
    )]
    Threads(std::io::Error),
}

/// What all requests share.
pub struct Facade {
    upstream: upstream::Upstream,
    auth: auth::Auth,
    health: health::Health,
    live: live::Live,
    marks: owner::Marks,
    endings: ended::Endings,
    telemetry: Telemetry,
    /// Let into the policies that are made here.
    operator_subject: Option<String>,
    /// Let in as well, for telemetry and messages.
    bridge_subject: Option<String>,
    /// Pages of these origins may use us.
    origins: Vec<String>,
    stop: CancellationToken,
}

/// A facade that listens. Dropping it does not stop it; its stop token does.
pub struct Running {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Running {
    /// Waits until everything is answered, or cut off.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the facade ended");
        }
    }
}

/// Reads files, listens, and returns; the facade then runs until `stop` is cancelled.
pub async fn start(
    settings: settings::Facade,
    telemetry: Telemetry,
    stop: CancellationToken,
) -> Result<Running, FacadeError> {
    if matches!(settings.auth, settings::FacadeAuth::None(_)) && !settings.listen.ip().is_loopback() {
        return Err(FacadeError::OpenNotLoopback(settings.listen));
    }
    let ca = settings.ditto_ca_file.as_deref();
    let tls = tls::client(settings.ditto_over_tls(), ca).map_err(FacadeError::Tls)?;
    let issuer = tls::client(settings.issuer_over_tls(), None).map_err(FacadeError::Tls)?;
    let certificate = settings.tls.as_ref().map(|files| tls::Server::open(files, telemetry.clone()));
    let certificate = certificate.transpose().map_err(FacadeError::Tls)?;
    let listen = |cause| FacadeError::Listen { address: settings.listen, cause };
    let listener = TcpListener::bind(settings.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let workers = workers::Workers::start("facade", workers::count()).map_err(FacadeError::Threads)?;
    let dial = Arc::new(live::Dial::new(&settings.ditto_ws_url, &settings.ditto_url, &tls));
    let facade = Facade {
        upstream: upstream::Upstream::new(
            &tls,
            &settings.ditto_url,
            settings.ditto_timeout,
            telemetry.clone(),
        )
        .ok_or_else(|| FacadeError::Url(settings.ditto_url.clone()))?,
        auth: auth::Auth::new(&settings.auth, upstream::http_client(&issuer), telemetry.clone())
            .map_err(FacadeError::Credentials)?,
        health: health::Health::new(upstream::http_client(&tls), &settings)
            .map_err(FacadeError::Credentials)?,
        live: live::Live { feeds: live::Feeds::new(Arc::clone(&dial)), dial },
        marks: owner::Marks::default(),
        endings: ended::Endings::default(),
        telemetry,
        operator_subject: settings.operator_subject.clone(),
        bridge_subject: settings.bridge_subject.clone(),
        origins: settings.origins.clone(),
        stop: stop.clone(),
    };
    let router = routes::router(Arc::new(facade));
    let server = serve::Server { router, workers, certificate, drain_delay: settings.drain_delay };
    let task = tokio::spawn(server.run(listener, stop));
    Ok(Running { address, task })
}
