//! Entity tags and what `If-Match` and `If-None-Match` say about them. Source: Ditto 3.8, `EntityTag.java`, RFC 9110 §13.
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::failure::Failure;

/// The tag of a whole entity: `"rev:7"`.
pub fn revision_tag(revision: u64) -> String {
    format!("\"rev:{revision}\"")
}

/// The tag of a part: `"hash:…"`, opaque, the same for the same JSON text, also after a restart.
pub fn hash_tag(value: &Value) -> String {
    text_tag(&value.to_string())
}

/// [`hash_tag`] of a value whose JSON text this is.
pub fn text_tag(json: &str) -> String {
    let mut hasher = DefaultHasher::new();
    json.hash(&mut hasher);
    format!("\"hash:{:x}\"", hasher.finish())
}

/// The list in one of the two headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    Any,
    /// Tags as written, quotes and `W/` included.
    List(Vec<String>),
}

impl Tags {
    /// Reads `*` or a comma list of quoted tags; anything else is a 400 naming `header`.
    pub fn parse(text: &str, header: &'static str) -> Result<Self, Failure> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let is_tag = |tag: &str| {
            let quoted = tag.strip_prefix("W/").unwrap_or(tag);
            quoted.len() >= 2 && quoted.starts_with('"') && quoted.ends_with('"')
        };
        let tags: Vec<String> = text.split(',').map(|tag| tag.trim().to_owned()).collect();
        if tags.iter().all(|tag| is_tag(tag)) {
            Ok(Self::List(tags))
        } else {
            Err(Failure::bad_header(header, format!("`{text}` is no list of quoted entity tags")))
        }
    }

    /// Strong comparison: a weak tag never matches.
    fn matches(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|t| t == tag),
        }
    }
}

/// What the two headers ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    pub if_match: Option<Tags>,
    pub if_none_match: Option<Tags>,
}

impl Preconditions {
    /// `current` is the tag of what is there, `None` when nothing is. `kind` is `things` or `policies`.
    pub fn check(&self, current: Option<&str>, reading: bool, kind: &str) -> Result<(), Failure> {
        let failed = |status, error: &str| {
            let failure = Failure::new(
                status,
                format!("{kind}:precondition.{error}"),
                "the entity tag does not meet the precondition",
            );
            Err(failure.with_etag(current.map(str::to_owned)))
        };
        if self.if_match.as_ref().is_some_and(|tags| !current.is_some_and(|tag| tags.matches(tag))) {
            return failed(412, "failed");
        }
        if self.if_none_match.as_ref().is_some_and(|tags| current.is_some_and(|tag| tags.matches(tag))) {
            return if reading { failed(304, "notmodified") } else { failed(412, "failed") };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_checked_as_rfc_9110_says() {
        let rows = [
            (Some("*"), None, Some("\"rev:1\""), false, None),
            (Some("*"), None, None, false, Some(412)),
            (Some("\"rev:2\""), None, Some("\"rev:1\""), true, Some(412)),
            (Some("\"rev:0\", \"rev:1\""), None, Some("\"rev:1\""), true, None),
            (Some("W/\"rev:1\""), None, Some("\"rev:1\""), true, Some(412)),
            (None, Some("*"), None, false, None),
            (None, Some("*"), Some("\"rev:1\""), false, Some(412)),
            (None, Some("\"rev:1\""), Some("\"rev:1\""), true, Some(304)),
            (None, Some("W/\"rev:1\""), Some("\"rev:1\""), true, None),
        ];
        for (if_match, if_none_match, current, reading, expected) in rows {
            let preconditions = Preconditions {
                if_match: if_match.map(|t| Tags::parse(t, "if-match").unwrap()),
                if_none_match: if_none_match.map(|t| Tags::parse(t, "if-none-match").unwrap()),
            };
            let got = preconditions.check(current, reading, "things").err().map(|f| f.status);
            assert_eq!(got, expected, "{if_match:?} {if_none_match:?} {current:?}");
        }
    }

    #[test]
    fn unquoted_tags_are_refused_by_header_name() {
        assert_eq!(Tags::parse("rev:5", "if-match").unwrap_err().header, Some("if-match"));
        assert!(Tags::parse("\"\"", "if-match").is_ok());
    }
}
