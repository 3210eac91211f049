//! Why the operator cannot work, by what to do about it.
use kube::runtime::watcher;

use crate::ports::Refused;

/// What keeps the operator from working. All but the first and the last heal without a restart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControllerError {
    #[error("{0}; give --kubeconfig (TWINOPS_KUBECONFIG), or run in a pod with a service account")]
    Setup(String),
    #[error(
        "the custom resource definitions are not installed: run `twinops crds | kubectl apply --server-side -f -`, \
         or `kubectl apply --server-side -f crds/`"
    )]
    CrdsMissing,
    #[error("Kubernetes does not allow it: {0}; bind manifests/operator-rbac.yaml to the operator's account")]
    Forbidden(String),
    #[error("Kubernetes does not accept the credentials: {0}; check the kubeconfig or the service account")]
    Unauthorized(String),
    #[error("Kubernetes does not answer: {0}; check the address in the kubeconfig and the network")]
    Unreachable(String),
    #[error("there is no namespace {0:?} for the Lease; create it, or name another with --lease-namespace")]
    NoLeaseNamespace(String),
    #[error("Ditto does not know us: {0}")]
    Ditto(Refused),
    #[error("{0} ended unexpectedly; the log says why, restart the process")]
    Ended(&'static str),
}

impl From<&kube::Error> for ControllerError {
    fn from(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                401 => Self::Unauthorized(status.message.clone()),
                403 => Self::Forbidden(status.message.clone()),
                // Only our own kinds can be missing as a whole.
                404 => Self::CrdsMissing,
                _ => Self::Unreachable(status.to_string()),
            },
            error => Self::Unreachable(with_causes(error)),
        }
    }
}

impl From<&watcher::Error> for ControllerError {
    fn from(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => error.into(),
            watcher::Error::WatchError(status) => (&kube::Error::Api(status.clone())).into(),
            watcher::Error::NoResourceVersion => Self::Unreachable(error.to_string()),
        }
    }
}

/// The whole chain: the outermost says "service error", the innermost "connection refused".
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn an_error_says_what_to_do() {
        let said = |code: u16, message: &str| {
            let status = Status { code, message: message.into(), ..Status::default() };
            ControllerError::from(&watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status))))
                .to_string()
        };
        let verb = "User \"operator\" cannot list resource \"digitaltwins\"";
        let cases = [
            (404, "404 page not found", "twinops crds | kubectl apply"),
            (403, verb, verb),
            (403, verb, "manifests/operator-rbac.yaml"),
            (401, "Unauthorized", "check the kubeconfig"),
            (500, "etcd is away", "etcd is away"),
        ];
        for (code, message, expected) in cases {
            assert!(said(code, message).contains(expected), "{code}: {}", said(code, message));
        }
    }
}
