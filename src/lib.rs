//! TwinOps: digital twins as Kubernetes resources, kept true in Eclipse Ditto.
pub mod api;
pub mod controller;
pub mod ditto;
pub mod engine;
pub mod facade;
pub mod mqtt;
pub mod ports;
pub mod reconcile;
pub mod role;
pub mod rql;
pub mod secrets;
pub mod settings;
pub mod source;
pub mod telemetry;
pub mod tls;
pub mod twin;
mod workers;
