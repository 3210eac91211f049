//! When two policies are the same, and where they differ.
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::desired::{DesiredPolicy, hash};
use super::json::{Object, Pointer, same};
use super::policy::{is_own, members};

const SECONDS_A_MINUTE: u64 = 60;

/// Equality of policies as Ditto sees it: grants and revokes are sets, and what Ditto adds or rounds by itself
/// (`importable: implicit`, `whenDeleted: false`, `beforeExpiry`) is as good as said.
pub fn same_policy(a: &Value, b: &Value) -> bool {
    same(&normal(a), &normal(b))
}

/// A short name for what a policy grants, however it is written.
pub fn effective_hash(body: &Value) -> String {
    hash(&normal(body))
}

/// Entries and imports in which two policies differ, as `/entries/<label>` and `/imports/<policyId>`.
/// TwinOps' own entries do not count: they are nobody else's to change.
pub fn differing(a: &Value, b: &Value) -> Vec<Pointer> {
    let (a, b) = (normal(a), normal(b));
    let in_part = |part: &'static str| {
        let names: BTreeSet<&String> =
            members(&a, part).chain(members(&b, part)).map(|(name, _)| name).collect();
        let paths = names.into_iter().filter(|name| !is_own(name)).map(move |name| Pointer::of([part, name]));
        paths.filter(|path| match (path.get(&a), path.get(&b)) {
            (Some(a), Some(b)) => !same(a, b),
            _ => true,
        })
    };
    in_part("entries").chain(in_part("imports")).collect()
}

/// What a policy holds that is neither declared nor TwinOps' own, down to single subjects.
pub fn undeclared(desired: &DesiredPolicy, body: &Value) -> Vec<Pointer> {
    let imports = members(body, "imports").map(|(id, _)| id).filter(|id| !desired.imports.contains_key(*id));
    let mut paths: Vec<_> = imports.map(|id| Pointer::of(["imports", id])).collect();
    for (label, entry) in members(body, "entries").filter(|(label, _)| !is_own(label)) {
        let path = Pointer::of(["entries", label]);
        let Some(declared) = desired.entries.get(label) else {
            paths.push(path);
            continue;
        };
        let is_declared =
            |id: &str| declared.get("subjects").is_some_and(|subjects| subjects.get(id).is_some());
        let subjects = members(entry, "subjects").filter(|(id, _)| !is_declared(id));
        paths.extend(subjects.map(|(id, _)| path.child("subjects").child(id)));
    }
    paths
}

fn normal(body: &Value) -> Value {
    let mut entries = body.get("entries").cloned().unwrap_or_else(|| json!({}));
    for entry in entries.as_object_mut().into_iter().flat_map(Object::values_mut) {
        if entry.get("importable").is_none() {
            entry["importable"] = json!("implicit");
        }
        for part in ["subjects", "resources"] {
            if entry.get(part).is_none() {
                entry[part] = json!({});
            }
        }
        for resource in entry["resources"].as_object_mut().into_iter().flat_map(Object::values_mut) {
            for list in ["grant", "revoke"] {
                resource[list] = words(resource.get(list));
            }
        }
        for subject in entry["subjects"].as_object_mut().into_iter().flat_map(Object::values_mut) {
            subject.get_mut("announcement").map(normal_announcement);
        }
    }
    let mut imports = body.get("imports").cloned().unwrap_or_else(|| json!({}));
    for import in imports.as_object_mut().into_iter().flat_map(Object::values_mut) {
        *import = json!({ "entries": words(import.get("entries")) });
    }
    json!({"entries": entries, "imports": imports})
}

/// Source: Ditto 3.8, `ImmutableSubjectAnnouncement`: always `whenDeleted`, never an empty list of labels, durations
/// without leading zeros, `beforeExpiry` in whole minutes.
fn normal_announcement(announcement: &mut Value) {
    let Some(members) = announcement.as_object_mut() else { return };
    members.entry("whenDeleted").or_insert_with(|| json!(false));
    if let Some(length) = members.get_mut("beforeExpiry") {
        normal_length(length, true);
    }
    if let Some(length) = members.get_mut("randomizationInterval") {
        normal_length(length, false);
    }
    if let Some(length) = members.get_mut("requestedAcks").and_then(|asked| asked.get_mut("timeout")) {
        normal_length(length, false);
    }
    if let Some(asked) = members.get_mut("requestedAcks").and_then(Value::as_object_mut) {
        if asked.get("labels").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            asked.shift_remove("labels");
        }
        if asked.is_empty() {
            members.shift_remove("requestedAcks");
        }
    }
}

/// `090s` is `90s`; in whole minutes, `120s`: Ditto rounds up and keeps the unit.
/// Source: Ditto 3.8, `DittoDuration`, `subject-deletion-announcement-granularity` (1 m).
fn normal_length(length: &mut Value, in_minutes: bool) {
    let Some(text) = length.as_str() else { return };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let Ok(mut amount) = digits.parse::<u64>() else { return };
    if in_minutes {
        amount = match unit {
            "" | "s" => amount.div_ceil(SECONDS_A_MINUTE).max(1).saturating_mul(SECONDS_A_MINUTE),
            _ => amount.max(1),
        };
    }
    *length = json!(format!("{amount}{unit}"));
}

fn words(list: Option<&Value>) -> Value {
    let words = list.and_then(Value::as_array).into_iter().flatten();
    json!(words.filter_map(Value::as_str).collect::<BTreeSet<_>>())
}
