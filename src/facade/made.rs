//! The policy a thing gets when its maker names none.
//!
//! Such a policy is known by the type of its first subject, which is free text in Ditto. Nobody's rights follow from
//! that: it is deleted as the caller, who must be allowed to.
use serde_json::{Value, json};

use super::Facade;
use super::ask::Ask;
use super::problem::Problem;
use super::upstream::Call;
use crate::twin::policy::{BRIDGE_LABEL, bridge_entry};

/// The label and the subject type by which such a policy is known.
const LABEL: &str = "owner";
const MADE_HERE: &str = "made by the TwinOps facade";

/// The policy of a new thing: everything for the caller, and for `TwinOps` itself when its subject is configured; for
/// the bridge what it needs.
pub async fn policy(facade: &Facade, ask: &Ask) -> Result<Value, Problem> {
    let subject = match &ask.caller.subject {
        Some(subject) => subject.clone(),
        None => whoami(facade, ask).await?,
    };
    let everything = || {
        let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
        json!({"thing:/": all, "policy:/": all, "message:/": all})
    };
    let mut entries = json!({
        LABEL: {"subjects": {&*subject: {"type": MADE_HERE}}, "resources": everything()},
    });
    if let Some(operator) = facade.operator_subject.as_ref().filter(|operator| **operator != subject) {
        entries["twinops"] = json!({
            "subjects": {&**operator: {"type": "TwinOps"}}, "resources": everything(), "importable": "never",
        });
    }
    let apart = |bridge: &&String| **bridge != subject && facade.operator_subject.as_ref() != Some(*bridge);
    if let Some(bridge) = facade.bridge_subject.as_ref().filter(apart) {
        entries[BRIDGE_LABEL] = bridge_entry(bridge);
    }
    Ok(json!({"entries": entries}))
}

/// Whom Ditto takes the caller for.
async fn whoami(facade: &Facade, ask: &Ask) -> Result<String, Problem> {
    let answer = facade.upstream.ask(&ask.caller, &ask.id, Call::get(&["whoami"])).await?;
    let body: Value = serde_json::from_str(&answer.text().await?).unwrap_or_default();
    let subject = body["defaultSubject"].as_str().map(str::to_owned);
    subject.ok_or_else(|| Problem::unauthorized("Ditto does not say whose credentials these are"))
}

/// Whether a policy is such a one.
pub fn is_made_here(policy: &Value) -> bool {
    let subjects = policy["entries"][LABEL]["subjects"].as_object();
    subjects.is_some_and(|subjects| subjects.values().any(|subject| subject["type"] == MADE_HERE))
}
