//! Every test that needs more than one module, in one binary: it links once.
mod cluster;
mod cluster_smoke;
mod crds;
mod ditto;
mod folder;
mod source;
mod support;
