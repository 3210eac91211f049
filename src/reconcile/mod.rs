//! Gather → decide → act → report, generic over the ports.
//!
//! [`Catalog`] knows who claims what; [`twin`] and [`policy`] carry out one pass each. The decisions are
//! in `twin/`; here are only the calls.
mod carry;
mod catalog;
mod would;

pub use carry::{Finalizer, NoFinalizer, Report, policy, twin};
pub use catalog::{Catalog, Place, PolicyCard, Standing, TwinCard};
pub use would::Would;
