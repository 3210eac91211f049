//! Reading the past: what things and policies were before their last changes.
//!
//! Kept in memory only, beside the state: what was replaced since the engine started. The state itself is what
//! must survive a restart, and does.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Earlier revisions kept of one thing or policy.
const REVISIONS_MAX: usize = 100;
/// All that is kept of things, and as much again of policies, in bytes; beyond it the oldest revisions of all go first.
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

/// What has revisions.
pub trait Revised {
    fn id(&self) -> &str;
    fn revision(&self) -> u64;
    /// In memory, in bytes.
    fn size(&self) -> usize;
    /// Milliseconds since 1970; `None` once it is deleted.
    fn modified(&self) -> Option<i64>;
}

#[derive(Debug)]
struct Past<E> {
    entity: Arc<E>,
    /// Its place in `History::order`.
    ticket: u64,
    /// When it was deleted, in milliseconds since 1970; `None` when something else replaced it.
    deleted: Option<i64>,
}

impl<E: Revised> Past<E> {
    fn weight(&self) -> usize {
        self.entity.size() + OVERHEAD
    }
}

#[derive(Debug)]
pub struct History<E> {
    entities: HashMap<Arc<str>, VecDeque<Past<E>>>,
    /// Whose oldest revision each ticket is, oldest ticket first.
    order: BTreeMap<u64, Arc<str>>,
    next: u64,
    bytes: usize,
    /// Revisions let go because of `BYTES_MAX`, since the start.
    pub dropped: u64,
}

impl<E> Default for History<E> {
    fn default() -> Self {
        Self { entities: HashMap::new(), order: BTreeMap::new(), next: 0, bytes: 0, dropped: 0 }
    }
}

impl<E: Revised> History<E> {
    /// Keeps what a change replaced, or deleted at a time in milliseconds since 1970.
    pub fn keep(&mut self, entity: &Arc<E>, deleted: Option<i64>) {
        let known = self.entities.get_key_value(entity.id()).map(|(id, _)| Arc::clone(id));
        let id = known.unwrap_or_else(|| Arc::from(entity.id()));
        let past = Past { entity: Arc::clone(entity), ticket: self.next, deleted };
        self.next += 1;
        self.bytes += past.weight();
        self.order.insert(past.ticket, Arc::clone(&id));
        let revisions = self.entities.entry(Arc::clone(&id)).or_default();
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

    /// It is the present again: the disk refused what replaced it.
    pub fn take_back(&mut self, entity: &E) {
        let last = self.entities.get(entity.id()).and_then(VecDeque::back);
        if last.is_some_and(|last| last.entity.revision() == entity.revision()) {
            self.forget(entity.id(), VecDeque::pop_back);
        }
    }

    fn forget(&mut self, id: &str, pop: fn(&mut VecDeque<Past<E>>) -> Option<Past<E>>) {
        let Some(revisions) = self.entities.get_mut(id) else { return };
        if let Some(past) = pop(revisions) {
            self.bytes -= past.weight();
            self.order.remove(&past.ticket);
        }
        if revisions.is_empty() {
            self.entities.remove(id);
        }
    }

    /// The entity as it was at that moment, unless that is the present, not kept any more, or still to come. There is none
    /// between a deletion and the next creation.
    pub fn at(&self, id: &str, moment: Moment) -> Option<Arc<E>> {
        let revisions = self.entities.get(id)?;
        let past = match moment {
            Moment::Revision(revision) => revisions.iter().find(|past| past.entity.revision() == revision),
            Moment::Time(time) => {
                let before = |past: &&Past<E>| past.entity.modified().is_some_and(|at| at <= time);
                let last = revisions.iter().rev().find(before);
                last.filter(|past| past.deleted.is_none_or(|deleted| deleted > time))
            }
        };
        past.map(|past| Arc::clone(&past.entity))
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::{Change, Entry, Kind, State};
    use super::super::time;
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
    fn there_is_nothing_between_a_deletion_and_the_next_creation() {
        let mut state = State::default();
        let deletion = |revision| Change {
            kind: Kind::Thing,
            id: "a:b".to_owned(),
            entry: Entry { revision, document: None },
        };
        drop(state.put(change("a:b", 1, "")));
        drop(state.put_at(deletion(2), 2_000));
        drop(state.put(change("a:b", 4, "")));
        drop(state.put(change("a:b", 5, "")));
        let rows = [
            (Moment::Time(999), None),
            (Moment::Time(1_999), Some(1)),
            (Moment::Time(2_000), None),
            (Moment::Time(3_999), None),
            (Moment::Time(4_000), Some(4)),
            (Moment::Revision(1), Some(1)),
        ];
        for (moment, expected) in rows {
            assert_eq!(state.past("a:b", moment).map(|past| past.revision()), expected, "{moment:?}");
        }
        let undo = state.put_at(deletion(6), 6_000);
        state.undo(undo);
        drop(state.put(change("a:b", 7, "")));
        let past = state.past("a:b", Moment::Time(6_500)).map(|past| past.revision());
        assert_eq!(past, Some(5), "the disk refused the deletion");
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
            history.keep(state.thing(&id).unwrap(), None);
        }
        assert!(history.bytes <= BYTES_MAX && history.bytes > BYTES_MAX - 200_000);
        assert!(history.at("a:0", Moment::Revision(1)).is_none());
        assert!(history.at("a:999", Moment::Revision(1)).is_some());
        assert_eq!(history.dropped, 1_000 - history.entities.len() as u64);
    }
}
