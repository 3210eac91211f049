//! `GET /events`: the same events as an event stream. Source: WHATWG HTML, "Server-sent events".
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures::stream;
use tokio_util::sync::CancellationToken;

use super::super::Facade;
use super::super::ask::{self, Query};
use super::super::problem::Problem;
use super::Open;
use super::feed::{Heard, Listener};
use super::filter::{Filter, PARAMETERS};
use super::ws::gap;
use crate::telemetry::Telemetry;

/// A comment this often keeps proxies from closing the stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub async fn events(State(facade): State<Arc<Facade>>, request: Request) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let query = Query::read(parts.uri.query().unwrap_or_default())?;
    let query = query.only(&PARAMETERS)?;
    let caller = facade.auth.caller(&parts, query.get("access_token")).await?;
    let filter = Filter::read(query)?;
    let listener = facade.live.feeds.join(&caller, &ask::correlation(&mut parts)).await?;
    let told = Told {
        listener,
        filter,
        stop: facade.stop.clone(),
        expired: Box::pin(super::expiry(caller.expires)),
        telemetry: facade.telemetry.clone(),
        _open: Open::new(&facade.telemetry, "event_stream"),
    };
    let opened = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b": open\n\n")) });
    let told = stream::unfold(told, |mut told| async move { Some((Ok(told.next().await?), told)) });
    let mut response = Response::new(Body::from_stream(futures::StreamExt::chain(opened, told)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Told {
    listener: Listener,
    filter: Filter,
    stop: CancellationToken,
    expired: Pin<Box<dyn Future<Output = ()> + Send>>,
    telemetry: Telemetry,
    _open: Open,
}

impl Told {
    /// The next piece of the stream; `None` ends it.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let heard = tokio::select! {
                () = self.stop.cancelled() => return None,
                () = &mut self.expired => return None,
                heard = self.listener.next() => heard,
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(Bytes::from_static(b":\n\n")),
            };
            match heard {
                Heard::Event(event) if self.filter.passes(&event) => return Some(event.sse.clone()),
                Heard::Event(_) => {}
                Heard::Gap => return Some(frame(&gap("ditto", None))),
                Heard::Missed(missed) => {
                    self.telemetry.dropped("events");
                    return Some(frame(&gap("slow", Some(missed))));
                }
                Heard::Over => return None,
            }
        }
    }
}

fn frame(text: &str) -> Bytes {
    Bytes::from(format!("data: {text}\n\n"))
}
