//! HTTP in front of the core: from bytes to a command, from an answer to bytes.
mod auth;
mod body;
mod cloudevents;
mod full;
pub mod handle;
#[cfg(test)]
pub mod in_process;
mod lenient;
mod mender;
mod metrics;
pub mod openapi;
pub mod query;
pub mod refusal;
pub mod request;
pub mod route;

pub use auth::{Authentication, Users};
pub use lenient::{LenientListener, Limits};

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, State, WebSocketUpgrade};
use axum::http::{HeaderName, HeaderValue, Request as HttpRequest, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::command::Caller;
use super::core::Core;
use super::failure::Failure;
use super::live;
use handle::Asked;
use refusal::Refusal;
use request::{Request, form};
use route::{Entrance, Route};

const CORRELATION_ID: HeaderName = HeaderName::from_static("correlation-id");

pub struct Server {
    pub core: Core,
    pub authentication: Authentication,
    /// Bytes of bodies that may still be taken in.
    room: Semaphore,
}

impl Server {
    pub fn new(core: Core, authentication: Authentication) -> Self {
        Self { core, authentication, room: Semaphore::new(body::BODIES_MAX) }
    }
}

/// Everything is one fallback: Ditto's paths are no templates (see [`route`]).
pub fn router(server: Arc<Server>) -> Router {
    Router::new().fallback(answer).with_state(server)
}

async fn answer(State(server): State<Arc<Server>>, request: HttpRequest<Body>) -> Response {
    server.core.counts.requests.fetch_add(1, Ordering::Relaxed);
    let correlation_id = correlation_id(&request);
    let untraced =
        [header::TRANSFER_ENCODING, header::UPGRADE].iter().any(|n| request.headers().contains_key(n));
    let mut response =
        dispatch(&server, request, &correlation_id).await.unwrap_or_else(IntoResponse::into_response);
    response.headers_mut().insert(CORRELATION_ID, correlation_id);
    if untraced && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // where the next head would begin is not followed, see `mender`
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The one given, as a parameter or as a header; a fresh one otherwise.
fn correlation_id(request: &HttpRequest<Body>) -> HeaderValue {
    let parameters = form(request.uri().query().unwrap_or_default().as_bytes());
    let parameter = parameters.into_iter().find(|(name, _)| name == "correlation-id");
    let parameter = parameter.and_then(|(_, id)| HeaderValue::from_maybe_shared(id).ok());
    let given = parameter.or_else(|| request.headers().get(CORRELATION_ID).cloned());
    let fresh = || HeaderValue::from_str(&uuid::Uuid::new_v4().to_string());
    given.unwrap_or_else(|| fresh().unwrap_or(HeaderValue::from_static("none")))
}

async fn dispatch(
    server: &Arc<Server>,
    http: HttpRequest<Body>,
    correlation_id: &HeaderValue,
) -> Result<Response, Refusal> {
    let (mut parts, body) = http.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await.ok();
    let mut request = Request::read(&parts.uri, parts.headers)?;
    request.correlation_id = String::from_utf8_lossy(correlation_id.as_bytes()).into_owned();
    let method = parts.method.as_str();
    if !matches!(
        method,
        "GET" | "PUT" | "POST" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS" | "TRACE" | "CONNECT"
    ) {
        return Err(Refusal::Text(501, "the server does not know this method"));
    }
    let (route, subjects) = match route::entrance(&request.path)? {
        Entrance::Open(route) => (route, vec![]),
        Entrance::Guarded(route) => (route, server.authentication.subjects(&request)?),
        Entrance::Socket => {
            let upgrade = upgrade.ok_or(Refusal::Text(400, "this path takes WebSocket upgrades only"))?;
            let subjects = server.authentication.subjects(&request)?;
            return Ok(live::upgrade(Arc::clone(server), upgrade, &request, subjects)?);
        }
        Entrance::Api(segments) => {
            let subjects = server.authentication.subjects(&request)?;
            (route::api(&segments)?, subjects)
        }
    };
    if method == "GET"
        && live::streams(&route)
        && request.header("accept").is_some_and(|types| types.contains("text/event-stream"))
    {
        let caller = Caller { subjects, now: handle::now() };
        return live::stream(server, route, &request, caller);
    }
    if !route.allowed().split(", ").any(|allowed| allowed == method) {
        return match (&route, method) {
            (Route::MigrateDefinition, _) => Err(unsupported_type().into()),
            _ => Err(Refusal::Method(route.allowed())),
        };
    }
    let body = body::read(&request.headers, body, &server.room).await?;
    let caller = Caller { subjects, now: handle::now() };
    handle::handle(server, route, &Asked { request: &request, method, body: &body.bytes, caller }).await
}

fn unsupported_type() -> Failure {
    Failure::new(
        415,
        "mediatype.unsupported",
        "use application/json, or application/merge-patch+json for PATCH",
    )
}
