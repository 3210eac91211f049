//! GET of a policy or a part of it.
use serde_json::Value;

use super::super::command::{Answer, Caller, Headers};
use super::super::enforce::{Enforcer, Permission};
use super::super::failure::Failure;
use super::super::history::Moment;
use super::super::place::PolicyPlace;
use super::super::precondition::{hash_tag, revision_tag};
use super::super::state::{Document, Kind, State};
use super::super::time;
use super::{POLICY, path, shape};

pub fn read(
    state: &State,
    id: &str,
    place: &PolicyPlace,
    headers: &Headers,
    caller: &Caller,
) -> Result<Answer, Failure> {
    shape::place(place)?;
    let policy = state.get(Kind::Policy, id).ok_or_else(|| PolicyPlace::Policy.not_found())?;
    let enforcer = state.enforcer(id, caller.now).ok_or_else(|| PolicyPlace::Policy.not_found())?;
    let resource = place.resource();
    if !enforcer.partial(&caller.subjects, POLICY, &path(&resource), Permission::Read) {
        return Err(place.not_found());
    }
    let present = state.revision(Kind::Policy, id);
    let past = headers.moment.map(|moment| earlier(state, id, &policy, moment)).transpose()?.flatten();
    let (revision, policy) = past.unwrap_or((present, policy));
    let value = find(&policy, place)?;
    let etag = if *place == PolicyPlace::Policy { revision_tag(revision) } else { hash_tag(value) };
    headers.preconditions.check(Some(&etag), true, "policies")?;
    let readable = view(&enforcer, caller, place, value).ok_or_else(|| place.not_found())?;
    let body = match &headers.fields {
        Some(fields) if *place == PolicyPlace::Policy => fields.select(&readable),
        _ => shown(readable),
    };
    // read as of a revision, Ditto 3.8.12 names the one before it in `entity-revision`
    let named = if headers.moment.is_some() { revision.saturating_sub(1) } else { revision };
    Ok(Answer::found(body, Some(etag), Some(named)))
}

/// The policy at an earlier moment; `None` when that is the present.
fn earlier(
    state: &State,
    id: &str,
    policy: &Value,
    moment: Moment,
) -> Result<Option<(u64, Document)>, Failure> {
    let modified = policy["_modified"].as_str().and_then(time::parse);
    let is_present = match moment {
        Moment::Revision(revision) => revision == 0 || revision == state.revision(Kind::Policy, id),
        Moment::Time(time) => modified.is_some_and(|modified| modified <= time),
    };
    match state.past_policy(id, moment) {
        _ if is_present => Ok(None),
        Some(past) => Ok(Some(past)),
        None => Err(Failure::new(
            404,
            "policies:policy.history.notfound",
            "the policy was not there then, or that is too long ago: the last 100 revisions since the start are kept",
        )),
    }
}

/// What the caller may read of a policy; `None` when that is nothing.
pub fn visible(state: &State, id: &str, caller: &Caller) -> Option<Value> {
    let policy = state.get(Kind::Policy, id)?;
    let enforcer = state.enforcer(id, caller.now)?;
    let readable = enforcer.partial(&caller.subjects, POLICY, &[], Permission::Read);
    readable.then(|| view(&enforcer, caller, &PolicyPlace::Policy, &policy).map(shown)).flatten()
}

fn find<'p>(policy: &'p Value, place: &PolicyPlace) -> Result<&'p Value, Failure> {
    if let Some(label) = place.label() {
        let entry = PolicyPlace::Entry(label.to_owned());
        entry.pointer().get(policy).ok_or_else(|| entry.not_found())?;
    }
    place.pointer().get(policy).ok_or_else(|| place.not_found())
}

/// Whoever reads any part of a policy reads its id.
fn view(enforcer: &Enforcer, caller: &Caller, place: &PolicyPlace, value: &Value) -> Option<Value> {
    let resource = place.resource();
    let mut readable = enforcer.view(&caller.subjects, POLICY, &path(&resource), value)?;
    if *place == PolicyPlace::Policy && readable.get("policyId").is_none() {
        let Value::Object(rest) = readable.take() else { return None };
        let id = ("policyId".to_owned(), value["policyId"].clone());
        readable = Value::Object(std::iter::once(id).chain(rest).collect());
    }
    Some(readable)
}

/// Fields that begin with `_` show only when asked for.
fn shown(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        members.retain(|name, _| !name.starts_with('_'));
    }
    value
}
