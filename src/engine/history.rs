//! Reading the past: what things were before their last changes.
//!
//! Kept in memory only, beside the state: what was replaced since the engine started. The state itself is what
//! must survive a restart, and does.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::state::Entry;
use super::time;

/// Earlier revisions kept of one thing.
const REVISIONS_MAX: usize = 100;
/// All that is kept, in bytes of compact JSON; beyond it the oldest revisions of all things go first.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// What keeping one revision costs beside its JSON, in bytes.
const OVERHEAD: usize = 160;

/// Source: Ditto 3.8, headers `at-historical-revision`, `at-historical-timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// 0 is the present.
    Revision(u64),
    /// Milliseconds since 1970.
    Time(i64),
}

struct Past {
    revision: u64,
    modified: i64,
    /// Compact JSON; `None` when the thing was deleted then.
    document: Option<Box<str>>,
    /// Its place in `History::order`.
    ticket: u64,
}

impl Past {
    fn weight(&self) -> usize {
        self.document.as_ref().map_or(0, |json| json.len()) + OVERHEAD
    }
}

#[derive(Default)]
pub struct History {
    things: HashMap<Arc<str>, VecDeque<Past>>,
    /// Whose oldest revision each ticket is, oldest ticket first.
    order: BTreeMap<u64, Arc<str>>,
    next: u64,
    bytes: usize,
    /// Revisions let go because of `BYTES_MAX`, since the start.
    pub dropped: u64,
}

impl History {
    /// Keeps what a change of the thing replaced. A revision that the disk refused was kept, too, when it was
    /// taken back; the next change of that thing finds it at the end and replaces it.
    pub fn keep(&mut self, id: &str, before: &Entry) {
        if before.revision == 0 {
            return;
        }
        let id = self.things.get_key_value(id).map_or_else(|| Arc::from(id), |(id, _)| Arc::clone(id));
        while self.last(&id).is_some_and(|last| last.revision >= before.revision) {
            self.forget(&id, VecDeque::pop_back);
        }
        let modified = before.document.as_ref().and_then(|thing| time::parse(thing["_modified"].as_str()?));
        let past = Past {
            revision: before.revision,
            modified: modified.unwrap_or_default(),
            document: before.document.as_ref().map(|thing| thing.to_string().into_boxed_str()),
            ticket: self.next,
        };
        self.next += 1;
        self.bytes += past.weight();
        self.order.insert(past.ticket, Arc::clone(&id));
        let revisions = self.things.entry(Arc::clone(&id)).or_default();
        revisions.push_back(past);
        if revisions.len() > REVISIONS_MAX {
            self.forget(&id, VecDeque::pop_front);
        }
        while self.bytes > BYTES_MAX {
            let Some(oldest) = self.order.values().next().cloned() else { break };
            self.forget(&oldest, VecDeque::pop_front);
            self.dropped += 1;
        }
    }

    fn last(&self, id: &str) -> Option<&Past> {
        self.things.get(id)?.back()
    }

    fn forget(&mut self, id: &str, pop: fn(&mut VecDeque<Past>) -> Option<Past>) {
        let Some(revisions) = self.things.get_mut(id) else { return };
        if let Some(past) = pop(revisions) {
            self.bytes -= past.weight();
            self.order.remove(&past.ticket);
        }
        if revisions.is_empty() {
            self.things.remove(id);
        }
    }

    /// The thing as it was at that moment, unless that is the present, not kept any more, or still to come.
    pub fn at(&self, id: &str, moment: Moment) -> Option<(u64, Value)> {
        let revisions = self.things.get(id)?;
        let past = match moment {
            Moment::Revision(revision) => revisions.iter().find(|past| past.revision == revision),
            Moment::Time(time) => revisions.iter().rev().find(|past| past.modified <= time),
        }?;
        let document = serde_json::from_str(past.document.as_deref()?).ok()?;
        Some((past.revision, document))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(revision: u64, text: &str) -> Entry {
        let modified = time::print(i64::try_from(revision).unwrap() * 1_000);
        let document = json!({"attributes": text, "_revision": revision, "_modified": modified});
        Entry { revision, document: Some(Arc::new(document)) }
    }

    #[test]
    fn the_last_hundred_revisions_of_a_thing_are_kept() {
        let mut history = History::default();
        (1..=150).for_each(|revision| history.keep("a:b", &entry(revision, "")));
        let at = |moment| history.at("a:b", moment).map(|(revision, _)| revision);
        let rows = [
            (Moment::Revision(50), None),
            (Moment::Revision(51), Some(51)),
            (Moment::Revision(150), Some(150)),
            (Moment::Revision(151), None),
            (Moment::Time(50_999), None),
            (Moment::Time(51_000), Some(51)),
            (Moment::Time(60_999), Some(60)),
            (Moment::Time(i64::MAX), Some(150)),
        ];
        for (moment, expected) in rows {
            assert_eq!(at(moment), expected, "{moment:?}");
        }
        assert_eq!(history.order.len(), REVISIONS_MAX);
    }

    #[test]
    fn a_revision_the_disk_refused_is_replaced() {
        let mut history = History::default();
        history.keep("a:b", &entry(1, "one"));
        history.keep("a:b", &entry(2, "refused"));
        history.keep("a:b", &entry(1, "one"));
        history.keep("a:b", &entry(2, "two"));
        let texts = [1, 2].map(|revision| history.at("a:b", Moment::Revision(revision)).unwrap().1);
        assert_eq!(texts.map(|thing| thing["attributes"].clone()), [json!("one"), json!("two")]);
        assert_eq!(history.order.len(), 2);
    }

    #[test]
    fn memory_is_bounded_over_all_things_and_the_oldest_go_first() {
        let mut history = History::default();
        let long = "x".repeat(100_000);
        (0..1_000).for_each(|n| history.keep(&format!("a:{n}"), &entry(1, &long)));
        assert!(history.bytes <= BYTES_MAX && history.bytes > BYTES_MAX - 200_000);
        assert!(history.at("a:0", Moment::Revision(1)).is_none());
        assert!(history.at("a:999", Moment::Revision(1)).is_some());
        assert_eq!(history.dropped, 1_000 - history.things.len() as u64);
    }
}
