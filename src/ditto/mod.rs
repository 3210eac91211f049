//! Ditto over HTTP: the ports [`Things`](crate::ports::Things) and [`Policies`](crate::ports::Policies). Over a
//! WebSocket: the [`link`] of the bridge.
//!
//! One call is one request with one deadline, never retried here. What an answer means is decided in
//! one pure function, [`read_answer`]. Concurrency is the caller's.
mod answer;
mod calls;
mod changes;
mod client;
mod connection;
mod fields;
pub mod link;
mod login;
mod policies;
mod request;
mod things;
#[cfg(test)]
pub mod wire;

pub use answer::{Answer, read_answer};
pub use calls::{Calls, Outcome, Verb};
pub use client::{BODY_BYTES_MAX, DittoClient, HEADER_BYTES_MAX};
pub use connection::{Connection, Credentials, DEADLINE, SetupError};
pub use fields::selector;
pub use things::header_bytes;
