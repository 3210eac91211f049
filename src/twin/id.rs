//! Names, parsed once where they enter. Inside, nothing re-checks them and nothing can be wrong.
use std::fmt;

/// The longest id, key or subject Ditto takes, in UTF-16 units, as Java counts.
/// Source: Ditto 3.8, `AbstractPatternValidator.java`.
pub const LENGTH_MAX: usize = 256;

/// Why a string is not the id of a thing or a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("an id is `namespace:name`, and this one has no colon")]
    NoColon,
    #[error("an id needs a namespace before the colon")]
    NoNamespace,
    #[error("an id needs a name after the colon")]
    NoName,
    #[error(
        "a namespace is words of letters, digits and `_`, each starting with a letter, joined by `.` or `-`"
    )]
    BadNamespace,
    #[error("a name holds no `/`, no control characters and no U+007F to U+00FF")]
    BadName,
    #[error("an id has at most {LENGTH_MAX} characters")]
    TooLong,
}

/// `namespace:name`, split at the first colon, at most [`LENGTH_MAX`] UTF-16 units.
///
/// The namespace is words joined by `.` or `-`, each starting with a letter. The name holds anything
/// but `/`, control characters and U+007F to U+00FF. Ditto also takes an empty namespace; TwinOps does
/// not, so that a name never depends on the server's default.
/// Source: Ditto 3.8, `RegexPatterns.java`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct EntityId {
    text: String,
    colon: usize,
}

impl EntityId {
    fn parse(text: &str) -> Result<Self, IdError> {
        let colon = text.find(':').ok_or(IdError::NoColon)?;
        let (namespace, name) = (&text[..colon], &text[colon + 1..]);
        if namespace.is_empty() {
            return Err(IdError::NoNamespace);
        }
        if name.is_empty() {
            return Err(IdError::NoName);
        }
        if !is_namespace(namespace) {
            return Err(IdError::BadNamespace);
        }
        if name.contains('/') || !name.chars().all(is_plain) {
            return Err(IdError::BadName);
        }
        if text.encode_utf16().count() > LENGTH_MAX {
            return Err(IdError::TooLong);
        }
        Ok(Self { text: text.to_owned(), colon })
    }
}

/// Words of `[A-Za-z][A-Za-z0-9_]*` joined by single `.` or `-`. Source: Ditto 3.8, `RegexPatterns.java`.
pub fn is_namespace(text: &str) -> bool {
    text.split(['.', '-']).all(|word| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// A JSON key, feature id, policy label or pointer segment: not empty, no `/`, no control characters,
/// no U+007F to U+00FF, at most [`LENGTH_MAX`] UTF-16 units. Source: Ditto 3.8, `JsonKeyValidator.java`.
pub fn is_key(text: &str) -> bool {
    !text.contains('/') && is_subject(text)
}

/// A subject id, message subject or resource key: as [`is_key`], and slashes are fine.
pub fn is_subject(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_plain) && text.encode_utf16().count() <= LENGTH_MAX
}

fn is_plain(c: char) -> bool {
    c >= ' ' && !('\u{7f}'..='\u{ff}').contains(&c)
}

macro_rules! entity_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(EntityId);

        impl $name {
            pub fn parse(text: &str) -> Result<Self, IdError> {
                EntityId::parse(text).map(Self)
            }

            pub fn as_str(&self) -> &str {
                &self.0.text
            }

            pub fn namespace(&self) -> &str {
                &self.0.text[..self.0.colon]
            }

            pub fn name(&self) -> &str {
                &self.0.text[self.0.colon + 1..]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

entity_id! {
    /// The name of a thing, unique across one Ditto.
    ThingId
}

entity_id! {
    /// The name of a policy, unique across one Ditto.
    PolicyId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked_at_the_edge() {
        let longest = format!("a:{}", "x".repeat(LENGTH_MAX - 2));
        let too_long = format!("a:{}", "x".repeat(LENGTH_MAX - 1));
        let cases = [
            ("org.acme:pump", Ok("org.acme")),
            ("org.acme:pump:7", Ok("org.acme")),
            ("pump", Err(IdError::NoColon)),
            (":pump", Err(IdError::NoNamespace)),
            ("org.acme:", Err(IdError::NoName)),
            ("org.7up:pump", Err(IdError::BadNamespace)),
            ("org..acme:pump", Err(IdError::BadNamespace)),
            ("org.acme:pump/7", Err(IdError::BadName)),
            ("org.acme:p\u{fc}mp", Err(IdError::BadName)),
            ("org.acme:p\nmp", Err(IdError::BadName)),
            ("org.acme:\u{6cf5}", Ok("org.acme")),
            (longest.as_str(), Ok("a")),
            (too_long.as_str(), Err(IdError::TooLong)),
        ];
        for (text, expected) in cases {
            let parsed = ThingId::parse(text);
            assert_eq!(parsed.as_ref().map(ThingId::namespace), expected.as_ref().map(|s| *s), "{text}");
        }
    }

    #[test]
    fn an_id_keeps_its_text() {
        let id = PolicyId::parse("org.acme:a:b").unwrap();
        assert_eq!((id.to_string().as_str(), id.name()), ("org.acme:a:b", "a:b"));
    }

    #[test]
    fn keys_and_subjects_differ_by_the_slash() {
        assert!(is_subject("integration:a/b") && !is_key("integration:a/b"));
        assert!(!is_key("") && !is_key("t\u{e9}") && is_key("~ a b"));
    }
}
