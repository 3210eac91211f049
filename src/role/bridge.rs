//! `twinops bridge`: the bridge, with health, metrics and devices beside it.
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::mqtt::{self, CHECKS, Running};
use crate::settings::{self, Bridge, Credentials, LOOPBACK_SUBJECT, Mqtt, MqttVersion, Qos, Replica};
use crate::telemetry::{self, Readiness, Telemetry};
use crate::twin::topics::Topics;

pub async fn run(settings: Bridge) -> anyhow::Result<ExitCode> {
    let stop = super::stop::on_signal()?;
    let (telemetry, readiness) = (Telemetry::new(), Readiness::new(CHECKS));
    let client = super::ditto::client(&settings.ditto, "bridge")?;
    client.report_to(telemetry.clone());
    let (listen, replica) = (settings.management_listen, settings.replica);
    let broker = format!("{}:{}", settings.mqtt.host, settings.mqtt.port);
    let running = mqtt::start(settings, client, telemetry.clone(), readiness.clone(), stop.clone())?;
    let devices = mqtt::devices::router(running.questions.clone());
    let management = telemetry::serve_with(listen, telemetry, readiness, devices, stop.clone()).await?;
    let Replica { index, count } = replica;
    println!("bridge: broker {broker}, replica {index}/{count}, management http://{}", management.address);
    running.stopped().await;
    management.task.await?;
    Ok(ExitCode::SUCCESS)
}

/// Limit for one call to the engine of this very process.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls on their way to the engine of this very process.
const ENGINE_CALLS: usize = 256;
/// In bytes.
const PAYLOAD_MAX: usize = 64 * 1_024;
/// Of the broker of this very process, where it does not say, in bytes.
const PACKET_MAX: usize = 256 * 1_024;
const SESSION_EXPIRY: Duration = Duration::from_hours(1);

/// Between the broker and the engine of this very process.
pub fn beside_engine(
    broker: SocketAddr,
    engine: SocketAddr,
    telemetry: Telemetry,
    readiness: Readiness,
    stop: CancellationToken,
) -> anyhow::Result<Running> {
    let url = format!("http://{engine}");
    let client = super::ditto::client_of_engine(&url, "bridge")?;
    let settings = Bridge {
        mqtt: Mqtt {
            host: broker.ip().to_string(),
            port: broker.port(),
            tls: None,
            version: MqttVersion::V5,
            client_id: "twinops-bridge".to_owned(),
            login: None,
            qos: Qos::AtLeastOnce,
            session_expiry: SESSION_EXPIRY,
            packet_max: PACKET_MAX,
        },
        topics: Topics::default(),
        command_subtopics: false,
        dead_letter_topic: None,
        auto_create: None,
        max_rate: None,
        payload_max: PAYLOAD_MAX,
        ditto_writes: ENGINE_CALLS,
        replica: Replica::ALONE,
        management_listen: broker,
        ditto: settings::Ditto {
            ws_url: format!("ws://{engine}/ws/2"),
            url,
            credentials: Credentials::PreAuthenticated(LOOPBACK_SUBJECT.to_owned()),
            ca_file: None,
            timeout: ENGINE_TIMEOUT,
        },
    };
    Ok(mqtt::start(settings, client, telemetry, readiness, stop)?)
}
