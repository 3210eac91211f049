//! A real node of Kubernetes, and what is installed on it. In a binary of its own: Cargo runs the binaries one
//! after the other, so the node has the machine's cores to itself.
mod chart;
mod ground;
mod node;

// One module for both binaries; this one needs a part of it.
#[allow(dead_code)]
#[path = "../suite/support/mod.rs"]
mod support;
