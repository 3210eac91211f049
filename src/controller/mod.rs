//! `twinops operator`: the two kinds of a cluster, kept true in Ditto.
//!
//! Watches fill the stores and the catalog ([`watch`]); a change, a wake-up or the clock starts a pass
//! ([`twins`], [`policies`]), which gathers what it must know, lets `reconcile` carry the decisions out,
//! and reports ([`pass`]): status by server-side apply when it changed, an Event when the verdict did.
mod backoff;
mod client;
mod context;
mod crd;
mod error;
mod events;
mod finalizer;
mod health;
mod latest;
mod namespaces;
mod pass;
mod policies;
#[cfg(test)]
#[path = "../sim/mod.rs"]
mod sim;
mod start;
mod status;
mod subjects;
mod twins;
mod wake;
mod watch;

use std::time::Duration;

pub use client::connect;
pub use error::ControllerError;
pub use start::run;

use crate::settings;

/// The checks of readiness: whether every watch is filled and alive, and whether Ditto knows us.
pub const CHECKS: [&str; 2] = [KUBERNETES, DITTO];
const KUBERNETES: &str = "kubernetes";
const DITTO: &str = "ditto";

/// The name under which the operator owns fields and reports Events.
pub const MANAGER: &str = "twinops";
/// While it stands on a resource, Kubernetes waits for us before the resource goes.
pub const FINALIZER: &str = "twinops.dev/ditto";

/// Annotations that users put on their resources.
mod annotation {
    pub const PREFIX: &str = "twinops.dev/";
    pub const PAUSED: &str = "twinops.dev/paused";
    pub const TAKEOVER: &str = "twinops.dev/takeover";
    pub const RELEASE: &str = "twinops.dev/release";
    pub const CONFIRM_DELETION: &str = "twinops.dev/confirm-deletion";
    /// On a Namespace: the Ditto namespaces its resources may name.
    pub const DITTO_NAMESPACES: &str = "twinops.dev/ditto-namespaces";
}

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
    pub breaker: Breaker,
}

/// When deletions are held because they look like an accident: more than `twins` *and* more than
/// `percent` of all are going. 0 for either is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    pub twins: usize,
    pub percent: usize,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { twins: 50, percent: 20 }
    }
}

impl Breaker {
    /// What to do when `going` of `all` are too many at once.
    fn holds(self, going: usize, all: usize) -> Option<String> {
        let off = self.twins == 0 || self.percent == 0;
        let trips = !off && going > self.twins && going * 100 > all * self.percent;
        trips.then(|| {
            format!(
                "{going} of {all} twins are going at once, which looks like an accident; if it is meant, annotate them \
                 with {}: \"true\"",
                annotation::CONFIRM_DELETION
            )
        })
    }
}

impl From<&settings::Operator> for ControllerOptions {
    fn from(operator: &settings::Operator) -> Self {
        Self {
            resync: operator.resync,
            ditto_namespaces: operator.ditto_namespaces.join(","),
            bridge_subject: operator.bridge_subject.clone(),
            watch_namespaces: operator.watch_namespaces.clone(),
            breaker: Breaker::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_are_held_only_above_both_numbers() {
        let cases = [
            ("few of few", 50, 60, false),
            ("many of few", 51, 60, true),
            ("many of very many", 51, 255, false),
            ("just above a fifth", 52, 255, true),
            ("none", 0, 0, false),
        ];
        for (name, going, all, held) in cases {
            assert_eq!(Breaker::default().holds(going, all).is_some(), held, "{name}");
        }
        for off in [Breaker { twins: 0, percent: 20 }, Breaker { twins: 50, percent: 0 }] {
            assert_eq!(off.holds(1_000, 1_000), None);
        }
    }
}
