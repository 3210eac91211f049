//! Which Ditto namespaces the Kubernetes namespaces may name.
use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Error, ResourceExt};
use parking_lot::RwLock;

use super::client::in_time;
use super::context::Shared;
use super::health::Patience;
use super::watch::anew_when_gone;
use crate::api::annotation::DITTO_NAMESPACES;
use crate::twin::tenancy::Grants;

type Meta = PartialObjectMeta<Namespace>;

/// What the annotation says, by Kubernetes namespace.
#[derive(Debug)]
pub struct Namespaces {
    default: String,
    known: RwLock<HashMap<String, Option<String>>>,
}

impl Namespaces {
    pub fn new(default: &str) -> Self {
        Self { default: default.to_owned(), known: RwLock::default() }
    }

    pub fn grants(&self, namespace: &str) -> Grants {
        let known = self.known.read();
        let list = known.get(namespace).and_then(Option::as_deref).unwrap_or(&self.default);
        Grants::parse(list, namespace)
    }

    /// Returns whether other grants hold from now on.
    fn set(&self, namespace: &str, annotation: Option<String>) -> bool {
        let before = self.grants(namespace);
        self.known.write().insert(namespace.to_owned(), annotation);
        self.grants(namespace) != before
    }

    fn forget(&self, namespace: &str) {
        self.known.write().remove(namespace);
    }

    /// Asks for a namespace that the watch has not shown yet: without its annotation nobody knows what
    /// it may name. Returns whether other grants hold from now on.
    pub async fn ensure(&self, client: &Client, namespace: &str) -> Result<bool, Error> {
        if self.known.read().contains_key(namespace) {
            return Ok(false);
        }
        let api: Api<Namespace> = Api::all(client.clone());
        let found = in_time(api.get_metadata_opt(namespace)).await?;
        Ok(found.is_some_and(|found| self.set(namespace, annotation(&found))))
    }
}

fn annotation(namespace: &Meta) -> Option<String> {
    namespace.annotations().get(DITTO_NAMESPACES).cloned()
}

pub fn watch_name(only: Option<&str>) -> String {
    only.map_or_else(|| "namespaces".to_owned(), |only| format!("namespace {only}"))
}

/// Watches all namespaces, or the one given.
pub async fn watch(shared: Arc<Shared>, only: Option<String>) {
    let name = watch_name(only.as_deref());
    let config = match &only {
        Some(only) => watcher::Config::default().fields(&format!("metadata.name={only}")),
        None => watcher::Config::default(),
    };
    let api: Api<Meta> = Api::all(shared.client.clone());
    let watching = anew_when_gone(move || watcher(api.clone(), config.clone()));
    let mut events = watching.backoff(Patience::default()).boxed();
    let mut is_first = true;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => {}
            Ok(Event::InitApply(found) | Event::Apply(found)) => {
                shared.health.fine(&name);
                if shared.namespaces.set(&found.name_any(), annotation(&found)) {
                    shared.grants_changed(&found.name_any());
                }
            }
            Ok(Event::Delete(gone)) => shared.namespaces.forget(&gone.name_any()),
            Ok(Event::InitDone) => {
                shared.health.fine(&name);
                if std::mem::take(&mut is_first) {
                    shared.filling.one_more();
                }
            }
            Err(error) => shared.health.watch_failed(&name, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s36_the_annotation_decides_and_the_flag_where_there_is_none() {
        let namespaces = Namespaces::new("<namespace>");
        assert!(namespaces.grants("plant").allow("plant"));
        assert!(!namespaces.set("plant", None), "the flag still holds");
        assert!(namespaces.set("plant", Some("org.acme".into())));
        assert!(namespaces.grants("plant").allow("org.acme") && !namespaces.grants("plant").allow("plant"));
        assert!(namespaces.set("plant", Some(String::new())), "an empty annotation grants nothing");
        assert!(!namespaces.grants("plant").allow("plant"));
        namespaces.forget("plant");
        assert!(namespaces.grants("plant").allow("plant"));
    }
}
