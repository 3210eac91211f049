//! The stream of changes, as server-sent events.
//! Source: Ditto 3.8, `ThingsSseRouteBuilder.java`; WHATWG HTML, "Server-sent events".
use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::Value;

use crate::ports::{Change, Changes, Kept, Refused, Said};
use crate::twin::rql_text::disturbs;

use super::calls::Verb;
use super::client::{BODY_BYTES_MAX, DittoClient, Opened};
use super::policies::not_understood;
use super::request::{Request, encoded_length};
use super::things::URI_BYTES_MAX;

/// What can concern a twin: everything but what devices write below a feature's properties. Ditto sorts it
/// out, so that telemetry never reaches us.
const FILTER: &str = "or(not(like(resource:path,\"/features*\")),\
and(like(resource:path,\"/features/*\"),not(like(resource:path,\"/features/*/*\"))),\
like(resource:path,\"*/desiredProperties*\"),like(resource:path,\"*/definition*\"),eq(topic:action,\"deleted\"))";
/// Whose change it was; the change itself is left with Ditto.
const FIELDS: &str = "thingId,_context/headers";
/// Ditto sends an empty event each second; without any for so long the connection is dead.
const SILENCE: Duration = Duration::from_secs(10);

impl Changes for DittoClient {
    async fn changes(&self) -> Result<BoxStream<'static, Result<Change, Refused>>, Refused> {
        self.listen(FILTER).await
    }

    fn audible(&self, kept: &[Kept]) -> usize {
        let room = URI_BYTES_MAX.saturating_sub(encoded_length(FIELDS) + encoded_length("or()"));
        let mut bytes = 0;
        let fits = |kept: &&Kept| {
            bytes += encoded_length(&disturbs(kept)) + ",".len();
            bytes <= room
        };
        kept.iter().take_while(fits).count()
    }

    async fn changes_of(
        &self,
        kept: &[Kept],
    ) -> Result<BoxStream<'static, Result<Change, Refused>>, Refused> {
        let each: Vec<String> = kept.iter().map(disturbs).collect();
        match each.as_slice() {
            [one] => self.listen(one).await,
            many => self.listen(&format!("or({})", many.join(","))).await,
        }
    }
}

impl DittoClient {
    async fn listen(&self, filter: &str) -> Result<BoxStream<'static, Result<Change, Refused>>, Refused> {
        let request = Request::new(Verb::Get, &["things"])
            .query("filter", filter)
            .query("fields", FIELDS)
            .header("accept", "text/event-stream")?;
        let listening = Listening {
            opened: self.open(request).await?,
            own: self.own_prefix(),
            events: Events::default(),
            ready: VecDeque::new(),
            ended: false,
        };
        Ok(stream::unfold(listening, Listening::next).boxed())
    }
}

struct Listening {
    opened: Opened,
    own: String,
    events: Events,
    ready: VecDeque<Result<Change, Refused>>,
    ended: bool,
}

impl Listening {
    async fn next(mut self) -> Option<(Result<Change, Refused>, Self)> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                self.ended |= change.is_err();
                return Some((change, self));
            }
            if self.ended {
                return None;
            }
            match self.opened.chunk(SILENCE).await.and_then(|chunk| self.events.take(&chunk)) {
                Ok(events) => {
                    self.ready.extend(events.iter().filter_map(|data| read(data, &self.own).transpose()));
                }
                Err(refused) => self.ready.push_back(Err(refused)),
            }
        }
    }
}

/// One event; `None` when it is of no interest.
fn read(data: &str, own: &str) -> Result<Option<Change>, Refused> {
    let event: Value =
        serde_json::from_str(data).map_err(|_| not_understood("an event of the stream is no JSON"))?;
    if let (Some(code), Some(status)) = (event["error"].as_str(), event["status"].as_u64()) {
        let message = event["message"].as_str().unwrap_or_default().to_owned();
        let status = u16::try_from(status).unwrap_or_default();
        return Err(Refused::Unavailable(Said { status, code: code.to_owned(), message, ..Said::default() }));
    }
    let headers = &event["_context"]["headers"];
    if headers["correlation-id"].as_str().is_some_and(|id| id.starts_with(own)) {
        return Ok(None);
    }
    let originator = headers["ditto-originator"].as_str().filter(|subject| !subject.is_empty());
    Ok(event["thingId"]
        .as_str()
        .map(|id| Change { thing_id: id.to_owned(), originator: originator.map(str::to_owned) }))
}

/// Cuts bytes into events, as they come.
#[derive(Debug, Default)]
struct Events {
    line: Vec<u8>,
    data: String,
}

impl Events {
    /// The data of all events that ended in `chunk`, without empty ones.
    fn take(&mut self, chunk: &[u8]) -> Result<Vec<String>, Refused> {
        let mut events = vec![];
        for &byte in chunk {
            if byte != b'\n' {
                self.line.push(byte);
                if self.line.len() + self.data.len() > BODY_BYTES_MAX {
                    return Err(not_understood("an event of the stream has no end"));
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned();
            if line.is_empty() {
                let data = std::mem::take(&mut self.data);
                events.extend((!data.is_empty()).then_some(data));
            } else if let Some(data) = line.strip_prefix("data:") {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            }
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_found_however_the_bytes_are_cut() {
        let text = "data:\n\ndata: {\"a\":1}\r\n\r\n: a comment\nevent: x\nid: 7\ndata:{\"b\":\ndata: \"\u{6cf5}\"}\n\ndata: cut";
        for size in 1..=text.len() {
            let mut events = Events::default();
            let found: Vec<String> =
                text.as_bytes().chunks(size).flat_map(|chunk| events.take(chunk).unwrap()).collect();
            assert_eq!(found, ["{\"a\":1}", "{\"b\":\n\"\u{6cf5}\"}"], "in chunks of {size}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_not_kept() {
        let mut events = Events::default();
        let chunk = vec![b'x'; BODY_BYTES_MAX];
        assert_eq!(events.take(&chunk).unwrap(), [""; 0]);
        assert!(matches!(events.take(b"x"), Err(Refused::Unavailable(_))));
    }

    #[test]
    fn only_a_name_is_taken_and_own_writes_are_left_out() {
        let event = |id: &str| {
            json!({"thingId": "a:t", "_context": {"headers": {"correlation-id": id, "ditto-originator": "nginx:ada"}}}).to_string()
        };
        let change = Change { thing_id: "a:t".into(), originator: Some("nginx:ada".into()) };
        let own = "twinops-operator-1-";
        let rows = [
            ("somebody else's", event("x-7"), Some(change.clone())),
            ("ours", event("twinops-operator-1-7"), None),
            ("another operator's", event("twinops-operator-12-7"), Some(change)),
            (
                "no context",
                json!({"thingId": "a:t"}).to_string(),
                Some(Change { thing_id: "a:t".into(), originator: None }),
            ),
            ("no thing", json!({}).to_string(), None),
        ];
        for (name, data, expected) in rows {
            assert_eq!(read(&data, own).unwrap(), expected, "{name}");
        }
        let error = json!({"status": 403, "error": "things:x", "message": "no"}).to_string();
        assert!(matches!(read(&error, own), Err(Refused::Unavailable(said)) if said.code == "things:x"));
        assert!(read("{", own).is_err());
    }
}
