//! Things through Ditto's HTTP API.
use serde_json::{Map, Value, json};

use crate::ports::{FoundThing, Hits, Metadata, Refused, Search, ThingPatch, Things};
use crate::twin::id::ThingId;
use crate::twin::json::{Object, Pointer};
use crate::twin::mark::ascii;

use super::calls::Verb;
use super::client::{DittoClient, OVERSIZED};
use super::fields::selector;
use super::policies::{not_understood, revision};
use super::request::{Request, encoded_length};

/// The longest path and query of a batch, in bytes: 1 KiB under Ditto's limit, for a proxy's prefix.
pub(super) const URI_BYTES_MAX: usize = 7 * 1_024;
/// Things in one batch: with short ids a URI holds many more, and their answer would be slow to make.
const BATCH_MAX: usize = 200;
/// The largest page of a search. Source: Ditto 3.8, `LIMITS_THINGS_SEARCH_MAX_PAGE_SIZE`.
const PAGE_MAX: u32 = 200;
const MERGE_PATCH: &str = "application/merge-patch+json";

impl Things for DittoClient {
    fn header_room(&self) -> usize {
        Self::header_room(self)
    }

    async fn find_thing(&self, id: &ThingId, fields: &[Pointer]) -> Result<Option<FoundThing>, Refused> {
        let request = Request::new(Verb::Get, &["things", id.as_str()]).query("fields", &selector(fields));
        match self.call(request).await {
            Ok(answer) => {
                let found = found(&answer.body, Some(id), answer.revision);
                found.map(Some).ok_or_else(|| not_understood("the answer is no thing with a revision"))
            }
            Err(Refused::Missing(_)) => Ok(None),
            Err(refused) => Err(refused),
        }
    }

    fn batch(&self, ids: &[ThingId], fields: &[Pointer]) -> usize {
        let room = URI_BYTES_MAX.saturating_sub(encoded_length(&selector(fields)));
        // More than this never fit, and need not be measured.
        batches(&ids[..ids.len().min(BATCH_MAX)], room).first().map_or(0, |batch| batch.len())
    }

    async fn find_things(&self, ids: &[ThingId], fields: &[Pointer]) -> Result<Vec<FoundThing>, Refused> {
        let selector = selector(fields);
        let mut things = Vec::with_capacity(ids.len());
        let mut waiting = batches(ids, URI_BYTES_MAX.saturating_sub(encoded_length(&selector)));
        waiting.reverse();
        while let Some(batch) = waiting.pop() {
            if let [id] = batch {
                things.extend(self.find_thing(id, fields).await?);
                continue;
            }
            match self.find_batch(batch, &selector).await {
                Ok(found) => things.extend(found),
                Err(Refused::TooLarge(said)) if said.code == OVERSIZED => {
                    let (first, second) = batch.split_at(batch.len() / 2);
                    waiting.extend([second, first]);
                }
                Err(refused) => return Err(refused),
            }
        }
        Ok(things)
    }

    async fn create_thing(&self, id: &ThingId, body: &Value, mark: &Value) -> Result<u64, Refused> {
        let request = Request::new(Verb::Put, &["things", id.as_str()])
            .header("if-none-match", "*")?
            .header("put-metadata", &put_metadata(mark))?
            .json("application/json", body);
        revision(&self.call(request).await?)
    }

    async fn patch_thing(&self, id: &ThingId, patch: &ThingPatch) -> Result<u64, Refused> {
        let mut request =
            Request::new(Verb::Patch, &["things", id.as_str()]).query("condition", &patch.condition);
        for (name, value) in patch_headers(patch) {
            request = request.header(name, &value)?;
        }
        revision(&self.call(request.json(MERGE_PATCH, &patch.body)).await?)
    }

    /// A thing that is there and hidden answers a condition with 412, so [`Refused::Changed`].
    async fn delete_thing(&self, id: &ThingId, condition: &str) -> Result<(), Refused> {
        let request = Request::new(Verb::Delete, &["things", id.as_str()]).query("condition", condition);
        self.call(request).await.map(drop)
    }

    async fn search_things(&self, search: &Search) -> Result<Hits, Refused> {
        let mut size = search.size.clamp(1, PAGE_MAX);
        loop {
            match self.call(search_request(search, size)).await {
                Ok(answer) => return hits(&answer.body),
                Err(Refused::TooLarge(said)) if said.code == OVERSIZED && size > 1 => size /= 2,
                Err(refused) => return Err(refused),
            }
        }
    }

    async fn count_things(&self, filter: &str) -> Result<u64, Refused> {
        let request = Request::new(Verb::Get, &["search", "things", "count"]).query("filter", filter);
        let answer = self.call(request).await?;
        answer.body.as_u64().ok_or_else(|| not_understood("the answer is no count"))
    }
}

impl DittoClient {
    async fn find_batch(&self, batch: &[ThingId], selector: &str) -> Result<Vec<FoundThing>, Refused> {
        let ids = batch.iter().map(ThingId::as_str).collect::<Vec<_>>().join(",");
        let request = Request::new(Verb::Get, &["things"]).query("ids", &ids).query("fields", selector);
        let answer = self.call(request).await?;
        let things =
            answer.body.as_array().ok_or_else(|| not_understood("the answer is no list of things"))?;
        Ok(things.iter().filter_map(|thing| found(thing, None, None)).collect())
    }
}

/// What a patch takes of Ditto's limit on headers, in bytes of names and values: mark, guards and fence.
/// Compare it with [`DittoClient::header_room`].
pub fn header_bytes(patch: &ThingPatch) -> usize {
    let headers = patch_headers(patch).iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    headers + "condition".len() + patch.condition.len()
}

fn patch_headers(patch: &ThingPatch) -> Vec<(&'static str, String)> {
    let mut headers = vec![("if-match", "*".to_owned())];
    match &patch.metadata {
        Metadata::Keep => {}
        Metadata::Put(mark) => headers.push(("put-metadata", put_metadata(mark))),
        Metadata::Delete => headers.push(("delete-metadata", "twinops".to_owned())),
    }
    if !patch.guards.is_empty() {
        let guard = |(path, rql): &(Pointer, String)| {
            (path.to_string().trim_start_matches('/').to_owned(), Value::from(rql.as_str()))
        };
        let guards: Object = patch.guards.iter().map(guard).collect();
        headers.push(("merge-thing-patch-conditions", ascii(&Value::Object(guards))));
    }
    headers
}

fn put_metadata(mark: &Value) -> String {
    ascii(&json!([{"key": "/twinops", "value": mark}]))
}

fn search_request(search: &Search, size: u32) -> Request {
    let option = match &search.cursor {
        Some(cursor) => format!("size({size}),cursor({cursor})"),
        None => format!("size({size})"),
    };
    Request::new(Verb::Get, &["search", "things"])
        .query("filter", &search.filter)
        .query("namespaces", &search.namespaces.join(","))
        .query("fields", &selector(&search.fields))
        .query("option", &option)
}

/// A hit without id or revision is one that we may not read; it is left out, as Ditto does with others.
fn hits(body: &Value) -> Result<Hits, Refused> {
    let items = body["items"].as_array().ok_or_else(|| not_understood("the answer is no page of things"))?;
    Ok(Hits {
        items: items.iter().filter_map(|item| found(item, None, None)).collect(),
        cursor: body["cursor"].as_str().map(str::to_owned),
    })
}

/// `id` and `revision` stand in where the thing hides its own. `None` when it cannot be told which it is.
fn found(thing: &Value, id: Option<&ThingId>, revision: Option<u64>) -> Option<FoundThing> {
    let members = thing.as_object()?;
    let part = |key: &str| Some((key.to_owned(), members.get(key)?.clone()));
    let document: Map<_, _> = ["definition", "attributes", "features"].into_iter().filter_map(part).collect();
    Some(FoundThing {
        id: thing["thingId"].as_str().or(id.map(ThingId::as_str))?.to_owned(),
        revision: thing["_revision"].as_u64().or(revision)?,
        policy_id: thing["policyId"].as_str().map(str::to_owned),
        mark: thing["_metadata"].get("twinops").cloned(),
        document: Value::Object(document),
    })
}

/// Neighbours that fit into one URI. An id with a comma stands alone, because `ids` is divided at commas.
fn batches(ids: &[ThingId], room: usize) -> Vec<&[ThingId]> {
    let room = room.saturating_sub("/things?ids=&fields=".len());
    let mut found = vec![];
    let (mut start, mut used) = (0, 0);
    for (index, id) in ids.iter().enumerate() {
        let length = encoded_length(id.as_str()) + ",".len();
        let alone = id.as_str().contains(',');
        let after_one_alone = index > start && ids[index - 1].as_str().contains(',');
        let full = used + length > room || index - start == BATCH_MAX;
        if index > start && (alone || after_one_alone || full) {
            found.push(&ids[start..index]);
            (start, used) = (index, 0);
        }
        used += length;
    }
    if start < ids.len() {
        found.push(&ids[start..]);
    }
    found
}

#[cfg(test)]
#[path = "things_tests.rs"]
mod tests;
