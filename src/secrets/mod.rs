//! `twinops secrets`: the passwords of an installation, made in its cluster instead of by whoever installs it.
//!
//! What is missing is created and what exists is left alone, so a chart renders no secret value and renders
//! the same each time. Needed rights: `create` on secrets, and `get` on the names that are asked for.
mod contents;
mod password;
mod wanted;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use kube::{Client, Error, ResourceExt};

pub use password::RandomError;
pub use wanted::{Device, Kind, Wanted};

/// The longest one call to Kubernetes may take; the pod is started again when none succeeds.
const DEADLINE: Duration = Duration::from_secs(15);

/// Stands on what is made here, so that `kubectl get secrets -l` finds it after an uninstall.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "twinops-secrets");
/// The installation it was made for. Not `app.kubernetes.io/instance`: Argo CD would take the Secret for one
/// that it installed and that is gone from Git.
const RELEASE: &str = "twinops.dev/release";

/// Why the Secrets are not all there. Names a Secret, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("cannot {verb} the Secret {namespace}/{name}: {reason}")]
    Kubernetes { verb: &'static str, namespace: String, name: String, reason: String },
    #[error("cannot make the Secret {name}")]
    Random {
        name: String,
        #[source]
        cause: RandomError,
    },
}

/// What became of one Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Made,
    /// It was there. These keys, which it would have been made with, it lacks.
    Kept {
        lacks: Vec<&'static str>,
    },
}

/// Creates the Secrets that are missing in `namespace`; `told` hears of each as it is done.
///
/// # Errors
/// At the first Secret that can be neither seen nor made. Those before it are there; another call goes on.
pub async fn ensure(
    client: &Client,
    namespace: &str,
    release: &str,
    wanted: &[Wanted],
    mut told: impl FnMut(&str, &Outcome),
) -> Result<(), SecretsError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for one in wanted {
        let outcome = ensure_one(&api, namespace, release, one).await?;
        told(&one.name, &outcome);
    }
    Ok(())
}

async fn ensure_one(
    api: &Api<Secret>,
    namespace: &str,
    release: &str,
    wanted: &Wanted,
) -> Result<Outcome, SecretsError> {
    let failed = |verb, error: Error| SecretsError::Kubernetes {
        verb,
        namespace: namespace.to_owned(),
        name: wanted.name.clone(),
        reason: error.to_string(),
    };
    if let Some(found) = in_time(api.get_opt(&wanted.name)).await.map_err(|error| failed("get", error))? {
        return Ok(kept(&found, wanted));
    }
    let values = contents::of(&wanted.kind)
        .map_err(|cause| SecretsError::Random { name: wanted.name.clone(), cause })?;
    let mut secret = Secret { string_data: Some(values), ..Secret::default() };
    secret.metadata.name = Some(wanted.name.clone());
    let labels = [MANAGED_BY, (RELEASE, release)];
    secret.labels_mut().extend(labels.map(|(key, value)| (key.to_owned(), value.to_owned())));
    match in_time(api.create(&PostParams::default(), &secret)).await {
        Ok(_) => Ok(Outcome::Made),
        // Another replica was faster: its passwords count.
        Err(Error::Api(status)) if status.is_already_exists() => Ok(Outcome::Kept { lacks: vec![] }),
        Err(error) => Err(failed("create", error)),
    }
}

fn kept(found: &Secret, wanted: &Wanted) -> Outcome {
    let none = BTreeMap::new();
    let data = found.data.as_ref().unwrap_or(&none);
    let lacks = wanted.kind.keys().iter().copied().filter(|key| !data.contains_key(*key)).collect();
    Outcome::Kept { lacks }
}

async fn in_time<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Service(format!("no answer within {DEADLINE:?}").into())),
    }
}
