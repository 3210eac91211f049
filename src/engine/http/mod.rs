//! HTTP in front of the core: from bytes to a command, from an answer to bytes.
mod acks;
mod auth;
mod cloudevents;
mod handle;
mod lenient;
mod refusal;
mod request;
mod route;

pub use auth::{Authentication, Users};
pub use lenient::LenientListener;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Request as HttpRequest};
use axum::response::{IntoResponse, Response};

use super::command::Caller;
use super::core::Core;
use super::failure::Failure;
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
    let correlation_id = request.headers().get(CORRELATION_ID).cloned();
    let mut response = dispatch(&server, request).await.unwrap_or_else(IntoResponse::into_response);
    let fresh = || HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).ok();
    if let Some(id) = correlation_id.or_else(fresh) {
        response.headers_mut().insert(CORRELATION_ID, id);
    }
    response
}

async fn dispatch(server: &Server, http: HttpRequest<Body>) -> Result<Response, Refusal> {
    let (parts, body) = http.into_parts();
    let request = Request::read(&parts.uri, parts.headers)?;
    let method = parts.method.as_str();
    if !matches!(
        method,
        "GET" | "PUT" | "POST" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS" | "TRACE" | "CONNECT"
    ) {
        return Err(Refusal::Text(501, "the server does not know this method"));
    }
    let (route, subjects) = match route::entrance(&request.path)? {
        Entrance::Open(route) => (route, vec![]),
        Entrance::Api(segments) => {
            let subjects = server.authentication.subjects(&request)?;
            (route::api(&segments)?, subjects)
        }
    };
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
