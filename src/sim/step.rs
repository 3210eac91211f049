//! What people, devices and accidents do in a scenario.
use serde_json::{Value, json};

use super::backend::{Backend, PEOPLE};
use super::cluster::{Cluster, Key, Kind};

#[derive(Clone, Debug)]
pub enum Step {
    /// `kubectl apply` of a spec.
    Apply(Key, Value),
    Annotate(Key, &'static str, &'static str),
    /// `kubectl delete`
    Delete(Key),
    /// Gone at once, finalizers or not.
    ForceAway(Key),
    ClearStatus(Key),
    /// Another spec at an older generation.
    Restore(Key, Value, i64),
    /// A device writes one value of its own, or takes it away.
    Device(&'static str, &'static str, Option<Value>),
    /// Somebody with rights sends a request to Ditto by hand, with a mark for `put-metadata` if there is one.
    InDitto(&'static str, String, Option<Value>, Option<Value>),
    /// All of these at once.
    Together(Vec<Step>),
    /// The next step waits until all is quiet, however the scheduler feels.
    Calm,
}

impl Step {
    /// What of it could not be done yet.
    pub fn perform(&self, cluster: &mut Cluster, ditto: &mut Backend) -> Vec<Self> {
        match self {
            Self::Together(steps) => steps.iter().flat_map(|step| step.perform(cluster, ditto)).collect(),
            one if one.is_done(cluster, ditto) => vec![],
            one => vec![one.clone()],
        }
    }

    fn is_done(&self, cluster: &mut Cluster, ditto: &mut Backend) -> bool {
        match self {
            // It would change what goes; whoever wants a new one applies again when the old one is gone.
            Self::Apply(key, _) if cluster.is_going(key) => return false,
            Self::Apply(key, spec) => cluster.apply(key, spec),
            Self::Annotate(key, name, value) => cluster.annotate(key, name, value),
            Self::Delete(key) => cluster.delete(key),
            Self::ForceAway(key) => cluster.force_away(key),
            Self::ClearStatus(key) => cluster.clear_status(key),
            Self::Restore(key, spec, generation) => cluster.restore(key, spec, *generation),
            Self::Device(id, path, value) => return ditto.device(id, path, value.clone()),
            Self::InDitto(method, target, body, mark) => {
                let put =
                    |mark: &Value| ("put-metadata", json!([{"key": "/twinops", "value": mark}]).to_string());
                // A patch is of what is there: Ditto would make a thing of it, with a policy of its own.
                let patches = (*method == "PATCH").then(|| ("if-match", "*".to_owned()));
                let headers: Vec<_> = mark.iter().map(put).chain(patches).collect();
                return ditto.by_hand_with(PEOPLE, method, target, body.as_ref(), &headers);
            }
            Self::Together(_) | Self::Calm => {}
        }
        true
    }

    /// It writes a status beside the operators.
    pub fn writes_status(&self) -> bool {
        match self {
            Self::Restore(..) | Self::ClearStatus(_) => true,
            Self::Together(steps) => steps.iter().any(Self::writes_status),
            _ => false,
        }
    }
}

pub fn twin(name: &str) -> Key {
    (Kind::Twin, name.to_owned())
}

pub fn policy(name: &str) -> Key {
    (Kind::Policy, name.to_owned())
}
