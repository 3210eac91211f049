//! How many calls went to Ditto, and how they ended.
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::Method;

use crate::ports::Refused;

/// What a call asks Ditto to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Put,
    Patch,
    Delete,
}

impl Verb {
    pub const ALL: [Self; 4] = [Self::Get, Self::Put, Self::Patch, Self::Delete];

    pub fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Put => Method::PUT,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }

    /// The label value of a metric.
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    pub fn is_write(self) -> bool {
        self != Self::Get
    }
}

/// How a call ended: done, or one of [`Refused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Unavailable,
    RateLimited,
    Unauthorized,
    Forbidden,
    Missing,
    Changed,
    Invalid,
    TooLarge,
}

impl Outcome {
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Unavailable,
        Self::RateLimited,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Missing,
        Self::Changed,
        Self::Invalid,
        Self::TooLarge,
    ];

    pub fn of<T>(result: &Result<T, Refused>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(Refused::Unavailable(_)) => Self::Unavailable,
            Err(Refused::RateLimited { .. }) => Self::RateLimited,
            Err(Refused::Unauthorized(_)) => Self::Unauthorized,
            Err(Refused::Forbidden(_)) => Self::Forbidden,
            Err(Refused::Missing(_)) => Self::Missing,
            Err(Refused::Changed(_)) => Self::Changed,
            Err(Refused::Invalid(_)) => Self::Invalid,
            Err(Refused::TooLarge(_)) => Self::TooLarge,
        }
    }

    /// The label value of a metric.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unavailable => "unavailable",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
        }
    }
}

/// Calls since the start. A call is counted when it ends, one that was given up by its caller is not.
#[derive(Debug, Default)]
pub struct Calls {
    ended: [[AtomicU64; Outcome::ALL.len()]; Verb::ALL.len()],
    oversized: AtomicU64,
}

impl Calls {
    pub fn get(&self, verb: Verb, outcome: Outcome) -> u64 {
        self.ended[verb as usize][outcome as usize].load(Ordering::Relaxed)
    }

    pub fn total(&self) -> u64 {
        Verb::ALL.into_iter().map(|verb| self.by_verb(verb)).sum()
    }

    /// Calls that may have changed something, however they ended.
    pub fn writes(&self) -> u64 {
        Verb::ALL.into_iter().filter(|verb| verb.is_write()).map(|verb| self.by_verb(verb)).sum()
    }

    pub fn by_verb(&self, verb: Verb) -> u64 {
        Outcome::ALL.into_iter().map(|outcome| self.get(verb, outcome)).sum()
    }

    pub fn by_outcome(&self, outcome: Outcome) -> u64 {
        Verb::ALL.into_iter().map(|verb| self.get(verb, outcome)).sum()
    }

    /// Answers that were dropped because they were longer than [`BODY_BYTES_MAX`](super::BODY_BYTES_MAX).
    pub fn oversized(&self) -> u64 {
        self.oversized.load(Ordering::Relaxed)
    }

    pub(super) fn count<T>(&self, verb: Verb, result: &Result<T, Refused>) {
        self.ended[verb as usize][Outcome::of(result) as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_oversized(&self) {
        self.oversized.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Said;

    #[test]
    fn calls_are_counted_by_verb_and_by_outcome() {
        let calls = Calls::default();
        calls.count(Verb::Get, &Ok(()));
        calls.count(Verb::Put, &Ok(()));
        calls.count(Verb::Delete, &Err::<(), _>(Refused::Missing(Said::default())));
        assert_eq!((calls.total(), calls.writes()), (3, 2));
        assert_eq!(calls.by_outcome(Outcome::Done), 2);
        assert_eq!(calls.get(Verb::Delete, Outcome::Missing), 1);
        assert_eq!(calls.by_verb(Verb::Patch), 0);
    }

    #[test]
    fn every_place_in_the_table_is_its_own() {
        for (index, verb) in Verb::ALL.into_iter().enumerate() {
            assert_eq!(verb as usize, index);
        }
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
    }
}
