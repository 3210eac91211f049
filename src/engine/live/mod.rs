//! What goes out by itself: events of changes, messages, and whoever waits for an answer to one.
//!
//! A write that is durable becomes an [`Event`]; the [`hub`] hands it, in the order of the writes, to every
//! subscriber who may read it. A subscriber is a WebSocket [`session`] or an event stream ([`sse`]); each has a
//! bounded queue, and nobody waits for a slow one. Messages take the same way without being stored.
//! Source: Ditto 3.8, `StreamingSessionActor`, `ThingsSseRouteBuilder`, `WebSocketRoute`.
pub mod acks;
mod ask;
mod channel;
mod command;
mod control;
mod event;
mod filter;
mod hub;
mod message;
mod payload;
pub mod protocol;
mod reply;
mod searches;
mod session;
mod signal;
mod sse;
mod talk;
mod waiting;

pub use acks::{Requested, Twin};
pub use channel::{command as over, on, smart};
pub use event::{Cause, Deed, Event};
pub use hub::{Hub, SUBSCRIBERS_MAX};
pub use message::{Address, post};
pub use session::upgrade;
pub use sse::{open as stream, streams};

#[cfg(test)]
mod tests;
