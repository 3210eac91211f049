//! The Ditto client against a fake Ditto: what goes over the wire, and what comes back when it breaks.
mod fake;
mod faults;
mod link;
mod wire;

use std::time::Duration;

use twinops::ditto::{Connection, Credentials, DittoClient};
use twinops::ports::Refused;
use twinops::twin::id::{PolicyId, ThingId};

fn connection(url: &str) -> Connection {
    let credentials = Credentials::PreAuthenticated("nginx:ditto".into());
    Connection { credentials, ..Connection::new(url, "test") }
}

fn client(url: &str) -> DittoClient {
    DittoClient::new(connection(url)).expect("a client")
}

/// A client that gives up soon, for servers that never answer.
fn hasty(url: &str) -> DittoClient {
    DittoClient::new(Connection { deadline: Duration::from_millis(200), ..connection(url) })
        .expect("a client")
}

fn thing(text: &str) -> ThingId {
    ThingId::parse(text).expect("a thing id")
}

fn policy(text: &str) -> PolicyId {
    PolicyId::parse(text).expect("a policy id")
}

fn is_unavailable<T: std::fmt::Debug>(result: &Result<T, Refused>) -> bool {
    matches!(result, Err(Refused::Unavailable(_)))
}
