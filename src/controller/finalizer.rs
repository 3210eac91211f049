//! Our finalizer on one resource, beside those of others, and what its status says by now.
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Error};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

use super::client::in_time;
use super::lacks::Lacks;
use super::latest::Before;
use super::status::is_restored;
use super::{FINALIZER, MANAGER};
use crate::api::{DigitalTwin, DigitalTwinStatus};
use crate::reconcile::{Finalizer, Reported};
use crate::twin::facts::Told;

/// How often a conflict with another writer is resolved before the pass gives up and starts anew.
const CONFLICTS_MAX: u32 = 3;

/// Writes `metadata.finalizers` of the resource it was made for, and of none that came after it.
pub struct OnResource<K> {
    api: Api<K>,
    name: String,
    seen: ObjectMeta,
    /// Where our own write took the resource from the version that was seen.
    moved: Mutex<Option<String>>,
}

impl<K> OnResource<K>
where
    K: Clone + Debug + DeserializeOwned + Send + Sync,
{
    /// `seen`: the resource's metadata as the watch showed it.
    pub fn new(api: Api<K>, seen: &ObjectMeta) -> Self {
        Self { api, name: seen.name.clone().unwrap_or_default(), seen: seen.clone(), moved: Mutex::default() }
    }

    /// The version that our own write left, when nobody else has written since the one that was seen.
    pub fn moved(&self) -> Option<String> {
        self.moved.lock().clone()
    }

    /// Changes the list as it stands; `None` from `change` means that nothing is to do.
    async fn write(&self, change: fn(&[String]) -> Option<Vec<String>>) -> Result<Written, Error> {
        let mut meta = self.seen.clone();
        let mut conflicts = 0;
        loop {
            let Some(finalizers) = change(meta.finalizers.as_deref().unwrap_or_default()) else {
                return Ok(Written::Done);
            };
            // A merge patch replaces the list, so it must be the list we know: the version is the fence.
            let patch = Patch::Merge(json!({
                "metadata": {"resourceVersion": meta.resource_version, "finalizers": finalizers},
            }));
            let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
            match in_time(self.api.patch_metadata(&self.name, &params, &patch)).await {
                Ok(written) => {
                    if conflicts == 0 {
                        *self.moved.lock() = written.metadata.resource_version;
                    }
                    return Ok(Written::Done);
                }
                Err(Error::Api(status)) if status.is_not_found() => return Ok(Written::Gone),
                Err(Error::Api(status)) if status.is_conflict() && conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                }
                Err(error) => return Err(error),
            }
            match in_time(self.api.get_metadata_opt(&self.name)).await? {
                Some(found) if found.metadata.uid == self.seen.uid => meta = found.metadata,
                _ => return Ok(Written::Gone),
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Done,
    /// The resource went, or another has its name now.
    Gone,
}

impl<K> Finalizer for OnResource<K>
where
    K: Clone + Debug + DeserializeOwned + Send + Sync,
{
    async fn add(&self) -> Result<(), String> {
        match self.write(with_ours).await {
            Ok(Written::Done) => Ok(()),
            Ok(Written::Gone) => Err("the resource is gone".to_owned()),
            Err(error) => Err(super::error::with_causes(&error)),
        }
    }

    async fn remove(&self) -> Result<(), String> {
        self.write(without_ours).await.map(|_| ()).map_err(|error| super::error::with_causes(&error))
    }
}

/// The resource of one pass over a twin. A dry run leaves it as it is.
pub struct OfTwin<'a> {
    pub resource: &'a OnResource<DigitalTwin>,
    /// As the pass sees it.
    pub twin: &'a DigitalTwin,
    pub before: &'a Before<DigitalTwinStatus>,
    pub lacks: &'a Lacks,
    pub dry_run: bool,
}

impl Finalizer for OfTwin<'_> {
    async fn add(&self) -> Result<(), String> {
        if self.dry_run { Ok(()) } else { self.resource.add().await }
    }

    async fn remove(&self) -> Result<(), String> {
        if self.dry_run { Ok(()) } else { self.resource.remove().await }
    }
}

impl Reported for OfTwin<'_> {
    /// Without a resource version the API server answers from a quorum and not from its cache.
    async fn told(&self) -> Result<Told, String> {
        let OnResource { api, name, .. } = self.resource;
        let found = in_time(api.get_opt(name)).await.map_err(|error| super::error::with_causes(&error))?;
        let what = |twin: &DigitalTwin| (twin.metadata.uid.clone(), twin.metadata.generation);
        let is_same = |found: &DigitalTwin| what(found) == what(self.twin) && !is_restored(found, self.twin);
        let Some(found) = found.filter(|twin| is_same(twin) && twin.metadata.deletion_timestamp.is_none())
        else {
            return Ok(Told::Moved);
        };
        let (stands, Before { shown, status: own, .. }) = (found.status.as_ref(), self.before);
        // One of ours that could not be written yet knows more than what stands there.
        if self.lacks.is_known(stands, shown.as_ref(), own) {
            return Ok(Told::AsKnown);
        }
        Ok(Told::Anew(stands.map(DigitalTwinStatus::known).unwrap_or_default()))
    }
}

pub fn has_ours(finalizers: &[String]) -> bool {
    finalizers.iter().any(|name| name == FINALIZER)
}

fn with_ours(finalizers: &[String]) -> Option<Vec<String>> {
    (!has_ours(finalizers)).then(|| finalizers.iter().cloned().chain([FINALIZER.to_owned()]).collect())
}

fn without_ours(finalizers: &[String]) -> Option<Vec<String>> {
    has_ours(finalizers).then(|| finalizers.iter().filter(|name| *name != FINALIZER).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finalizers_of_others_stay() {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let foreign = list(&["a.io/x", "b.io/y"]);
        let both = with_ours(&foreign).unwrap();
        assert_eq!(both, list(&["a.io/x", "b.io/y", FINALIZER]));
        assert_eq!(with_ours(&both), None);
        assert_eq!(without_ours(&both), Some(foreign.clone()));
        assert_eq!(without_ours(&foreign), None);
    }
}
