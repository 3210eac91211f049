//! Several things at once, named by their ids.
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;

use super::super::command::Caller;
use super::super::core::Stats;
use super::super::failure::Failure;
use super::super::fields::Selector;
use super::super::state::State;
use super::{Item, Query, at_length};
use crate::twin::id::ThingId;

/// Bytes of JSON one answer may have, about: some 160 of the largest things.
pub const ANSWER_MAX: usize = 16 * 1024 * 1024;
/// More ids than these may keep a core busy for a while.
const FEW: usize = 32;

/// The things in the order of the ids, one that is named twice also twice, as in Ditto. What is not there, or not
/// readable, is left out. 413 when they are larger than [`ANSWER_MAX`] together.
pub fn listed(
    state: &State,
    ids: &[ThingId],
    fields: Option<Selector>,
    caller: &Caller,
    counts: &Stats,
) -> Result<Vec<Item>, Failure> {
    let query = Query { fields, wildcards: true, ..Query::default() };
    let look = || gather(state, ids, &query, caller);
    let found = if ids.len() > FEW { at_length(look) } else { look() };
    found.ok_or_else(|| {
        counts.answers_too_large.fetch_add(1, Ordering::Relaxed);
        let message =
            format!("these things have more than {ANSWER_MAX} bytes together: ask for fewer at once");
        Failure::new(413, "things:thing.toolarge", message)
    })
}

/// `None` when they are too large together.
fn gather(state: &State, ids: &[ThingId], query: &Query, caller: &Caller) -> Option<Vec<Item>> {
    // each is looked at once, however often it is named
    let mut seen: HashMap<&str, Option<(Item, usize)>> = HashMap::new();
    let (mut items, mut left) = (vec![], ANSWER_MAX);
    for id in ids {
        let item = match seen.entry(id.as_str()) {
            Entry::Occupied(seen) => seen.into_mut(),
            Entry::Vacant(unseen) => {
                let item = state.thing(id.as_str()).and_then(|thing| Item::of(state, thing, query, caller));
                unseen.insert(item.map(|item| {
                    let size = item.size();
                    (item, size)
                }))
            }
        };
        if let Some((item, size)) = item {
            left = left.checked_sub(*size)?;
            items.push(item.clone());
        }
    }
    Some(items)
}
