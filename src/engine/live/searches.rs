//! Searches over a WebSocket: subscribe, then request page after page.
//! Source: Ditto 3.8, `protocol-specification-things-search.md`.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::command::Caller;
use super::super::core::Core;
use super::super::failure::Failure;
use super::super::fields::Selector;
use super::super::search::{self, Item, Query};
use super::protocol::Envelope;

/// Searches one session has open; one more is refused with 429.
const OPEN_MAX: usize = 100;
/// Pages one request may ask for: each is a frame.
const DEMAND_MAX: u64 = 100;

/// The open searches of one session.
#[derive(Default)]
pub struct Searches {
    next: u64,
    open: BTreeMap<String, Search>,
}

struct Search {
    query: Result<Query, Failure>,
}

/// What a frame asked for; [`Searches::next`] tells it frame by frame.
pub struct Asked {
    correlation_id: Option<Value>,
    /// The next frame, when it is known.
    ready: Option<Value>,
    /// Of the search whose pages are told.
    id: String,
    /// That are still wanted.
    pages: u64,
}

impl Asked {
    fn frame(&self, action: &str, value: &Value) -> Value {
        let mut headers = json!({"content-type": "application/json"});
        if let Some(id) = &self.correlation_id {
            headers["correlation-id"] = id.clone();
        }
        json!({"topic": format!("_/_/things/twin/search/{action}"), "headers": headers, "path": "/", "value": value})
    }

    fn failed(&self, id: &str, failure: &Failure) -> Value {
        self.frame("failed", &json!({"subscriptionId": id, "error": failure.body()}))
    }
}

impl Searches {
    /// Takes a `subscribe`, `request` or `cancel`.
    pub fn begin(&mut self, action: &str, envelope: Envelope) -> Asked {
        let correlation_id = envelope.headers.get("correlation-id").cloned();
        let mut asked = Asked { correlation_id, ready: None, id: String::new(), pages: 0 };
        if action == "subscribe" {
            asked.ready = Some(if self.open.len() >= OPEN_MAX {
                let message = "too many searches are open: cancel one";
                asked.failed("", &Failure::new(429, "too.many.requests", message))
            } else {
                let id = self.next.to_string();
                self.next += 1;
                self.open.insert(id.clone(), Search { query: query(&envelope) });
                asked.frame("created", &json!({"subscriptionId": id}))
            });
            return asked;
        }
        let value = envelope.value.unwrap_or_default();
        let id = value["subscriptionId"].as_str().unwrap_or_default();
        let demand = value["demand"].as_u64().filter(|demand| *demand > 0);
        if !self.open.contains_key(id) {
            let message = "no search of this id is open";
            let failure = Failure::new(404, "thing-search:subscription.not.found", message);
            asked.ready = Some(asked.failed(id, &failure));
        } else if action == "cancel" {
            self.open.remove(id);
        } else if let Some(demand) = demand {
            (asked.id, asked.pages) = (id.to_owned(), demand.min(DEMAND_MAX));
        } else {
            let message = "`demand` must be above 0";
            let failure = Failure::new(400, "thing-search:subscription.protocol.error", message);
            asked.ready = Some(asked.failed(id, &failure));
        }
        asked
    }

    /// The next frame; a page is looked for when the one before was taken, so that one of them is in memory.
    pub fn next(&mut self, asked: &mut Asked, core: &Core, caller: &Caller) -> Option<Value> {
        loop {
            if let Some(ready) = asked.ready.take() {
                return Some(ready);
            }
            asked.pages = asked.pages.checked_sub(1)?;
            let (items, last) = match self.open.get_mut(&asked.id)?.turn(core, caller) {
                Ok((items, true)) => (items, None),
                Ok((items, false)) => {
                    (items, Some(asked.frame("complete", &json!({"subscriptionId": asked.id}))))
                }
                Err(failure) => (vec![], Some(asked.failed(&asked.id, &failure))),
            };
            if last.is_some() {
                self.open.remove(&asked.id);
                (asked.ready, asked.pages) = (last, 0);
            }
            if !items.is_empty() {
                let page = json!({"subscriptionId": asked.id, "items": items});
                return Some(asked.frame("next", &page));
            }
        }
    }
}

impl Search {
    /// The next page, and whether another follows.
    fn turn(&mut self, core: &Core, caller: &Caller) -> Result<(Vec<Item>, bool), Failure> {
        let query = self.query.as_mut().map_err(|failure| failure.clone())?;
        let page = search::run(&core.snapshot(), query, caller)?;
        if let Some(cursor) = &page.cursor {
            query.turn(cursor);
        }
        Ok((page.items, page.cursor.is_some()))
    }
}

fn query(envelope: &Envelope) -> Result<Query, Failure> {
    let value = envelope.value.clone().unwrap_or_default();
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let namespaces = value["namespaces"].as_array();
    let namespaces = namespaces.map(|all| all.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect());
    Ok(Query {
        filters: text("filter").into_iter().collect(),
        namespaces,
        options: text("options").filter(|options| !options.is_empty()),
        fields: envelope.fields.as_deref().map(Selector::parse).transpose()?,
        wildcards: false,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::super::super::command::{Command, Headers, Target, Verb};
    use super::super::super::place::ThingPlace;
    use super::super::event::Cause;
    use super::super::hub::Hub;
    use super::*;
    use crate::twin::id::ThingId;

    async fn put(core: &Core, id: &str, caller: &Caller) {
        let target = Target::Thing(ThingId::parse(id).expect("an id"), ThingPlace::root());
        let command = Command { target, verb: Verb::Put, body: json!({}), headers: Headers::default() };
        core.execute(&command, caller, &Cause::default()).await.expect("it is written");
    }

    fn envelope(value: &Value) -> Envelope {
        let frame = json!({"topic": "_/_/things/twin/search/request", "path": "/", "value": value});
        Envelope::parse(&frame.to_string()).expect("an envelope")
    }

    #[tokio::test]
    async fn a_page_is_looked_for_when_the_one_before_was_taken() {
        let counts = Arc::default();
        let hub = Hub::start(CancellationToken::new(), Arc::clone(&counts));
        let core = Core { state: Arc::default(), counts, committer: None, hub };
        let caller = Caller { subjects: vec!["nginx:ditto".to_owned()], now: 1_000 };
        for id in ["n:1", "n:2"] {
            put(&core, id, &caller).await;
        }
        let mut searches = Searches::default();
        searches.begin("subscribe", envelope(&json!({"options": "size(1)"})));
        let request = envelope(&json!({"subscriptionId": "0", "demand": 100}));
        let mut asked = searches.begin("request", request);
        let mut next = || searches.next(&mut asked, &core, &caller);
        let id = |frame: Option<Value>| frame.map(|frame| frame["value"]["items"][0]["thingId"].clone());
        assert_eq!(id(next()), Some(json!("n:1")));
        put(&core, "n:3", &caller).await;
        assert_eq!([id(next()), id(next())], [Some(json!("n:2")), Some(json!("n:3"))]);
        let complete = next().expect("an end");
        assert_eq!(complete["topic"], "_/_/things/twin/search/complete", "{complete}");
        assert_eq!(next(), None);
    }
}
