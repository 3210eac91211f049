//! API keys, from a file.
use std::collections::HashMap;
use std::path::Path;

use ring::digest;

use super::followed::{Followed, is_name, lines};

type Hash = [u8; digest::SHA256_OUTPUT_LEN];

/// API keys from lines `name:hash`, where `hash` is the key's SHA-256 in hex: keys are long and random, so they need
/// no salt and no slow hash.
pub struct Keys(Followed<HashMap<Hash, String>>);

impl Keys {
    pub fn open(path: &Path) -> Result<Self, String> {
        Followed::open(path, read_keys).map(Self)
    }

    /// Whose key this is. It is looked up by its hash, so the time tells nothing about other keys.
    pub fn owner(&self, key: &[u8]) -> Option<String> {
        self.0.value().get(&hash(key)).cloned()
    }
}

fn read_keys(text: &str) -> Result<HashMap<Hash, String>, String> {
    let keys = lines(text).map(|(number, line)| {
        let (name, hex) = line.rsplit_once(':').unwrap_or_default();
        match unhex(hex.trim()) {
            Some(hash) if is_name(name) => Ok((hash, name.to_owned())),
            _ => Err(format!("line {number} is not `name:hash` with 64 hex digits; make one with `printf %s KEY | sha256sum`")),
        }
    });
    keys.collect()
}

fn unhex(text: &str) -> Option<Hash> {
    let mut hash = [0; digest::SHA256_OUTPUT_LEN];
    if text.len() != 2 * hash.len() || !text.is_ascii() {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

fn hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; digest::SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn keys_are_kept_as_hashes() {
        let file = file("ci:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n");
        let keys = Keys::open(file.path()).unwrap();
        assert_eq!(keys.owner(b"secret").as_deref(), Some("ci"));
        assert_eq!(keys.owner(b"Secret"), None);
        assert!(
            Keys::open(super::tests::file("ci:secret").path()).err().unwrap_or_default().contains("line 1")
        );
    }
}
