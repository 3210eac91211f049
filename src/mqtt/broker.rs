//! The broker of `dev`: MQTT 3.1.1 and 5 on one port, everything in memory, for everybody on this machine.
//!
//! The library's defaults listen everywhere, write a folder beside the program and know no limit; all of them are set here.
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mqtt5::broker::MqttBroker;
use mqtt5::broker::config::{AuthConfig, BrokerConfig, RateLimitConfig, StorageBackend, StorageConfig};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CLIENTS_MAX: usize = 1_000;
/// In bytes: what the bridge takes of a message, and more than enough to be told that it is too long.
const PACKET_MAX: usize = 2 * 1_024 * 1_024;
/// A session without a connection.
const SESSION_KEPT: Duration = Duration::from_hours(24);
const RETAINED_MAX: usize = 10_000;
const RETAINED_BYTES_MAX: usize = 64 * 1_024;
const SUBSCRIPTIONS_MAX: usize = 100;
/// Messages that wait for one client, in its channel, unacknowledged, and while it is away.
const CHANNEL: usize = 10_000;
const UNACKNOWLEDGED_MAX: u16 = 16_384;
const QUEUED_MAX: usize = 100_000;
const QUEUED_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// How long the broker may take to end.
const END: Duration = Duration::from_secs(2);

/// A broker while it runs.
pub struct Broker {
    /// Tells the port when 0 was asked for.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Broker {
    /// Listens on `listen` until `stop`.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn start(listen: SocketAddr, stop: CancellationToken) -> io::Result<Self> {
        let wrong = |error: mqtt5::error::MqttError| {
            io::Error::other(format!("the MQTT broker on {listen}: {error}"))
        };
        let mut broker = MqttBroker::with_config(config(listen)).await.map_err(wrong)?;
        let address = broker.local_addr().unwrap_or(listen);
        let shutdown = broker.shutdown_handle();
        let task = tokio::spawn(async move {
            let mut running = std::pin::pin!(broker.run());
            tokio::select! {
                () = stop.cancelled() => {}
                ended = &mut running => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the MQTT broker ended");
                    }
                    return;
                }
            }
            shutdown.shutdown();
            drop(tokio::time::timeout(END, running).await);
        });
        Ok(Self { address, task })
    }

    pub async fn stopped(self) {
        drop(self.task.await);
    }
}

fn config(listen: SocketAddr) -> BrokerConfig {
    BrokerConfig {
        bind_addresses: vec![listen],
        max_clients: CLIENTS_MAX,
        session_expiry_interval: SESSION_KEPT,
        max_packet_size: PACKET_MAX,
        topic_alias_maximum: 0,
        max_subscriptions_per_client: SUBSCRIPTIONS_MAX,
        max_retained_messages: RETAINED_MAX,
        max_retained_message_size: RETAINED_BYTES_MAX,
        client_channel_capacity: CHANNEL,
        max_outbound_inflight: UNACKNOWLEDGED_MAX,
        server_receive_maximum: Some(UNACKNOWLEDGED_MAX),
        auth_config: AuthConfig {
            allow_anonymous: true,
            rate_limit: RateLimitConfig { enabled: false, ..RateLimitConfig::default() },
            ..AuthConfig::default()
        },
        storage_config: StorageConfig {
            backend: StorageBackend::Memory,
            enable_persistence: true,
            max_queued_messages_per_client: QUEUED_MAX,
            max_queued_bytes_per_client: QUEUED_BYTES_MAX,
            ..StorageConfig::default()
        },
        sys_topics_enabled: false,
        ..BrokerConfig::default()
    }
}
