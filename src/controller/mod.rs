//! `twinops operator`: the two kinds of a cluster, kept true in Ditto.
//!
//! Watches fill the stores and the catalog ([`watch`]); a change, a wake-up or the clock starts a pass
//! ([`twins`], [`policies`]), which gathers what it must know, lets `reconcile` carry the decisions out,
//! and reports ([`pass`]): status by server-side apply when it changed, an Event when the verdict did.
mod apart;
mod backoff;
mod changes;
mod client;
mod context;
mod crd;
mod deletions;
mod due;
mod error;
mod events;
mod finalizer;
mod health;
mod kept;
mod lacks;
mod latest;
mod lead;
mod lease;
mod namespaces;
mod observer;
mod packed;
mod pass;
mod policies;
mod resync;
#[cfg(test)]
#[path = "../sim/mod.rs"]
mod sim;
mod start;
mod status;
mod strays;
mod subjects;
mod twins;
mod wake;
mod watch;

use std::time::Duration;

pub use client::connect;
pub use error::ControllerError;
pub use lease::LeaseOptions;
pub use start::run;

use crate::reconcile::Breaker;
use crate::settings;
use crate::twin::adopt::Watched;

/// The checks of readiness: whether every watch is filled and alive, and whether Ditto knows us.
pub const CHECKS: [&str; 2] = [KUBERNETES, DITTO];
const KUBERNETES: &str = "kubernetes";
const DITTO: &str = "ditto";

/// The name under which the operator owns fields and reports Events.
pub const MANAGER: &str = "twinops";
/// While it stands on a resource, Kubernetes waits for us before the resource goes.
pub const FINALIZER: &str = "twinops.dev/ditto";

/// How an operator works.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// How often every resource is compared with Ditto, changed or not.
    pub resync: Duration,
    /// What a Kubernetes namespace may name without an annotation, as [`crate::twin::tenancy`] reads it.
    pub ditto_namespaces: String,
    /// The bridge's subject, when it has one of its own.
    pub bridge_subject: Option<String>,
    /// Kubernetes namespaces to watch; empty means all of them.
    pub watch_namespaces: Vec<String>,
    /// When deletions are held until they are confirmed.
    pub breaker: Breaker,
    pub lease: LeaseOptions,
    /// Only say what would be done: nothing is written, neither to Ditto nor to Kubernetes.
    pub dry_run: bool,
}

impl ControllerOptions {
    /// `identity` is a name that no other process has.
    pub fn new(operator: &settings::Operator, identity: String) -> Self {
        Self {
            resync: operator.resync,
            ditto_namespaces: operator.ditto_namespaces.join(","),
            bridge_subject: operator.bridge_subject.clone(),
            watch_namespaces: operator.watch_namespaces.clone(),
            breaker: Breaker { twins: operator.breaker_twins, percent: operator.breaker_percent },
            lease: LeaseOptions {
                namespace: operator.lease_namespace.clone(),
                identity,
                duration: operator.lease_duration,
            },
            dry_run: operator.dry_run,
        }
    }
}

impl ControllerOptions {
    /// Where resources are known; in other namespaces one may live unseen.
    pub fn watched(&self) -> Watched {
        match self.watch_namespaces.as_slice() {
            [] => Watched::All,
            names => Watched::Only(names.iter().cloned().collect()),
        }
    }
}
