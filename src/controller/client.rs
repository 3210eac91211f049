//! The way to Kubernetes.
use std::path::Path;
use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Client, Error};

use super::error::{ControllerError, with_causes};

/// The longest one call to Kubernetes may take. Watches have a limit of their own.
const DEADLINE: Duration = Duration::from_secs(15);

/// Through this kubeconfig, else as kubectl finds it, else as the pod's service account. Nothing is
/// sent yet.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ControllerError> {
    let setup = |error: &dyn std::error::Error| ControllerError::Setup(with_causes(error));
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|error| setup(&error))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(|error| setup(&error))?
        }
        None => Config::infer().await.map_err(|error| setup(&error))?,
    };
    // One call could otherwise be repeated for minutes, unseen by our own backoff and metrics.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| setup(&error))
}

/// The answer to one call, or an error when there is none in time.
pub async fn in_time<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Service(format!("no answer within {DEADLINE:?}").into())),
    }
}
