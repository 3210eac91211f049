//! The way to Kubernetes.
use std::path::Path;
use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Error};

use super::error::{ControllerError, with_causes};

/// The longest one call to Kubernetes may take. Watches have a limit of their own.
const DEADLINE: Duration = Duration::from_secs(15);

/// Through this kubeconfig, else as kubectl finds it, else as the pod's service account. Nothing is
/// sent yet.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ControllerError> {
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

/// Why there is no way. A reader of YAML shows the line that it stumbled over, and a token may stand there.
fn setup(error: &(dyn std::error::Error + 'static)) -> ControllerError {
    let mut cause = Some(error);
    while let Some(one) = cause {
        if let Some(KubeconfigError::Parse(found)) = one.downcast_ref() {
            let place = place(&found.to_string()).unwrap_or_default();
            return ControllerError::Setup(format!("the kubeconfig cannot be read{place}"));
        }
        cause = one.source();
    }
    ControllerError::Setup(with_causes(error))
}

/// The place that a reader of YAML names in its text.
fn place(text: &str) -> Option<String> {
    let number = |word: &str| {
        let digits = text.split(word).nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?;
        (!digits.is_empty()).then_some(digits)
    };
    Some(format!(": line {}, column {}", number("line ")?, number("column ")?))
}

/// The answer to one call, or an error when there is none in time.
pub async fn in_time<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Service(format!("no answer within {DEADLINE:?}").into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn s45_a_kubeconfig_that_cannot_be_read_is_told_by_its_place() {
        for (text, says) in [
            ("users: canary", "line 1"),
            ("users:\n- name: a\n  user: canary", "line 3"),
            ("users: [{name: a, user: {token: [canary]}}]", "line 1"),
            ("users:\n- name: \"canary", "cannot be read"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("kubeconfig");
            std::fs::write(&path, text).unwrap();
            let said = connect(Some(&path)).await.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(says) && !said.contains("canary"), "{text}: {said}");
        }
    }
}
