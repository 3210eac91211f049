//! Event streams (`text/event-stream`): changes of things, messages, and the hits of a search.
//! Source: Ditto 3.8, `ThingsSseRouteBuilder.java`; WHATWG HTML, "Server-sent events".
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use serde_json::{Value, json};

use super::super::command::Caller;
use super::super::core::Core;
use super::super::failure::Failure;
use super::super::fields::Selector;
use super::super::http::Server;
use super::super::http::handle::now;
use super::super::http::query::query;
use super::super::http::refusal::Refusal;
use super::super::http::request::Request;
use super::super::http::route::{self, Route};
use super::super::search::{self, Item, Query};
use super::super::time;
use super::event::Event;
use super::filter::{self, Filter};
use super::hub::{Interests, Signal, Subscription};
use super::message::{Address, Message};
use crate::twin::json::Pointer;

/// An empty event this often keeps proxies from closing the stream, as in Ditto 3.8.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Whether the route has a stream.
pub fn streams(route: &Route) -> bool {
    matches!(route, Route::Things | Route::Thing(..) | Route::Message(_) | Route::Search)
}

pub fn open(
    server: &Arc<Server>,
    route: Route,
    request: &Request,
    caller: Caller,
) -> Result<Response, Refusal> {
    for name in ["from-historical-revision", "from-historical-timestamp"] {
        if request.parameter(name).is_some() {
            return Err(Failure::not_built("a stream of the past").into());
        }
    }
    match route {
        Route::Search => hits(server, request, caller),
        Route::Message(address) => {
            let filter = Filter { ids: Some(vec![address.thing.to_string()]), ..read(request)? };
            let subscription = server.core.hub.subscribe(caller.subjects, vec![])?;
            subscription.want(Interests { messages: Some(Arc::new(filter)), ..Interests::default() });
            Ok(signals(
                server,
                subscription,
                Shown { fields: None, place: Pointer::root(), mailbox: Some(address) },
            ))
        }
        route => {
            let mut filter = read(request)?;
            let mut place = Pointer::root();
            if let Route::Thing(id, part) = route {
                filter.ids = Some(vec![id.to_string()]);
                place = part.pointer;
            }
            for id in filter.ids.iter().flatten() {
                route::thing_id(id)?;
            }
            // the path of a part stands for `fields`, as in Ditto
            let fields = request.parameter("fields").filter(|_| place.is_root());
            let fields = fields.map(filter::fields).transpose()?;
            let subscription = server.core.hub.subscribe(caller.subjects, vec![])?;
            subscription.want(Interests { events: Some(Arc::new(filter)), ..Interests::default() });
            Ok(signals(server, subscription, Shown { fields, place, mailbox: None }))
        }
    }
}

fn read(request: &Request) -> Result<Filter, Failure> {
    Filter::read(|name| request.parameter(name))
}

/// What of an event goes out.
struct Shown {
    fields: Option<Selector>,
    place: Pointer,
    mailbox: Option<Address>,
}

fn signals(server: &Arc<Server>, subscription: Subscription, shown: Shown) -> Response {
    let stop = subscription.hub().stop.clone();
    let held = (Arc::clone(server), subscription, shown);
    let sent = stream::unfold(held, |(server, mut subscription, shown)| async move {
        loop {
            let reader = Caller { subjects: subscription.subscriber.subjects.clone(), now: now() };
            let sent = match subscription.next().await? {
                Signal::Event(event, filter) => shown.event(&server.core, &event, &filter, &reader),
                Signal::Message(message, filter) => shown.message(&server.core, &message, &filter, &reader),
                Signal::Live(..) => None,
            };
            if let Some(sent) = sent {
                return Some((sent, (server, subscription, shown)));
            }
        }
    });
    respond(sent.take_until(stop.cancelled_owned()))
}

fn respond(sent: impl Stream<Item = Sent> + Send + 'static) -> Response {
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).event(Sent::default().data(""));
    Sse::new(sent.map(Ok::<_, Infallible>)).keep_alive(keep_alive).into_response()
}

fn line(data: &str) -> Sent {
    Sent::default().data(data)
}

impl Shown {
    fn event(&self, core: &Core, event: &Event, filter: &Filter, reader: &Caller) -> Option<Sent> {
        let extra = filter.extra(core, event.after.as_deref(), event.enforcer.as_deref(), reader);
        if !filter.passes(event, extra.as_ref(), reader.now) {
            return None;
        }
        let mut thing = event.sparse();
        filter::add(&mut thing, extra.as_ref());
        if let Some(fields) = &self.fields {
            thing["_namespace"] = json!(event.thing_id.namespace());
            thing["_revision"] = json!(event.revision);
            thing["_modified"] = json!(time::print(event.at));
            if fields.names("_context") {
                thing["_context"] = json!({"topic": event.topic(), "path": event.path.to_string(),
                    "value": event.value(), "headers": event.headers(&[])});
            }
            let features = Pointer::of(["features"]);
            thing = fields.with_features(&thing, &features).select(&thing);
        } else if let Value::Object(members) = &mut thing {
            members.retain(|name, _| !name.starts_with('_'));
        }
        let seen = self.place.get(&thing)?;
        let empty = seen.as_object().is_some_and(serde_json::Map::is_empty) && self.place.is_root();
        (!empty).then(|| line(&seen.to_string()))
    }

    fn message(&self, core: &Core, message: &Message, filter: &Filter, reader: &Caller) -> Option<Sent> {
        let extra = filter.extra(core, message.thing.as_deref(), message.enforcer.as_deref(), reader);
        let mine = self.mailbox.as_ref().is_some_and(|mailbox| message.address.is_within(mailbox));
        if !mine || !filter.passes_live(message, extra.as_ref(), reader.now) {
            return None;
        }
        let data = String::from_utf8_lossy(&message.payload.bytes()).into_owned();
        Some(line(&data).event(message.address.subject()))
    }
}

/// The hits not sent yet, read page by page.
struct Hits {
    server: Arc<Server>,
    query: Query,
    caller: Caller,
    page: VecDeque<Value>,
    more: bool,
    /// Everything up to this thing was sent before the stream broke.
    after: Option<String>,
}

impl Hits {
    fn turn(&mut self) -> Result<(), Failure> {
        let page = search::run(&self.server.core.snapshot(), &self.query, &self.caller)?;
        self.page = page.items.into_iter().map(Item::into_value).collect();
        self.more = page.cursor.is_some();
        if let Some(cursor) = page.cursor {
            self.query.turn(&cursor);
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Sent> {
        loop {
            while let Some(thing) = self.page.pop_front() {
                let id = thing["thingId"].as_str().map(str::to_owned);
                match (&self.after, &id) {
                    (Some(after), Some(id)) if after == id => self.after = None,
                    (Some(_), _) => {}
                    (None, Some(id)) => return Some(line(&thing.to_string()).id(id)),
                    (None, None) => return Some(line(&thing.to_string())),
                }
            }
            if !self.more {
                return None;
            }
            if let Err(failure) = self.turn() {
                self.more = false;
                return Some(line(&failure.body().to_string()));
            }
        }
    }
}

fn hits(server: &Arc<Server>, request: &Request, caller: Caller) -> Result<Response, Refusal> {
    let server = Arc::clone(server);
    // a stream has one filter, read as it stands (Ditto 3.8, `ThingsSseRouteBuilder.java`)
    let filters = request.parameter("filter").map(str::to_owned).into_iter().collect();
    let query = Query { filters, ..query(&request.parameters)? };
    let after = request.header("last-event-id");
    let mut hits = Hits { server, query, caller, page: VecDeque::new(), more: false, after };
    hits.turn()?;
    let stop = hits.server.core.hub.stop.clone();
    let sent = stream::unfold(hits, |mut hits| async move { hits.next().map(|sent| (sent, hits)) });
    Ok(respond(sent.take_until(stop.cancelled_owned())))
}
