//! Writes status by server-side apply, on top of the version that the pass saw.
use std::cmp::Ordering;

use kube::Error;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::MANAGER;
use super::client::in_time;
use super::context::{Managed, Shared, place};

/// How often a status is written anew because something beside it changed.
const CONFLICTS_MAX: u32 = 3;

/// What became of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// The API server has it, as this version of the resource.
    At(Option<String>),
    /// The resource went meanwhile, or another has its name now.
    Gone,
    /// Somebody else has written the status since, or the resource is an older one: what this pass knew is not what is
    /// known.
    Overtaken,
}

/// What a pass started from.
#[derive(Clone, Debug)]
pub struct Basis<'a, S> {
    /// The version of the resource that its status was read at.
    pub version: Option<String>,
    /// The status that the watch showed.
    pub shown: Option<&'a S>,
    /// The status that the pass started from; ours may be newer than what was shown.
    pub known: &'a S,
}

/// The whole status, because an apply removes what it leaves out. The uid keeps it from landing on a
/// resource that was deleted and made again under the same name, the version from landing on what another
/// leader wrote.
pub async fn write<K: Managed>(
    shared: &Shared,
    object: &K,
    basis: Basis<'_, K::Status>,
    status: &K::Status,
) -> Result<Saved, Error> {
    let name = object.name_any();
    let api = shared.api::<K>(&object.namespace().unwrap_or_default());
    let params = PatchParams::apply(MANAGER).force();
    let (mut version, mut conflicts) = (basis.version, 0);
    let (lacks, latest) = (&K::desk(shared).lacks, &K::desk(shared).latest);
    let mut status = json!(status);
    loop {
        latest.sends(&place(object.meta()), object.meta(), &status);
        let patch = Patch::Apply(json!({
            "apiVersion": K::api_version(&()),
            "kind": K::KIND,
            "metadata": {"name": name, "uid": object.meta().uid, "resourceVersion": version},
            "status": status,
        }));
        let refused = match in_time(api.patch_status(&name, &params, &patch)).await {
            Ok(written) => {
                lacks.taken(&status);
                return Ok(Saved::At(written.resource_version()));
            }
            Err(Error::Api(refused)) if refused.is_not_found() => return Ok(Saved::Gone),
            Err(Error::Api(refused)) if refused.is_conflict() => refused,
            Err(Error::Api(refused)) if !lacks.leave_out(&mut status, &refused.message).is_empty() => {
                tracing::warn!(
                    kind = K::KIND,
                    refused.message,
                    "the definition in the cluster is older than this operator: update it with `twinops crds`"
                );
                shared.telemetry.dropped("status_fields_that_the_definition_lacks");
                continue;
            }
            Err(error) => return Err(error),
        };
        // Another uid, another version, or too many writers at once: only the resource itself can tell.
        let found = match in_time(api.get_opt(&name)).await? {
            Some(found) if found.meta().uid == object.meta().uid => found,
            _ => return Ok(Saved::Gone),
        };
        let stands = found.reported();
        if is_restored(&found, object) || !lacks.is_known(stands, basis.shown, basis.known) {
            return Ok(Saved::Overtaken);
        }
        if conflicts == CONFLICTS_MAX {
            return Err(Error::Api(refused));
        }
        conflicts += 1;
        version = found.resource_version();
    }
}

/// Whether the cluster was restored from a copy since: generations are counted from an older one then, and each that
/// comes again may be that of another spec.
pub fn is_restored<K: Managed>(found: &K, seen: &K) -> bool {
    match found.meta().generation.cmp(&seen.meta().generation) {
        Ordering::Less => true,
        Ordering::Equal => found.spec() != seen.spec(),
        Ordering::Greater => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::DigitalTwin;

    #[test]
    fn f13_a_generation_that_comes_twice_is_told_by_its_spec() {
        let twin = |generation: i64, location: &str| -> DigitalTwin {
            let twin = json!({
                "metadata": {"name": "t", "namespace": "n", "uid": "u", "generation": generation},
                "spec": {"policyId": "a:p", "attributes": {"location": location}},
            });
            serde_json::from_value(twin).unwrap()
        };
        let seen = twin(2, "hall-2");
        let rows = [
            ("as it was", twin(2, "hall-2"), false),
            ("edited", twin(3, "hall-3"), false),
            ("restored", twin(1, "hall-1"), true),
            ("restored and edited", twin(2, "hall-9"), true),
        ];
        for (name, found, expected) in rows {
            assert_eq!(is_restored(&found, &seen), expected, "{name}");
        }
    }
}
