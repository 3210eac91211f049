//! What the tests stand on: real programs on loopback ports that end with the test process.
pub mod apiserver;
pub mod ditto;
pub mod gate;
pub mod gateway;
pub mod generated;
pub mod mqtt;
pub mod process;
pub mod tools;

use std::{
    net::{Ipv4Addr, TcpListener},
    thread,
    time::{Duration, Instant},
};

/// Between two looks at a condition: short beside the 50 ms that one `kubectl` takes.
const POLL: Duration = Duration::from_millis(25);

/// A loopback port that nobody listens on now. Somebody else may take it before the caller does, so
/// whoever passes it to a program tries again with another when the program ends early.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// Asks again until `look` finds something.
///
/// # Panics
/// At the deadline, naming `what` was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain for {what}");
        thread::sleep(POLL);
    }
}
