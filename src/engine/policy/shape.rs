//! What the parts of a policy must look like, and how Ditto writes them back.
//! Source: Ditto 3.8, `ImmutablePolicyEntry`, `ImmutableSubject`, `ImmutableResource`, `ImmutablePolicyImport`.
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::super::command::object;
use super::super::failure::Failure;
use super::super::place::PolicyPlace;
use super::super::time;
use super::IMPORTS_MAX;
use super::announcement::announcement;
use crate::twin::id::{PolicyId, is_key, is_subject};
use crate::twin::json::Object;

/// Expiries are rounded up to it, in milliseconds. Source: Ditto 3.8, `POLICY_SUBJECT_EXPIRY_GRANULARITY` (1 h).
const EXPIRY_GRANULARITY: i64 = 3_600_000;
const PERMISSIONS: [&str; 3] = ["READ", "WRITE", "EXECUTE"];
const IMPORTABLE: [&str; 3] = ["implicit", "explicit", "never"];

/// Refuses a place that no policy can have, whatever is asked of it.
pub fn place(place: &PolicyPlace) -> Result<(), Failure> {
    if let PolicyPlace::Entry(name) = place {
        label(name)?;
    }
    if let Some(name) = place.label() {
        label(name)?;
    }
    match place {
        PolicyPlace::Subject(_, id) => subject_id(id),
        PolicyPlace::Resource(_, key) => resource_key(key).map(drop),
        PolicyPlace::Import(id) => imported_id(id),
        _ => Ok(()),
    }
}

/// Checks the value for the part at `place` of policy `id` and returns it as Ditto keeps it.
/// `now` is in milliseconds since 1970.
pub fn part(place: &PolicyPlace, id: &PolicyId, value: &Value, now: i64) -> Result<Value, Failure> {
    match place {
        PolicyPlace::Policy => policy(id, value, now),
        PolicyPlace::Entries => each(value, "entries", |name, entry| named_entry(name, entry, now)),
        PolicyPlace::Entry(name) => {
            let mut value = value.clone();
            // alone, an unknown `importable` counts as none, as in Ditto 3.8 (`PolicyEntriesRoute.java`)
            if value["importable"].as_str().is_some_and(|given| !IMPORTABLE.contains(&given)) {
                value["importable"] = Value::Null;
            }
            named_entry(name, &value, now)
        }
        PolicyPlace::Subjects(_) => {
            each(value, "subjects", |subject_id, value| subject(subject_id, value, now))
        }
        PolicyPlace::Subject(_, subject_id) => subject(subject_id, value, now),
        PolicyPlace::Resources(_) => resources(value),
        PolicyPlace::Resource(..) => resource(value),
        PolicyPlace::Imports => imports(id, value),
        PolicyPlace::Import(imported) => import(id, imported, value),
    }
}

/// The members of a JSON object; `null` has none, and is an empty array too (Ditto 3.8, `ImmutableJsonNull.java`).
fn members<'v>(value: &'v Value, what: &str) -> Result<&'v Object, Failure> {
    static NONE: LazyLock<Object> = LazyLock::new(Object::new);
    if value.is_null() { Ok(&NONE) } else { object(value, what) }
}

fn each(
    value: &Value,
    what: &str,
    check: impl Fn(&str, &Value) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    let members = members(value, what)?;
    let checked = members.iter().map(|(key, value)| Ok((key.clone(), check(key, value)?)));
    Ok(Value::Object(checked.collect::<Result<Map<_, _>, Failure>>()?))
}

fn policy(id: &PolicyId, value: &Value, now: i64) -> Result<Value, Failure> {
    if value.is_null() {
        return Err(Failure::new(400, "policies:id.invalid", "a policy must be a JSON object, not null"));
    }
    let members = object(value, "a policy")?;
    if members.get("policyId").is_some_and(|given| given.as_str() != Some(id.as_str())) {
        return Err(Failure::new(
            400,
            "policies:id.notsettable",
            "the `policyId` in the body must be the one in the path, or left out",
        ));
    }
    let member =
        |name: &str| members.get(name).filter(|value| !value.is_null()).cloned().unwrap_or_else(|| json!({}));
    let entries = each(&member("entries"), "entries", |label, entry| named_entry(label, entry, now))?;
    Ok(json!({"policyId": id.as_str(), "imports": imports(id, &member("imports"))?, "entries": entries}))
}

fn label(text: &str) -> Result<(), Failure> {
    if text.starts_with("imported") {
        return Err(Failure::new(400, "policies:label.invalid", "a label must not begin with `imported`"));
    }
    if !is_key(text) {
        return Err(Failure::new(400, "policies:entry.invalid", format!("`{text}` is no valid label")));
    }
    Ok(())
}

fn named_entry(name: &str, value: &Value, now: i64) -> Result<Value, Failure> {
    label(name)?;
    let members = members(value, "a policy entry")?;
    let member = |name: &str| members.get(name).ok_or_else(|| Failure::missing_field(name));
    let importable = match members.get("importable") {
        None | Some(Value::Null) => "implicit",
        Some(value) => value.as_str().filter(|text| IMPORTABLE.contains(text)).ok_or_else(|| {
            Failure::new(400, "policies:entry.invalid", "`importable` is `implicit`, `explicit` or `never`")
        })?,
    };
    Ok(json!({
        "subjects": each(member("subjects")?, "subjects", |id, value| subject(id, value, now))?,
        "resources": resources(member("resources")?)?,
        "importable": importable,
    }))
}

fn subject_id(id: &str) -> Result<(), Failure> {
    if is_subject(id) && id.contains(':') {
        return Ok(());
    }
    Err(Failure::new(
        400,
        "policies:subjectid.invalid",
        format!("`{id}` is no subject id: write `issuer:subject`"),
    ))
}

fn subject(id: &str, value: &Value, now: i64) -> Result<Value, Failure> {
    subject_id(id)?;
    let members = members(value, "a subject")?;
    let kind =
        members.get("type").filter(|kind| !kind.is_null()).ok_or_else(|| Failure::missing_field("type"))?;
    let kind =
        kind.as_str().ok_or_else(|| Failure::bad_json("the `type` of a subject must be a JSON string"))?;
    let mut checked = json!({"type": kind});
    if let Some(given) = members.get("expiry").filter(|given| !given.is_null()) {
        checked["expiry"] = json!(expiry(given, now)?);
    }
    if let Some(given) = members.get("announcement").filter(|given| !given.is_null()) {
        checked["announcement"] = announcement(given)?;
    }
    Ok(checked)
}

fn expiry(given: &Value, now: i64) -> Result<String, Failure> {
    let text = given.as_str().ok_or_else(|| Failure::bad_json("an `expiry` must be a JSON string"))?;
    let invalid =
        |why: &str| Failure::new(400, "policies:subjectexpiry.invalid", format!("the expiry `{text}` {why}"));
    let millis = time::parse(text).ok_or_else(|| invalid("is no ISO 8601 time"))?;
    let rounded =
        millis.div_euclid(EXPIRY_GRANULARITY) + i64::from(millis.rem_euclid(EXPIRY_GRANULARITY) != 0);
    let rounded = rounded * EXPIRY_GRANULARITY;
    if rounded <= now { Err(invalid("is in the past")) } else { Ok(time::print(rounded)) }
}

fn resources(value: &Value) -> Result<Value, Failure> {
    let members = members(value, "resources")?;
    let checked = members.iter().map(|(key, value)| Ok((resource_key(key)?, resource(value)?)));
    Ok(Value::Object(checked.collect::<Result<Map<_, _>, Failure>>()?))
}

/// The key as Ditto keeps it: `thing:a/` becomes `thing:/a`. Source: Ditto 3.8, `ImmutableResourceKey`, `JsonPointer`.
pub fn resource_key(text: &str) -> Result<String, Failure> {
    if !is_subject(text) {
        return Err(Failure::new(
            400,
            "policies:entry.invalid",
            format!("`{text}` is no resource: write `thing:/path`, `policy:/path` or `message:/path`"),
        ));
    }
    let parts = text.split_once(':').filter(|(kind, _)| !kind.is_empty());
    let (kind, path) =
        parts.ok_or_else(|| Failure::bad_json(format!("`{text}` is no resource: write `thing:/path`")))?;
    if path.contains("//") {
        return Err(Failure::new(400, "json.pointer.invalid", "a path must not hold two slashes in a row"));
    }
    Ok(format!("{kind}:/{}", path.trim_matches('/')))
}

fn resource(value: &Value) -> Result<Value, Failure> {
    let members = members(value, "a resource")?;
    Ok(
        json!({"grant": permissions(members.get("grant"), "grant")?, "revoke": permissions(members.get("revoke"), "revoke")?}),
    )
}

/// Names Ditto does not know are dropped without a word. Observed on Ditto 3.8.12.
fn permissions(given: Option<&Value>, name: &str) -> Result<Vec<&'static str>, Failure> {
    let given = given.ok_or_else(|| Failure::missing_field(name))?;
    let given = match given {
        Value::Null => &vec![],
        given => {
            given.as_array().ok_or_else(|| Failure::bad_json(format!("`{name}` must be a JSON array")))?
        }
    };
    Ok(PERMISSIONS.into_iter().filter(|permission| given.iter().any(|item| item == permission)).collect())
}

fn imports(id: &PolicyId, value: &Value) -> Result<Value, Failure> {
    let checked = each(value, "imports", |imported, value| import(id, imported, value))?;
    if checked.as_object().map_or(0, Map::len) > IMPORTS_MAX {
        return Err(Failure::new(
            400,
            "policies:imports.toolarge",
            format!("a policy has at most {IMPORTS_MAX} imports"),
        ));
    }
    Ok(checked)
}

fn imported_id(text: &str) -> Result<(), Failure> {
    let parsed = PolicyId::parse(text);
    parsed.map(drop).map_err(|e| Failure::new(400, "policies:id.invalid", format!("`{text}`: {e}")))
}

/// What is no label among `entries` is left out, and a label named twice counts once. Source: Ditto 3.8, `ImmutableEffectedImports`.
fn import(id: &PolicyId, imported: &str, value: &Value) -> Result<Value, Failure> {
    imported_id(imported)?;
    if imported == id.as_str() {
        return Err(Failure::new(400, "policies:import.invalid", "a policy cannot import itself"));
    }
    let members = members(value, "an import")?;
    if members.is_empty() {
        return Ok(json!({}));
    }
    let mut labels: Vec<&str> = vec![];
    if let Some(given) = members.get("entries").filter(|given| !given.is_null()) {
        let given = given.as_array();
        let given = given
            .ok_or_else(|| Failure::bad_json("the `entries` of an import must be a JSON array of labels"))?;
        for name in given.iter().filter_map(Value::as_str) {
            label(name)?;
            if !labels.contains(&name) {
                labels.push(name);
            }
        }
    }
    Ok(json!({"entries": labels}))
}
