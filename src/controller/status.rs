//! Writes status by server-side apply.
use kube::Error;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::MANAGER;
use super::client::in_time;
use super::context::{Managed, Shared};

/// What became of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// The API server has it, as this version of the resource.
    At(Option<String>),
    /// The resource went meanwhile, or another has its name now.
    Gone,
}

/// The whole status, because an apply removes what it leaves out. The uid keeps it from landing on a
/// resource that was deleted and made again under the same name.
pub async fn write<K: Managed>(shared: &Shared, object: &K, status: &K::Status) -> Result<Saved, Error> {
    let name = object.name_any();
    let patch = Patch::Apply(json!({
        "apiVersion": K::api_version(&()),
        "kind": K::KIND,
        "metadata": {"name": name, "uid": object.meta().uid},
        "status": status,
    }));
    let api = shared.api::<K>(&object.namespace().unwrap_or_default());
    let params = PatchParams::apply(MANAGER).force();
    match in_time(api.patch_status(&name, &params, &patch)).await {
        Ok(written) => Ok(Saved::At(written.resource_version())),
        Err(Error::Api(status)) if status.is_not_found() => Ok(Saved::Gone),
        // Another uid, or too many writers at once: only the resource itself can tell, and in the second case
        // what was applied must not be forgotten.
        Err(Error::Api(status)) if status.is_conflict() => {
            match in_time(api.get_metadata_opt(&name)).await? {
                Some(found) if found.metadata.uid == object.meta().uid => Err(Error::Api(status)),
                _ => Ok(Saved::Gone),
            }
        }
        Err(error) => Err(error),
    }
}
