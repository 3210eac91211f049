//! A thing that did not exist, and the policy that comes with it.
//! Source: Ditto 3.8, `ThingEnforcerActor.java`: `_copyPolicyFrom`, then `_policy`, then `policyId`, then a default.
use serde_json::{Value, json};

use super::super::command::{Answer, Caller, Command, Metadata, Outcome, Verb, object};
use super::super::enforce::Permission;
use super::super::failure::Failure;
use super::super::place::{PolicyPlace, ThingPart, ThingPlace};
use super::super::policy;
use super::super::precondition::revision_tag;
use super::super::state::{Change, Kind, State};
use super::read::policy_of;
use super::shape::parse_policy_id;
use super::write::{change, stamp};
use super::{THING, metadata};
use crate::twin::id::{PolicyId, ThingId};
use crate::twin::json;

/// `body` is the checked thing; the command's own body still has `_policy` and `_copyPolicyFrom`.
/// Conditions are not asked: there is nothing to ask.
pub fn create(
    state: &State,
    id: &ThingId,
    command: &Command,
    body: Value,
    caller: &Caller,
) -> Result<Outcome, Failure> {
    command.headers.preconditions.check(None, false, "things")?;
    let (policy_id, new_policy) = policy_for(state, id, command, &body, caller)?;
    permit(state, &policy_id, new_policy.as_ref(), caller)?;
    let mut thing = json!({"thingId": id.as_str(), "policyId": policy_id.as_str()});
    match command.verb {
        Verb::Patch => json::merge(&mut thing, &body),
        _ => keep_named(&mut thing, body),
    }
    thing["policyId"] = json!(policy_id.as_str());
    let inline = command.body.get("_metadata").filter(|notes| command.verb == Verb::Put && !notes.is_null());
    match (&command.headers.metadata, inline) {
        (Metadata::Put(_), Some(_)) => {
            let message = "give `put-metadata` or `_metadata` in the body, not both";
            return Err(Failure::new(400, "things:metadata.notmodifiable", message));
        }
        (Metadata::Put(notes), None) => {
            let written = thing.clone();
            metadata::put(&mut thing, &ThingPlace::root(), notes, &written)?;
        }
        (_, Some(notes)) => thing["_metadata"] = json!(object(notes, "`_metadata`")?),
        (_, None) => {}
    }
    let revision = state.revision(Kind::Thing, id.as_str()) + 1;
    let mut shown = stamp(id, thing, revision, caller)?;
    let change = change(id, revision, &shown);
    if let Value::Object(members) = &mut shown {
        members.retain(|name, _| !name.starts_with('_'));
    }
    let answer = Answer::created(shown, revision_tag(revision), revision);
    Ok(Outcome { answer, changes: new_policy.into_iter().chain([change]).collect(), patch: None })
}

/// `null` stands for absent, except for the definition.
fn keep_named(thing: &mut Value, body: Value) {
    let Value::Object(members) = body else { return };
    for (name, value) in members {
        if !value.is_null() || name == "definition" {
            thing[name] = value;
        }
    }
}

fn permit(
    state: &State,
    policy_id: &PolicyId,
    new_policy: Option<&Change>,
    caller: &Caller,
) -> Result<(), Failure> {
    let enforcer = match new_policy.and_then(|change| change.entry.document.as_ref()) {
        Some(policy) => policy::enforcer_of(state, &policy.tree(), caller),
        None => {
            state.enforcer(policy_id.as_str(), caller.now).ok_or_else(|| PolicyPlace::Policy.not_found())?
        }
    };
    if enforcer.unrestricted(&caller.subjects, THING, &[], Permission::Write) {
        return Ok(());
    }
    Err(ThingPart::Thing.not_modifiable())
}

fn policy_for(
    state: &State,
    id: &ThingId,
    command: &Command,
    body: &Value,
    caller: &Caller,
) -> Result<(PolicyId, Option<Change>), Failure> {
    let given = |name: &str| command.body.get(name).filter(|value| !value.is_null());
    let named = body.get("policyId").and_then(Value::as_str).map(parse_policy_id).transpose()?;
    let own = || parse_policy_id(id.as_str());
    match (given("_copyPolicyFrom"), given("_policy")) {
        (Some(_), Some(_)) => Err(Failure::new(
            400,
            "things:policy.conflicting",
            "give `_policy` or `_copyPolicyFrom`, not both",
        )),
        (Some(source), None) => {
            let source = copied(state, source, caller)?;
            let policy_id = named.map_or_else(own, Ok)?;
            let copy = json!({"entries": source["entries"], "imports": source["imports"]});
            new_policy(state, policy_id, &copy, command, caller)
        }
        (None, Some(inline)) => {
            let inner = inline.get("policyId").and_then(Value::as_str).map(parse_policy_id).transpose()?;
            let policy_id = named.or(inner).map_or_else(own, Ok)?;
            let mut inline = inline.clone();
            if let Value::Object(members) = &mut inline {
                members.shift_remove("policyId");
            }
            new_policy(state, policy_id, &inline, command, caller)
        }
        (None, None) => match named {
            Some(policy_id) => {
                let readable = policy::visible(state, policy_id.as_str(), caller).is_some();
                if readable { Ok((policy_id, None)) } else { Err(PolicyPlace::Policy.not_found()) }
            }
            None => new_policy(state, own()?, &default_policy(caller), command, caller),
        },
    }
}

fn default_policy(caller: &Caller) -> Value {
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    let subject = caller.subjects.first().map_or("", String::as_str);
    json!({"entries": {"DEFAULT": {
        "subjects": {subject: {"type": "generated"}},
        "resources": {"thing:/": all.clone(), "policy:/": all.clone(), "message:/": all},
    }}})
}

/// The policy a `_copyPolicyFrom` names: an id, or `{{ ref:things/<thingId>/policyId }}`.
fn copied(state: &State, source: &Value, caller: &Caller) -> Result<Value, Failure> {
    let text = source.as_str().ok_or_else(|| Failure::bad_json("`_copyPolicyFrom` must be a JSON string"))?;
    let reference = text.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")).map(str::trim);
    let thing_id = reference.and_then(|r| r.strip_prefix("ref:things/")?.strip_suffix("/policyId"));
    let policy_id = match thing_id {
        Some(thing_id) => {
            let thing = state.get(Kind::Thing, thing_id);
            let readable = thing.filter(|thing| super::visible(state, thing, None, caller, false).is_some());
            let policy_id = readable.as_ref().and_then(|thing| policy_of(thing));
            let policy_id = policy_id.ok_or_else(|| ThingPart::Thing.not_found())?;
            parse_policy_id(policy_id)?
        }
        None => parse_policy_id(text)?,
    };
    policy::visible(state, policy_id.as_str(), caller).ok_or_else(|| PolicyPlace::Policy.not_found())
}

fn new_policy(
    state: &State,
    id: PolicyId,
    body: &Value,
    command: &Command,
    caller: &Caller,
) -> Result<(PolicyId, Option<Change>), Failure> {
    let not_creatable = |status, message: &str| Failure::new(status, "things:thing.notcreatable", message);
    if state.get(Kind::Policy, id.as_str()).is_some() {
        return Err(not_creatable(
            400,
            "a policy of this id exists: name it as `policyId`, or delete it first",
        ));
    }
    let change = policy::create(state, &id, body, command.headers.allow_policy_lockout, caller);
    let change = change.map_err(|error| match error.status {
        403 => not_creatable(403, &error.message),
        _ => error,
    })?;
    Ok((id, Some(change)))
}
