//! The announcement of a subject: kept as Ditto keeps it, and never sent.
//! Source: Ditto 3.8, `ImmutableSubjectAnnouncement`, `AbstractPolicyCommandStrategy`.
use std::time::Duration;

use serde_json::{Value, json};

use super::super::command::object;
use super::super::failure::Failure;
use super::super::length::Length;

/// `beforeExpiry` is rounded up to it. Source: Ditto 3.8, `subject-deletion-announcement-granularity` (1 m).
const GRANULARITY: Duration = Duration::from_mins(1);

/// The announcement with its defaults.
pub fn announcement(given: &Value) -> Result<Value, Failure> {
    let members = object(given, "an announcement")?;
    let text = |value: Option<&Value>, name: &str| match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Failure::bad_json(format!("`{name}` must be a JSON string"))),
    };
    let length = |value: Option<&Value>, name: &str| {
        text(value, name)?.map(|text| Length::parse(&text).ok_or_else(|| invalid(&text))).transpose()
    };
    let mut kept = json!({});
    if let Some(before) = length(members.get("beforeExpiry"), "beforeExpiry")? {
        kept["beforeExpiry"] = json!(rounded(before)?.to_string());
    }
    kept["whenDeleted"] = match members.get("whenDeleted") {
        None | Some(Value::Null) => json!(false),
        Some(Value::Bool(given)) => json!(given),
        Some(_) => return Err(Failure::bad_json("`whenDeleted` must be true or false")),
    };
    let acks = members.get("requestedAcks").and_then(Value::as_object);
    let acks = |name: &str| acks.and_then(|acks| acks.get(name));
    if let Some(labels) = acks("labels").and_then(Value::as_array) {
        let labels: Vec<&str> = labels.iter().filter_map(Value::as_str).collect();
        if !labels.is_empty() {
            kept["requestedAcks"] = json!({"labels": labels});
        }
    }
    if let Some(timeout) = length(acks("timeout"), "timeout")? {
        kept["requestedAcks"]["timeout"] = json!(timeout.to_string());
    }
    if let Some(interval) = length(members.get("randomizationInterval"), "randomizationInterval")? {
        kept["randomizationInterval"] = json!(interval.to_string());
    }
    Ok(kept)
}

fn rounded(before: Length) -> Result<Length, Failure> {
    if !matches!(before.unit, "" | "s" | "m" | "h") {
        return Err(invalid(&before.to_string()));
    }
    Ok(before.rounded_up(GRANULARITY))
}

fn invalid(text: &str) -> Failure {
    Failure::new(
        400,
        "policies:subjectannouncement.invalid",
        format!("`{text}` is no time of an announcement: write `1h`, `10m` or `30s`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_kept_as_ditto_keeps_them() {
        let rows = [
            (json!({}), json!({"whenDeleted": false})),
            (json!({"beforeExpiry": "90s"}), json!({"beforeExpiry": "120s", "whenDeleted": false})),
            (
                json!({"beforeExpiry": "1h", "whenDeleted": true}),
                json!({"beforeExpiry": "1h", "whenDeleted": true}),
            ),
            (
                json!({"requestedAcks": {"labels": ["my:ack", 5], "timeout": "10s"}, "randomizationInterval": "5m"}),
                json!({"whenDeleted": false, "requestedAcks": {"labels": ["my:ack"], "timeout": "10s"}, "randomizationInterval": "5m"}),
            ),
        ];
        for (given, kept) in rows {
            assert_eq!(announcement(&given).unwrap(), kept, "{given}");
        }
    }

    #[test]
    fn what_is_no_time_or_not_of_its_type_is_refused() {
        let rows = [
            (json!({"beforeExpiry": "1d"}), "policies:subjectannouncement.invalid"),
            (json!({"beforeExpiry": "500ms"}), "policies:subjectannouncement.invalid"),
            (json!({"beforeExpiry": "soon"}), "policies:subjectannouncement.invalid"),
            (json!({"beforeExpiry": 5}), "json.invalid"),
            (json!({"whenDeleted": "yes"}), "json.invalid"),
            (json!([]), "json.invalid"),
        ];
        for (given, error) in rows {
            assert_eq!(announcement(&given).unwrap_err().error, error, "{given}");
        }
    }
}
