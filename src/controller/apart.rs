//! Changes of one thing that come soon after each other wake its twin once.
//!
//! A device may repeat an enforced property in each message, and Ditto cannot always tell that nothing differs.
//! The first change is heard at once, the others of the same pause together at its end: none goes unseen.
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::ports::Change;

/// Between two wakes of one twin from the streams of enforced paths.
pub const WAKES_APART: Duration = Duration::from_secs(10);

/// Things that were heard of within the last pause.
#[derive(Debug, Default)]
pub struct Apart {
    /// What came after the change that was heard.
    later: HashMap<String, Option<Change>>,
    /// When each pause ends; they are of one length, so the first to end stands first.
    ends: VecDeque<(Instant, String)>,
}

impl Apart {
    /// The change, when it is to be heard now.
    pub fn take(&mut self, change: Change, now: Instant) -> Option<Change> {
        if let Some(later) = self.later.get_mut(&change.thing_id) {
            *later = Some(change);
            return None;
        }
        self.begin(&change, now);
        Some(change)
    }

    /// When [`Self::due`] has something to do.
    pub fn next(&self) -> Option<Instant> {
        self.ends.front().map(|(end, _)| *end)
    }

    /// What is to be heard now of pauses that ended: the last change of each.
    pub fn due(&mut self, now: Instant) -> Vec<Change> {
        let mut due = vec![];
        while let Some((_, thing)) = self.ends.pop_front_if(|(end, _)| *end <= now) {
            due.extend(self.later.remove(&thing).flatten());
        }
        for change in &due {
            self.begin(change, now);
        }
        due
    }

    fn begin(&mut self, change: &Change, now: Instant) {
        self.later.insert(change.thing_id.clone(), None);
        self.ends.push_back((now + WAKES_APART, change.thing_id.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(thing: &str, by: &str) -> Change {
        Change { thing_id: thing.to_owned(), originator: Some(by.to_owned()) }
    }

    #[test]
    fn a_flood_of_changes_wakes_once_a_pause_and_the_last_is_never_lost() {
        let (mut apart, start) = (Apart::default(), Instant::now());
        let mut heard = vec![];
        for second in 0..=24 {
            let now = start + Duration::from_secs(second);
            heard.extend(apart.due(now).into_iter().map(|change| (second, change)));
            heard.extend(apart.take(change("a:t", &second.to_string()), now).map(|change| (second, change)));
        }
        let seconds: Vec<u64> = heard.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [0, 10, 20]);
        let end = apart.next().unwrap();
        assert_eq!(end, start + Duration::from_secs(30));
        assert_eq!(apart.due(end), [change("a:t", "24")], "the trailing edge");
        assert_eq!(apart.due(end + WAKES_APART), []);
        assert_eq!(apart.next(), None, "nothing is kept of a thing that is quiet");
        assert!(apart.later.is_empty());
    }

    #[test]
    fn things_do_not_wait_for_each_other() {
        let (mut apart, now) = (Apart::default(), Instant::now());
        assert!(apart.take(change("a:t", "x"), now).is_some());
        assert!(apart.take(change("a:u", "x"), now).is_some());
        assert!(apart.take(change("a:t", "x"), now).is_none());
    }
}
