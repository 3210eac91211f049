//! `twinops facade`: the API for applications, with health and metrics beside it.
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::facade::{self, FacadeError, Running};
use crate::settings::{Credentials, Dev, Facade, FacadeAuth, LOOPBACK_SUBJECT};
use crate::telemetry::{self, Readiness, Telemetry};

pub async fn run(settings: Facade) -> anyhow::Result<ExitCode> {
    let stop = super::stop::on_signal()?;
    let (telemetry, readiness) = (Telemetry::new(), Readiness::new([]));
    // Metrics are served as long as requests are.
    let (served, listen) = (CancellationToken::new(), settings.management_listen);
    let management = telemetry::serve(listen, telemetry.clone(), readiness.clone(), served.clone()).await?;
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let running =
        facade::start(settings, telemetry, stop.clone()).await.map_err(super::flagged_facade("--listen"))?;
    println!("facade listening on {scheme}://{}, management http://{}", running.address, management.address);
    stop.cancelled().await;
    readiness.set("running", Err("stopping".to_owned()));
    running.stopped().await;
    served.cancel();
    management.task.await?;
    Ok(ExitCode::SUCCESS)
}

/// Limit for one call to the engine of this very process.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(10);

/// In front of the engine of this very process, for everybody on this machine.
pub async fn beside_engine(
    dev: &Dev,
    [engine, broker]: [SocketAddr; 2],
    telemetry: Telemetry,
    stop: CancellationToken,
) -> Result<Running, FacadeError> {
    let settings = Facade {
        listen: dev.facade_listen,
        management_listen: dev.management_listen,
        ditto_url: format!("http://{engine}"),
        ditto_ws_url: format!("ws://{engine}/ws/2"),
        ditto_ca_file: None,
        ditto_timeout: ENGINE_TIMEOUT,
        auth: FacadeAuth::None(Credentials::PreAuthenticated(LOOPBACK_SUBJECT.to_owned())),
        origins: vec![],
        operator_subject: None,
        bridge_subject: None,
        devops: None,
        mqtt: Some((broker.ip().to_string(), broker.port())),
        tls: None,
        drain_delay: Duration::ZERO,
    };
    facade::start(settings, telemetry, stop).await
}
