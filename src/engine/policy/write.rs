//! PUT and DELETE of a policy or a part of it.
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::command::{Answer, Caller, Command, IfEqual, Outcome, Verb};
use super::super::depth;
use super::super::enforce::Permission;
use super::super::failure::Failure;
use super::super::place::PolicyPlace;
use super::super::precondition::{hash_tag, revision_tag};
use super::super::state::{Change, Document, Entry, Kind, State};
use super::super::time;
use super::{POLICY, SIZE_MAX, enforcer_of, imports, path, placeholder, shape};
use crate::twin::id::PolicyId;
use crate::twin::json;

/// Carries the command out on a copy; nothing is changed here.
pub fn write(
    state: &State,
    id: &PolicyId,
    place: &PolicyPlace,
    command: &Command,
    caller: &Caller,
) -> Result<Outcome, Failure> {
    shape::place(place)?;
    let place = &placeholder::place(place, caller)?;
    let body = match command.verb {
        Verb::Put => shape::part(place, id, &placeholder::body(place, &command.body, caller)?, caller.now)?,
        _ => Value::Null,
    };
    let Some(policy) = state.get(Kind::Policy, id.as_str()) else {
        return match (command.verb, place) {
            (Verb::Put, PolicyPlace::Policy) => put_new(state, id, command, caller),
            _ => Err(PolicyPlace::Policy.not_found()),
        };
    };
    let named = match place {
        PolicyPlace::Policy => imports::of(&body["imports"]),
        PolicyPlace::Imports => imports::of(&body),
        PolicyPlace::Import(imported) if command.verb == Verb::Put => vec![(imported.as_str(), &body)],
        _ => vec![],
    };
    imports::permit(state, &named, caller)?;
    let enforcer = state.enforcer(id.as_str(), caller.now).ok_or_else(|| PolicyPlace::Policy.not_found())?;
    if !enforcer.unrestricted(&caller.subjects, POLICY, &path(&place.resource()), Permission::Write) {
        return Err(place.not_modifiable());
    }
    if let Some(label) = place.label() {
        let entry = PolicyPlace::Entry(label.to_owned());
        entry.pointer().get(&policy).ok_or_else(|| entry.not_found())?;
    }
    let write = Write { state, id, place, command, policy: &policy, caller };
    match command.verb {
        Verb::Put => write.put(body),
        _ => write.delete(),
    }
}

fn put_new(state: &State, id: &PolicyId, command: &Command, caller: &Caller) -> Result<Outcome, Failure> {
    command.headers.preconditions.check(None, false, "policies")?;
    let change = create(state, id, &command.body, command.headers.allow_policy_lockout, caller)?;
    let mut shown =
        change.entry.document.as_ref().map(|content| Value::clone(&content.tree())).unwrap_or_default();
    if let Value::Object(members) = &mut shown {
        members.retain(|name, _| !name.starts_with('_'));
    }
    let revision = change.entry.revision;
    Ok(Outcome {
        answer: Answer::created(shown, revision_tag(revision), revision),
        changes: vec![change],
        patch: None,
    })
}

/// A policy that does not exist yet; its creator needs WRITE on it, unless `lockout` says otherwise.
pub fn create(
    state: &State,
    id: &PolicyId,
    body: &Value,
    lockout: bool,
    caller: &Caller,
) -> Result<Change, Failure> {
    let body = placeholder::body(&PolicyPlace::Policy, body, caller)?;
    let policy = shape::part(&PolicyPlace::Policy, id, &body, caller.now)?;
    imports::permit(state, &imports::of(&policy["imports"]), caller)?;
    let may =
        enforcer_of(state, &policy, caller).unrestricted(&caller.subjects, POLICY, &[], Permission::Write);
    if !may && !lockout {
        return Err(Failure::new(
            403,
            "policies:policy.notcreatable",
            "the policy does not give you WRITE on `policy:/`",
        ));
    }
    if !has_imports(&policy) && !somebody_keeps_write(&policy, false) {
        return Err(PolicyPlace::Policy.would_lock_out());
    }
    stamp(id, policy, state.revision(Kind::Policy, id.as_str()) + 1, caller.now)
}

struct Write<'a> {
    state: &'a State,
    id: &'a PolicyId,
    place: &'a PolicyPlace,
    command: &'a Command,
    policy: &'a Document,
    caller: &'a Caller,
}

impl Write<'_> {
    fn revision(&self) -> u64 {
        self.state.revision(Kind::Policy, self.id.as_str())
    }

    fn is_root(&self) -> bool {
        *self.place == PolicyPlace::Policy
    }

    fn check_preconditions(&self, current: Option<&Value>) -> Result<(), Failure> {
        let tag = if self.is_root() { Some(revision_tag(self.revision())) } else { current.map(hash_tag) };
        self.command.headers.preconditions.check(tag.as_deref(), false, "policies")
    }

    fn put(&self, body: Value) -> Result<Outcome, Failure> {
        let current = self.place.pointer().get(self.policy);
        self.check_preconditions(current)?;
        let same = || current.is_some_and(|current| json::same(current, &body));
        if self.command.headers.if_equal == IfEqual::Skip && !self.is_root() && same() {
            return Err(Failure::new(
                412,
                "policies:precondition.failed",
                "`if-equal`: nothing would change",
            ));
        }
        let mut policy = Value::clone(self.policy);
        if self.is_root() {
            policy["imports"] = body["imports"].clone();
            policy["entries"] = body["entries"].clone();
        } else {
            self.place.pointer().set(&mut policy, body.clone());
        }
        if matches!(self.place, PolicyPlace::Import(_)) {
            imports::not_too_many(&policy)?;
        }
        let existed = current.is_some();
        let (change, revision) = self.finish(policy)?;
        let etag = if self.is_root() { revision_tag(revision) } else { hash_tag(&body) };
        let answer = if existed {
            Answer::changed(Some(etag), revision)
        } else {
            Answer::created(body, etag, revision)
        };
        Ok(Outcome { answer, changes: vec![change], patch: None })
    }

    fn delete(&self) -> Result<Outcome, Failure> {
        let pointer = self.place.pointer();
        let current = pointer.get(self.policy).ok_or_else(|| self.place.not_found())?;
        self.check_preconditions(Some(current))?;
        let (change, revision) = if self.is_root() {
            let revision = self.revision() + 1;
            let entry = Entry { revision, document: None };
            (Change { kind: Kind::Policy, id: self.id.to_string(), entry }, revision)
        } else {
            let mut policy = Value::clone(self.policy);
            pointer.remove(&mut policy);
            self.finish(policy)?
        };
        Ok(Outcome { answer: Answer::changed(None, revision), changes: vec![change], patch: None })
    }

    /// One subject alone may be given an expiry even if it was the last without (observed on Ditto 3.8.12). Imports may
    /// go whatever is left; only a PUT of all entries asks for a subject although there are imports (its strategies).
    fn finish(&self, policy: Value) -> Result<(Change, u64), Failure> {
        let one_subject = self.command.verb == Verb::Put && matches!(self.place, PolicyPlace::Subject(..));
        let safe = match self.place {
            PolicyPlace::Imports | PolicyPlace::Import(_) => true,
            PolicyPlace::Entries => somebody_keeps_write(&policy, false),
            _ => has_imports(&policy) || somebody_keeps_write(&policy, one_subject),
        };
        if !safe {
            return Err(self.place.would_lock_out());
        }
        let revision = self.revision() + 1;
        Ok((stamp(self.id, policy, revision, self.caller.now)?, revision))
    }
}

/// The rights may come from there.
fn has_imports(policy: &Value) -> bool {
    policy["imports"].as_object().is_some_and(|imports| !imports.is_empty())
}

/// A subject (without expiry, unless `expiring` is good enough) has WRITE on exactly `policy:/`.
/// Source: Ditto 3.8, `PoliciesValidator.java`.
fn somebody_keeps_write(policy: &Value, expiring: bool) -> bool {
    let (mut granted, mut revoked) = (BTreeSet::new(), BTreeSet::new());
    for entry in policy["entries"].as_object().into_iter().flat_map(|entries| entries.values()) {
        let root = &entry["resources"]["policy:/"];
        let has = |list: &str| root[list].as_array().is_some_and(|list| list.iter().any(|p| p == "WRITE"));
        for (subject, details) in entry["subjects"].as_object().into_iter().flatten() {
            if has("grant") && (expiring || details.get("expiry").is_none()) {
                granted.insert(subject);
            }
            if has("revoke") {
                revoked.insert(subject);
            }
        }
    }
    granted.difference(&revoked).next().is_some()
}

/// The policy dated and counted, as a change to store; `now` in milliseconds since 1970.
pub fn stamp(id: &PolicyId, mut policy: Value, revision: u64, now: i64) -> Result<Change, Failure> {
    let now = time::print(now);
    let created = policy.get("_created").cloned().unwrap_or_else(|| json!(now));
    let mut stamped = json!({
        "policyId": id.as_str(),
        "imports": policy["imports"].take(),
        "entries": policy["entries"].take(),
    });
    if stamped.to_string().encode_utf16().count() > SIZE_MAX {
        return Err(Failure::new(
            413,
            "policies:policy.toolarge",
            format!("a policy has at most {SIZE_MAX} characters of JSON"),
        ));
    }
    stamped["_namespace"] = json!(id.namespace());
    stamped["_revision"] = json!(revision);
    stamped["_created"] = created;
    stamped["_modified"] = json!(now);
    depth::check(&stamped)?;
    let entry = Entry { revision, document: Some(stamped.into()) };
    Ok(Change { kind: Kind::Policy, id: id.to_string(), entry })
}
