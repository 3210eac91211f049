//! Policies: what is declared, what Ditto holds, and the one whole policy that is written.
//!
//! A policy changes by GET, then one PUT of the whole. Labels nobody declared stay (unless the mode is
//! Authoritative), and so do subjects that Ditto added at run time.
use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::desired::{Access, DesiredPolicy, PolicyMode};
use super::json::{Object, Pointer};
use super::mark::{Mark, ascii};

pub use super::policy_rights::{admits, lock_out};
pub use super::policy_same::same_policy;

/// The label of the entry that TwinOps puts in for itself.
pub const LABEL: &str = "twinops";
/// The label of the entry that TwinOps puts in for the MQTT bridge.
pub const BRIDGE_LABEL: &str = "twinops-bridge";
/// Units Ditto may round an expiry up to (`POLICY_SUBJECT_EXPIRY_GRANULARITY`), in seconds.
const GRANULARITIES: [i64; 12] = [1, 10, 60, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400];

/// The mark of a policy, wherever TwinOps left it: the subject's `type` in the entry [`LABEL`].
/// Prefers the note under `subjects`, because several operators of one owner may have left theirs.
pub fn mark_of(body: &Value, subjects: &[String]) -> Option<Value> {
    let noted = body.get("entries")?.get(LABEL)?.get("subjects")?.as_object()?;
    let note = |subject: &Value| serde_json::from_str::<Value>(subject.get("type")?.as_str()?).ok();
    subjects
        .iter()
        .filter_map(|subject| noted.get(subject))
        .chain(noted.values())
        .filter_map(note)
        .find(|note| note.get("uid").is_some())
}

/// What the resource owns of a policy: labels, `imports/<policyId>`, and `subjects/<label>/<subjectId>` for
/// those subjects that would pass for ones that Ditto added. A label holds no slash.
pub fn owned_names(desired: &DesiredPolicy) -> BTreeSet<String> {
    let imports = desired.imports.keys().map(|id| format!("imports/{id}"));
    let subjects = desired.entries.iter().flat_map(|(label, entry)| {
        let passing = members(entry, "subjects").filter(|(id, subject)| is_like_run_time(id, subject));
        passing.map(move |(id, _)| subject_name(label, id))
    });
    desired.entries.keys().cloned().chain(imports).chain(subjects).collect()
}

fn subject_name(label: &str, id: &str) -> String {
    format!("subjects/{label}/{id}")
}

/// Whether a subject looks like one that Ditto's token integration added.
fn is_like_run_time(id: &str, subject: &Value) -> bool {
    expiry_of(subject).is_some() || id.starts_with("integration:")
}

/// The members of an object inside a value; none when it is missing.
pub(super) fn members<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    value.get(name).and_then(Value::as_object).into_iter().flatten()
}

/// What goes into the policy besides what is declared.
#[derive(Clone, Debug)]
pub struct Injected<'a> {
    pub mark: &'a Mark,
    /// The operator's subjects, the default one first.
    pub subjects: &'a [String],
    pub bridge: Option<&'a str>,
}

/// The policy without subjects whose time is over: Ditto is about to remove them, and takes none back.
pub fn without_expired(body: &Value, now_epoch_seconds: i64) -> Value {
    let mut body = body.clone();
    let entries = body.get_mut("entries").and_then(Value::as_object_mut);
    for entry in entries.into_iter().flat_map(Object::values_mut) {
        if let Some(subjects) = entry.get_mut("subjects").and_then(Value::as_object_mut) {
            subjects.retain(|_, subject| expiry_of(subject).is_none_or(|at| at > now_epoch_seconds));
        }
    }
    body
}

/// The whole policy as it should stand. `found` holds no expired subject. `before` are the names owned so
/// far: those no longer declared go.
pub fn compose(
    desired: &DesiredPolicy,
    found: Option<&Value>,
    before: &BTreeSet<String>,
    injected: &Injected<'_>,
    now_epoch_seconds: i64,
) -> Value {
    let none = json!({});
    let found = found.unwrap_or(&none);
    let names = owned_names(desired);
    let gone = |name: &str| before.contains(name) && !names.contains(name);
    let keep_foreign = desired.mode == PolicyMode::Entries;

    let mut entries = Object::new();
    for (label, entry) in members(found, "entries") {
        if is_own(label) || desired.entries.contains_key(label) || (keep_foreign && !gone(label)) {
            entries.insert(label.clone(), entry.clone());
        }
    }
    for (label, entry) in &desired.entries {
        let keep = |id: &str| desired.preserve_runtime_subjects && !gone(&subject_name(label, id));
        let entry = compose_entry(entry, entries.get(label), &keep, now_epoch_seconds);
        entries.insert(label.clone(), entry);
    }
    inject(&mut entries, desired.access, injected);

    let mut imports = Object::new();
    for (id, import) in members(found, "imports") {
        if keep_foreign && !gone(&format!("imports/{id}")) {
            imports.insert(id.clone(), import.clone());
        }
    }
    imports.extend(desired.imports.clone());
    json!({"policyId": desired.id.as_str(), "imports": imports, "entries": entries})
}

/// Whether the entry is TwinOps' own.
pub(super) fn is_own(label: &str) -> bool {
    label == LABEL || label == BRIDGE_LABEL
}

/// Puts TwinOps' own entries in, or takes them out.
fn inject(entries: &mut Object, access: Access, injected: &Injected<'_>) {
    let is_managed = access == Access::Managed;
    if is_managed {
        let entry = access_entry(entries.get(LABEL), injected);
        entries.insert(LABEL.into(), entry);
    } else {
        entries.shift_remove(LABEL);
    }
    let apart = |bridge: &&str| is_managed && !injected.subjects.iter().any(|own| own == bridge);
    match injected.bridge.filter(apart) {
        Some(bridge) => {
            entries.insert(BRIDGE_LABEL.into(), bridge_entry(bridge));
        }
        None => {
            entries.shift_remove(BRIDGE_LABEL);
        }
    }
}

/// What stands there, with nothing but TwinOps' own entries as in `composed`.
pub fn with_own_entries_of(composed: &Value, found: &Value) -> Value {
    let mut body = found.clone();
    for label in [LABEL, BRIDGE_LABEL] {
        let entry = Pointer::of(["entries", label]);
        match entry.get(composed) {
            Some(own) => entry.set(&mut body, own.clone()),
            None => {
                entry.remove(&mut body);
            }
        }
    }
    body
}

/// One declared entry over the one that is there. `keep` says which subjects that nobody declares may stay
/// because Ditto added them.
fn compose_entry(declared: &Value, found: Option<&Value>, keep: &dyn Fn(&str) -> bool, now: i64) -> Value {
    let none = json!({});
    let found = found.unwrap_or(&none);
    let mut subjects = Object::new();
    for (id, subject) in members(declared, "subjects") {
        let present = found.get("subjects").and_then(|present| present.get(id));
        let held = present.filter(|present| is_rounding_of(subject, present));
        let mut subject = subject.clone();
        match held.and_then(|held| held.get("expiry")) {
            Some(expiry) => subject["expiry"] = expiry.clone(),
            None if expiry_of(&subject).is_some_and(|at| at <= now) => continue,
            None => {}
        }
        subjects.insert(id.clone(), subject);
    }
    for (id, subject) in members(found, "subjects") {
        let is_declared = declared.get("subjects").is_some_and(|wanted| wanted.get(id).is_some());
        if !is_declared && is_like_run_time(id, subject) && keep(id) {
            subjects.insert(id.clone(), subject.clone());
        }
    }
    let mut entry = declared.clone();
    entry["subjects"] = Value::Object(subjects);
    entry
}

fn expiry_of(subject: &Value) -> Option<i64> {
    subject.get("expiry")?.as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// Whether the expiry that is held is what Ditto makes of the declared one by rounding up to a whole unit.
fn is_rounding_of(declared: &Value, held: &Value) -> bool {
    let (Some(wanted), Some(held)) = (expiry_of(declared), expiry_of(held)) else { return false };
    GRANULARITIES.iter().any(|unit| (wanted + unit - 1).div_euclid(*unit) * unit == held)
}

/// Subjects of the same owner are added, never swapped: changed credentials do not lock out the pod
/// that still runs with the old ones.
fn access_entry(found: Option<&Value>, injected: &Injected<'_>) -> Value {
    let note = ascii(&injected.mark.to_json());
    let of_same_owner = |subject: &Value| {
        subject
            .get("type")
            .and_then(Value::as_str)
            .and_then(|text| serde_json::from_str::<Value>(text).ok())
            .is_some_and(|mark| mark["owner"] == json!(injected.mark.owner))
    };
    let mut subjects = Object::new();
    for (id, subject) in found.into_iter().flat_map(|entry| members(entry, "subjects")) {
        if of_same_owner(subject) {
            subjects.insert(id.clone(), json!({ "type": note }));
        }
    }
    if let Some(own) = injected.subjects.first() {
        subjects.insert(own.clone(), json!({ "type": note }));
    }
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    json!({
        "subjects": subjects,
        "resources": {"thing:/": all, "policy:/": all, "message:/": all},
        "importable": "never",
    })
}

/// What the MQTT bridge needs: to read, to write what devices say, and messages both ways.
pub fn bridge_entry(subject: &str) -> Value {
    json!({
        "subjects": { subject: {"type": "twinops bridge"} },
        "resources": {
            "thing:/": {"grant": ["READ"], "revoke": []},
            "thing:/features": {"grant": ["WRITE"], "revoke": []},
            "message:/": {"grant": ["READ", "WRITE"], "revoke": []},
        },
        "importable": "never",
    })
}
