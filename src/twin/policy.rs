//! Policies: what is declared, what Ditto holds, and the one whole policy that is written.
//!
//! A policy changes by GET, then one PUT of the whole. Labels nobody declared stay (unless the mode is
//! Authoritative), and so do subjects that Ditto added at run time.
use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::desired::{Access, DesiredPolicy, PolicyMode};
use super::json::{Object, same};
use super::mark::{Mark, ascii};

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

/// What the resource owns of a policy: labels, and `imports/<policyId>` for imports.
pub fn owned_names(desired: &DesiredPolicy) -> BTreeSet<String> {
    let imports = desired.imports.keys().map(|id| format!("imports/{id}"));
    desired.entries.keys().cloned().chain(imports).collect()
}

/// What goes into the policy besides what is declared.
#[derive(Clone, Debug)]
pub struct Injected<'a> {
    pub mark: &'a Mark,
    /// The operator's subjects, the default one first.
    pub subjects: &'a [String],
    pub bridge: Option<&'a str>,
}

/// The whole policy as it should stand. `before` are the names owned so far: those no longer declared go.
pub fn compose(
    desired: &DesiredPolicy,
    found: Option<&Value>,
    before: &BTreeSet<String>,
    injected: &Injected<'_>,
    now_epoch_seconds: i64,
) -> Value {
    let empty = Object::new();
    let part =
        |name: &str| found.and_then(|body| body.get(name)).and_then(Value::as_object).unwrap_or(&empty);
    let names = owned_names(desired);
    let gone = |name: &str| before.contains(name) && !names.contains(name);
    let keep_foreign = desired.mode == PolicyMode::Entries;
    let ours = |label: &str| label == LABEL || label == BRIDGE_LABEL;

    let mut entries = Object::new();
    for (label, entry) in part("entries") {
        if ours(label) || desired.entries.contains_key(label) || (keep_foreign && !gone(label)) {
            entries.insert(label.clone(), entry.clone());
        }
    }
    for (label, entry) in &desired.entries {
        let found = entries.get(label);
        let entry = compose_entry(entry, found, desired.preserve_runtime_subjects, now_epoch_seconds);
        entries.insert(label.clone(), entry);
    }
    if desired.access == Access::Managed {
        let found = part("entries").get(LABEL);
        entries.insert(LABEL.into(), access_entry(found, injected));
        match injected.bridge.filter(|bridge| !injected.subjects.iter().any(|s| s == bridge)) {
            Some(bridge) => {
                entries.insert(BRIDGE_LABEL.into(), bridge_entry(bridge));
            }
            None => {
                entries.shift_remove(BRIDGE_LABEL);
            }
        }
    } else {
        entries.shift_remove(LABEL);
        entries.shift_remove(BRIDGE_LABEL);
    }

    let mut imports = Object::new();
    for (id, import) in part("imports") {
        if keep_foreign && !gone(&format!("imports/{id}")) {
            imports.insert(id.clone(), import.clone());
        }
    }
    imports.extend(desired.imports.clone());
    json!({"policyId": desired.id.as_str(), "imports": imports, "entries": entries})
}

/// One declared entry over the one that is there.
fn compose_entry(declared: &Value, found: Option<&Value>, preserve: bool, now: i64) -> Value {
    let mut entry = declared.clone();
    let empty = Object::new();
    let present = found.and_then(|entry| entry.get("subjects")).and_then(Value::as_object).unwrap_or(&empty);
    let wanted = declared.get("subjects").and_then(Value::as_object).unwrap_or(&empty);
    let mut subjects = Object::new();
    for (id, subject) in wanted {
        let expiry = expiry_of(subject);
        if expiry.is_some_and(|at| at <= now) {
            continue;
        }
        let mut subject = subject.clone();
        if let (Some(wanted), Some(held)) = (expiry, present.get(id).and_then(expiry_of))
            && rounded_up(wanted, held)
            && let Some(held) = present[id].get("expiry")
        {
            subject["expiry"] = held.clone();
        }
        subjects.insert(id.clone(), subject);
    }
    for (id, subject) in present {
        let at_run_time = expiry_of(subject).is_some() || id.starts_with("integration:");
        if preserve && at_run_time && !wanted.contains_key(id) {
            subjects.insert(id.clone(), subject.clone());
        }
    }
    entry["subjects"] = Value::Object(subjects);
    entry
}

fn expiry_of(subject: &Value) -> Option<i64> {
    subject.get("expiry")?.as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// Whether `held` is what Ditto makes of `wanted` by rounding up to a whole unit.
fn rounded_up(wanted: i64, held: i64) -> bool {
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
    for (id, subject) in found.and_then(|entry| entry.get("subjects")?.as_object()).into_iter().flatten() {
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

fn bridge_entry(subject: &str) -> Value {
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

/// Equality of policies as Ditto sees it: grants and revokes are sets, `importable` is `implicit` unless
/// said otherwise.
pub fn same_policy(a: &Value, b: &Value) -> bool {
    same(&normal(a), &normal(b))
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
                let words = resource.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
                let set: BTreeSet<String> =
                    words.iter().filter_map(|w| w.as_str().map(str::to_owned)).collect();
                resource[list] = json!(set);
            }
        }
    }
    let mut imports = body.get("imports").cloned().unwrap_or_else(|| json!({}));
    for import in imports.as_object_mut().into_iter().flat_map(Object::values_mut) {
        let words = import.get("entries").and_then(Value::as_array).cloned().unwrap_or_default();
        let set: BTreeSet<String> = words.iter().filter_map(|w| w.as_str().map(str::to_owned)).collect();
        *import = json!({ "entries": set });
    }
    json!({"entries": entries, "imports": imports})
}

/// Whether `body` gives one of `subjects` READ and WRITE on exactly `resource` in its own entries.
/// With imports the answer may lie elsewhere: then it is taken to be yes, and Ditto has the last word.
fn grants(body: &Value, subjects: &[String], resource: &str) -> bool {
    let Some(entries) = body.get("entries").and_then(Value::as_object) else { return false };
    let of_ours = entries.values().filter(|entry| {
        entry
            .get("subjects")
            .and_then(Value::as_object)
            .is_some_and(|held| subjects.iter().any(|s| held.contains_key(s)))
    });
    let mut granted = BTreeSet::new();
    let mut revoked = BTreeSet::new();
    for entry in of_ours {
        let Some(rights) = entry.get("resources").and_then(|resources| resources.get(resource)) else {
            continue;
        };
        let words = |list: &str| {
            let words = rights.get(list).and_then(Value::as_array).into_iter().flatten();
            words.filter_map(|word| word.as_str().map(str::to_owned)).collect::<BTreeSet<_>>()
        };
        granted.extend(words("grant"));
        revoked.extend(words("revoke"));
    }
    ["READ", "WRITE"].iter().all(|right| granted.contains(*right) && !revoked.contains(*right))
}

fn has_imports(body: &Value) -> bool {
    body.get("imports").and_then(Value::as_object).is_some_and(|imports| !imports.is_empty())
}

/// Whether things under this policy can be managed with `subjects`.
pub fn admits(body: &Value, subjects: &[String]) -> bool {
    has_imports(body) || grants(body, subjects, "thing:/")
}

/// Refuses a policy that would lock TwinOps out, with what to add or take away. Asked before it is sent.
pub fn lock_out(desired: &DesiredPolicy, subjects: &[String]) -> Option<String> {
    if desired.allow_lockout {
        return None;
    }
    let own = subjects.first().map_or("the operator's subject", String::as_str);
    let body = json!({"entries": desired.entries, "imports": desired.imports});
    if desired.access == Access::Declared && !has_imports(&body) {
        for resource in ["thing:/", "policy:/"] {
            if !grants(&body, subjects, resource) {
                return Some(format!(
                    "with spec.access: Declared the entries must give {own} READ and WRITE on {resource}; add them, \
                     or use spec.access: Managed"
                ));
            }
        }
    }
    for (label, entry) in &desired.entries {
        let held = entry.get("subjects").and_then(Value::as_object);
        let Some(subject) = subjects.iter().find(|s| held.is_some_and(|held| held.contains_key(*s))) else {
            continue;
        };
        for (key, rights) in entry.get("resources").and_then(Value::as_object).into_iter().flatten() {
            let revokes = rights.get("revoke").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
            if revokes && !key.starts_with("message:") {
                return Some(format!(
                    "entry {label:?} revokes rights on {key} from {subject}, which TwinOps itself uses: it would lock \
                     itself out; take the revoke or the subject away, or set spec.management.allowLockout: true"
                ));
            }
        }
    }
    None
}
