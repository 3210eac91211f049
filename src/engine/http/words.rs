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
            if let Some(text) = self.setting(name)
                && !words.contains(&text.trim().to_ascii_lowercase().as_str())
            {
                return Err(Failure::bad_header(name, format!("`{text}` is none of {}", words.join(", "))));
            }
        }
        Ok(())
    }
}
