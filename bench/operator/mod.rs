//! Operators over a real API server and the engine: ours beside one on controller-runtime, one on kopf, and a plain
//! writer that decides nothing (P4 to P7). `bench/peers` holds the others.
pub mod drift;
pub mod failover;
pub mod fleet;
pub mod latency;
mod stage;
pub mod storm;
