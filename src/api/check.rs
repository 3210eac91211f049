//! What the schema's rules check, once more: a folder has no API server.
use serde_json::Value;

use super::digital_twin::Telemetry;
use super::invalid::{InvalidSpec, Problem};
use super::limits::{MAPPINGS_MAX, RATE_MAX, TEXT_MAX};
use super::words::Permission;
use crate::twin::id::{is_key, is_subject};
use crate::twin::json::{Object, Pointer};

/// The longest number in a duration, in digits: 999,999,999 hours are more than anybody waits.
const DURATION_DIGITS_MAX: usize = 9;

pub fn ensure(holds: bool, problem: Problem, path: impl Into<String>) -> Result<(), InvalidSpec> {
    if holds { Ok(()) } else { Err(problem.at(path)) }
}

pub fn at_most(count: usize, max: usize, path: &str) -> Result<(), InvalidSpec> {
    ensure(count <= max, Problem::TooMany { count, max }, path)
}

/// Counts in code points, as the API server does.
pub fn text(text: &str, max: usize, path: &str) -> Result<(), InvalidSpec> {
    ensure(text.chars().count() <= max, Problem::TooLong { max }, path)
}

/// `namespace:name:version` of letters, digits, `_`, `-` and `.`, or an http(s) URL.
/// Source: Ditto 3.8, `golden/things-definition`.
pub fn definition(text: &str, path: &str) -> Result<(), InvalidSpec> {
    self::text(text, TEXT_MAX, path)?;
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    let is_identifier = text.split(':').count() == 3 && text.split(':').all(is_word);
    let address = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_url = address.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace));
    ensure(is_identifier || is_url, Problem::Definition, path)
}

/// Keys that Ditto takes, and no null anywhere. Arrays are values, so no key inside them is looked at.
pub fn declared(members: &Object, at: &Pointer) -> Result<(), InvalidSpec> {
    for (key, value) in members {
        let place = at.child(key);
        ensure(is_key(key), Problem::Key, place.to_string())?;
        match value {
            Value::Object(below) => declared(below, &place)?,
            value => ensure(!holds_null(value), Problem::Null, place.to_string())?,
        }
    }
    Ok(())
}

fn holds_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(holds_null),
        Value::Object(members) => members.values().any(holds_null),
        _ => false,
    }
}

pub fn feature_id(id: &str) -> Result<(), InvalidSpec> {
    ensure(is_key(id) && !id.contains('*'), Problem::FeatureId, format!("spec.features[{id}]"))
}

pub fn field_path(text: &str, path: &str) -> Result<(), InvalidSpec> {
    let roots = ["definition", "attributes", "features"];
    let pointer = Pointer::parse(text);
    let is_known = pointer.segments().first().is_none_or(|root| roots.contains(&root.as_str()));
    let is_whole = pointer.is_root() || !text.ends_with('/');
    let fits = text.starts_with('/') && is_known && is_whole && text.chars().count() <= TEXT_MAX;
    ensure(fits, Problem::FieldPath, path)
}

pub fn telemetry(telemetry: &Telemetry) -> Result<(), InvalidSpec> {
    at_most(telemetry.mapping.len(), MAPPINGS_MAX, "spec.telemetry.mapping")?;
    for (name, target) in &telemetry.mapping {
        let path = format!("spec.telemetry.mapping[{name}]");
        text(target, TEXT_MAX, &path)?;
        ensure(is_property(target), Problem::Mapping, path)?;
    }
    if let Some(rate) = telemetry.max_rate {
        let fits = u32::try_from(rate).is_ok_and(|rate| (1..=RATE_MAX).contains(&rate));
        ensure(fits, Problem::Rate, "spec.telemetry.maxRate")?;
    }
    if let Some(duration) = &telemetry.stale_after {
        ensure(is_duration(duration), Problem::Duration, "spec.telemetry.staleAfter")?;
    }
    Ok(())
}

/// `/features/<id>/properties/…`
fn is_property(text: &str) -> bool {
    let mut segments = text.split('/');
    let mut next = || segments.next().unwrap_or_default();
    let starts = [next(), next()] == ["", "features"] && !next().is_empty() && next() == "properties";
    let mut below = segments.peekable();
    starts && below.peek().is_some() && below.all(|segment| !segment.is_empty())
}

fn is_duration(text: &str) -> bool {
    text.strip_suffix(['s', 'm', 'h']).is_some_and(|digits| {
        (1..=DURATION_DIGITS_MAX).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.chars().all(|c| c.is_ascii_digit())
    })
}

pub fn label(label: &str, path: &str) -> Result<(), InvalidSpec> {
    ensure(is_key(label), Problem::Key, path)?;
    ensure(!matches!(label, "twinops" | "twinops-bridge"), Problem::ReservedLabel, path)?;
    ensure(!label.starts_with("imported"), Problem::ImportedLabel, path)
}

pub fn subject_id(id: &str, path: &str) -> Result<(), InvalidSpec> {
    let is_qualified =
        id.split_once(':').is_some_and(|(issuer, name)| !issuer.is_empty() && !name.is_empty());
    ensure(is_subject(id) && is_qualified, Problem::Subject, path)?;
    ensure(!id.contains("{{"), Problem::Placeholder, path)
}

pub fn resource(key: &str, path: &str) -> Result<(), InvalidSpec> {
    let is_rooted = ["thing:/", "policy:/", "message:/"].iter().any(|root| key.starts_with(root));
    ensure(is_rooted && is_subject(key), Problem::Resource, path)
}

pub fn each_once(words: &[Permission], path: &str) -> Result<(), InvalidSpec> {
    let is_repeated = words.iter().enumerate().any(|(index, word)| words[..index].contains(word));
    ensure(!is_repeated, Problem::Twice, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_identifiers_or_urls() {
        let long = format!("https://{}", "x".repeat(TEXT_MAX));
        let cases = [
            ("com.example:sensor:1.0.0", true),
            ("https://example.com/tm.jsonld", true),
            ("http://x", true),
            ("nocolons", false),
            ("a:b", false),
            ("a:b:c:d", false),
            ("", false),
            ("sp ace:b:1", false),
            ("https://", false),
            ("ftp://example.com/tm", false),
            (long.as_str(), false),
        ];
        for (text, expected) in cases {
            assert_eq!(definition(text, "").is_ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_mapping_points_below_the_properties_of_a_feature() {
        let cases = [
            ("/features/t/properties/value", true),
            ("/features/t/properties/a/b", true),
            ("/features/t/properties", false),
            ("/features/t/properties/", false),
            ("/features//properties/value", false),
            ("features/t/properties/value", false),
            ("/attributes/t", false),
            ("/features/t/desiredProperties/value", false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_property(text), expected, "{text}");
        }
    }

    #[test]
    fn a_duration_is_a_number_with_a_unit() {
        let cases = [
            ("90s", true),
            ("1h", true),
            ("15m", true),
            ("0s", false),
            ("s", false),
            ("1d", false),
            ("", false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_duration(text), expected, "{text}");
        }
        assert!(!is_duration("1234567890s") && !is_duration("1.5h") && !is_duration("-1s"));
    }

    #[test]
    fn a_field_path_stays_in_the_declared_part_of_a_thing() {
        let cases = [
            ("/", true),
            ("/features/t/properties/unit", true),
            ("/definition", true),
            ("/attributes/a~1b", true),
            ("features/t", false),
            ("/policyId", false),
            ("/featuresX", false),
            ("/attributes/", false),
            ("", false),
        ];
        for (text, expected) in cases {
            assert_eq!(field_path(text, "").is_ok(), expected, "{text}");
        }
    }
}
