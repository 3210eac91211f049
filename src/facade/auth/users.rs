//! Users with passwords, from a file.
//!
//! A line is `user:secret`, where the secret is a hash that is made to be slow (bcrypt as `htpasswd -B` writes it, or
//! argon2 in PHC form), or the password itself. What was verified once is known again by a fast hash under a key that
//! only this process has, so a request does not pay for the slow one each time.
use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use argon2::password_hash::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use bcrypt::HashParts;
use parking_lot::Mutex;
use ring::hmac;
use tokio::sync::Semaphore;

use super::followed::{Followed, is_name, lines};
use crate::telemetry::Telemetry;

/// Slow hashes computed at one time: each keeps a core busy for a tenth of a second.
const AT_ONCE_MAX: usize = 1;
/// Logins that wait for a slow hash; more are turned away.
const WAITING_MAX: usize = 64;
/// Beginnings of hashes that are fast, and so no protection.
const FAST: [&str; 6] = ["$apr1$", "$1$", "$5$", "$6$", "{SHA}", "{SSHA}"];

/// Users from lines `user:secret`.
pub struct Users {
    file: Followed<Table>,
    /// Free places to compute a slow hash.
    places: Arc<Semaphore>,
    /// Free places to wait for one.
    queue: Semaphore,
    telemetry: Telemetry,
}

/// Too many logins wait already.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy;

/// A file's users. With the file everything known of them is new.
struct Table {
    users: HashMap<String, User>,
    key: hmac::Key,
    /// Whose hash is computed where there is none, so that the time does not tell who is a user.
    decoy: Option<Arc<Slow>>,
}

struct User {
    secret: Secret,
    /// The password that was verified last.
    known: Mutex<Option<hmac::Tag>>,
}

enum Secret {
    /// A password as it is, under the key of this process.
    Plain(hmac::Tag),
    Hashed(Arc<Slow>),
}

enum Slow {
    Bcrypt(String),
    Argon2(String),
}

impl Slow {
    fn fits(&self, password: &str) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Argon2(hash) => PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
        }
    }
}

impl Users {
    pub fn open(path: &Path, telemetry: Telemetry) -> Result<Self, String> {
        let file = Followed::open(path, read)?;
        let (places, queue) = (Arc::new(Semaphore::new(AT_ONCE_MAX)), Semaphore::new(WAITING_MAX));
        Ok(Self { file, places, queue, telemetry })
    }

    /// Whether this is the user's password. The time tells whether it is, and otherwise nothing of it or of the user.
    pub async fn know(&self, user: &str, password: &str) -> Result<bool, Busy> {
        let table = self.file.value();
        let given = hmac::sign(&table.key, password.as_bytes());
        let found = table.users.get(user);
        if found.is_some_and(|found| is_same(&table.key, &given, found.known.lock().as_ref())) {
            self.telemetry.login("known");
            return Ok(true);
        }
        let same = match found.map(|found| &found.secret) {
            Some(Secret::Hashed(slow)) => self.verify(slow, password).await?,
            Some(Secret::Plain(kept)) if is_same(&table.key, &given, Some(kept)) => true,
            _ => {
                if let Some(decoy) = &table.decoy {
                    self.verify(decoy, password).await?;
                }
                false
            }
        };
        if let Some(found) = found.filter(|_| same) {
            *found.known.lock() = Some(given);
        }
        self.telemetry.login(if same { "verified" } else { "refused" });
        Ok(same)
    }

    async fn verify(&self, slow: &Arc<Slow>, password: &str) -> Result<bool, Busy> {
        let Ok(_waiting) = self.queue.try_acquire() else {
            self.telemetry.dropped("logins");
            return Err(Busy);
        };
        let place = Arc::clone(&self.places).acquire_owned().await;
        let (slow, password) = (Arc::clone(slow), password.to_owned());
        let fits = tokio::task::spawn_blocking(move || {
            // Freed when the hash is done, also when whoever asked has gone.
            let _place = place;
            slow.fits(&password)
        });
        Ok(fits.await.unwrap_or(false))
    }
}

/// Compares in constant time.
fn is_same(key: &hmac::Key, given: &hmac::Tag, kept: Option<&hmac::Tag>) -> bool {
    kept.is_some_and(|kept| {
        hmac::verify(key, given.as_ref(), hmac::sign(key, kept.as_ref()).as_ref()).is_ok()
    })
}

fn read(text: &str) -> Result<Table, String> {
    let key = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())
        .map_err(|_| "no random numbers for a key".to_owned())?;
    let mut users = HashMap::new();
    let (mut plain, mut decoy) = (0, None);
    for (number, line) in lines(text) {
        let (user, text) =
            line.split_once(':').filter(|(user, text)| is_name(user) && !text.is_empty()).ok_or_else(
                || format!("line {number} is not `user:secret`, with a user of plain ASCII without a comma"),
            )?;
        let secret = if let Some(slow) = slow(text).map_err(|why| format!("line {number}: {why}"))? {
            Secret::Hashed(Arc::clone(decoy.insert(Arc::new(slow))))
        } else {
            plain += 1;
            Secret::Plain(hmac::sign(&key, text.as_bytes()))
        };
        users.insert(user.to_owned(), User { secret, known: Mutex::default() });
    }
    if plain > 0 {
        tracing::warn!(
            users = plain,
            "the users file holds passwords as they are; write hashes: `htpasswd -nB USER`"
        );
    }
    Ok(Table { users, key, decoy })
}

/// `None` for what is no hash but a password.
fn slow(text: &str) -> Result<Option<Slow>, String> {
    if ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|start| text.starts_with(start)) {
        let whole = HashParts::from_str(text).map(|_| Slow::Bcrypt(text.to_owned()));
        return whole.map(Some).map_err(|_| "the bcrypt hash is not whole".to_owned());
    }
    if text.starts_with("$argon2") {
        let whole = PasswordHash::new(text).map(|_| Slow::Argon2(text.to_owned()));
        return whole.map(Some).map_err(|_| "the argon2 hash is not whole".to_owned());
    }
    match FAST.iter().find(|start| text.starts_with(*start)) {
        Some(start) => {
            Err(format!("a hash that begins with {start} is too fast; make one with `htpasswd -nB USER`"))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use argon2::PasswordHasher;
    use argon2::password_hash::SaltString;

    use super::*;

    /// `secret`, at the least cost there is, as libxcrypt writes it.
    const BCRYPT: &str = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

    /// The same, as argon2 writes it.
    fn argon2_of_secret() -> String {
        let argon2 = Argon2::from(argon2::Params::new(8, 1, 1, None).unwrap());
        let salt = SaltString::from_b64("c29tZXNhbHRzb21lc2FsdA").unwrap();
        argon2.hash_password(b"secret", &salt).unwrap().to_string()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn open(text: &str) -> (Users, Telemetry, tempfile::NamedTempFile) {
        let (file, telemetry) = (file(text), Telemetry::new());
        (Users::open(file.path(), telemetry.clone()).unwrap(), telemetry, file)
    }

    fn logins(telemetry: &Telemetry, result: &str) -> usize {
        let name = format!("twinops_logins_total{{result=\"{result}\"}} ");
        let text = telemetry.text().unwrap();
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    }

    #[tokio::test]
    async fn users_are_known_by_the_whole_password() {
        let text = format!("# people\nada:secret\r\nbob:x:y\n\ncy:{BCRYPT}\ndan:{}\n", argon2_of_secret());
        let (users, _, _file) = open(&text);
        for round in ["at first", "again"] {
            for (user, password, known) in [
                ("ada", "secret", true),
                ("ada", "secre", false),
                ("ada", "", false),
                ("bob", "x:y", true),
                ("cy", "secret", true),
                ("cy", "Secret", false),
                ("cy", BCRYPT, false),
                ("ada", "wrong", false),
                ("dan", "secret", true),
                ("dan", "", false),
                ("eve", "secret", false),
            ] {
                assert_eq!(users.know(user, password).await, Ok(known), "{round}: {user} {password}");
            }
        }
    }

    #[tokio::test]
    async fn nobody_logs_in_with_the_password_of_another() {
        let (users, _, _file) = open(&format!("ada:plain\ncy:{BCRYPT}"));
        for user in ["ada", "eve", "cy "] {
            assert_eq!(users.know(user, "secret").await, Ok(false), "{user}");
        }
        assert_eq!(users.know("cy", "plain").await, Ok(false));
    }

    #[tokio::test]
    async fn a_password_is_hashed_once_and_a_wrong_one_each_time() {
        let (users, telemetry, _file) = open(&format!("cy:{BCRYPT}"));
        for _ in 0..5 {
            assert_eq!(users.know("cy", "secret").await, Ok(true));
            assert_eq!(users.know("cy", "wrong").await, Ok(false));
        }
        let counted = ["verified", "known", "refused"].map(|result| logins(&telemetry, result));
        assert_eq!(counted, [1, 4, 5]);
    }

    #[tokio::test]
    async fn s16_an_unknown_user_takes_as_long_as_a_wrong_password() {
        // Slow enough that the difference would show.
        let hash = bcrypt::hash("secret", 9).unwrap();
        let (users, _, _file) = open(&format!("cy:{hash}\nada:plain"));
        let least = async |user: &str| {
            let mut least = Duration::MAX;
            for _ in 0..3 {
                let started = Instant::now();
                assert_eq!(users.know(user, "wrong").await, Ok(false));
                least = least.min(started.elapsed());
            }
            least
        };
        let (known, unknown, plain) = (least("cy").await, least("nobody").await, least("ada").await);
        assert!(unknown * 3 > known && plain * 3 > known, "{known:?} {unknown:?} {plain:?}");
    }

    #[tokio::test]
    async fn s16_a_flood_of_logins_is_turned_away() {
        let (users, telemetry, _file) = open(&format!("cy:{BCRYPT}"));
        let held = users.places.acquire_many(1).await.unwrap();
        let waiting = (0..WAITING_MAX).map(|_| Box::pin(users.know("cy", "secret")));
        let mut waiting: Vec<_> = waiting.collect();
        for login in &mut waiting {
            assert!(futures::poll!(login).is_pending());
        }
        assert_eq!(users.know("cy", "secret").await, Err(Busy));
        assert!(telemetry.text().unwrap().contains("twinops_dropped_total{what=\"logins\"} 1"));
        drop(held);
        for login in waiting {
            assert_eq!(login.await, Ok(true));
        }
    }

    #[test]
    fn a_line_that_says_nothing_is_named() {
        // No name of a temporary file has a `-`.
        let rows = [
            "ada:p-w\nbroken",
            "ada:p-w\n:p-w",
            "ada:p-w\nada:",
            "ada:p-w\na,b:p-w",
            "ada:p-w\nb:$apr1$p-w",
            "ada:p-w\nb:$2y$10$p-w",
            "ada:p-w\nb:$argon2id$p-w",
        ];
        for text in rows {
            let error = Users::open(file(text).path(), Telemetry::new()).err().unwrap_or_default();
            assert!(error.contains("line 2") && !error.contains("p-w"), "{error}");
        }
        let missing = Users::open(Path::new("/nowhere"), Telemetry::new());
        assert!(missing.err().unwrap_or_default().contains("cannot read"));
    }

    #[tokio::test]
    async fn a_replaced_file_is_read_again_and_a_broken_one_is_not_used() {
        let (users, _, file) = open("ada:one");
        assert_eq!(users.know("ada", "one").await, Ok(true));
        let replace = |text: &str, at: u64| {
            std::fs::write(file.path(), text).unwrap();
            file.as_file().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(at)).unwrap();
            users.file.look_again();
        };
        replace("ada:two", 1);
        assert_eq!((users.know("ada", "two").await, users.know("ada", "one").await), (Ok(true), Ok(false)));
        replace("nonsense", 2);
        assert_eq!(users.know("ada", "two").await, Ok(true));
    }
}
