//! Writes status by server-side apply, on top of the version that the pass saw.
use kube::Error;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::MANAGER;
use super::client::in_time;
use super::context::{Managed, Shared};

/// How often a status is written anew because something beside it changed.
const CONFLICTS_MAX: u32 = 3;

/// What became of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// The API server has it, as this version of the resource.
    At(Option<String>),
    /// The resource went meanwhile, or another has its name now.
    Gone,
    /// Somebody else has written the status since: what this pass knew is not what is known.
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
    let mut status = json!(status);
    loop {
        let patch = Patch::Apply(json!({
            "apiVersion": K::api_version(&()),
            "kind": K::KIND,
            "metadata": {"name": name, "uid": object.meta().uid, "resourceVersion": version},
            "status": status,
        }));
        let refused = match in_time(api.patch_status(&name, &params, &patch)).await {
            Ok(written) => return Ok(Saved::At(written.resource_version())),
            Err(Error::Api(refused)) if refused.is_not_found() => return Ok(Saved::Gone),
            Err(Error::Api(refused)) if refused.is_conflict() => refused,
            Err(Error::Api(refused)) if leave_out(&mut status, &refused.message) => {
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
        if stands != basis.shown && stands != Some(basis.known) {
            return Ok(Saved::Overtaken);
        }
        if conflicts == CONFLICTS_MAX {
            return Err(Error::Api(refused));
        }
        conflicts += 1;
        version = found.resource_version();
    }
}

/// Takes out the fields that an older definition does not know: an apply with one of them is refused as a
/// whole. Returns whether there were any. Source: kube-apiserver 1.36, structured-merge-diff.
fn leave_out(status: &mut Value, message: &str) -> bool {
    if !message.contains("field not declared in schema") {
        return false;
    }
    let Some(fields) = status.as_object_mut() else { return false };
    let before = fields.len();
    for named in message.split(".status.").skip(1) {
        let end = named.find([':', '.', '[']).unwrap_or(named.len());
        fields.shift_remove(&named[..end]);
    }
    fields.len() < before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f18_fields_that_an_older_definition_lacks_are_left_out() {
        let message = |fields: &str| format!("failed to create typed patch object (/pump; x): {fields}");
        let mut status = json!({"revision": 1, "drift": {"originator": "x"}, "lastSyncTime": "now"});
        let unknown = message(".status.lastSyncTime: field not declared in schema");
        assert!(leave_out(&mut status, &unknown));
        assert_eq!(status, json!({"revision": 1, "drift": {"originator": "x"}}));
        assert!(
            !leave_out(&mut status, &unknown),
            "it is out already, so the refusal is about something else"
        );
        let deep = message(".status.drift.originator: field not declared in schema");
        assert!(leave_out(&mut status, &deep));
        assert_eq!(status, json!({"revision": 1}));
        assert!(!leave_out(&mut status, &message(".status.revision: expected integer")));
    }
}
