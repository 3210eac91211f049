//! Who asks. A caller is verified here once and then known to Ditto by its own subject or its own credentials: what it
//! may see and do is decided by Ditto's policies alone.
//!
//! The subject goes to Ditto in a header that only the facade sets. A subject of this list form (`a,b`) would be two
//! subjects there, so none that holds a comma ever becomes one.
mod attempts;
mod followed;
mod jwt;
mod keys;
mod oidc;
mod users;

use std::net::IpAddr;
use std::time::SystemTime;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;

use self::attempts::Attempts;
use self::keys::Keys;
use self::oidc::Oidc;
use self::users::{Busy, Users};
use super::ask::Peer;
use super::origin;
use super::problem::Problem;
use super::upstream::HttpClient;
use crate::settings;
use crate::telemetry::Telemetry;

const PRE_AUTHENTICATED: HeaderName = HeaderName::from_static("x-ditto-pre-authenticated");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The largest credentials looked at, in bytes: tokens stay below 8 KiB.
const CREDENTIALS_BYTES_MAX: usize = 8 * 1_024;

/// A verified caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    name: HeaderName,
    value: HeaderValue,
    /// As Ditto knows it; unknown where the caller's own credentials go to Ditto.
    pub subject: Option<String>,
    /// When the credentials end.
    pub expires: Option<SystemTime>,
}

impl Caller {
    /// Known to Ditto by its subject, on the facade's word.
    fn trusted(subject: &str, expires: Option<SystemTime>) -> Result<Self, Problem> {
        let plain = !subject.is_empty() && subject.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b',');
        let value = HeaderValue::from_str(subject).ok().filter(|_| plain && subject.trim() == subject);
        let value = value
            .ok_or_else(|| Problem::unauthorized("the name in these credentials cannot be a subject"))?;
        Ok(Self { name: PRE_AUTHENTICATED, value, subject: Some(subject.to_owned()), expires })
    }

    /// Known to Ditto by its own credentials.
    fn passed(mut value: HeaderValue, expires: Option<SystemTime>) -> Self {
        value.set_sensitive(true);
        Self { name: header::AUTHORIZATION, value, subject: None, expires }
    }

    /// The header that says to Ditto who asks.
    pub fn login(&self) -> (HeaderName, HeaderValue) {
        (self.name.clone(), self.value.clone())
    }

    /// Who asks, as long as one session with Ditto may serve it: not by when the credentials end.
    pub fn identity(&self) -> (HeaderName, HeaderValue) {
        self.login()
    }
}

enum Mode {
    Passthrough,
    Basic(Box<Users>),
    ApiKey(Keys),
    Oidc(Box<Oidc>),
    /// Everybody on this machine, as this caller.
    Open(Caller),
}

pub struct Auth {
    mode: Mode,
    attempts: Attempts,
}

impl Auth {
    /// Reads the files once, so that a wrong one shows at the start.
    pub fn new(
        settings: &settings::FacadeAuth,
        http: HttpClient,
        telemetry: Telemetry,
    ) -> Result<Self, String> {
        let mode = match settings {
            settings::FacadeAuth::Passthrough => Mode::Passthrough,
            settings::FacadeAuth::Basic { users } => Mode::Basic(Box::new(Users::open(users, telemetry)?)),
            settings::FacadeAuth::ApiKey { keys } => Mode::ApiKey(Keys::open(keys)?),
            settings::FacadeAuth::Oidc(oidc) => Mode::Oidc(Box::new(Oidc::new(oidc.clone(), http))),
            settings::FacadeAuth::None(credentials) => Mode::Open(own(credentials)?),
        };
        Ok(Self { mode, attempts: Attempts::default() })
    }

    /// Who sends this request. `token` is a bearer token from the URL, which only upgrades and event streams may carry:
    /// browsers let nobody set a header there.
    pub async fn caller(&self, parts: &Parts, token: Option<&str>) -> Result<Caller, Problem> {
        let headers = &parts.headers;
        let peer = parts.extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
        match &self.mode {
            Mode::Passthrough => passthrough(headers, token),
            Mode::Basic(users) => self.basic(users, headers, peer).await,
            Mode::ApiKey(keys) => self.api_key(keys, headers, peer),
            Mode::Oidc(oidc) => oidc.caller(&bearer(headers, token)?).await,
            Mode::Open(caller) if origin::is_here(headers) => Ok(caller.clone()),
            Mode::Open(_) => Err(Problem::unauthorized(
                "without credentials only requests to localhost are taken, and not from pages of other sites",
            )),
        }
    }

    async fn basic(&self, users: &Users, headers: &HeaderMap, peer: IpAddr) -> Result<Caller, Problem> {
        let (user, password) = basic_pair(headers).ok_or_else(|| challenge("Basic"))?;
        self.attempts.allowed(peer, &user)?;
        match users.know(&user, &password).await {
            Ok(true) => Caller::trusted(&format!("nginx:{user}"), None),
            Ok(false) => {
                self.attempts.failed(peer, &user);
                Err(challenge("Basic"))
            }
            Err(Busy) => {
                let detail = "too many logins wait to be verified; try again";
                Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "facade:authentication.busy", detail)
                    .with(header::RETRY_AFTER, HeaderValue::from_static("1")))
            }
        }
    }

    fn api_key(&self, keys: &Keys, headers: &HeaderMap, peer: IpAddr) -> Result<Caller, Problem> {
        let key = headers.get(API_KEY).filter(|key| key.len() <= CREDENTIALS_BYTES_MAX);
        let key = key.ok_or_else(|| Problem::unauthorized("send the API key in the header x-api-key"))?;
        self.attempts.allowed(peer, "")?;
        if let Some(name) = keys.owner(key.as_bytes()) {
            return Caller::trusted(&format!("api-key:{name}"), None);
        }
        self.attempts.failed(peer, "");
        Err(Problem::unauthorized("no such API key"))
    }
}

/// Without credentials nothing is passed on: a Ditto on loopback may take the facade itself for somebody.
fn passthrough(headers: &HeaderMap, token: Option<&str>) -> Result<Caller, Problem> {
    if let Some(value) = headers.get(header::AUTHORIZATION).filter(|value| !value.is_empty()) {
        let text = value.to_str().unwrap_or_default();
        let expires = text.split_once(' ').and_then(|(_, token)| jwt::unverified_expiry(token));
        return Ok(Caller::passed(value.clone(), expires));
    }
    let token = token.ok_or_else(|| challenge("Basic"))?;
    let value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| challenge("Bearer"))?;
    Ok(Caller::passed(value, jwt::unverified_expiry(token)))
}

/// The facade's own credentials, for everybody on this machine.
fn own(credentials: &settings::Credentials) -> Result<Caller, String> {
    let read =
        |secret: &settings::Secret| secret.read().map_err(|error| format!("the secret for Ditto: {error}"));
    let text = match credentials {
        settings::Credentials::PreAuthenticated(subject) => {
            return Caller::trusted(subject, None).map_err(|problem| problem.detail);
        }
        settings::Credentials::Basic { username, password } => {
            let pair = format!("{username}:{}", read(password)?.expose_secret());
            format!("Basic {}", STANDARD.encode(pair))
        }
        settings::Credentials::Bearer(token) => format!("Bearer {}", read(token)?.expose_secret()),
    };
    let value =
        HeaderValue::from_str(&text).map_err(|_| "the credentials for Ditto are no header".to_owned())?;
    Ok(Caller::passed(value, None))
}

fn basic_pair(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, pair) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || pair.len() > CREDENTIALS_BYTES_MAX {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(pair.trim()).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn bearer(headers: &HeaderMap, token: Option<&str>) -> Result<String, Problem> {
    let header = || {
        let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    };
    let found = header().or(token).filter(|token| token.len() <= CREDENTIALS_BYTES_MAX);
    found.map(str::to_owned).ok_or_else(|| challenge("Bearer"))
}

fn challenge(scheme: &'static str) -> Problem {
    let value = match scheme {
        "Basic" => HeaderValue::from_static("Basic realm=\"twinops\", charset=\"UTF-8\""),
        _ => HeaderValue::from_static("Bearer"),
    };
    Problem::new(StatusCode::UNAUTHORIZED, "facade:authentication.failed", "credentials are missing or wrong")
        .with(header::WWW_AUTHENTICATE, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_no_name_becomes_two_subjects_or_a_header_of_its_own() {
        for subject in ["oidc:a,nginx:ditto", "oidc:a\r\nx: y", "", " a:b", "a:b ", "oidc:p\u{fc}"] {
            assert!(Caller::trusted(subject, None).is_err(), "{subject:?}");
        }
        assert_eq!(Caller::trusted("nginx:ada", None).unwrap().subject.as_deref(), Some("nginx:ada"));
    }

    #[test]
    fn s45_a_caller_can_be_printed_without_showing_a_secret() {
        let caller = Caller::passed(HeaderValue::from_static("Bearer s3cret"), None);
        assert!(!format!("{caller:?}").contains("s3cret"));
    }
}
