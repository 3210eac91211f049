//! Which Ditto, and as whom.
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;

use super::cli::DittoArgs;
use super::value::{duration, subject};
use super::{Mistakes, Surroundings};

/// Who a loopback Ditto takes us for when no credentials are given: the user of Ditto's own samples.
pub const LOOPBACK_SUBJECT: &str = "nginx:ditto";

/// A Ditto to talk to.
#[derive(Clone, Debug)]
pub struct Ditto {
    /// Without `/api/2` and without a trailing slash, e.g. `http://ditto-gateway:8080`.
    pub url: String,
    /// E.g. `ws://ditto-gateway:8080/ws/2`.
    pub ws_url: String,
    pub credentials: Credentials,
    /// The CAs that are trusted, in PEM; unset: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Limit for one call.
    pub timeout: Duration,
}

/// How Ditto knows us.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// The header `x-ditto-pre-authenticated`.
    PreAuthenticated(String),
    Basic {
        username: String,
        password: Secret,
    },
    Bearer(Secret),
}

/// A secret, or where it stands: a file may be replaced while we run, so it is read when it is needed.
#[derive(Clone, Debug)]
pub enum Secret {
    Value(SecretString),
    File(PathBuf),
}

impl Secret {
    /// The secret of this moment, without the line end that editors and `kubectl` leave behind.
    pub fn read(&self) -> std::io::Result<SecretString> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => Ok(std::fs::read_to_string(path)?.trim_end().into()),
        }
    }
}

/// `trusting`: whether a loopback Ditto may be used without credentials.
pub(super) fn check(
    args: &DittoArgs,
    around: &Surroundings,
    trusting: bool,
    mistakes: &mut Mistakes,
) -> Ditto {
    let Place { url, ws_url, ca_file, timeout } = place(args, around, mistakes);
    let credentials = credentials(args, around, mistakes).unwrap_or_else(|| {
        if !(trusting && url.as_ref().is_none_or(is_loopback)) {
            mistakes.add(
                "--ditto-url",
                "no credentials for it: give --ditto-pre-authenticated, --ditto-username or --ditto-token-file",
            );
        }
        Credentials::PreAuthenticated(LOOPBACK_SUBJECT.to_owned())
    });
    Ditto { url: url.as_ref().map_or_else(String::new, text_of), ws_url, credentials, ca_file, timeout }
}

/// Where a Ditto is.
pub(super) struct Place {
    /// `None` stands for a mistake.
    pub url: Option<Url>,
    pub ws_url: String,
    pub ca_file: Option<PathBuf>,
    pub timeout: Duration,
}

pub(super) fn place(args: &DittoArgs, around: &Surroundings, mistakes: &mut Mistakes) -> Place {
    let timeout = mistakes.or("--ditto-timeout", duration(&args.ditto_timeout), Duration::ZERO);
    let parsed = parse(&args.ditto_url, ["http", "https"], "http://127.0.0.1:8080");
    let url = mistakes.or("--ditto-url", parsed.map(Some), None);
    let ws_url = match args.ditto_ws_url.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => {
            let parsed = parse(text, ["ws", "wss"], "ws://127.0.0.1:8080/ws/2");
            mistakes.or("--ditto-ws-url", parsed.map(|url| socket_of(&url)), String::new())
        }
        None => url.as_ref().map_or_else(String::new, beside),
    };
    let ca_file = args.ditto_ca_file.clone().filter(|path| !path.as_os_str().is_empty());
    if let Some(path) = &ca_file {
        readable("--ditto-ca-file", path, around, mistakes);
    }
    Place { url, ws_url, ca_file, timeout }
}

/// One that names a host only means Ditto's own path.
fn socket_of(url: &Url) -> String {
    match url.path() {
        "" | "/" => format!("{}/ws/2", text_of(url)),
        _ => text_of(url),
    }
}

/// The one kind of credentials that is given, if any; more than one is a mistake.
pub(super) fn credentials(
    args: &DittoArgs,
    around: &Surroundings,
    mistakes: &mut Mistakes,
) -> Option<Credentials> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let pre = given(&args.ditto_pre_authenticated);
    let username = given(&args.ditto_username);
    let token = args.ditto_token_file.clone().filter(|path| !path.as_os_str().is_empty());
    let kinds = [
        ("--ditto-pre-authenticated", pre.is_some()),
        ("--ditto-username", username.is_some()),
        ("--ditto-token-file", token.is_some()),
    ];
    let kinds: Vec<_> = kinds.iter().filter(|(_, given)| *given).map(|(flag, _)| *flag).collect();
    if let [first, rest @ ..] = kinds.as_slice()
        && !rest.is_empty()
    {
        mistakes.add(first, format!("given together with {}: keep one of them", rest.join(" and ")));
    }
    let password = password(username.is_some(), around, mistakes);
    if let Some(text) = pre {
        let subject = mistakes.or("--ditto-pre-authenticated", subject(&text), text);
        return Some(Credentials::PreAuthenticated(subject));
    }
    if let Some(username) = username {
        if username.contains(':') {
            mistakes.add("--ditto-username", "a user name holds no colon");
        }
        let password = password.unwrap_or_else(|| Secret::Value(String::new().into()));
        return Some(Credentials::Basic { username, password });
    }
    let token = token?;
    readable("--ditto-token-file", &token, around, mistakes);
    Some(Credentials::Bearer(Secret::File(token)))
}

fn password(wanted: bool, around: &Surroundings, mistakes: &mut Mistakes) -> Option<Secret> {
    let given = |name| (around.variable)(name).filter(|text| !text.is_empty());
    let (value, file) = (given("DITTO_PASSWORD"), given("DITTO_PASSWORD_FILE"));
    if value.is_some() && file.is_some() {
        mistakes.add("DITTO_PASSWORD", "given together with DITTO_PASSWORD_FILE: keep one of them");
    }
    let name = if file.is_some() { "DITTO_PASSWORD_FILE" } else { "DITTO_PASSWORD" };
    let secret = match (file, value) {
        (Some(path), _) => {
            let path = PathBuf::from(path);
            readable("DITTO_PASSWORD_FILE", &path, around, mistakes);
            Some(Secret::File(path))
        }
        (None, value) => value.map(|text| Secret::Value(text.into())),
    };
    match (&secret, wanted) {
        (Some(_), false) => mistakes.add(name, "a password needs a user: set --ditto-username"),
        (None, true) => mistakes
            .add("--ditto-username", "no password: set DITTO_PASSWORD, or DITTO_PASSWORD_FILE to a file"),
        _ => {}
    }
    secret
}

pub(super) fn readable(
    flag: &'static str,
    path: &std::path::Path,
    around: &Surroundings,
    mistakes: &mut Mistakes,
) {
    match (around.read)(path) {
        Ok(text) if text.trim().is_empty() => mistakes.add(flag, format!("{} is empty", path.display())),
        Ok(_) => {}
        Err(error) => mistakes.add(flag, format!("cannot read {}: {error}", path.display())),
    }
}

pub(super) fn parse(text: &str, schemes: [&str; 2], example: &str) -> Result<Url, String> {
    // Looked for before it is parsed: what cannot be read may hold a password all the same.
    if text.contains('@') {
        return Err("a URL holds no user and no password: use --ditto-username and DITTO_PASSWORD".into());
    }
    // Nor is shown what may be a token.
    let shown = text.split(['?', '#']).next().unwrap_or_default();
    let url =
        Url::parse(text).map_err(|error| format!("`{shown}` is no URL ({error}); write e.g. {example}"))?;
    if !schemes.contains(&url.scheme()) || url.host_str().is_none() {
        return Err(format!("`{shown}` does not start with {}; write e.g. {example}", schemes.join(" or ")));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("behind `{shown}` stands a query or a fragment; write e.g. {example}"));
    }
    Ok(url)
}

pub(super) fn text_of(url: &Url) -> String {
    let text = url.as_str().trim_end_matches('/');
    text.strip_suffix("/api/2").unwrap_or(text).trim_end_matches('/').to_owned()
}

/// The WebSocket of the Ditto at `url`.
fn beside(url: &Url) -> String {
    format!("{}/ws/2", text_of(url).replacen("http", "ws", 1))
}

pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
