//! Whether dead letters go out: not while connections end over them.
//!
//! A letter goes out when its message is judged, and the message is acknowledged when those before it are written. So
//! where the broker ends the connection over a letter, its message may come again, and the letter would be written again.
use std::time::{Duration, Instant};

/// A connection that ends within this after a letter may have ended over it.
const SOON: Duration = Duration::from_secs(10);
/// After so many of them in a row no letter is written, until a connection has held for [`SOON`].
const ENDED_MAX: u32 = 2;

#[derive(Debug, Default)]
pub struct Letters {
    opened: Option<Instant>,
    written: Option<Instant>,
    ended: u32,
}

impl Letters {
    pub fn connected(&mut self, now: Instant) {
        (self.opened, self.written) = (Some(now), None);
    }

    /// Whether one may be written now; it is, then.
    pub fn may_write(&mut self, now: Instant) -> bool {
        if self.opened.is_some_and(|at| now.saturating_duration_since(at) >= SOON) {
            self.ended = 0;
        }
        let may = self.ended < ENDED_MAX;
        if may {
            self.written = Some(now);
        }
        may
    }

    /// The connection has ended. Returns whether it may have been over a letter.
    pub fn ended(&mut self, now: Instant) -> bool {
        let is_over_letter = self.written.take().is_some_and(|at| now.saturating_duration_since(at) < SOON);
        if is_over_letter {
            self.ended += 1;
        } else if self.ended < ENDED_MAX {
            self.ended = 0;
        }
        is_over_letter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s48_letters_are_held_while_connections_end_over_them() {
        let mut now = Instant::now();
        let mut letters = Letters::default();
        for _ in 0..ENDED_MAX {
            letters.connected(now);
            assert!(letters.may_write(now));
            assert!(letters.ended(now + SOON / 2));
        }
        for _ in 0..3 {
            letters.connected(now);
            assert!(!letters.may_write(now), "also after a connection that ended over something else");
            assert!(!letters.ended(now));
        }
        letters.connected(now);
        now += SOON;
        assert!(letters.may_write(now), "this connection held");
        assert!(!letters.ended(now + SOON), "long after the letter");
        letters.connected(now);
        assert!(letters.may_write(now));
    }
}
