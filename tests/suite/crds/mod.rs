//! The custom resource definitions: as committed files, as schemas, and in a real API server.
mod admission;
mod conversion;
mod files;
mod rows;
mod samples;

use std::sync::LazyLock;

use crate::support::apiserver::{self, Cluster};

/// The shared cluster with both definitions in it.
pub fn installed() -> &'static Cluster {
    static INSTALLED: LazyLock<&'static Cluster> = LazyLock::new(|| {
        let cluster = apiserver::shared();
        let files = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
        cluster.kubectl("admin", &["apply", "--server-side", "-f", files]).ok();
        let kinds = ["crd/digitaltwins.twinops.dev", "crd/twinpolicies.twinops.dev"];
        let wait = ["wait", "--for=condition=Established", "--timeout=30s", kinds[0], kinds[1]];
        cluster.kubectl("admin", &wait).ok();
        cluster
    });
    *INSTALLED
}
