//! `twinops facade`: the command line as a user meets it, and what it means.
#![allow(clippy::doc_markdown)] // the comments of the arguments are the help text, which people read as it stands
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use reqwest::Url;

use super::cli::DittoArgs;
use super::ditto::{self, Credentials, LOOPBACK_SUBJECT, Secret};
use super::{Mistakes, Surroundings, value};

/// The signatures that are verified at all; `none` and those with a shared secret are not among them.
const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// Serve a REST and WebSocket API for applications in front of any Ditto.
///
/// Every request reaches Ditto as its caller, whose own policies decide what it sees. See docs/facade.md.
#[derive(Args, Debug)]
#[command(after_long_help = concat!("Examples:
  twinops facade --auth none
  twinops facade --listen 0.0.0.0:8000 --ditto-url http://ditto-gateway:8080 --auth basic --users-file users
  twinops facade --auth oidc --oidc-issuer https://login.example/realms/iot --oidc-audience twins

", "Variables without a flag:
  DITTO_PASSWORD, DITTO_PASSWORD_FILE                 the password for --ditto-username, or its file
  DITTO_DEVOPS_USER                                   the user that may read Ditto's status, for /health
  DITTO_DEVOPS_PASSWORD, DITTO_DEVOPS_PASSWORD_FILE   its password, or its file"))]
pub struct FacadeArgs {
    /// Where the API is served. Port 0 picks a free one.
    #[arg(long, env = "TWINOPS_FACADE_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8000")]
    pub listen: String,

    /// Where health and metrics are served. Port 0 picks a free one.
    #[arg(long, env = "TWINOPS_MANAGEMENT_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9090")]
    pub management_listen: String,

    /// How callers say who they are.
    #[arg(long, env = "TWINOPS_AUTH", value_name = "MODE", default_value = "passthrough")]
    pub auth: Mode,

    /// With --auth basic: the users, a line `user:password` each; user `ada` is the subject `nginx:ada`.
    #[arg(long, env = "TWINOPS_USERS_FILE", value_name = "FILE")]
    pub users_file: Option<PathBuf>,

    /// With --auth api-key: the keys, a line `name:hash` each, with the key's SHA-256 in hex; `ci` is the subject
    /// `api-key:ci`.
    #[arg(long, env = "TWINOPS_API_KEYS_FILE", value_name = "FILE")]
    pub api_keys_file: Option<PathBuf>,

    /// With --auth oidc: the issuer of the tokens, exactly as they name it.
    #[arg(long, env = "TWINOPS_OIDC_ISSUER", value_name = "URL")]
    pub oidc_issuer: Option<String>,

    /// With --auth oidc: whom the tokens must be meant for.
    #[arg(long, env = "TWINOPS_OIDC_AUDIENCE", value_name = "NAME")]
    pub oidc_audience: Option<String>,

    /// With --auth oidc: the issuer's name in Ditto; the token of `ada` is the subject `oidc:ada`.
    #[arg(long, env = "TWINOPS_OIDC_NAME", value_name = "NAME", default_value = "oidc")]
    pub oidc_name: String,

    /// With --auth oidc: the signatures that are taken.
    #[arg(
        long,
        env = "TWINOPS_OIDC_ALGORITHMS",
        value_name = "LIST",
        default_value = "RS256,PS256,ES256,EdDSA"
    )]
    #[arg(value_delimiter = ',')]
    pub oidc_algorithms: Vec<String>,

    /// With --auth oidc: how far the issuer's clock may be from ours.
    #[arg(long, env = "TWINOPS_OIDC_CLOCK_SKEW", value_name = "DURATION", default_value = "20s")]
    pub oidc_clock_skew: String,

    /// An origin whose pages may use the API, such as `https://app.example`; may be given several times.
    #[arg(long = "cors-origin", env = "TWINOPS_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub cors_origins: Vec<String>,

    /// The operator's subject in Ditto, which policies made by the facade let in.
    #[arg(long, env = "TWINOPS_OPERATOR_SUBJECT", value_name = "SUBJECT")]
    pub operator_subject: Option<String>,

    /// The subject of the MQTT bridge in Ditto, which policies made by the facade let in.
    #[arg(long, env = "TWINOPS_BRIDGE_SUBJECT", value_name = "SUBJECT")]
    pub bridge_subject: Option<String>,

    /// Where the MQTT broker is, for /health.
    #[arg(long, env = "MQTT_BROKER_URL", value_name = "URL")]
    pub mqtt_broker_url: Option<String>,

    /// The certificate to show, PEM, the server's own first; read again when it changes.
    #[arg(long, env = "TWINOPS_TLS_CERTIFICATE", value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,

    /// The private key of the certificate, PEM.
    #[arg(long, env = "TWINOPS_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// How long requests are still taken after SIGTERM, until nobody sends any.
    #[arg(long, env = "TWINOPS_DRAIN_DELAY", value_name = "DURATION", default_value = "5s")]
    pub drain_delay: String,

    #[command(flatten)]
    pub ditto: DittoArgs,
}

/// How callers say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// With the credentials that Ditto itself takes.
    Passthrough,
    /// With a user name and a password.
    Basic,
    /// With a key in the header `x-api-key`.
    ApiKey,
    /// With a token of an OpenID provider.
    Oidc,
    /// Not at all: everybody on this machine, on loopback only.
    None,
}

/// `twinops facade`
#[derive(Clone, Debug)]
pub struct Facade {
    pub listen: SocketAddr,
    pub management_listen: SocketAddr,
    /// Without `/api/2` and without a trailing slash.
    pub ditto_url: String,
    pub ditto_ws_url: String,
    /// The CAs that Ditto is believed by, PEM; unset: those of the system.
    pub ditto_ca_file: Option<PathBuf>,
    /// Limit for one call.
    pub ditto_timeout: Duration,
    pub auth: FacadeAuth,
    /// As browsers send them.
    pub origins: Vec<String>,
    pub operator_subject: Option<String>,
    pub bridge_subject: Option<String>,
    /// Who may read Ditto's status.
    pub devops: Option<(String, Secret)>,
    /// Host and port of the broker.
    pub mqtt: Option<(String, u16)>,
    pub tls: Option<Tls>,
    pub drain_delay: Duration,
}

impl Facade {
    /// Whether Ditto is asked over TLS.
    pub fn ditto_over_tls(&self) -> bool {
        self.ditto_url.starts_with("https:") || self.ditto_ws_url.starts_with("wss:")
    }

    /// Whether the issuer of tokens is.
    pub fn issuer_over_tls(&self) -> bool {
        matches!(&self.auth, FacadeAuth::Oidc(oidc) if oidc.issuer.starts_with("https:"))
    }
}

/// How callers are known.
#[derive(Clone, Debug)]
pub enum FacadeAuth {
    Passthrough,
    Basic {
        users: PathBuf,
    },
    ApiKey {
        keys: PathBuf,
    },
    Oidc(Oidc),
    /// Everybody on this machine, with these credentials.
    None(Credentials),
}

/// Whose tokens are believed.
#[derive(Clone, Debug)]
pub struct Oidc {
    pub issuer: String,
    pub audience: String,
    /// In front of the token's subject in Ditto.
    pub name: String,
    pub algorithms: Vec<String>,
    pub clock_skew: Duration,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

pub(super) fn check(args: &FacadeArgs, around: &Surroundings, mistakes: &mut Mistakes) -> Facade {
    let listen = mistakes.address("--listen", &args.listen);
    let management_listen = mistakes.address("--management-listen", &args.management_listen);
    if listen == management_listen && listen.port() != 0 {
        mistakes.add("--management-listen", format!("{listen} is the API's: give it another port"));
    }
    let ditto::Place { url, ws_url, ca_file, timeout } = ditto::place(&args.ditto, around, mistakes);
    let auth = auth(args, url.as_ref(), around, mistakes);
    if matches!(auth, FacadeAuth::None(_)) && !listen.ip().is_loopback() && listen.port() != 0 {
        mistakes.add("--auth", format!("none is for loopback, and {listen} can be reached from outside: choose another mode, or listen on 127.0.0.1"));
    }
    let origins = args.cors_origins.iter().filter(|text| !text.is_empty());
    let subject = |flag, text: &Option<String>, mistakes: &mut Mistakes| {
        let text = text.as_ref().filter(|text| !text.is_empty())?;
        Some(mistakes.or(flag, value::subject(text), String::new()))
    };
    Facade {
        listen,
        management_listen,
        ditto_url: url.as_ref().map_or_else(String::new, ditto::text_of),
        ditto_ws_url: ws_url,
        ditto_ca_file: ca_file,
        ditto_timeout: timeout,
        auth,
        origins: origins.map(|text| mistakes.or("--cors-origin", origin(text), String::new())).collect(),
        operator_subject: subject("--operator-subject", &args.operator_subject, mistakes),
        bridge_subject: subject("--bridge-subject", &args.bridge_subject, mistakes),
        devops: devops(around, mistakes),
        mqtt: args
            .mqtt_broker_url
            .as_deref()
            .filter(|text| !text.is_empty())
            .and_then(|text| mistakes.or("--mqtt-broker-url", broker(text).map(Some), None)),
        tls: tls(args, around, mistakes),
        drain_delay: match args.drain_delay.as_str() {
            "0" | "0s" => Duration::ZERO,
            text => mistakes.or("--drain-delay", value::duration(text), Duration::ZERO),
        },
    }
}

fn auth(args: &FacadeArgs, url: Option<&Url>, around: &Surroundings, mistakes: &mut Mistakes) -> FacadeAuth {
    let credentials = ditto::credentials(&args.ditto, around, mistakes);
    if credentials.is_some() && args.auth != Mode::None {
        mistakes.add(
            "--auth",
            "callers reach Ditto as themselves: credentials for Ditto only mean something with --auth none",
        );
    }
    let mut file = |flag: &'static str, path: &Option<PathBuf>| {
        match path {
            Some(path) => ditto::readable(flag, path, around, mistakes),
            None => mistakes.add(flag, "is needed by this --auth"),
        }
        path.clone().unwrap_or_default()
    };
    match args.auth {
        Mode::Passthrough => FacadeAuth::Passthrough,
        Mode::Basic => FacadeAuth::Basic { users: file("--users-file", &args.users_file) },
        Mode::ApiKey => FacadeAuth::ApiKey { keys: file("--api-keys-file", &args.api_keys_file) },
        Mode::Oidc => FacadeAuth::Oidc(oidc(args, mistakes)),
        Mode::None => FacadeAuth::None(credentials.unwrap_or_else(|| {
            if !url.is_none_or(ditto::is_loopback) {
                mistakes.add(
                    "--ditto-url",
                    "no credentials for it: give --ditto-pre-authenticated, --ditto-username or --ditto-token-file",
                );
            }
            Credentials::PreAuthenticated(LOOPBACK_SUBJECT.to_owned())
        })),
    }
}

fn oidc(args: &FacadeArgs, mistakes: &mut Mistakes) -> Oidc {
    let mut given = |flag: &'static str, text: &Option<String>| match text.as_deref() {
        None | Some("") => {
            mistakes.add(flag, "is needed by --auth oidc");
            String::new()
        }
        Some(text) => text.to_owned(),
    };
    let issuer = given("--oidc-issuer", &args.oidc_issuer);
    let audience = given("--oidc-audience", &args.oidc_audience);
    if !issuer.is_empty() {
        match ditto::parse(&issuer, ["https", "http"], "https://login.example/realms/iot") {
            Ok(url) if url.scheme() == "http" && !ditto::is_loopback(&url) => {
                mistakes.add("--oidc-issuer", "keys that arrive over plain http prove nothing: use https");
            }
            Ok(_) => {}
            Err(what) => mistakes.add("--oidc-issuer", what),
        }
    }
    let name = &args.oidc_name;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        mistakes.add(
            "--oidc-name",
            format!("`{name}` is no name; write letters, digits, `.`, `_` or `-`, e.g. oidc"),
        );
    }
    for algorithm in args.oidc_algorithms.iter().filter(|name| !ALGORITHMS.contains(&name.as_str())) {
        mistakes.add(
            "--oidc-algorithms",
            format!("`{algorithm}` is not taken; choose of {}", ALGORITHMS.join(", ")),
        );
    }
    let clock_skew = mistakes.or("--oidc-clock-skew", value::duration(&args.oidc_clock_skew), Duration::ZERO);
    Oidc { issuer, audience, name: name.clone(), algorithms: args.oidc_algorithms.clone(), clock_skew }
}

fn tls(args: &FacadeArgs, around: &Surroundings, mistakes: &mut Mistakes) -> Option<Tls> {
    match (&args.tls_certificate, &args.tls_key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            ditto::readable("--tls-certificate", certificate, around, mistakes);
            ditto::readable("--tls-key", key, around, mistakes);
            Some(Tls { certificate: certificate.clone(), key: key.clone() })
        }
        (Some(_), None) => {
            mistakes.add("--tls-key", "is needed by --tls-certificate");
            None
        }
        (None, Some(_)) => {
            mistakes.add("--tls-certificate", "is needed by --tls-key");
            None
        }
    }
}

fn devops(around: &Surroundings, mistakes: &mut Mistakes) -> Option<(String, Secret)> {
    let given = |name| (around.variable)(name).filter(|text| !text.is_empty());
    let user = given("DITTO_DEVOPS_USER");
    let (value, file) = (given("DITTO_DEVOPS_PASSWORD"), given("DITTO_DEVOPS_PASSWORD_FILE"));
    if value.is_some() && file.is_some() {
        mistakes
            .add("DITTO_DEVOPS_PASSWORD", "given together with DITTO_DEVOPS_PASSWORD_FILE: keep one of them");
    }
    let secret = match file {
        Some(path) => {
            let path = PathBuf::from(path);
            ditto::readable("DITTO_DEVOPS_PASSWORD_FILE", &path, around, mistakes);
            Some(Secret::File(path))
        }
        None => value.map(|text| Secret::Value(text.into())),
    };
    match (user, secret) {
        (Some(user), Some(secret)) => Some((user, secret)),
        (Some(_), None) => {
            mistakes.add(
                "DITTO_DEVOPS_USER",
                "no password: set DITTO_DEVOPS_PASSWORD, or DITTO_DEVOPS_PASSWORD_FILE to a file",
            );
            None
        }
        (None, Some(_)) => {
            mistakes.add("DITTO_DEVOPS_PASSWORD", "a password needs a user: set DITTO_DEVOPS_USER");
            None
        }
        (None, None) => None,
    }
}

/// As browsers send it: scheme, host and a port that is not the usual one.
fn origin(text: &str) -> Result<String, String> {
    if text.contains('@') {
        return Err("an origin holds no user and no password".to_owned());
    }
    let wrong = || format!("`{text}` is no origin; write e.g. https://app.example or http://localhost:3000");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let own = url.origin().ascii_serialization();
    if matches!(url.scheme(), "http" | "https") && own == text.trim_end_matches('/') {
        Ok(own)
    } else {
        Err(wrong())
    }
}

/// `mqtt://host:1883`, `mqtts://host`, `tcp://host`, `host:1883` or `host`.
pub(super) fn broker(text: &str) -> Result<(String, u16), String> {
    // Looked for before it is parsed: what cannot be read may hold a password all the same.
    if text.contains('@') {
        return Err("a URL holds no user and no password: use --mqtt-username and MQTT_PASSWORD".to_owned());
    }
    let wrong = || format!("`{text}` is no broker; write e.g. mqtt://mosquitto:1883");
    let full = if text.contains("://") { text.to_owned() } else { format!("mqtt://{text}") };
    let url = Url::parse(&full).map_err(|_| wrong())?;
    let usual = match url.scheme() {
        "mqtt" | "tcp" => 1883,
        "mqtts" | "ssl" => 8883,
        _ => return Err(wrong()),
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
    Ok((host.trim_matches(['[', ']']).to_owned(), url.port().unwrap_or(usual)))
}
