//! Names of resources that must be looked at because something else changed.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::reconcile::Place;

/// Names that may wait. Each waits once, so this is about resources, not changes; beyond it resync
/// looks at them.
pub const WAITING_MAX: usize = 65_536;

/// A queue in which each name stands at most once.
#[derive(Debug, Default)]
pub struct Wakes {
    waiting: Mutex<BTreeSet<Place>>,
    bell: Notify,
}

impl Wakes {
    /// `false` when the queue is full and the name was let go.
    pub fn push(&self, place: Place) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING_MAX && !waiting.contains(&place) {
            return false;
        }
        waiting.insert(place);
        drop(waiting);
        self.bell.notify_one();
        true
    }

    /// The names, as they come. A `pause` after the first of a batch lets the others join it.
    pub fn stream(self: Arc<Self>, pause: Duration) -> impl Stream<Item = Place> + Send + 'static {
        stream::unfold(
            (self, BTreeSet::new()),
            move |(wakes, mut batch): (Arc<Self>, BTreeSet<Place>)| async move {
                loop {
                    if let Some(place) = batch.pop_first() {
                        return Some((place, (wakes, batch)));
                    }
                    wakes.bell.notified().await;
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                    batch = std::mem::take(&mut *wakes.waiting.lock());
                }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

    fn place(name: &str) -> Place {
        ("n".to_owned(), name.to_owned())
    }

    #[tokio::test]
    async fn each_name_is_woken_once_however_often_it_was_called() {
        let wakes = Arc::new(Wakes::default());
        for name in ["b", "a", "b", "a"] {
            assert!(wakes.push(place(name)));
        }
        let names: Vec<_> = wakes.clone().stream(Duration::ZERO).take(2).collect().await;
        assert_eq!(names, [place("a"), place("b")]);
        assert!(wakes.push(place("a")));
        let again = Box::pin(wakes.stream(Duration::ZERO)).next().await;
        assert_eq!(again, Some(place("a")), "and again after a new call");
    }

    #[test]
    fn a_full_queue_lets_new_names_go() {
        let wakes = Wakes::default();
        wakes.waiting.lock().extend((0..WAITING_MAX).map(|i| place(&i.to_string())));
        assert!(!wakes.push(place("one more")));
        assert!(wakes.push(place("7")), "who waits already keeps waiting");
    }
}
