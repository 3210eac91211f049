//! Whether this process, Ditto and the MQTT broker are there. Open to everybody, so it tells no more than that.
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full, Limited};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::Facade;
use super::problem::Problem;
use super::reply;
use super::upstream::HttpClient;
use crate::settings;
use crate::telemetry::VERSION;

/// How long a finding is told on: whoever asks more often costs Ditto nothing.
const AGE_MAX: Duration = Duration::from_secs(1);
/// Who does not answer within this is down, for whoever waits for the answer.
const DEADLINE: Duration = Duration::from_secs(3);
/// The largest status document read, in bytes.
const DOCUMENT_BYTES_MAX: usize = 256 * 1_024;

pub struct Health {
    http: HttpClient,
    /// Without `/api/2`.
    ditto: String,
    /// What opens Ditto's status documents.
    devops: Option<HeaderValue>,
    mqtt: Option<(String, u16)>,
    found: Mutex<Option<(Instant, Found)>>,
}

#[derive(Clone)]
struct Found {
    ditto: Value,
    mqtt: Value,
}

impl Health {
    pub fn new(http: HttpClient, settings: &settings::Facade) -> Result<Self, String> {
        let devops = settings.devops.as_ref().map(|(user, password)| {
            let password =
                password.read().map_err(|error| format!("the password of DITTO_DEVOPS_USER: {error}"))?;
            let pair = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
            let mut value =
                HeaderValue::from_str(&format!("Basic {pair}")).map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        Ok(Self {
            http,
            ditto: settings.ditto_url.clone(),
            devops: devops.transpose()?,
            mqtt: settings.mqtt.clone(),
            found: Mutex::default(),
        })
    }

    async fn look(&self) -> Found {
        let mut found = self.found.lock().await;
        if let Some((_, found)) = found.as_ref().filter(|(at, _)| at.elapsed() < AGE_MAX) {
            return found.clone();
        }
        let (ditto, mqtt) = tokio::join!(self.ditto(), self.mqtt());
        found.insert((Instant::now(), Found { ditto, mqtt })).1.clone()
    }

    async fn ditto(&self) -> Value {
        let up = self.get("/health", None).await.is_some();
        let mut ditto = json!({"status": if up { "UP" } else { "DOWN" }});
        if let Some(devops) = &self.devops {
            let status = self.get("/overall/status/health", Some(devops)).await.unwrap_or_default();
            ditto["services"] = services(&status);
        }
        ditto
    }

    /// The document of a 200.
    async fn get(&self, path: &str, login: Option<&HeaderValue>) -> Option<Value> {
        let mut request =
            Request::get(format!("{}{path}", self.ditto)).body(Full::<Bytes>::default()).ok()?;
        if let Some(login) = login {
            request.headers_mut().insert(header::AUTHORIZATION, login.clone());
        }
        let response = tokio::time::timeout(DEADLINE, self.http.request(request)).await.ok()?.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX).collect();
        let body = tokio::time::timeout(DEADLINE, body).await.ok()?.ok()?.to_bytes();
        Some(serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Whether somebody listens there; a broker says nothing before it is logged in to.
    async fn mqtt(&self) -> Value {
        let Some((host, port)) = &self.mqtt else { return json!({"status": "UNKNOWN"}) };
        let connected =
            tokio::time::timeout(DEADLINE, tokio::net::TcpStream::connect((host.as_str(), *port))).await;
        json!({"status": if matches!(connected, Ok(Ok(_))) { "UP" } else { "DOWN" }})
    }
}

/// Name and status of Ditto's services, without their addresses. Source: Ditto 3.8, `/overall/status/health`.
fn services(status: &Value) -> Value {
    let children = status["children"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = children.iter().filter_map(|child| {
        let word = |name: &str| {
            child[name].as_str().filter(|text| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        };
        Some((word("label")?.to_owned(), Value::from(word("status")?)))
    });
    Value::Object(named.collect::<Map<_, _>>())
}

/// `GET /health`: `{"status","version","ditto":{"status"},"mqtt":{"status"}}`; 503 when Ditto does not answer.
pub async fn health(State(facade): State<Arc<Facade>>) -> Response {
    let found = facade.health.look().await;
    let up = found.ditto["status"] == "UP";
    let body = json!({
        "status": if up { "UP" } else { "DOWN" },
        "version": VERSION,
        "ditto": found.ditto,
        "mqtt": found.mqtt,
    });
    reply::json(if up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body.to_string())
}

/// `GET /livez`: the process answers.
pub async fn livez() -> Response {
    reply::json(StatusCode::OK, "{\"status\":\"UP\"}")
}

/// `GET /readyz`: 503 once it is about to stop, so that nobody is sent here any more. A Ditto that is away does not
/// count: it would be away for every replica.
pub async fn readyz(State(facade): State<Arc<Facade>>) -> Result<Response, Problem> {
    if facade.stop.is_cancelled() {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "facade:stopping",
            "this replica is about to stop",
        ));
    }
    Ok(reply::json(StatusCode::OK, "{\"status\":\"UP\"}"))
}
