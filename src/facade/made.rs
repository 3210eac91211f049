//! The policy a thing gets when its maker names none, and its end.
//!
//! Such a policy is known by the type of its first subject, which is free text in Ditto. Nobody's rights follow from
//! that: it is deleted as the caller, who must be allowed to.
use axum::http::{Method, header};
use serde_json::{Value, json};

use super::Facade;
use super::ask::Ask;
use super::problem::Problem;
use super::upstream::Call;
use crate::twin::id::{PolicyId, ThingId};
use crate::twin::rql_text;

/// The label and the subject type by which such a policy is known.
const LABEL: &str = "owner";
const MADE_HERE: &str = "made by the TwinOps facade";

/// The policy of a new thing: everything for the caller, and for `TwinOps` itself when its subject is configured.
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
    Ok(json!({"entries": entries}))
}

/// Whom Ditto takes the caller for.
async fn whoami(facade: &Facade, ask: &Ask) -> Result<String, Problem> {
    let answer = facade.upstream.ask(&ask.caller, &ask.id, Call::get(&["whoami"])).await?;
    let body: Value = serde_json::from_str(&answer.text().await?).unwrap_or_default();
    let subject = body["defaultSubject"].as_str().map(str::to_owned);
    subject.ok_or_else(|| Problem::unauthorized("Ditto does not say whose credentials these are"))
}

/// Deletes `policy` if it was made here and no thing but `gone` uses it.
///
/// Whatever goes wrong leaves the policy, as Ditto always does; the thing is deleted already, and that is what was
/// asked for. Ditto's index may be a second behind: a thing made within it by this very policy could be overlooked, so
/// the policy must not have changed since it was looked at, and only what was made for one thing goes this way.
pub async fn delete_unused(facade: &Facade, ask: &Ask, policy: &PolicyId, gone: &ThingId) {
    if let Err(problem) = try_delete(facade, ask, policy, gone).await {
        tracing::debug!(%policy, code = %problem.code, "the policy of a deleted thing stays");
    }
}

async fn try_delete(facade: &Facade, ask: &Ask, policy: &PolicyId, gone: &ThingId) -> Result<(), Problem> {
    let segments = ["policies", policy.as_str()];
    let answer = facade.upstream.ask(&ask.caller, &ask.id, Call::get(&segments)).await?;
    let etag = answer.etag().cloned();
    let body: Value = serde_json::from_str(&answer.text().await?).unwrap_or_default();
    if !is_made_here(&body) {
        return Ok(());
    }
    let others = format!(
        "and({},ne(thingId,{}))",
        rql_text::under_policy(policy.as_str()),
        rql_text::literal(gone.as_str())
    );
    let count = Call::get(&["search", "things", "count"]).query("filter", &others);
    let count = facade.upstream.ask(&ask.caller, &ask.id, count).await?.text().await?;
    if count.trim() != "0" {
        return Ok(());
    }
    let mut call = Call::new(Method::DELETE, &segments);
    if let Some(etag) = etag {
        call = call.header(header::IF_MATCH, etag);
    }
    facade.upstream.ask(&ask.caller, &ask.id, call).await.map(drop)
}

fn is_made_here(policy: &Value) -> bool {
    let subjects = policy["entries"][LABEL]["subjects"].as_object();
    subjects.is_some_and(|subjects| subjects.values().any(|subject| subject["type"] == MADE_HERE))
}
