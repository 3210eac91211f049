//! Things that carry our mark although their resource is gone.
//!
//! A leader that stood still in the middle of a create, for longer than the whole further life of the twin,
//! creates its thing when it goes on: nothing in Ditto tells it that the twin went. Nobody deletes such a thing:
//! it is only told, because a mark proves nothing to the contrary.
use std::collections::BTreeSet;

use kube::Resource;

use super::context::{Context, Ditto, Shared};
use crate::ports::{Refused, Search};
use crate::twin::adopt::Watched;
use crate::twin::id::ThingId;
use crate::twin::mark::Mark;
use crate::twin::rql_text;

/// Things on one page of the search.
const PAGE: u32 = 200;
/// Pages that are looked through: beyond them the count alone is told.
const PAGES_MAX: usize = 200;
/// How many of them the log names.
const NAMED_MAX: usize = 20;
/// Things that are asked for in one round; the others are left to the next change of the count.
const ASKED_MAX: usize = 1_000;

/// What the last search came to.
#[derive(Debug, Default)]
pub struct Strays {
    /// Marked things, and twins that have one. Equal numbers again mean that nothing need be looked through.
    counted: (u64, u64),
    known: BTreeSet<String>,
}

impl Strays {
    /// One call, unless there are more marked things than twins: then they are looked through, once.
    pub async fn round<D: Ditto>(&mut self, context: &Context<D>) -> Result<(), Refused> {
        let shared = &context.shared;
        let filter = filter(shared);
        let marked = context.ditto.count_things(&filter).await?;
        let counted = (marked, shared.ready.lock().len() as u64);
        if counted.0 <= counted.1 {
            self.known.clear();
        } else if counted != self.counted {
            let found = find(context, filter).await?;
            let new: Vec<&str> = found.difference(&self.known).take(NAMED_MAX).map(String::as_str).collect();
            if !new.is_empty() {
                tracing::warn!(
                    count = found.len(),
                    things = new.join(", "),
                    "things carry the mark of this cluster although their resources are gone; declare them again or delete them in Ditto"
                );
            }
            self.known = found;
        }
        self.counted = counted;
        shared.telemetry.strays(self.known.len());
        Ok(())
    }
}

fn filter(shared: &Shared) -> String {
    match shared.options.watched() {
        Watched::All => rql_text::owned_by(&shared.owner),
        Watched::Only(names) => rql_text::owned_within(&shared.owner, names.iter().map(String::as_str)),
    }
}

/// The index may lag, so each hit is asked for.
async fn find<D: Ditto>(context: &Context<D>, filter: String) -> Result<BTreeSet<String>, Refused> {
    let shared = &context.shared;
    let mut search = Search { filter, size: PAGE, ..Search::default() };
    let (mut strays, mut asked) = (BTreeSet::new(), 0);
    for _ in 0..PAGES_MAX {
        let hits = context.ditto.search_things(&search).await?;
        for hit in hits.items {
            if is_claimed(shared, &hit.id) {
                continue;
            }
            let Ok(id) = ThingId::parse(&hit.id) else { continue };
            if asked == ASKED_MAX {
                shared.telemetry.dropped("marked_things_not_asked_for");
                return Ok(strays);
            }
            asked += 1;
            let mark = context.ditto.find_thing(&id, &[]).await?.and_then(|found| found.mark);
            let Some(mark) = mark.as_ref().and_then(Mark::from_json) else { continue };
            // It may have been declared while the answer was under way.
            if mark.owner == shared.owner && !lives(shared, &mark) && !is_claimed(shared, &hit.id) {
                strays.insert(hit.id);
            }
        }
        match hits.cursor {
            Some(cursor) => search.cursor = Some(cursor),
            None => return Ok(strays),
        }
    }
    shared.telemetry.dropped("pages_of_marked_things");
    Ok(strays)
}

/// Also by one that is going: its thing goes with it, or it says why not.
fn is_claimed(shared: &Shared, id: &str) -> bool {
    !shared.catalog.lock().claimants(id).is_empty()
}

/// Also one that claims nothing, because it cannot be read or its namespace may not name the thing any more.
fn lives(shared: &Shared, mark: &Mark) -> bool {
    let found = shared.twins.kept(&(mark.namespace.clone(), mark.name.clone()));
    found.is_some_and(|found| found.meta().uid.as_ref() == Some(&mark.uid))
}
