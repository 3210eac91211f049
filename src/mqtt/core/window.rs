//! How many calls may be on their way to Ditto: fewer as soon as it asks for it, more as long as it takes them.
use std::time::{Duration, Instant};

/// A refusal within this after one is the same refusal: what was on its way then could not know.
const SAME_REFUSAL: Duration = Duration::from_millis(100);
/// The longest that Ditto may ask to wait.
const HOLD_MAX: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub struct Window {
    max: f64,
    size: f64,
    refused: Option<Instant>,
    held_until: Option<Instant>,
}

impl Window {
    pub fn new(max: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let max = max as f64;
        Self { max, size: max, refused: None, held_until: None }
    }

    /// Whether one more call may go out beside `flying`.
    pub fn admits(&self, flying: usize, now: Instant) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let fits = (flying as f64) + 1.0 <= self.size;
        fits && self.held_until.is_none_or(|until| until <= now)
    }

    /// When calls may go out again, if they are held.
    pub fn held(&self, now: Instant) -> Option<Instant> {
        self.held_until.filter(|until| *until > now)
    }

    /// A call was taken: one more for every window of them.
    pub fn taken(&mut self) {
        self.size = (self.size + 1.0 / self.size).min(self.max);
    }

    /// Ditto has too much to do: half as many, and none before the time it asks for.
    pub fn refused(&mut self, after: Option<Duration>, now: Instant) {
        if self.refused.is_none_or(|at| now.saturating_duration_since(at) >= SAME_REFUSAL) {
            self.size = (self.size / 2.0).max(1.0);
            self.refused = Some(now);
        }
        if let Some(after) = after {
            let until = now + after.min(HOLD_MAX);
            self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
        }
    }

    /// As a number for people.
    pub fn size(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 1 to a few thousand"
        )]
        let size = self.size as u64;
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_on_refusals_and_grows_back() {
        let start = Instant::now();
        let mut window = Window::new(64);
        assert!(window.admits(63, start) && !window.admits(64, start));
        for _ in 0..10 {
            window.refused(None, start);
        }
        assert_eq!(window.size(), 32, "refusals of one moment are one");
        for round in 1..20 {
            window.refused(None, start + round * SAME_REFUSAL);
        }
        assert_eq!(window.size(), 1);
        assert!(window.admits(0, start) && !window.admits(1, start));
        for _ in 0..4_000 {
            window.taken();
        }
        assert_eq!(window.size(), 64);
    }

    #[test]
    fn it_waits_as_long_as_it_is_asked_to() {
        let start = Instant::now();
        let mut window = Window::new(8);
        window.refused(Some(Duration::from_secs(5)), start);
        window.refused(Some(Duration::from_secs(2)), start);
        assert!(!window.admits(0, start + Duration::from_secs(4)));
        assert_eq!(window.held(start), Some(start + Duration::from_secs(5)));
        assert!(window.admits(0, start + Duration::from_secs(5)));
        window.refused(Some(Duration::from_hours(5)), start);
        assert!(window.admits(0, start + HOLD_MAX));
    }
}
