//! Many small commands to Ditto over one WebSocket, and what Ditto has to say besides; over HTTP where no socket opens.
//!
//! Orders are sent as they come, without waiting for answers; each is answered once, or the link goes down and its
//! orders are void. Nothing is repeated here.
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::client::DittoClient;
use super::connection::SetupError;
use crate::ports::Refused;
use crate::twin::id::{PolicyId, ThingId};

mod dial;
mod frames;
mod http;
mod socket;

/// Orders and answers that may wait for the other side. A caller keeps fewer on their way.
pub const QUEUE: usize = 16_384;

/// While HTTP is used, a socket is tried again so often.
pub const SOCKET_AGAIN: Duration = Duration::from_secs(30);

/// What a caller wants done with a thing.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A JSON merge patch for `/features`. A thing that is not there is [`Refused::Missing`].
    Merge(Value),
    /// The thing's id, revision, mark and desired properties.
    About,
    /// The thing with this policy, when there is none. [`Refused::Changed`] when there is one.
    Create(PolicyId),
    /// The answer of a device to a message; it is not answered itself.
    Reply(Reply),
}

/// An order, valid as long as the link is up in `epoch`.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub epoch: u64,
    /// The caller's own; names the answer.
    pub number: u64,
    pub thing: ThingId,
    pub what: What,
}

/// What a device answers a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub topic: String,
    pub path: String,
    pub correlation: String,
    pub status: u16,
    pub content_type: Option<String>,
    pub value: Option<Value>,
}

/// A message of an application to a device.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveMessage {
    pub thing: ThingId,
    pub subject: String,
    pub correlation: String,
    /// The path and topic of its answer.
    pub path: String,
    pub topic: String,
    pub content_type: Option<String>,
    pub value: Option<Value>,
    /// How long an answer is waited for; `None` when it is not.
    pub patience: Option<Duration>,
}

/// What the link has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Orders of this epoch are carried out. Without `live`, neither changes nor messages are heard.
    Up {
        epoch: u64,
        live: bool,
    },
    /// Orders that were not answered never will be; any of them may have been carried out.
    Down {
        epoch: u64,
        why: String,
    },
    /// `null` for what has no value.
    Answer {
        epoch: u64,
        number: u64,
        result: Result<Value, Refused>,
    },
    /// Somebody else changed a thing, or what it should be.
    Changed {
        thing: ThingId,
    },
    Message(LiveMessage),
}

/// Where and how.
pub struct LinkOptions {
    /// E.g. `ws://127.0.0.1:8080/ws/2`.
    pub ws_url: String,
    /// For HTTP, with the credentials of both.
    pub client: DittoClient,
    pub ca_file: Option<std::path::PathBuf>,
    /// See [`SOCKET_AGAIN`].
    pub socket_again: Duration,
}

/// The two ends of a link.
pub struct Link {
    pub orders: mpsc::Sender<Order>,
    pub heard: mpsc::Receiver<Heard>,
    /// Ends soon after `stop`.
    pub task: tokio::task::JoinHandle<()>,
}

/// Opens the link, and opens it again whenever it breaks, until `stop`.
///
/// # Errors
/// The CA file cannot be used.
pub fn open(options: LinkOptions, stop: CancellationToken) -> Result<Link, SetupError> {
    let dial = dial::Dial::new(&options)?;
    let (orders, ordered) = mpsc::channel(QUEUE);
    let (tell, heard) = mpsc::channel(QUEUE);
    let keeper = socket::Keeper::new(dial, options.client, ordered, tell, options.socket_again);
    let task = tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = keeper.run() => {}
        }
    });
    Ok(Link { orders, heard, task })
}
