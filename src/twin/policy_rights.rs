//! Whether a policy lets TwinOps do its work, before it is sent and as it stands.
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::desired::{Access, DesiredPolicy};
use super::policy::{LABEL, members};

/// What TwinOps must be able to read and write.
const NEEDED: [&str; 2] = ["thing:/", "policy:/"];
const RIGHTS: [&str; 2] = ["READ", "WRITE"];

/// Whether `body` gives one of `subjects` READ and WRITE on exactly `resource` in its own entries.
fn grants(body: &Value, subjects: &[String], resource: &str) -> bool {
    let (mut granted, mut revoked) = (BTreeSet::new(), BTreeSet::new());
    for (_, entry) in of(subjects, body) {
        granted.extend(words(entry, resource, "grant"));
        revoked.extend(words(entry, resource, "revoke"));
    }
    RIGHTS.iter().all(|right| granted.contains(right) && !revoked.contains(right))
}

/// The entries that name one of `subjects`.
fn of<'v>(subjects: &'v [String], body: &'v Value) -> impl Iterator<Item = (&'v String, &'v Value)> {
    let names = |entry: &Value| {
        entry.get("subjects").is_some_and(|held| subjects.iter().any(|subject| held.get(subject).is_some()))
    };
    members(body, "entries").filter(move |(_, entry)| names(entry))
}

fn words<'v>(entry: &'v Value, resource: &str, list: &str) -> impl Iterator<Item = &'v str> {
    let rights = entry.get("resources").and_then(|resources| resources.get(resource));
    rights.and_then(|rights| rights.get(list)?.as_array()).into_iter().flatten().filter_map(Value::as_str)
}

fn has_imports(body: &Value) -> bool {
    members(body, "imports").next().is_some()
}

/// Whether things under this policy can be managed with `subjects`. With imports the answer may lie
/// elsewhere: then it is taken to be yes, and Ditto has the last word.
pub fn admits(body: &Value, subjects: &[String]) -> bool {
    has_imports(body) || grants(body, subjects, "thing:/")
}

/// The entry that lets TwinOps in, for somebody else to add. `note` is the mark, or any word.
pub fn missing_entry(subjects: &[String], note: &str) -> Value {
    let own = subjects.first().map_or("the operator's subject", String::as_str);
    let all = json!({"grant": RIGHTS, "revoke": []});
    json!({LABEL: {"subjects": {own: {"type": note}}, "resources": {"thing:/": all, "policy:/": all}}})
}

/// Why TwinOps cannot work under a policy that it may read: an entry of somebody else takes its rights away.
/// Says what to change. With imports the rights may come from elsewhere.
pub fn shut_out(body: &Value, subjects: &[String]) -> Option<String> {
    let revoked = |resource: &&str| !grants(body, subjects, resource);
    let resource = NEEDED.into_iter().find(revoked)?;
    let revoking = of(subjects, body).find(|(_, entry)| words(entry, resource, "revoke").next().is_some());
    revoking.map(|(label, _)| {
        format!(
            "entry {label:?}, which nobody declared, revokes rights on {resource} from the subject of TwinOps: take \
             the revoke or the subject out of it"
        )
    })
}

/// Refuses a policy that would lock TwinOps out, with what to add or take away. Asked before it is sent.
pub fn lock_out(desired: &DesiredPolicy, subjects: &[String]) -> Option<String> {
    if desired.allow_lockout {
        return None;
    }
    let own = subjects.first().map_or("the operator's subject", String::as_str);
    let body = json!({"entries": desired.entries, "imports": desired.imports});
    if desired.access == Access::Declared && !has_imports(&body) {
        for resource in NEEDED {
            if !grants(&body, subjects, resource) {
                return Some(format!(
                    "with spec.access: Declared the entries must give {own} READ and WRITE on {resource}; add them, \
                     or use spec.access: Managed"
                ));
            }
        }
    }
    for (label, entry) in of(subjects, &body) {
        let named = |own: &&String| entry.get("subjects").is_some_and(|held| held.get(*own).is_some());
        let own = subjects.iter().find(named).map_or(own, String::as_str);
        for (key, _) in members(entry, "resources").filter(|(key, _)| !key.starts_with("message:")) {
            if words(entry, key, "revoke").next().is_some() {
                return Some(format!(
                    "entry {label:?} revokes rights on {key} from {own}, which TwinOps itself uses: it would lock \
                     itself out; take the revoke or the subject away, or set spec.management.allowLockout: true"
                ));
            }
        }
    }
    None
}
