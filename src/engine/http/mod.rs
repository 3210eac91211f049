//! HTTP in front of the core: from bytes to a command, from an answer to bytes.
mod auth;
pub mod handle;
mod lenient;
pub mod refusal;
pub mod request;
pub mod route;

pub use auth::{Authentication, Users};
pub use lenient::LenientListener;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, State, WebSocketUpgrade};
use axum::http::{HeaderName, HeaderValue, Request as HttpRequest};
use axum::response::{IntoResponse, Response};

use super::command::Caller;
use super::core::Core;
use super::failure::Failure;
use super::live;
use handle::Asked;
use refusal::Refusal;
use request::Request;
use route::{Entrance, Route};

/// The largest request body, in bytes. Source: Ditto 3.8, `pekko.http.server.parsing.max-content-length` (`1m`).
const BODY_MAX: usize = 1024 * 1024;
const CORRELATION_ID: HeaderName = HeaderName::from_static("correlation-id");

pub struct Server {
    pub core: Core,
    pub authentication: Authentication,
}

/// Everything is one fallback: Ditto's paths are no templates (see [`route`]).
pub fn router(server: Arc<Server>) -> Router {
    Router::new().fallback(answer).with_state(server)
}

async fn answer(State(server): State<Arc<Server>>, request: HttpRequest<Body>) -> Response {
    server.core.counts.requests.fetch_add(1, Ordering::Relaxed);
    let given = request.headers().get(CORRELATION_ID).cloned();
    let id = given.unwrap_or_else(|| {
        let fresh = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string());
        fresh.unwrap_or(HeaderValue::from_static("none"))
    });
    let mut response = dispatch(&server, request, &id).await.unwrap_or_else(IntoResponse::into_response);
    response.headers_mut().insert(CORRELATION_ID, id);
    response
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
    let Ok(body) = axum::body::to_bytes(body, BODY_MAX).await else {
        return Err(Refusal::Text(413, "the body is larger than 1 MiB"));
    };
    let caller = Caller { subjects, now: handle::now() };
    handle::handle(server, route, &Asked { request: &request, method, body: &body, caller }).await
}

fn unsupported_type() -> Failure {
    Failure::new(
        415,
        "mediatype.unsupported",
        "use application/json, or application/merge-patch+json for PATCH",
    )
}
