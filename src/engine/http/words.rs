//! Headers of which only a few values have a meaning.
use super::super::failure::Failure;
use super::request::Request;

impl Request {
    /// Headers that may hold one of a few words only. Source: Ditto 3.8, `DittoHeaderDefinition.java`.
    pub fn check_words(&self) -> Result<(), Failure> {
        const WORDS: [(&str, [&str; 2]); 4] = [
            ("channel", ["twin", "live"]),
            ("live-channel-timeout-strategy", ["fail", "use-twin"]),
            ("allow-policy-lockout", ["true", "false"]),
            ("dry-run", ["true", "false"]),
        ];
        for (name, words) in WORDS {
            if let Some(word) = self.word(name)
                && !words.contains(&word.as_str())
            {
                return Err(Failure::bad_header(name, format!("`{word}` is none of {}", words.join(", "))));
            }
        }
        Ok(())
    }

    /// The word without spaces around it, in small letters: as Ditto takes it.
    fn word(&self, name: &str) -> Option<String> {
        self.setting(name).map(|text| text.trim().to_ascii_lowercase())
    }

    pub fn is_live(&self) -> bool {
        !self.is_plain() && self.word("channel").as_deref() == Some("live")
    }

    /// Whether the twin answers a read on the live channel that nobody else answers.
    pub fn use_twin(&self) -> bool {
        self.word("live-channel-timeout-strategy").as_deref() == Some("use-twin")
    }

    pub fn allows_lockout(&self) -> bool {
        self.word("allow-policy-lockout").as_deref() == Some("true")
    }
}
