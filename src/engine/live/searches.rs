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
/// Pages one request may ask for: each is read under the lock of the state and sent as a frame.
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

impl Searches {
    /// The frames that answer a `subscribe`, `request` or `cancel`.
    pub fn answer(&mut self, action: &str, envelope: Envelope, core: &Core, caller: &Caller) -> Vec<Value> {
        let correlation_id = envelope.headers.get("correlation-id").cloned();
        let frame = |action: &str, value: Value| {
            let mut headers = json!({"content-type": "application/json"});
            if let Some(id) = &correlation_id {
                headers["correlation-id"] = id.clone();
            }
            json!({"topic": format!("_/_/things/twin/search/{action}"), "headers": headers, "path": "/", "value": value})
        };
        let failed = |id: &str, failure: &Failure| {
            frame("failed", json!({"subscriptionId": id, "error": failure.body()}))
        };
        if action == "subscribe" {
            if self.open.len() >= OPEN_MAX {
                let failure =
                    Failure::new(429, "too.many.requests", "too many searches are open: cancel one");
                return vec![failed("", &failure)];
            }
            let id = self.next.to_string();
            self.next += 1;
            self.open.insert(id.clone(), Search { query: query(&envelope) });
            return vec![frame("created", json!({"subscriptionId": id}))];
        }
        let value = envelope.value.unwrap_or_default();
        let id = value["subscriptionId"].as_str().unwrap_or_default();
        let Some(search) = self.open.get_mut(id) else {
            let failure =
                Failure::new(404, "thing-search:subscription.not.found", "no search of this id is open");
            return vec![failed(id, &failure)];
        };
        if action == "cancel" {
            self.open.remove(id);
            return vec![];
        }
        let Some(demand) = value["demand"].as_u64().filter(|demand| *demand > 0) else {
            let failure =
                Failure::new(400, "thing-search:subscription.protocol.error", "`demand` must be above 0");
            return vec![failed(id, &failure)];
        };
        let mut frames = vec![];
        for _ in 0..demand.min(DEMAND_MAX) {
            match search.turn(core, caller) {
                Ok((items, more)) => {
                    if !items.is_empty() {
                        frames.push(frame("next", json!({"subscriptionId": id, "items": items})));
                    }
                    if more {
                        continue;
                    }
                    frames.push(frame("complete", json!({"subscriptionId": id})));
                }
                Err(failure) => frames.push(failed(id, &failure)),
            }
            self.open.remove(id);
            break;
        }
        frames
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
