//! Users with passwords, and API keys, from files that may be replaced while we run.
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use ring::digest;

/// How often a file is looked at for a newer one: the kubelet needs about a minute to replace a Secret.
const LOOK_EVERY: Duration = Duration::from_secs(5);

type Hash = [u8; digest::SHA256_OUTPUT_LEN];

/// A file as it was understood last. One that turns bad keeps what was there before.
struct Followed<T> {
    path: PathBuf,
    read: fn(&str) -> Result<T, String>,
    state: Mutex<State<T>>,
}

struct State<T> {
    looked: Instant,
    written: Option<SystemTime>,
    value: Arc<T>,
}

impl<T> Followed<T> {
    fn open(path: &Path, read: fn(&str) -> Result<T, String>) -> Result<Self, String> {
        let written = written(path);
        let value = Arc::new(load(path, read)?);
        let state = Mutex::new(State { looked: Instant::now(), written, value });
        Ok(Self { path: path.to_owned(), read, state })
    }

    fn value(&self) -> Arc<T> {
        let mut state = self.state.lock();
        if state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            let written = written(&self.path);
            if written != state.written {
                state.written = written;
                match load(&self.path, self.read) {
                    Ok(value) => state.value = Arc::new(value),
                    Err(error) => tracing::warn!(%error, "the earlier file is used on"),
                }
            }
        }
        Arc::clone(&state.value)
    }
}

fn written(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|data| data.modified()).ok()
}

fn load<T>(path: &Path, read: fn(&str) -> Result<T, String>) -> Result<T, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    read(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Lines that say something, with their numbers from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim_end_matches('\r')));
    lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
}

fn hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; digest::SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// A name that may stand in a subject, which Ditto takes in a list parted by commas.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// Users from lines `user:password`.
pub struct Users(Followed<HashMap<String, Hash>>);

impl Users {
    pub fn open(path: &Path) -> Result<Self, String> {
        Followed::open(path, read_users).map(Self)
    }

    /// Compares hashes, so the time tells nothing about the password; an unknown user takes as long.
    pub fn know(&self, user: &str, password: &str) -> bool {
        let users = self.0.value();
        let given = hash(password.as_bytes());
        let kept = users.get(user).copied();
        let same = hash(&kept.unwrap_or_default()) == hash(&given);
        kept.is_some() && same
    }
}

fn read_users(text: &str) -> Result<HashMap<String, Hash>, String> {
    let users = lines(text).map(|(number, line)| match line.split_once(':') {
        Some((user, password)) if is_name(user) && !password.is_empty() => {
            Ok((user.to_owned(), hash(password.as_bytes())))
        }
        _ => Err(format!("line {number} is not `user:password`, with a user of plain ASCII without a comma")),
    });
    users.collect()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn users_are_known_by_the_whole_password() {
        let file = file("# people\nada:secret\r\nbob:x:y\n\n");
        let users = Users::open(file.path()).unwrap();
        for (user, password, known) in [
            ("ada", "secret", true),
            ("ada", "secre", false),
            ("ada", "", false),
            ("bob", "x:y", true),
            ("eve", "secret", false),
        ] {
            assert_eq!(users.know(user, password), known, "{user} {password}");
        }
    }

    #[test]
    fn keys_are_kept_as_hashes() {
        let file = file("ci:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n");
        let keys = Keys::open(file.path()).unwrap();
        assert_eq!(keys.owner(b"secret").as_deref(), Some("ci"));
        assert_eq!(keys.owner(b"Secret"), None);
    }

    #[test]
    fn a_line_that_says_nothing_is_named() {
        for text in ["ada:pw\nbroken", "ada:pw\n:pw", "ada:pw\nada:", "ada:pw\na,b:pw"] {
            let error = Users::open(file(text).path()).err().unwrap_or_default();
            assert!(error.contains("line 2") && !error.contains("pw"), "{error}");
        }
        assert!(Keys::open(file("ci:secret").path()).err().unwrap_or_default().contains("line 1"));
        assert!(Users::open(Path::new("/nowhere")).err().unwrap_or_default().contains("cannot read"));
    }

    #[test]
    fn a_replaced_file_is_read_again_and_a_broken_one_is_not_used() {
        let file = file("ada:one");
        let users = Users::open(file.path()).unwrap();
        let replace = |text: &str, at: u64| {
            std::fs::write(file.path(), text).unwrap();
            file.as_file().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(at)).unwrap();
            users.0.state.lock().looked = Instant::now().checked_sub(LOOK_EVERY).unwrap();
        };
        replace("ada:two", 1);
        assert!(users.know("ada", "two") && !users.know("ada", "one"));
        replace("nonsense", 2);
        assert!(users.know("ada", "two"));
    }
}
