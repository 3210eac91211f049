//! Reading the past: what things were before their last changes.
//!
//! Kept in memory only, beside the state: what was replaced since the engine started. The state itself is what
//! must survive a restart, and does.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::state::Thing;
use super::time;

/// Earlier revisions kept of one thing.
const REVISIONS_MAX: usize = 100;
/// All that is kept, in bytes; beyond it the oldest revisions of all things go first.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// What keeping one revision costs beside its document, in bytes.
const OVERHEAD: usize = 200;

/// Source: Ditto 3.8, headers `at-historical-revision`, `at-historical-timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// 0 is the present.
    Revision(u64),
    /// Milliseconds since 1970.
    Time(i64),
}

#[derive(Debug)]
struct Past {
    thing: Arc<Thing>,
    /// Its place in `History::order`.
    ticket: u64,
}

impl Past {
    fn weight(&self) -> usize {
        self.thing.size() + OVERHEAD
    }

    fn modified(&self) -> Option<i64> {
        time::parse(self.thing.node()?.at(&["_modified"])?.text()?)
    }
}

#[derive(Debug, Default)]
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
    /// Keeps what a change of the thing replaced.
    pub fn keep(&mut self, thing: &Arc<Thing>) {
        let known = self.things.get_key_value(thing.id()).map(|(id, _)| Arc::clone(id));
        let id = known.unwrap_or_else(|| Arc::from(thing.id()));
        let past = Past { thing: Arc::clone(thing), ticket: self.next };
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

    /// The thing is the present again: the disk refused what replaced it.
    pub fn take_back(&mut self, thing: &Thing) {
        let last = self.things.get(thing.id()).and_then(VecDeque::back);
        if last.is_some_and(|last| last.thing.revision() == thing.revision()) {
            self.forget(thing.id(), VecDeque::pop_back);
        }
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
    pub fn at(&self, id: &str, moment: Moment) -> Option<Arc<Thing>> {
        let revisions = self.things.get(id)?;
        let past = match moment {
            Moment::Revision(revision) => revisions.iter().find(|past| past.thing.revision() == revision),
            Moment::Time(time) => {
                revisions.iter().rev().find(|past| past.modified().is_some_and(|modified| modified <= time))
            }
        };
        past.map(|past| Arc::clone(&past.thing))
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::{Change, Entry, Kind, State};
    use super::*;
    use serde_json::json;

    fn change(id: &str, revision: u64, text: &str) -> Change {
        let modified = time::print(i64::try_from(revision).unwrap() * 1_000);
        let document = json!({"attributes": {"text": text}, "_revision": revision, "_modified": modified});
        let entry = Entry { revision, document: Some(document.into()) };
        Change { kind: Kind::Thing, id: id.to_owned(), entry }
    }

    fn text(state: &State, revision: u64) -> Option<String> {
        let past = state.past("a:b", Moment::Revision(revision))?;
        Some(past.node()?.at(&["attributes", "text"])?.text()?.to_owned())
    }

    #[test]
    fn the_last_hundred_revisions_of_a_thing_are_kept() {
        let mut state = State::default();
        (1..=151).for_each(|revision| drop(state.put(change("a:b", revision, ""))));
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
            assert_eq!(state.past("a:b", moment).map(|past| past.revision()), expected, "{moment:?}");
        }
    }

    #[test]
    fn a_revision_the_disk_refused_never_was() {
        let mut state = State::default();
        drop(state.put(change("a:b", 1, "one")));
        let undo = state.put(change("a:b", 2, "refused"));
        state.undo(undo);
        assert_eq!(text(&state, 1), None, "it is the present");
        drop(state.put(change("a:b", 2, "two")));
        drop(state.put(change("a:b", 3, "three")));
        assert_eq!([1, 2, 3].map(|r| text(&state, r)), [Some("one".into()), Some("two".into()), None]);
    }

    #[test]
    fn memory_is_bounded_over_all_things_and_the_oldest_go_first() {
        let (mut state, mut history) = (State::default(), History::default());
        let long = "x".repeat(100_000);
        for n in 0..1_000 {
            let id = format!("a:{n}");
            drop(state.put(change(&id, 1, &long)));
            history.keep(state.thing(&id).unwrap());
        }
        assert!(history.bytes <= BYTES_MAX && history.bytes > BYTES_MAX - 200_000);
        assert!(history.at("a:0", Moment::Revision(1)).is_none());
        assert!(history.at("a:999", Moment::Revision(1)).is_some());
        assert_eq!(history.dropped, 1_000 - history.things.len() as u64);
    }
}
