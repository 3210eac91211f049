//! What the parts of a policy must look like, and how Ditto writes them back.
//! Source: Ditto 3.8, `ImmutablePolicyEntry`, `ImmutableSubject`, `ImmutableResource`, `ImmutablePolicyImport`.
use serde_json::{Map, Value, json};

use super::super::command::object;
use super::super::failure::Failure;
use super::super::place::PolicyPlace;
use super::super::time;
use super::IMPORTS_MAX;
use crate::twin::id::{PolicyId, is_key, is_subject};

/// Expiries are rounded up to it, in milliseconds. Source: Ditto 3.8, `POLICY_SUBJECT_EXPIRY_GRANULARITY` (1 h).
const EXPIRY_GRANULARITY: i64 = 3_600_000;
/// Units of a duration; none means seconds. Source: Ditto 3.8, `DittoDuration`.
const DURATION_UNITS: [&str; 5] = ["s", "", "ms", "m", "h"];
const PERMISSIONS: [&str; 3] = ["READ", "WRITE", "EXECUTE"];

/// Checks the value for the part at `place` of policy `id` and returns it as Ditto keeps it.
/// `now` is in milliseconds since 1970.
pub fn part(place: &PolicyPlace, id: &PolicyId, value: &Value, now: i64) -> Result<Value, Failure> {
    match place {
        PolicyPlace::Policy => policy(id, value, now),
        PolicyPlace::Entries => each(value, "entries", |label, entry| named_entry(label, entry, now)),
        PolicyPlace::Entry(label) => named_entry(label, value, now),
        PolicyPlace::Subjects(_) => {
            each(value, "subjects", |subject_id, value| subject(subject_id, value, now))
        }
        PolicyPlace::Subject(_, subject_id) => subject(subject_id, value, now),
        PolicyPlace::Resources(_) => each(value, "resources", resource),
        PolicyPlace::Resource(_, key) => resource(key, value),
        PolicyPlace::Imports => imports(id, value),
        PolicyPlace::Import(imported) => import(id, imported, value),
    }
}

fn each(
    value: &Value,
    what: &str,
    check: impl Fn(&str, &Value) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    let members = object(value, what)?;
    let checked = members.iter().map(|(key, value)| Ok((key.clone(), check(key, value)?)));
    Ok(Value::Object(checked.collect::<Result<Map<_, _>, Failure>>()?))
}

fn policy(id: &PolicyId, value: &Value, now: i64) -> Result<Value, Failure> {
    if value.is_null() {
        return Err(Failure::new(400, "policies:id.invalid", "a policy must be a JSON object, not null"));
    }
    let members = object(value, "a policy")?;
    if members.get("policyId").is_some_and(|given| !given.is_null() && given.as_str() != Some(id.as_str())) {
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

fn named_entry(label: &str, value: &Value, now: i64) -> Result<Value, Failure> {
    if label.starts_with("imported") {
        return Err(Failure::new(400, "policies:label.invalid", "a label must not begin with `imported`"));
    }
    if !is_key(label) {
        return Err(Failure::new(400, "policies:entry.invalid", format!("`{label}` is no valid label")));
    }
    if value.is_null() {
        return Err(Failure::missing_field("subjects"));
    }
    let members = object(value, "a policy entry")?;
    let member = |name: &str| members.get(name).ok_or_else(|| Failure::missing_field(name));
    let importable = match members.get("importable") {
        None | Some(Value::Null) => "implicit",
        Some(value) => value
            .as_str()
            .filter(|text| matches!(*text, "implicit" | "explicit" | "never"))
            .ok_or_else(|| {
                Failure::new(
                    400,
                    "policies:entry.invalid",
                    "`importable` is `implicit`, `explicit` or `never`",
                )
            })?,
    };
    Ok(json!({
        "subjects": each(member("subjects")?, "subjects", |id, value| subject(id, value, now))?,
        "resources": each(member("resources")?, "resources", resource)?,
        "importable": importable,
    }))
}

fn subject(id: &str, value: &Value, now: i64) -> Result<Value, Failure> {
    if !is_subject(id) || !id.contains(':') {
        return Err(Failure::new(
            400,
            "policies:subjectid.invalid",
            format!("`{id}` is no subject id: write `issuer:subject`"),
        ));
    }
    let members = object(value, "a subject")?;
    let kind = members.get("type").ok_or_else(|| Failure::missing_field("type"))?;
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

/// As Ditto keeps it: always with `whenDeleted`, never with an empty list of labels or a word it does not know.
/// Source: Ditto 3.8, `ImmutableSubjectAnnouncement`, `DittoDuration`.
fn announcement(given: &Value) -> Result<Value, Failure> {
    let members = object(given, "an announcement")?;
    let member = |name: &str| members.get(name).filter(|value| !value.is_null());
    let mut kept = Map::new();
    if let Some(before) = member("beforeExpiry") {
        kept.insert("beforeExpiry".into(), duration(before, &["s", "m", "h", ""])?);
    }
    let when_deleted = member("whenDeleted").map_or(Some(false), Value::as_bool);
    let when_deleted =
        when_deleted.ok_or_else(|| Failure::bad_json("`whenDeleted` must be a JSON boolean"))?;
    kept.insert("whenDeleted".into(), json!(when_deleted));
    let mut asked = Map::new();
    if let Some(given) = member("requestedAcks") {
        let given = object(given, "`requestedAcks`")?;
        let labels = given.get("labels").and_then(Value::as_array).into_iter().flatten();
        let labels: Vec<_> = labels.filter(|label| label.is_string()).collect();
        if !labels.is_empty() {
            asked.insert("labels".into(), json!(labels));
        }
        if let Some(timeout) = given.get("timeout").filter(|timeout| !timeout.is_null()) {
            asked.insert("timeout".into(), duration(timeout, &DURATION_UNITS)?);
        }
    }
    if !asked.is_empty() {
        kept.insert("requestedAcks".into(), Value::Object(asked));
    }
    if let Some(interval) = member("randomizationInterval") {
        kept.insert("randomizationInterval".into(), duration(interval, &DURATION_UNITS)?);
    }
    Ok(Value::Object(kept))
}

fn duration(given: &Value, units: &[&str]) -> Result<Value, Failure> {
    let invalid = || {
        Failure::new(
            400,
            "policies:subjectannouncement.invalid",
            "durations of an announcement are written like `1h`, `10m`, `30s`",
        )
    };
    let text = given.as_str().ok_or_else(|| Failure::bad_json("a duration must be a JSON string"))?;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let amount = digits.parse::<u64>().map_err(|_| invalid())?;
    if units.contains(&unit) { Ok(json!(format!("{amount}{unit}"))) } else { Err(invalid()) }
}

fn resource(key: &str, value: &Value) -> Result<Value, Failure> {
    if !is_subject(key) || !key.contains(":/") {
        return Err(Failure::new(
            400,
            "policies:entry.invalid",
            format!("`{key}` is no resource: write `thing:/path`, `policy:/path` or `message:/path`"),
        ));
    }
    let members = object(value, "a resource")?;
    Ok(
        json!({"grant": permissions(members.get("grant"), "grant")?, "revoke": permissions(members.get("revoke"), "revoke")?}),
    )
}

/// Names Ditto does not know are dropped without a word. Observed on Ditto 3.8.12.
fn permissions(given: Option<&Value>, name: &str) -> Result<Vec<&'static str>, Failure> {
    let given = given.ok_or_else(|| Failure::missing_field(name))?;
    let given =
        given.as_array().ok_or_else(|| Failure::bad_json(format!("`{name}` must be a JSON array")))?;
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

fn import(id: &PolicyId, imported: &str, value: &Value) -> Result<Value, Failure> {
    PolicyId::parse(imported)
        .map_err(|e| Failure::new(400, "policies:id.invalid", format!("`{imported}`: {e}")))?;
    if imported == id.as_str() {
        return Err(Failure::new(400, "policies:import.invalid", "a policy cannot import itself"));
    }
    let members = object(value, "an import")?;
    let Some(entries) = members.get("entries") else { return Ok(json!({})) };
    let labels = entries.as_array().filter(|labels| labels.iter().all(Value::is_string));
    let labels = labels
        .ok_or_else(|| Failure::bad_json("the `entries` of an import must be a JSON array of labels"))?;
    Ok(json!({"entries": labels}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_kept_as_ditto_writes_it() {
        let rows = [
            (json!({}), json!({"whenDeleted": false})),
            (json!({"beforeExpiry": "1h"}), json!({"beforeExpiry": "1h", "whenDeleted": false})),
            (json!({"whenDeleted": true, "more": 1}), json!({"whenDeleted": true})),
            (
                json!({"beforeExpiry": "010s", "randomizationInterval": "500ms"}),
                json!({"beforeExpiry": "10s", "whenDeleted": false, "randomizationInterval": "500ms"}),
            ),
            (
                json!({"requestedAcks": {"labels": ["a:b", 5], "timeout": "10s"}}),
                json!({"whenDeleted": false, "requestedAcks": {"labels": ["a:b"], "timeout": "10s"}}),
            ),
            (json!({"requestedAcks": {"labels": []}}), json!({"whenDeleted": false})),
        ];
        for (given, kept) in rows {
            assert_eq!(announcement(&given).ok(), Some(kept), "{given}");
        }
    }

    #[test]
    fn durations_that_ditto_does_not_know_are_refused() {
        let rows = [
            json!({"beforeExpiry": "xx"}),
            json!({"beforeExpiry": "500ms"}),
            json!({"beforeExpiry": "1d"}),
            json!({"beforeExpiry": ""}),
            json!({"randomizationInterval": "-1s"}),
            json!({"requestedAcks": {"timeout": "soon"}}),
        ];
        for given in rows {
            assert!(announcement(&given).is_err(), "{given}");
        }
    }
}
