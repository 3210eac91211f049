//! `{{ request:subjectId }}` in the subjects of a policy stands for the first subject of who writes it.
//! Source: Ditto 3.8, `PolicySubstitutionStrategyRegistry`, `HeaderBasedPlaceholderSubstitutionAlgorithm`.
use serde_json::{Map, Value};

use super::super::command::Caller;
use super::super::failure::Failure;
use super::super::place::PolicyPlace;

/// The text with its placeholders replaced; one that is not known is refused.
pub fn resolve(text: &str, caller: &Caller) -> Result<String, Failure> {
    let (mut resolved, mut rest) = (String::new(), text);
    while let Some((before, name, after)) = next(rest) {
        if !matches!(name, "request:subjectId" | "request.subjectId") {
            let message = format!("the placeholder `{name}` is not known: use `request:subjectId`");
            return Err(Failure::new(400, "placeholder:placeholder.notresolvable", message));
        }
        resolved.extend([before, caller.subjects.first().map_or("", String::as_str)]);
        rest = after;
    }
    Ok(resolved + rest)
}

fn next(text: &str) -> Option<(&str, &str, &str)> {
    let (before, inner) = text.split_once("{{")?;
    let (name, after) = inner.split_once("}}")?;
    Some((before, name.trim(), after))
}

/// The place with its subject resolved.
pub fn place(place: &PolicyPlace, caller: &Caller) -> Result<PolicyPlace, Failure> {
    match place {
        PolicyPlace::Subject(label, id) => Ok(PolicyPlace::Subject(label.clone(), resolve(id, caller)?)),
        other => Ok(other.clone()),
    }
}

/// The body of a PUT at `place` with all its subjects resolved. What has not the form of a policy is left as it is.
pub fn body(place: &PolicyPlace, body: &Value, caller: &Caller) -> Result<Value, Failure> {
    let mut body = body.clone();
    match place {
        PolicyPlace::Policy => entries(body.get_mut("entries"), caller)?,
        PolicyPlace::Entries => entries(Some(&mut body), caller)?,
        PolicyPlace::Entry(_) => subjects(body.get_mut("subjects"), caller)?,
        PolicyPlace::Subjects(_) => subjects(Some(&mut body), caller)?,
        _ => {}
    }
    Ok(body)
}

fn entries(entries: Option<&mut Value>, caller: &Caller) -> Result<(), Failure> {
    let mut entries =
        entries.and_then(Value::as_object_mut).into_iter().flat_map(|entries| entries.values_mut());
    entries.try_for_each(|entry| subjects(entry.get_mut("subjects"), caller))
}

fn subjects(subjects: Option<&mut Value>, caller: &Caller) -> Result<(), Failure> {
    let Some(members) = subjects.and_then(Value::as_object_mut) else { return Ok(()) };
    if members.keys().any(|id| id.contains("{{")) {
        let resolved =
            std::mem::take(members).into_iter().map(|(id, subject)| Ok((resolve(&id, caller)?, subject)));
        *members = resolved.collect::<Result<Map<_, _>, Failure>>()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_placeholder_is_the_first_subject_of_the_caller() {
        let caller = Caller { subjects: vec!["nginx:ditto".to_owned(), "nginx:other".to_owned()], now: 0 };
        let rows = [
            ("nginx:alice", Some("nginx:alice")),
            ("{{ request:subjectId }}", Some("nginx:ditto")),
            ("a:{{request.subjectId}}-b", Some("a:nginx:ditto-b")),
            ("a:{{ open", Some("a:{{ open")),
            ("{{ header:x }}", None),
        ];
        for (text, expected) in rows {
            let resolved = resolve(text, &caller);
            assert_eq!(resolved.as_deref().ok(), expected, "{text}: {resolved:?}");
        }
        let policy =
            json!({"entries": {"e": {"subjects": {"{{ request:subjectId }}": {"type": "t"}}}}, "imports": 5});
        let resolved = body(&PolicyPlace::Policy, &policy, &caller).unwrap();
        assert_eq!(resolved["entries"]["e"]["subjects"], json!({"nginx:ditto": {"type": "t"}}));
        assert_eq!(body(&PolicyPlace::Policy, &json!(5), &caller).unwrap(), json!(5));
    }
}
