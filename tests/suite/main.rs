//! Every test that needs more than one module, in one binary: it links once.
mod charts;
mod cluster;
mod cluster_smoke;
mod contract;
mod crds;
mod ditto;
mod documents;
mod engine;
mod facade;
mod faults;
mod folder;
mod layers;
mod mqtt;
mod source;
mod support;
