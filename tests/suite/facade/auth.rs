//! Who may come in, and as whom.
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use twinops::settings::{FacadeAuth, Oidc};
use twinops::telemetry::Telemetry;

use super::{Facade, Recorder, settings};

/// An `OpenID` provider in this process.
pub struct Issuer {
    pub url: String,
    keys: Arc<Mutex<Value>>,
    pub asked: Arc<Mutex<usize>>,
    task: tokio::task::JoinHandle<()>,
    _runtime: tokio::runtime::Runtime,
}

pub struct Key {
    kid: String,
    pair: Ed25519KeyPair,
}

impl Key {
    pub fn new(kid: &str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        Self { kid: kid.to_owned(), pair: Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap() }
    }

    fn public(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.kid, "x": x})
    }

    pub fn token(&self, claims: &Value) -> String {
        self.signed(&json!({"alg": "EdDSA", "typ": "JWT", "kid": self.kid}), claims)
    }

    fn signed(&self, header: &Value, claims: &Value) -> String {
        let text = part(header) + "." + &part(claims);
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(text.as_bytes()).as_ref()))
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

impl Issuer {
    pub fn with(keys: &[&Key]) -> Self {
        let runtime = super::runtime();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served: Arc<Mutex<Value>> = Arc::default();
        let asked: Arc<Mutex<usize>> = Arc::default();
        let (document, shown, count) = (
            json!({"issuer": url, "jwks_uri": format!("{url}/keys")}),
            Arc::clone(&served),
            Arc::clone(&asked),
        );
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async move || document.to_string()))
            .route(
                "/keys",
                get(async move || {
                    *count.lock() += 1;
                    shown.lock().to_string()
                }),
            );
        let task = runtime.spawn(async move { drop(axum::serve(listener, router).await) });
        let issuer = Self { url, keys: served, asked, task, _runtime: runtime };
        issuer.serve(keys);
        issuer
    }

    /// A key of a kind nobody knows is always among them.
    pub fn serve(&self, keys: &[&Key]) {
        let strange = json!({"kty": "NEW", "kid": "strange"});
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).chain([strange]).collect();
        *self.keys.lock() = json!({"keys": keys});
    }

    pub fn claims(&self, sub: &str) -> Value {
        json!({"iss": self.url, "aud": "twins", "sub": sub, "exp": now() + 300})
    }

    pub fn auth(&self) -> FacadeAuth {
        FacadeAuth::Oidc(Oidc {
            issuer: self.url.clone(),
            audience: "twins".to_owned(),
            name: "oidc".to_owned(),
            algorithms: ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec(),
            clock_skew: Duration::from_secs(5),
        })
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

const PATH: &str = "/things/com.example:t";

fn status(facade: &Facade, token: &str) -> u16 {
    facade.ask("GET", PATH, &[("authorization", &format!("Bearer {token}"))], None).status
}

#[test]
fn s15_a_token_is_what_its_issuer_signed_for_us_and_now_or_nothing() {
    let (key, other) = (Key::new("k-1"), Key::new("k-1"));
    let issuer = Issuer::with(&[&key]);
    let recorder = Recorder::answering(200, "{}");
    let facade = Facade::with(settings(&recorder.base, issuer.auth()));
    let claims = || issuer.claims("ada");
    assert_eq!(status(&facade, &key.token(&claims())), 200);
    assert_eq!(recorder.seen()[0].headers["x-ditto-pre-authenticated"], "oidc:ada");
    let none = format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims()));
    let none_kid = format!("{}.{}.", part(&json!({"alg": "none", "kid": "k-1"})), part(&claims()));
    let hmac = {
        let text = part(&json!({"alg": "HS256", "kid": "k-1"})) + "." + &part(&claims());
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.pair.public_key().as_ref());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&secret, text.as_bytes()).as_ref()))
    };
    let forged = {
        let token = key.token(&claims());
        let mut parts: Vec<&str> = token.split('.').collect();
        let payload = part(&issuer.claims("admin"));
        parts[1] = &payload;
        parts.join(".")
    };
    let rows = [
        ("no algorithm", none),
        ("no algorithm, a known key", none_kid),
        ("a public key as a secret", hmac),
        ("another algorithm of the header", key.signed(&json!({"alg": "RS256", "kid": "k-1"}), &claims())),
        (
            "an algorithm that is not on the list",
            key.signed(&json!({"alg": "PS512", "kid": "k-1"}), &claims()),
        ),
        ("signed by somebody else", other.token(&claims())),
        ("changed after it was signed", forged),
        ("ended", key.token(&with(claims(), "exp", json!(now() - 60)))),
        ("not begun", key.token(&with(claims(), "nbf", json!(now() + 60)))),
        ("for somebody else", key.token(&with(claims(), "aud", json!("others")))),
        ("from somebody else", key.token(&with(claims(), "iss", json!("https://evil.example")))),
        ("without an end", key.token(&json!({"iss": issuer.url, "aud": "twins", "sub": "ada"}))),
        ("without a subject", key.token(&json!({"iss": issuer.url, "aud": "twins", "exp": now() + 60}))),
        ("of two subjects", key.token(&issuer.claims("ada,nginx:ditto"))),
        ("without a key id", key.signed(&json!({"alg": "EdDSA"}), &claims())),
        ("a key id that is a path", key.signed(&json!({"alg": "EdDSA", "kid": "../../x"}), &claims())),
        ("a huge key id", key.signed(&json!({"alg": "EdDSA", "kid": "x".repeat(5_000)}), &claims())),
        ("no token", "abc".to_owned()),
        ("nothing", String::new()),
    ];
    for (name, token) in rows {
        assert_eq!(status(&facade, &token), 401, "{name}");
    }
    assert!(recorder.seen().is_empty(), "none of them reaches Ditto");
    assert!(*issuer.asked.lock() <= 3, "strangers cannot make us ask for keys all the time");
}

#[test]
fn s15_keys_are_kept_while_the_issuer_is_away_and_followed_when_they_change() {
    let (first, second) = (Key::new("k-1"), Key::new("k-2"));
    let issuer = Issuer::with(&[&first]);
    let recorder = Recorder::answering(200, "{}");
    let facade = Facade::with(settings(&recorder.base, issuer.auth()));
    for _ in 0..5 {
        assert_eq!(status(&facade, &first.token(&issuer.claims("ada"))), 200);
    }
    assert_eq!(*issuer.asked.lock(), 1);
    issuer.serve(&[&second]);
    assert_eq!(status(&facade, &second.token(&issuer.claims("ada"))), 200, "a new key is asked for");
    let token = second.token(&issuer.claims("ada"));
    issuer.task.abort();
    assert_eq!(status(&facade, &token), 200, "nobody needs to be asked");
}

#[test]
fn an_issuer_that_was_never_reached_is_no_fault_of_the_caller() {
    let key = Key::new("k-1");
    let issuer = Issuer::with(&[&key]);
    let token = key.token(&issuer.claims("ada"));
    let recorder = Recorder::answering(200, "{}");
    let auth = issuer.auth();
    drop(issuer);
    assert_eq!(status(&Facade::with(settings(&recorder.base, auth)), &token), 503);
}

#[test]
fn a_key_is_known_by_its_hash() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "ci:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n")
        .unwrap();
    let recorder = Recorder::answering(200, "{}");
    let facade = Facade::with(settings(&recorder.base, FacadeAuth::ApiKey { keys: keys.path().to_owned() }));
    let asked = |headers: &[(&str, &str)]| facade.ask("GET", PATH, headers, None).status;
    assert_eq!(asked(&[("x-api-key", "secret")]), 200);
    let seen = recorder.seen();
    assert_eq!(seen[0].headers["x-ditto-pre-authenticated"], "api-key:ci");
    assert!(!seen[0].headers.contains_key("x-api-key"));
    assert_eq!(
        (asked(&[("x-api-key", "Secret")]), asked(&[]), asked(&[("authorization", "Basic x")])),
        (401, 401, 401)
    );
}

#[test]
fn passed_through_credentials_are_the_callers_own() {
    let recorder = Recorder::answering(200, "{}");
    let facade = Facade::with(settings(&recorder.base, FacadeAuth::Passthrough));
    let headers = [("authorization", "Bearer x.y.z"), ("x-ditto-pre-authenticated", "nginx:admin")];
    assert_eq!(facade.ask("GET", PATH, &headers, None).status, 200);
    let seen = recorder.seen();
    assert_eq!(seen[0].headers["authorization"], "Bearer x.y.z");
    assert!(!seen[0].headers.contains_key("x-ditto-pre-authenticated"));
    let nobody = facade.get(PATH);
    assert_eq!((nobody.status, nobody.header("www-authenticate").is_empty()), (401, false));
    assert!(recorder.seen().is_empty(), "a Ditto on loopback might take us for somebody");
}

#[test]
fn without_credentials_only_this_machine_is_served() {
    let facade = Facade::open();
    let asked = |headers: &[(&str, &str)]| facade.ask("GET", "/things/", headers, None).status;
    assert_eq!(asked(&[]), 200);
    assert_eq!(asked(&[("host", "rebound.example:8000")]), 401);
    assert_eq!(asked(&[("origin", "https://evil.example")]), 401);
    assert_eq!(asked(&[("origin", "null")]), 401);
}

#[test]
fn without_credentials_nobody_outside_this_machine_is_served() {
    let auth = FacadeAuth::None(twinops::settings::Credentials::PreAuthenticated("nginx:ditto".to_owned()));
    let settings = twinops::settings::Facade {
        listen: ([0, 0, 0, 0], 0).into(),
        ..settings("http://127.0.0.1:9", auth)
    };
    let started = super::runtime().block_on(twinops::facade::start(
        settings,
        Telemetry::new(),
        CancellationToken::new(),
    ));
    let error = started.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("--auth") && error.contains("0.0.0.0"), "{error}");
}
