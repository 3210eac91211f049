//! Tokens of an `OpenID` provider: its keys are found by discovery, kept, and asked for anew when a token names one that is
//! not known. Source: `OpenID` Connect Discovery 1.0 §4; RFC 7517; RFC 7519.
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, decode_header};
use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::Mutex;

use super::super::problem::Problem;
use super::super::upstream::{HttpClient, cause};
use super::jwt::{self, Expected};
use super::{Caller, challenge};
use crate::settings;

/// How long keys are used before they are asked for anew.
const KEYS_AGE_MAX: Duration = Duration::from_hours(1);
/// Asked for so often within [`ASKS_WINDOW`] at most, whatever keys the tokens of strangers name.
const ASKS_MAX: usize = 3;
const ASKS_WINDOW: Duration = Duration::from_secs(30);
/// The provider answers in milliseconds, or the request that waits is refused.
const DEADLINE: Duration = Duration::from_secs(5);
/// The largest document read of the provider, in bytes: key sets have some kilobytes.
const DOCUMENT_BYTES_MAX: usize = 256 * 1_024;

pub struct Oidc {
    settings: settings::Oidc,
    algorithms: Vec<Algorithm>,
    http: HttpClient,
    keys: RwLock<Option<(Arc<JwkSet>, Instant)>>,
    /// When keys were asked for, lately. Held while they are.
    asked: Mutex<Vec<Instant>>,
}

impl Oidc {
    pub fn new(settings: settings::Oidc, http: HttpClient) -> Self {
        let algorithms = settings.algorithms.iter().filter_map(|name| name.parse().ok()).collect();
        Self { settings, algorithms, http, keys: RwLock::default(), asked: Mutex::default() }
    }

    pub async fn caller(&self, token: &str) -> Result<Caller, Problem> {
        let refused = || challenge("Bearer");
        let header = decode_header(token).map_err(|_| refused())?;
        let kid = header.kid.as_deref().ok_or_else(refused)?;
        let key = self.key(kid).await?.ok_or_else(refused)?;
        let expected = Expected {
            issuer: &self.settings.issuer,
            audience: &self.settings.audience,
            algorithms: &self.algorithms,
            clock_skew: self.settings.clock_skew,
        };
        let claims = jwt::verify(token, header.alg, &key, &expected).map_err(|error| {
            tracing::debug!(%error, "a token is refused");
            refused()
        })?;
        Caller::trusted(&format!("{}:{}", self.settings.name, claims.sub), claims.expires())
    }

    /// The key of this id: of those that are known, else of those the provider has now. 503 while none was ever read.
    async fn key(&self, kid: &str) -> Result<Option<Jwk>, Problem> {
        let known = || self.keys.read().clone();
        if let Some((keys, read_at)) = known()
            && let (Some(key), true) = (keys.find(kid), read_at.elapsed() < KEYS_AGE_MAX)
        {
            return Ok(Some(key.clone()));
        }
        self.refresh(kid).await;
        match known() {
            Some((keys, _)) => Ok(keys.find(kid).cloned()),
            None => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "facade:issuer.unavailable",
                "the keys of the token's issuer are not known yet; try again",
            )),
        }
    }

    /// Asks the provider, unless somebody has done so while we waited, or too often lately.
    async fn refresh(&self, kid: &str) {
        let mut asked = self.asked.lock().await;
        let current = self.keys.read().clone();
        if current.is_some_and(|(keys, at)| keys.find(kid).is_some() && at.elapsed() < KEYS_AGE_MAX) {
            return;
        }
        asked.retain(|at| at.elapsed() < ASKS_WINDOW);
        if asked.len() >= ASKS_MAX {
            return;
        }
        asked.push(Instant::now());
        match tokio::time::timeout(DEADLINE, self.fetch()).await {
            Ok(Ok(keys)) => *self.keys.write() = Some((Arc::new(keys), Instant::now())),
            Ok(Err(error)) => {
                tracing::warn!(issuer = self.settings.issuer, error, "no keys; the earlier ones are used on");
            }
            Err(_) => tracing::warn!(
                issuer = self.settings.issuer,
                "the issuer does not answer; earlier keys are used on"
            ),
        }
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        let issuer = self.settings.issuer.trim_end_matches('/');
        let found = self.document(&format!("{issuer}/.well-known/openid-configuration")).await?;
        if found["issuer"].as_str() != Some(&self.settings.issuer) {
            return Err("the discovery document is of another issuer".to_owned());
        }
        let uri = found["jwks_uri"].as_str().ok_or("the discovery document names no jwks_uri")?;
        if !uri.starts_with("https://") && issuer.starts_with("https://") {
            return Err("the jwks_uri is not https".to_owned());
        }
        let Value::Object(mut set) = self.document(uri).await? else {
            return Err("the keys are no object".to_owned());
        };
        let keys = set.remove("keys").and_then(|keys| keys.as_array().cloned()).unwrap_or_default();
        // One that is not understood, such as of a new kind, must not take the others with it.
        let keys = keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
        Ok(JwkSet { keys })
    }

    async fn document(&self, uri: &str) -> Result<Value, String> {
        let request =
            Request::get(uri).header(header::ACCEPT, "application/json").body(Full::<Bytes>::default());
        let request = request.map_err(|error| error.to_string())?;
        let response = self.http.request(request).await.map_err(|error| cause(&error))?;
        if response.status() != StatusCode::OK {
            return Err(format!("{uri} answers {}", response.status()));
        }
        let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| format!("{uri}: {error}"))
    }
}
