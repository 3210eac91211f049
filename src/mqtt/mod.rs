//! Devices over MQTT: what they say becomes properties of their things, what things want becomes commands to them.
//!
//! [`core`] decides and does nothing itself; `driver` reads the broker and Ditto and does what it decides; [`bridge`]
//! starts it; [`broker`] is the broker of `dev`.
pub mod bridge;
pub mod broker;
pub mod core;
pub mod devices;
mod driver;
mod letters;
mod link;
mod meter;
mod outbox;
mod tries;
mod wire;

pub use bridge::{CHECKS, Running, start};
pub use broker::Broker;
