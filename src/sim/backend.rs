//! Ditto: the engine itself, in process, and a ledger of what devices wrote.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::http::{Request, Response};
use serde_json::{Value, json};

use super::wire::Asked;
use crate::engine::in_process::{InProcess, Snapshot};
use crate::twin::json::Pointer;

/// The subject of the operator.
pub const OPERATOR: &str = "sim:operator";
/// The subject of whoever works in Ditto by hand.
pub const PEOPLE: &str = "sim:people";
/// The subject of devices.
pub const DEVICE: &str = "sim:device";

pub struct Backend {
    engine: InProcess,
    /// As it was before the last write of anybody.
    before: Snapshot,
    /// Writes of the operator that Ditto took.
    pub writes: u64,
    /// What devices wrote last, by thing and path; `None` is what they took away.
    ledger: BTreeMap<(String, Pointer), Option<Value>>,
    /// Ids that anybody ever wrote to.
    pub things: BTreeSet<String>,
    pub policies: BTreeSet<String>,
}

impl Backend {
    pub fn new() -> Self {
        let engine = InProcess::new();
        let before = engine.snapshot();
        let (ledger, things, policies) = Default::default();
        Self { engine, before, writes: 0, ledger, things, policies }
    }

    pub fn thing(&self, id: &str) -> Option<Arc<Value>> {
        self.engine.thing(id)
    }

    /// Every thing that anybody ever wrote to, as it stands.
    pub fn all_things(&self) -> BTreeMap<String, Arc<Value>> {
        self.things.iter().filter_map(|id| Some((id.clone(), self.thing(id)?))).collect()
    }

    pub fn policy(&self, id: &str) -> Option<Arc<Value>> {
        self.engine.policy(id)
    }

    /// The operator asks; from what was, when `stale`.
    pub fn answer(&mut self, asked: &Asked, stale: bool) -> Response<Vec<u8>> {
        if stale {
            return InProcess::at(&self.before).call(asked.request.clone());
        }
        let writes = asked.writes();
        if writes {
            self.remember(asked.path());
        }
        let response = self.engine.call(asked.request.clone());
        if writes && response.status().is_success() {
            self.writes += 1;
        }
        response
    }

    fn remember(&mut self, path: &str) {
        self.before = self.engine.snapshot();
        let mut parts = path.trim_start_matches("/api/2/").split('/');
        match (parts.next(), parts.next()) {
            (Some("things"), Some(id)) => self.things.insert(id.to_owned()),
            (Some("policies"), Some(id)) => self.policies.insert(id.to_owned()),
            _ => false,
        };
    }

    /// Somebody else does something; `false` when Ditto refuses it.
    pub fn by_hand(&mut self, subject: &str, method: &str, target: &str, body: Option<&Value>) -> bool {
        self.by_hand_with(subject, method, target, body, &[])
    }

    pub fn by_hand_with(
        &mut self,
        subject: &str,
        method: &str,
        target: &str,
        body: Option<&Value>,
        headers: &[(&str, String)],
    ) -> bool {
        self.remember(&format!("/api/2{target}"));
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/2{target}"))
            .header("x-ditto-pre-authenticated", subject)
            .header("content-type", kind);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let taken = self.engine.call(request.body(body).expect("a request")).status().is_success();
        if method == "DELETE" {
            // A thing that went took its values along.
            self.ledger.retain(|(id, _), _| self.engine.thing(id).is_some());
        }
        taken
    }

    /// A device writes one value, or takes it away with `None`.
    pub fn device(&mut self, id: &str, path: &str, value: Option<Value>) -> bool {
        let mut body = json!({});
        let pointer = Pointer::parse(path);
        pointer.set(&mut body, value.clone().unwrap_or(Value::Null));
        // At `/features`, as the bridge does: a missing thing is not created.
        let taken = self.by_hand(DEVICE, "PATCH", &format!("/things/{id}/features"), Some(&body["features"]));
        if taken {
            self.ledger.insert((id.to_owned(), pointer), value);
        }
        taken
    }

    /// Every device value that is not there any more (I4), but for those of things that went.
    pub fn lost_values(&mut self) -> Vec<String> {
        let mut lost = vec![];
        let engine = &self.engine;
        self.ledger.retain(|(id, path), value| {
            let Some(thing) = engine.thing(id) else { return false };
            if path.get(&thing) != value.as_ref() {
                lost.push(format!("{id}{path} was {value:?} and is {:?}", path.get(&thing)));
            }
            true
        });
        lost
    }
}

/// A refusal in Ditto's words.
pub fn refusal(status: u16) -> Response<Vec<u8>> {
    let error = match status {
        412 => "things:precondition.failed",
        429 => "things:thing.toomanymodifyingrequests",
        409 => "things:thing.conflict",
        403 => "things:thing.notmodifiable",
        _ => "gateway:unavailable",
    };
    let body = json!({"status": status, "error": error, "message": "injected"});
    let builder = Response::builder().status(status).header("content-type", "application/json");
    builder.body(body.to_string().into_bytes()).expect("an answer")
}
