//! Tables and laws of the core.
mod adopt;
mod deletion;
mod matrix;
mod memory;
mod pass;
mod plan;
mod policy;
mod policy_review;
mod told;
mod world;

use serde_json::Value;

use super::desired::{Adoption, Desired, Drift, Identity, Mode, PolicyName};
use super::id::ThingId;
use super::json::Pointer;

pub fn identity() -> Identity {
    Identity {
        owner: "cluster-1".into(),
        uid: "uid-1".into(),
        generation: 3,
        namespace: "plant".into(),
        name: "pump".into(),
    }
}

pub fn desired(document: Value) -> Desired {
    Desired {
        id: ThingId::parse("org.acme:pump").unwrap(),
        policy: PolicyName::Resource("pumps".into()),
        document,
        fields: vec![],
        drift: Drift::Enforce,
        adoption: Adoption::IfUnowned,
        deletion: None,
        suspend: false,
        telemetry: None,
    }
}

pub fn fields(modes: &[(&str, Mode)]) -> Vec<(Pointer, Mode)> {
    modes.iter().map(|(path, mode)| (Pointer::parse(path), *mode)).collect()
}
