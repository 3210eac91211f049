//! Where Ditto is and who we are there, checked once at the start.
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;

/// How long a whole call may take unless it is set otherwise. Ditto answers in milliseconds or, when a
/// shard is moving, after some seconds; a pass that waits longer holds up the twins behind it.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// The longest instance name, so that a correlation id takes little of Ditto's 5,120 bytes of headers.
const INSTANCE_LENGTH_MAX: usize = 64;

/// Where Ditto is, and as whom it is called.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `http://127.0.0.1:8080`, with or without `/api/2`.
    pub url: String,
    pub credentials: Credentials,
    /// The CAs that a certificate may come from, in PEM, and no others; unset: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The longest a whole call may take, from the first byte out to the last one in.
    pub deadline: Duration,
    /// Who calls, in correlation ids: `twinops-<instance>-<counter>`. Letters, digits, `.`, `_` and `-`.
    /// Two processes, and two lives of one process, need two names.
    pub instance: String,
}

impl Connection {
    /// Without credentials and with the usual deadline.
    pub fn new(url: impl Into<String>, instance: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            credentials: Credentials::None,
            ca_file: None,
            deadline: DEADLINE,
            instance: instance.into(),
        }
    }
}

/// As whom Ditto is called.
#[derive(Clone, Debug)]
pub enum Credentials {
    None,
    /// A subject such as `nginx:ditto`, believed by a Ditto with `ENABLE_PRE_AUTHENTICATION=true`.
    PreAuthenticated(String),
    Basic {
        username: String,
        password: SecretString,
    },
    /// A file that holds the password and may be replaced at any time.
    PasswordFile {
        username: String,
        path: PathBuf,
    },
    /// A file that holds a bearer token and may be replaced at any time.
    TokenFile(PathBuf),
}

/// Why the client cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    #[error(
        "the Ditto URL {url} is not usable: {why}; set --ditto-url (DITTO_API_URL) to something like http://127.0.0.1:8080"
    )]
    Url { url: String, why: String },
    #[error(
        "the Ditto URL holds a user or a password; put them into DITTO_USERNAME and DITTO_PASSWORD instead"
    )]
    UrlWithPassword,
    #[error(
        "the instance name {0:?} is not usable: use 1 to {INSTANCE_LENGTH_MAX} letters, digits, `.`, `_` or `-`"
    )]
    Instance(String),
    #[error("the deadline of calls to Ditto is zero: give it at least some milliseconds")]
    Deadline,
    #[error("the {what} cannot be sent to Ditto: {why}")]
    Credentials { what: &'static str, why: &'static str },
    #[error("cannot use the token file {}: {why}; check --ditto-token-file and that the file is mounted", path.display())]
    TokenFile { path: PathBuf, why: String },
    #[error("cannot use the password file {}: {why}; check DITTO_PASSWORD_FILE and that the file is mounted", path.display())]
    PasswordFile { path: PathBuf, why: String },
    #[error(
        "cannot use the CA file {}: {why}; --ditto-ca-file (DITTO_CA_FILE) names a file of certificates in PEM",
        path.display()
    )]
    CaFile { path: PathBuf, why: String },
    #[error("cannot set up TLS: {0}; install a CA bundle (Debian: `ca-certificates`) or use an http:// URL")]
    Tls(String),
}

pub(super) fn check_instance(instance: &str) -> Result<(), SetupError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let usable = (1..=INSTANCE_LENGTH_MAX).contains(&instance.len()) && instance.chars().all(plain);
    if usable { Ok(()) } else { Err(SetupError::Instance(instance.to_owned())) }
}

/// The address of `/api/2`, without a slash at the end.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Base {
    text: String,
    host: String,
    pub encrypted: bool,
}

impl Base {
    pub fn parse(text: &str) -> Result<Self, SetupError> {
        let wrong = |why: &str| SetupError::Url { url: text.to_owned(), why: why.to_owned() };
        // Looked for before it is parsed: what cannot be read may hold a password all the same.
        if text.contains('@') {
            return Err(SetupError::UrlWithPassword);
        }
        let url = Url::parse(text.trim()).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("it starts with neither http:// nor https://"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it holds a `?` or a `#`"));
        }
        let host = url.authority().to_owned();
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/api/2").unwrap_or(path);
        let text = format!("{}://{host}{path}/api/2", url.scheme());
        Ok(Self { text, host, encrypted: url.scheme() == "https" })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host and port, as the header `host` names them.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_given_in_many_ways() {
        let rows = [
            ("http://ditto:8080", "http://ditto:8080/api/2"),
            ("http://ditto:8080/", "http://ditto:8080/api/2"),
            ("http://ditto:8080/api/2", "http://ditto:8080/api/2"),
            ("http://ditto:8080/api/2/", "http://ditto:8080/api/2"),
            (" http://ditto:8080/api/2// ", "http://ditto:8080/api/2"),
            ("https://iot.example/ditto", "https://iot.example/ditto/api/2"),
            ("https://iot.example/ditto/api/2", "https://iot.example/ditto/api/2"),
            ("http://[::1]:8080", "http://[::1]:8080/api/2"),
        ];
        for (text, expected) in rows {
            assert_eq!(Base::parse(text).unwrap().as_str(), expected, "{text}");
        }
    }

    #[test]
    fn a_wrong_url_says_what_to_change() {
        let rows = [
            ("", "DITTO_API_URL"),
            ("ditto:8080", "neither http:// nor https://"),
            ("/api/2", "DITTO_API_URL"),
            ("ws://ditto:8080/ws/2", "neither http:// nor https://"),
            ("http://ditto:8080/api/2?x=1", "`?`"),
            ("http://ditto:8080/#x", "`#`"),
            ("http://ditto:99999", "port"),
        ];
        for (text, part) in rows {
            let error = Base::parse(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn s45_a_password_in_the_url_is_refused_without_showing_it() {
        for text in
            ["http://ditto:s3cret@host", "http://s3cret@host", "http://u:s3cret@host:99999", "u:s3cret@"]
        {
            let error = Base::parse(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(!error.is_empty() && !error.contains("s3cret"), "{text}: {error}");
        }
    }

    #[test]
    fn an_instance_name_fits_a_header() {
        assert_eq!(check_instance("operator-7f.a_B"), Ok(()));
        for name in ["", "a b", "a\nb", "泵", &"x".repeat(INSTANCE_LENGTH_MAX + 1)] {
            assert!(check_instance(name).is_err(), "{name}");
        }
    }
}
