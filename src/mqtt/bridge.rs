//! The bridge's face: how it is started, and how it is asked about devices.
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::core::{CoreOptions, Device, Presence};
use super::driver::Driver;
use crate::ditto::link::{self, LinkOptions};
use crate::ditto::{DittoClient, SetupError};
use crate::settings::Bridge;
use crate::telemetry::{Readiness, Telemetry};

/// What the bridge must reach to be ready.
pub const CHECKS: [&str; 2] = ["broker", "bridge_ditto"];
/// Questions about devices that may wait.
const QUESTIONS: usize = 16;

/// A question for the list of devices.
pub struct Question {
    pub state: Option<Presence>,
    pub after: String,
    pub limit: usize,
    pub answer: oneshot::Sender<Vec<Device>>,
}

/// A bridge while it runs.
pub struct Running {
    /// Takes questions as long as it runs.
    pub questions: mpsc::Sender<Question>,
    task: JoinHandle<()>,
}

impl Running {
    pub async fn stopped(self) {
        drop(self.task.await);
    }
}

/// Starts the bridge; it runs until `stop`.
///
/// # Errors
/// What Ditto is reached with cannot be used.
pub fn start(
    settings: Bridge,
    client: DittoClient,
    telemetry: Telemetry,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<Running, SetupError> {
    let ended = CancellationToken::new();
    let options = LinkOptions {
        ws_url: settings.ditto.ws_url.clone(),
        client,
        ca_file: settings.ditto.ca_file.clone(),
        socket_again: link::SOCKET_AGAIN,
    };
    let ditto = link::open(options, ended.clone())?;
    let (questions, asked) = mpsc::channel(QUESTIONS);
    let core = CoreOptions {
        topics: settings.topics,
        replica: settings.replica,
        payload_max: settings.payload_max,
        packet_max: settings.mqtt.packet_max,
        max_rate: settings.max_rate,
        auto_create: settings.auto_create,
        window: settings.ditto_writes,
        deadline: settings.ditto.timeout,
        command_subtopics: settings.command_subtopics,
        dead_letter_topic: settings.dead_letter_topic,
    };
    let driver = Driver::new(core, settings.mqtt, ditto, asked, telemetry, readiness);
    let task = tokio::spawn(async move {
        driver.run(stop).await;
        ended.cancel();
    });
    Ok(Running { questions, task })
}
