//! The core: what a twin is, what Ditto holds, and the one write that closes the gap.
//!
//! Everything here is a pure function of its arguments. No Kubernetes, no HTTP, no clock, no async.
pub mod desired;
pub mod id;
pub mod json;
pub mod mark;
pub mod said;
