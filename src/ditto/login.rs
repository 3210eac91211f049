//! The header that says who we are. Nothing here shows it.
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::ExposeSecret;

use crate::ports::{Refused, Said};

use super::connection::{Credentials, SetupError};

/// How long a token is used before its file is read again. The kubelet replaces one at 80 % of its life,
/// so minutes before it ends.
const TOKEN_AGE_MAX: Duration = Duration::from_secs(10);
/// Beyond this a file holds no token; Ditto takes 5,120 bytes of headers.
const TOKEN_BYTES_MAX: u64 = 16 * 1_024;
/// Stands where a secret of ours stood.
const REDACTED: &str = "[redacted]";
/// Bytes. A shorter password may be any word, and a text without it could not be read.
const REDACTED_FROM: usize = 8;
const PRE_AUTHENTICATED: HeaderName = HeaderName::from_static("x-ditto-pre-authenticated");

#[derive(Clone)]
pub(super) enum Login {
    None,
    Fixed(HeaderName, HeaderValue),
    File(Arc<SecretFile>),
}

/// A token or a password in a file.
pub(super) struct SecretFile {
    path: PathBuf,
    /// Whose password it is; unset: it is a token.
    username: Option<String>,
    /// When it was read; unset: it is read before it is sent again.
    last: Mutex<(Option<Instant>, HeaderValue)>,
    /// One reads at a time, so that what was read first never replaces what was read later.
    reading: Mutex<()>,
}

impl Login {
    /// Reads a token file once, so that a wrong path shows at the start.
    pub fn new(credentials: Credentials) -> Result<Self, SetupError> {
        match credentials {
            Credentials::None => Ok(Self::None),
            Credentials::PreAuthenticated(subject) => {
                let what = "pre-authenticated subject";
                if subject.trim().is_empty() {
                    return Err(SetupError::Credentials { what, why: "it is empty" });
                }
                Ok(Self::Fixed(PRE_AUTHENTICATED, ascii(what, &subject)?))
            }
            Credentials::Basic { username, password } => {
                check_username(&username)?;
                Ok(Self::Fixed(AUTHORIZATION, basic(&username, password.expose_secret())?))
            }
            Credentials::PasswordFile { username, path } => {
                check_username(&username)?;
                SecretFile::open(path, Some(username))
            }
            Credentials::TokenFile(path) => SecretFile::open(path, None),
        }
    }

    /// The header to send now. [`Refused::Unauthorized`] when the token file has become unreadable.
    pub async fn header(&self) -> Result<Option<(HeaderName, HeaderValue)>, Refused> {
        let file = match self {
            Self::None => return Ok(None),
            Self::Fixed(name, value) => return Ok(Some((name.clone(), value.clone()))),
            Self::File(file) => Arc::clone(file),
        };
        let (read_at, token) = file.last.lock().clone();
        if read_at.is_some_and(|at| at.elapsed() < TOKEN_AGE_MAX) {
            return Ok(Some((AUTHORIZATION, token)));
        }
        let token = tokio::task::spawn_blocking(move || file.refresh())
            .await
            .map_err(|error| unreadable(&error.to_string()))??;
        Ok(Some((AUTHORIZATION, token)))
    }

    /// Ditto refused it: a token that was revoked before its time is replaced in its file.
    pub fn doubt(&self) {
        if let Self::File(file) = self {
            file.last.lock().0 = None;
        }
    }

    /// Bytes of name and value.
    pub fn header_bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Fixed(name, value) => name.as_str().len() + value.len(),
            Self::File(file) => AUTHORIZATION.as_str().len() + file.last.lock().1.len(),
        }
    }

    /// Takes our secret out of a text that somebody else wrote: a gateway may echo what it refuses.
    pub fn redact(&self, text: &str) -> String {
        let value = match self {
            Self::Fixed(name, value) if *name == AUTHORIZATION => value.clone(),
            Self::File(file) => file.last.lock().1.clone(),
            Self::None | Self::Fixed(..) => return text.to_owned(),
        };
        let Some((scheme, secret)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
            return text.to_owned();
        };
        let text = if secret.is_empty() { text.to_owned() } else { text.replace(secret, REDACTED) };
        let pair = (scheme == "Basic").then(|| STANDARD.decode(secret).ok()).flatten();
        let password = pair.and_then(|pair| String::from_utf8(pair).ok());
        match password.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((_, password)) if password.len() >= REDACTED_FROM => text.replace(password, REDACTED),
            _ => text,
        }
    }
}

impl SecretFile {
    fn open(path: PathBuf, username: Option<String>) -> Result<Login, SetupError> {
        let value = read(&path, username.as_deref())?;
        let last = Mutex::new((Some(Instant::now()), value));
        Ok(Login::File(Arc::new(Self { path, username, last, reading: Mutex::default() })))
    }

    fn refresh(&self) -> Result<HeaderValue, Refused> {
        let _held = self.reading.lock();
        let value =
            read(&self.path, self.username.as_deref()).map_err(|error| unreadable(&error.to_string()))?;
        *self.last.lock() = (Some(Instant::now()), value.clone());
        Ok(value)
    }
}

fn check_username(username: &str) -> Result<(), SetupError> {
    let why = "basic authentication ends it at the first colon";
    if username.contains(':') { Err(SetupError::Credentials { what: "user name", why }) } else { Ok(()) }
}

fn basic(username: &str, password: &str) -> Result<HeaderValue, SetupError> {
    let pair = STANDARD.encode(format!("{username}:{password}"));
    Ok(secret(ascii("password", &format!("Basic {pair}"))?))
}

/// What is in the file now, as the header says it.
fn read(path: &Path, username: Option<&str>) -> Result<HeaderValue, SetupError> {
    let path_of = || path.to_owned();
    match username {
        None => read_token(path).map_err(|why| SetupError::TokenFile { path: path_of(), why }),
        Some(username) => {
            let text = text_of(path).map_err(|why| SetupError::PasswordFile { path: path_of(), why })?;
            let password = text.trim_end_matches(['\r', '\n']);
            if password.is_empty() {
                return Err(SetupError::PasswordFile { path: path_of(), why: "it is empty".to_owned() });
            }
            basic(username, password)
        }
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > TOKEN_BYTES_MAX {
        return Err(format!("it holds more than {TOKEN_BYTES_MAX} bytes"));
    }
    Ok(text)
}

fn read_token(path: &Path) -> Result<HeaderValue, String> {
    let text = text_of(path)?;
    let token = text.trim();
    if token.is_empty() {
        return Err("it is empty".to_owned());
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it holds more than one token".to_owned());
    }
    ascii("token", &format!("Bearer {token}")).map(secret).map_err(|error| error.to_string())
}

fn ascii(what: &'static str, text: &str) -> Result<HeaderValue, SetupError> {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let value = HeaderValue::from_str(text).ok().filter(|_| printable);
    value.ok_or(SetupError::Credentials { what, why: "a header holds printable ASCII only" })
}

fn secret(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

fn unreadable(message: &str) -> Refused {
    Refused::Unauthorized(Said { message: message.to_owned(), ..Said::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;
    use std::fs;

    fn age(login: &Login) {
        let Login::File(file) = login else { panic!("a token file") };
        let long_ago = Instant::now().checked_sub(TOKEN_AGE_MAX).expect("the machine has run for 10 s");
        file.last.lock().0 = Some(long_ago);
    }

    async fn bearer(login: &Login) -> Result<String, Refused> {
        let (_, value) = login.header().await?.expect("a header");
        Ok(value.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn a_token_is_read_again_when_it_has_aged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "first\n").unwrap();
        let login = Login::new(Credentials::TokenFile(path.clone())).unwrap();
        assert_eq!(bearer(&login).await.unwrap(), "Bearer first");

        fs::write(&path, "second").unwrap();
        assert_eq!(bearer(&login).await.unwrap(), "Bearer first");
        age(&login);
        assert_eq!(bearer(&login).await.unwrap(), "Bearer second");

        fs::remove_file(&path).unwrap();
        age(&login);
        let refused = bearer(&login).await.unwrap_err();
        assert!(matches!(refused, Refused::Unauthorized(_)), "{refused}");
        let message = refused.to_string();
        assert!(message.contains("--ditto-token-file") && message.contains("token:"), "{message}");

        fs::write(&path, "third").unwrap();
        assert_eq!(bearer(&login).await.unwrap(), "Bearer third");
    }

    #[tokio::test]
    async fn f49_a_password_that_was_rotated_is_taken_without_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, "first word\n").unwrap();
        let credentials = Credentials::PasswordFile { username: "ada".into(), path: path.clone() };
        let login = Login::new(credentials).unwrap();
        let pair = |password: &str| format!("Basic {}", STANDARD.encode(format!("ada:{password}")));
        assert_eq!(bearer(&login).await.unwrap(), pair("first word"));

        fs::write(&path, "second").unwrap();
        age(&login);
        assert_eq!(bearer(&login).await.unwrap(), pair("second"));
        // Refused before its time: it is read at once.
        fs::write(&path, "third").unwrap();
        login.doubt();
        assert_eq!(bearer(&login).await.unwrap(), pair("third"));

        fs::write(&path, "").unwrap();
        age(&login);
        let refused = bearer(&login).await.unwrap_err().to_string();
        assert!(refused.contains("DITTO_PASSWORD_FILE") && !refused.contains("third"), "{refused}");
    }

    #[test]
    fn credentials_that_cannot_work_are_refused_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8]| {
            fs::write(dir.path().join(name), text).unwrap();
            Credentials::TokenFile(dir.path().join(name))
        };
        let basic = |username: &str| Credentials::Basic {
            username: username.to_owned(),
            password: SecretString::from("s3cret"),
        };
        let rows = [
            ("no subject", Credentials::PreAuthenticated(" ".into()), "empty"),
            ("a subject beyond ASCII", Credentials::PreAuthenticated("nginx:泵".into()), "ASCII"),
            ("a subject over two lines", Credentials::PreAuthenticated("a\r\nb: c".into()), "ASCII"),
            ("a user name with a colon", basic("a:b"), "colon"),
            ("no token file", Credentials::TokenFile(dir.path().join("none")), "--ditto-token-file"),
            ("a folder", Credentials::TokenFile(dir.path().to_owned()), "--ditto-token-file"),
            ("an empty token file", file("empty", b" \n"), "is empty"),
            ("two tokens", file("two", b"s3cret\ns3cret"), "more than one token"),
            ("a huge token file", file("huge", &vec![b'x'; 20_000]), "more than 16384 bytes"),
            ("no text", file("binary", &[0xff, 0xfe]), "UTF-8"),
        ];
        for (name, credentials, part) in rows {
            let error = Login::new(credentials).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(part) && !error.contains("s3cret"), "{name}: {error}");
        }
    }

    #[test]
    fn s45_an_echoed_secret_is_taken_out() {
        let basic = |password: &str| {
            let password = SecretString::from(password);
            Login::new(Credentials::Basic { username: "u".into(), password }).unwrap()
        };
        assert_eq!(basic("s3cret").redact("bad header: Basic dTpzM2NyZXQ="), "bad header: Basic [redacted]");
        assert_eq!(basic("s3cret-pw").redact("u with s3cret-pw may not"), "u with [redacted] may not");
        assert_eq!(basic("may").redact("u may not"), "u may not", "a word of many texts");
        let open = Login::new(Credentials::PreAuthenticated("nginx:ditto".into())).unwrap();
        assert_eq!(open.redact("nginx:ditto may not"), "nginx:ditto may not");
    }
}
