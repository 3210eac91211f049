//! Whether the deletions of the last minute look like an accident.
//!
//! What goes now stands in the catalog. What went a moment ago does not, and a tool that deletes one
//! resource after the other is as wrong as one that deletes all at once: so both are counted.
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::api::annotation::CONFIRM_DELETION;
use crate::reconcile::{Breaker, Place};

/// How long a deletion counts: longer than any tool pauses between two, shorter than people do.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Twins whose things were deleted, and twins whose deletion is held. Bounded by the breaker itself: what
/// it holds does not go.
#[derive(Debug, Default)]
pub struct Deletions {
    gone: HashMap<Place, Instant>,
    held: BTreeSet<Place>,
}

impl Deletions {
    /// A thing was deleted that nobody had confirmed.
    pub fn went(&mut self, place: &Place, now: Instant) {
        self.gone.insert(place.clone(), now);
    }

    /// What to do when `place` is one of too many; `going` includes it, and `all` are those that are there.
    pub fn judge(
        &mut self,
        breaker: Breaker,
        place: &Place,
        (going, all): (&BTreeSet<Place>, usize),
        now: Instant,
    ) -> Option<String> {
        self.held.retain(|place| going.contains(place));
        // While one is held the alarm is on, and what led to it is not forgotten.
        if self.held.is_empty() {
            self.gone.retain(|_, when| now.duration_since(*when) < REMEMBERED);
        }
        let gone = self.gone.keys().filter(|place| !going.contains(*place)).count();
        let (count, all) = (going.len() + gone, all + gone);
        if !breaker.trips(count, all) {
            self.held.remove(place);
            return None;
        }
        self.held.insert(place.clone());
        Some(format!(
            "{count} of {all} twins are going or went within a minute, which looks like an accident; if it is meant, \
             annotate them with {CONFIRM_DELETION}: \"true\", or raise --breaker-twins or --breaker-percent"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKER: Breaker = Breaker { twins: 5, percent: 20 };

    fn place(number: usize) -> Place {
        ("n".to_owned(), number.to_string())
    }

    /// Deletes twins `from..to` of `all`, one after the other and `apart` from each other; tells which
    /// was the first to be held.
    fn roll(deletions: &mut Deletions, numbers: std::ops::Range<usize>, apart: Duration) -> Option<usize> {
        let (start, end, first) = (Instant::now(), numbers.end, numbers.start);
        numbers.into_iter().find(|&number| {
            let now = start + apart * u32::try_from(number - first).unwrap();
            let going = [place(number)].into();
            let held = deletions.judge(BREAKER, &place(number), (&going, end - number), now).is_some();
            if !held {
                deletions.went(&place(number), now);
            }
            held
        })
    }

    #[test]
    fn f17_one_deletion_after_the_other_is_held_as_all_at_once_would_be() {
        assert_eq!(roll(&mut Deletions::default(), 0..8, Duration::from_secs(1)), Some(5));
        assert_eq!(roll(&mut Deletions::default(), 0..8, Duration::from_secs(13)), None, "slowly is meant");
    }

    #[test]
    fn f17_what_is_held_stays_held_until_it_is_confirmed() {
        let mut deletions = Deletions::default();
        assert_eq!(roll(&mut deletions, 0..8, Duration::from_secs(1)), Some(5));
        let hours_later = Instant::now() + Duration::from_hours(5);
        let held = [place(5)].into();
        assert!(deletions.judge(BREAKER, &place(5), (&held, 3), hours_later).is_some());
        // Confirmed: it went, and the next deletion is one of its own.
        let next = [place(6)].into();
        assert_eq!(deletions.judge(BREAKER, &place(6), (&next, 2), hours_later), None);
    }

    #[test]
    fn a_twin_that_goes_now_is_counted_once() {
        let (mut deletions, now) = (Deletions::default(), Instant::now());
        let going: BTreeSet<Place> = (0..5).map(place).collect();
        for number in 0..5 {
            deletions.went(&place(number), now);
        }
        assert_eq!(deletions.judge(BREAKER, &place(0), (&going, 5), now), None, "5 are not more than 5");
    }
}
