//! The core: what a twin is, what Ditto holds, and the one write that closes the gap.
//!
//! Everything here is a pure function of its arguments. No Kubernetes, no HTTP, no clock, no async.
pub mod adopt;
pub mod call;
pub mod claim;
pub mod desired;
pub mod facts;
pub mod id;
pub mod json;
pub mod mark;
pub mod ownership;
pub mod pass;
pub mod plan;
pub mod policy;
mod policy_judge;
mod policy_leave;
pub mod policy_pass;
mod policy_rights;
mod policy_same;
pub mod reason;
pub mod request;
pub mod rql_text;
pub mod said;
pub mod status;
pub mod telemetry;
pub mod tenancy;
pub mod topics;

#[cfg(test)]
mod tests;
