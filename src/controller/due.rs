//! Who waits for a pass, and since when.
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::reconcile::Place;

/// Names only; each resource is in it once, so it is never larger than what the watches show.
#[derive(Debug, Default)]
pub struct Due(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: HashSet<Place>,
    /// Resources that were never Ready, by when a watch first showed them.
    new: HashMap<Place, Instant>,
}

impl Due {
    pub fn add(&self, place: Place) {
        self.0.lock().waiting.insert(place);
    }

    /// Its pass begins.
    pub fn started(&self, place: &Place) {
        self.0.lock().waiting.remove(place);
    }

    pub fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }

    /// A watch shows one that has no status yet.
    pub fn arrived(&self, place: &Place, now: Instant) {
        let mut inner = self.0.lock();
        if !inner.new.contains_key(place) {
            inner.new.insert(place.clone(), now);
        }
    }

    /// It is Ready. Tells how long that took, the first time.
    pub fn ready(&self, place: &Place, now: Instant) -> Option<Duration> {
        self.0.lock().new.remove(place).map(|since| now.duration_since(since))
    }

    pub fn forget(&self, place: &Place) {
        let mut inner = self.0.lock();
        inner.waiting.remove(place);
        inner.new.remove(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waits_once_and_becomes_ready_once() {
        let (due, place, now) = (Due::default(), ("n".to_owned(), "t".to_owned()), Instant::now());
        due.add(place.clone());
        due.add(place.clone());
        assert_eq!(due.waiting(), 1);
        due.started(&place);
        assert_eq!(due.waiting(), 0);
        let second = Duration::from_secs(1);
        due.arrived(&place, now);
        due.arrived(&place, now + second);
        assert_eq!(due.ready(&place, now + 3 * second), Some(3 * second), "since it was first seen");
        assert_eq!(due.ready(&place, now + 4 * second), None);
    }
}
