//! Gather → decide → act → report, generic over the ports.
//!
//! [`Catalog`] knows who claims what; [`twin`] and [`policy`] carry out one pass each. The decisions are
//! in `twin/`; here are only the calls.
mod breaker;
mod carry;
mod catalog;
mod look;
mod would;

pub use breaker::Breaker;
pub use carry::{Finalizer, NoFinalizer, Report, Reported, policy, twin};
pub use catalog::{Catalog, Place, PolicyCard, Standing, TwinCard};
pub use look::{Look, Seen, look, look_at};
pub use would::Would;
