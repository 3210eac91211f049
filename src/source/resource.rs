//! A document as one of our two kinds.
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_yaml::Error as YamlError;

use kube::{CustomResourceExt, Resource};

use super::yaml::{Document, Mistake, line_of};
use crate::api::{DigitalTwin, GROUP, TwinPolicy, VERSION, unknown_fields};
use crate::twin::json::Pointer;

/// The namespace of a resource that names none, as kubectl has it.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The most nodes in a document: 200 KB of the shortest ones, so that a nest of anchors stops early.
const NODES_MAX: usize = 100_000;

/// The most `*anchor` in a document.
const ALIASES_MAX: usize = 1_000;

/// What a document turned out to be.
pub enum Found {
    Twin(Box<DigitalTwin>),
    Policy(Box<TwinPolicy>),
    /// Nothing but comments.
    Nothing,
    /// Somebody else's.
    Foreign(Mistake),
    Wrong(Vec<Mistake>),
}

pub fn read(document: &Document) -> Found {
    if document.is_empty {
        return Found::Nothing;
    }
    let wrong = |line, what: String| Found::Wrong(vec![Mistake { line, what }]);
    let (Some((line, version)), Some((kind_line, kind))) = (&document.api_version, &document.kind) else {
        let missing = if document.api_version.is_some() { "kind" } else { "apiVersion" };
        let example = if document.api_version.is_some() { "DigitalTwin" } else { "twinops.dev/v1alpha1" };
        return wrong(document.line, format!("no {missing}: write {missing}: {example}"));
    };
    let ours = matches!(kind.as_str(), "DigitalTwin" | "TwinPolicy");
    match version.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix('/')) {
        None => {
            let hint = if ours { format!("; for TwinOps write {GROUP}/{VERSION}") } else { String::new() };
            return Found::Foreign(Mistake {
                line: document.line,
                what: format!("{kind} of {version} is not ours: skipped{hint}"),
            });
        }
        Some(VERSION) => {}
        Some(_) => {
            return wrong(*line, format!("{version} is not known here: write apiVersion: {GROUP}/{VERSION}"));
        }
    }
    let result = match kind.as_str() {
        "DigitalTwin" => parse(document).map(|twin| Found::Twin(Box::new(twin))),
        "TwinPolicy" => parse(document).map(|policy| Found::Policy(Box::new(policy))),
        _ => {
            return wrong(
                *kind_line,
                format!("{kind} is no kind of {GROUP}: write DigitalTwin or TwinPolicy"),
            );
        }
    };
    result.unwrap_or_else(Found::Wrong)
}

fn parse<K>(document: &Document) -> Result<K, Vec<Mistake>>
where
    K: Resource<DynamicType = ()> + CustomResourceExt + DeserializeOwned + Serialize,
{
    if !document.mistakes.is_empty() {
        return Err(document.mistakes.clone());
    }
    let mut value: Value = from_yaml(document)?;
    if let Value::Object(members) = &mut value {
        members.shift_remove("status");
    }
    if value.get("spec").is_none() {
        let what = "no spec: write spec: and below it what is declared".into();
        return Err(vec![Mistake { line: document.line, what }]);
    }
    let mut resource = match K::deserialize(&value) {
        Ok(resource) => resource,
        // The same again from the text, because there the error knows its line.
        Err(error) => {
            from_yaml::<K>(document)?;
            return Err(vec![Mistake { line: document.line, what: error.to_string() }]);
        }
    };
    let unknown = unknown(&resource, &value);
    if !unknown.is_empty() {
        let mistake = |place: &Pointer| Mistake {
            line: line_of(document, place),
            what: format!("{place} is no field: correct its name or remove it"),
        };
        return Err(unknown.iter().map(mistake).collect());
    }
    place(&mut resource, document)?;
    Ok(resource)
}

/// Leaves of the metadata what a folder has a say in, and checks it as the API server would.
fn place<K: Resource>(resource: &mut K, document: &Document) -> Result<(), Vec<Mistake>> {
    let wrong = |at: &str, what: String| {
        let line = line_of(document, &Pointer::of(["metadata", at]));
        Err(vec![Mistake { line, what }])
    };
    let meta = std::mem::take(resource.meta_mut());
    let name = meta.name.unwrap_or_default();
    let namespace = meta.namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.into());
    if name.is_empty() {
        return wrong("name", "no metadata.name: give the resource a name".into());
    }
    if name.len() > 253 || !name.split('.').all(is_label) {
        return wrong("name", format!("`{name}` is no Kubernetes name: use a-z, 0-9, `-` and `.`"));
    }
    if namespace.len() > 63 || !is_label(&namespace) {
        return wrong("namespace", format!("`{namespace}` is no Kubernetes namespace: use a-z, 0-9 and `-`"));
    }
    let kept = resource.meta_mut();
    (kept.name, kept.namespace) = (Some(name), Some(namespace));
    (kept.labels, kept.annotations) = (meta.labels, meta.annotations);
    Ok(())
}

/// Source: RFC 1123 label, without its length.
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// The fields that the schema does not know. Asking the schema takes long, so it is asked only when
/// something that was written did not survive the reading.
fn unknown<K: CustomResourceExt + Serialize>(resource: &K, written: &Value) -> Vec<Pointer> {
    match serde_json::to_value(resource) {
        Ok(kept) if survives(&written["spec"], &kept["spec"]) => vec![],
        _ => unknown_fields::<K>(written),
    }
}

fn survives(written: &Value, kept: &Value) -> bool {
    match (written, kept) {
        (Value::Object(written), Value::Object(kept)) => {
            written.iter().all(|(key, value)| kept.get(key).is_some_and(|kept| survives(value, kept)))
        }
        (Value::Array(written), Value::Array(kept)) => {
            written.len() == kept.len() && written.iter().zip(kept).all(|(a, b)| survives(a, b))
        }
        _ => true,
    }
}

fn from_yaml<T: DeserializeOwned>(document: &Document) -> Result<T, Vec<Mistake>> {
    let options = serde_yaml::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        no_schema: true,
        with_snippet: false,
        budget: serde_yaml::budget! { max_nodes: NODES_MAX, max_aliases: ALIASES_MAX },
    };
    serde_yaml::from_str_with_options(document.text, options).map_err(|error| {
        let line = error.location().and_then(|at| usize::try_from(at.line()).ok()).filter(|line| *line > 0);
        let line = line.map_or(document.line, |line| document.text_line + line - 1);
        vec![Mistake { line, what: explain(&error) }]
    })
}

/// One line: what is wrong, and what to change.
fn explain(error: &YamlError) -> String {
    match error {
        YamlError::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` stands there twice: remove one")
        }
        YamlError::QuotingRequired { value, .. } => {
            format!("a text is expected, and `{value}` is none: put it in quotes")
        }
        YamlError::InvalidBooleanStrict { .. } => "a boolean is expected: write true or false".into(),
        YamlError::InvalidScalar { ty, .. } => format!("a number is expected ({ty}): write one"),
        YamlError::NonFiniteFloat { value, .. } => {
            format!("`{value}` has no place in JSON: write a number, or put it in quotes")
        }
        YamlError::NullIntoString { .. } => "a text is expected: write one, or leave the key out".into(),
        YamlError::SerdeUnknownVariant { variant, expected, .. } => {
            format!("`{variant}` is not known here: write {}", expected.join(", "))
        }
        YamlError::SerdeMissingField { field, .. } => format!("{field} is missing: add it"),
        YamlError::Unexpected { expected, .. } => {
            let expected = match *expected {
                "mapping start" => "a mapping, `key: value`,",
                "sequence start" => "a list, `[…]` or lines with `- `,",
                "string scalar" => "a text",
                other => other,
            };
            format!("{expected} is expected: write one")
        }
        YamlError::Budget { .. } | YamlError::AliasReplayLimitExceeded { .. } => format!(
            "the document is too large: at most {NODES_MAX} values and {ALIASES_MAX} anchors in use; split it up"
        ),
        other => {
            let text = other.without_snippet().to_string();
            let what = text.split(" at line ").next().unwrap_or(&text).replace('\n', " ");
            format!("{what}: correct it")
        }
    }
}
