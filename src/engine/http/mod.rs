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
mod quick;
pub mod refusal;
pub mod request;
pub mod route;
mod words;

pub use auth::{Authentication, Users};
pub use lenient::{Accepted, LenientListener, Limits};

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::{FromRequestParts, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Request as HttpRequest, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::command::Caller;
use super::core::Core;
use super::failure::Failure;
use super::live;
use handle::Asked;
use refusal::Refusal;
use request::{Request, form};
use route::{Entrance, Route};

const CORRELATION_ID: HeaderName = HeaderName::from_static("correlation-id");
const METHODS: [&str; 9] = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT"];

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

/// Serves a connection until one of both sides hangs up; after `stop` what was asked is answered, and no more.
pub async fn connection(accepted: Accepted, server: Arc<Server>, stop: CancellationToken) {
    let stream = match accepted.open() {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "a connection could not be served"),
    };
    let service = service_fn(move |request: HttpRequest<Incoming>| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(answer(server, request.map(Body::new)).await) }
    });
    let http = Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut http = pin!(http);
    let ended = tokio::select! {
        ended = &mut http => ended,
        () = stop.cancelled() => {
            http.as_mut().graceful_shutdown();
            http.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// The one handler of all requests: Ditto's paths are no templates (see [`route`]).
pub async fn answer(server: Arc<Server>, http: HttpRequest<Body>) -> Response {
    server.core.counts.requests.fetch_add(1, Ordering::Relaxed);
    let correlation_id = correlation_id(&http);
    let untraced =
        [header::TRANSFER_ENCODING, header::UPGRADE].iter().any(|n| http.headers().contains_key(n));
    let (mut parts, body) = http.into_parts();
    let answered = match Asking::read(&server, &mut parts, &correlation_id) {
        Ok(asking) => match quick::answer(&server, &asking, &body) {
            Some(answered) => answered,
            // the way of everything else is long: boxed, it costs the quick ones nothing
            None => Box::pin(dispatch(&server, asking, parts, body)).await,
        },
        Err(refusal) => Err(refusal),
    };
    let mut response = answered.unwrap_or_else(IntoResponse::into_response);
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
    // not of the system's own randomness: a call of the kernel for each request, and nobody has to guess it
    let fresh = || {
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        HeaderValue::from_str(id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()))
    };
    given.unwrap_or_else(|| fresh().unwrap_or(HeaderValue::from_static("none")))
}

/// A request of which the head is read: its sender is known, its body is not looked at.
struct Asking {
    request: Request,
    method: Method,
    way: Way,
    subjects: Vec<String>,
}

enum Way {
    Socket,
    Stream(Route),
    Command(Route),
}

impl Asking {
    fn read(server: &Server, parts: &mut Parts, correlation_id: &HeaderValue) -> Result<Self, Refusal> {
        let mut request = Request::read(&parts.uri, std::mem::take(&mut parts.headers))?;
        request.correlation_id = String::from_utf8_lossy(correlation_id.as_bytes()).into_owned();
        let method = parts.method.clone();
        if !METHODS.contains(&method.as_str()) {
            return Err(Refusal::Text(501, "the server does not know this method"));
        }
        let (route, subjects) = match route::entrance(&request.path)? {
            Entrance::Open(route) => (route, vec![]),
            Entrance::Guarded(route) => (route, server.authentication.subjects(&request)?),
            Entrance::Socket => {
                return Ok(Self { request, method, way: Way::Socket, subjects: vec![] });
            }
            Entrance::Api(segments) => {
                let subjects = server.authentication.subjects(&request)?;
                (route::api(&segments)?, subjects)
            }
        };
        if method == Method::GET
            && live::streams(&route)
            && request.header("accept").is_some_and(|types| types.contains("text/event-stream"))
        {
            return Ok(Self { request, method, way: Way::Stream(route), subjects });
        }
        if !route.allowed().split(", ").any(|allowed| allowed == method.as_str()) {
            return match (&route, method.as_str()) {
                (Route::MigrateDefinition, _) => Err(unsupported_type().into()),
                _ => Err(Refusal::Method(route.allowed())),
            };
        }
        Ok(Self { request, method, way: Way::Command(route), subjects })
    }
}

async fn dispatch(
    server: &Arc<Server>,
    asking: Asking,
    mut parts: Parts,
    body: Body,
) -> Result<Response, Refusal> {
    let Asking { request, method, way, subjects } = asking;
    match way {
        Way::Socket => {
            parts.headers = request.headers.clone();
            let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
            let upgrade =
                upgrade.map_err(|_| Refusal::Text(400, "this path takes WebSocket upgrades only"))?;
            let subjects = server.authentication.subjects(&request)?;
            Ok(live::upgrade(Arc::clone(server), upgrade, &request, subjects)?)
        }
        Way::Stream(route) => {
            let caller = Caller { subjects, now: handle::now() };
            live::stream(server, route, &request, caller)
        }
        Way::Command(route) => {
            let body = body::read(&request.headers, body, &server.room).await?;
            let caller = Caller { subjects, now: handle::now() };
            let asked = Asked { request: &request, method: method.as_str(), body: &body.bytes, caller };
            handle::handle(server, route, &asked).await
        }
    }
}

fn unsupported_type() -> Failure {
    Failure::new(
        415,
        "mediatype.unsupported",
        "use application/json, or application/merge-patch+json for PATCH",
    )
}
