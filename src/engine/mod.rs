//! Placeholder.
pub mod enforce;
