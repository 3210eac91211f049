//! Who was heard of, and when.
use std::time::{Duration, Instant};

use super::Core;
use super::lane::{Known, Lane};

/// Whether a device talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Online,
    /// Silent for longer than its `staleAfter`.
    Stale,
    /// Not heard of since the bridge started.
    Unheard,
}

impl Presence {
    pub fn word(self) -> &'static str {
        match self {
            Self::Online => "Online",
            Self::Stale => "Stale",
            Self::Unheard => "Unheard",
        }
    }
}

/// A device as the bridge sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    pub thing_id: String,
    pub presence: Presence,
    /// How long ago it was heard of.
    pub heard_ago: Option<Duration>,
    pub stale_after: Option<Duration>,
    /// Names whose values wait for Ditto.
    pub waiting: usize,
}

/// How many devices there are of which kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    pub online: u64,
    pub stale: u64,
    pub unheard: u64,
}

impl Population {
    /// One whose thing is there.
    pub(super) fn count(&mut self, lane: &Lane, now: Instant) {
        if !matches!(lane.known, Known::Yes(_)) {
            return;
        }
        match presence(lane, now) {
            Presence::Online => self.online += 1,
            Presence::Stale => self.stale += 1,
            Presence::Unheard => self.unheard += 1,
        }
    }
}

fn presence(lane: &Lane, now: Instant) -> Presence {
    match (lane.heard, lane.rules.stale_after) {
        (None, _) => Presence::Unheard,
        (Some(at), Some(limit)) if now.saturating_duration_since(at) > limit => Presence::Stale,
        (Some(_), _) => Presence::Online,
    }
}

impl Core {
    fn known(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().map(|(_, lane)| lane).filter(|lane| matches!(lane.known, Known::Yes(_)))
    }

    /// As it was within the last seconds.
    pub fn population(&self) -> Population {
        self.sweep.population
    }

    /// Those whose thing is there and that `wanted` admits, by id, at most `limit`, after the one called `after`.
    pub fn devices(
        &self,
        now: Instant,
        wanted: impl Fn(Presence) -> bool,
        after: &str,
        limit: usize,
    ) -> Vec<Device> {
        let mut found: Vec<&Lane> =
            self.known().filter(|lane| lane.thing.as_str() > after && wanted(presence(lane, now))).collect();
        found.sort_unstable_by(|a, b| a.thing.as_str().cmp(b.thing.as_str()));
        let device = |lane: &&Lane| Device {
            thing_id: lane.thing.to_string(),
            presence: presence(lane, now),
            heard_ago: lane.heard.map(|at| now.saturating_duration_since(at)),
            stale_after: lane.rules.stale_after,
            waiting: lane.waiting.names(),
        };
        found.iter().take(limit).map(device).collect()
    }

    /// Bytes that wait for Ditto, calls on their way, how many may be, and messages that are not acknowledged.
    pub fn load(&self) -> (usize, usize, u64, usize) {
        (self.waiting_bytes, self.calls.len(), self.window.size(), self.acks.len())
    }

    pub fn is_up(&self) -> bool {
        self.epoch.is_some()
    }

    /// Whether commands and changes are heard.
    pub fn is_live(&self) -> bool {
        self.epoch.is_some() && self.is_live
    }
}
