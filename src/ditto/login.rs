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
const PRE_AUTHENTICATED: HeaderName = HeaderName::from_static("x-ditto-pre-authenticated");

#[derive(Clone)]
pub(super) enum Login {
    None,
    Fixed(HeaderName, HeaderValue),
    File(Arc<TokenFile>),
}

pub(super) struct TokenFile {
    path: PathBuf,
    /// When it was read; unset: it is read before it is sent again.
    last: Mutex<(Option<Instant>, HeaderValue)>,
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
                if username.contains(':') {
                    return Err(SetupError::Credentials {
                        what: "user name",
                        why: "basic authentication ends it at the first colon",
                    });
                }
                let pair = STANDARD.encode(format!("{username}:{}", password.expose_secret()));
                Ok(Self::Fixed(AUTHORIZATION, secret(ascii("password", &format!("Basic {pair}"))?)))
            }
            Credentials::TokenFile(path) => {
                let token =
                    read_token(&path).map_err(|why| SetupError::TokenFile { path: path.clone(), why })?;
                let last = Mutex::new((Some(Instant::now()), token));
                Ok(Self::File(Arc::new(TokenFile { path, last })))
            }
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
        match value.to_str().ok().and_then(|value| value.split_once(' ')) {
            Some((_, secret)) if !secret.is_empty() => text.replace(secret, "[redacted]"),
            _ => text.to_owned(),
        }
    }
}

impl TokenFile {
    fn refresh(&self) -> Result<HeaderValue, Refused> {
        let token = read_token(&self.path).map_err(|why| {
            let error = SetupError::TokenFile { path: self.path.clone(), why };
            unreadable(&error.to_string())
        })?;
        *self.last.lock() = (Some(Instant::now()), token.clone());
        Ok(token)
    }
}

fn read_token(path: &Path) -> Result<HeaderValue, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > TOKEN_BYTES_MAX {
        return Err(format!("it holds more than {TOKEN_BYTES_MAX} bytes"));
    }
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
        let password = SecretString::from("s3cret");
        let login = Login::new(Credentials::Basic { username: "u".into(), password }).unwrap();
        assert_eq!(login.redact("bad header: Basic dTpzM2NyZXQ="), "bad header: Basic [redacted]");
        let open = Login::new(Credentials::PreAuthenticated("nginx:ditto".into())).unwrap();
        assert_eq!(open.redact("nginx:ditto may not"), "nginx:ditto may not");
    }
}
