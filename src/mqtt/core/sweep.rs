//! Things that are forgotten.
use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Instant;

use super::Core;
use super::lane::{Known, Lane};

impl Core {
    /// Forgets things that are missing. The last lanes take their places, so that the others stay where they are.
    pub(super) fn sweep(&mut self, now: Instant) {
        let is_gone =
            |lane: &Lane| matches!(lane.known, Known::Missing(until) if until <= now) && lane.is_idle();
        let lanes = self.lanes.iter().enumerate();
        let gone: Vec<usize> = lanes.filter(|(_, lane)| is_gone(lane)).map(|(index, _)| index).collect();
        if gone.is_empty() {
            return;
        }
        // By place: where the lane that stands there comes from.
        let mut from: HashMap<usize, usize> = HashMap::new();
        for index in gone.iter().rev().copied() {
            let lane = self.lanes.swap_remove(index);
            self.names.remove(&lane.thing);
            self.missing -= 1;
            let last = self.lanes.len();
            let origin = from.remove(&last).unwrap_or(last);
            if let Some(moved) = self.lanes.get(index) {
                from.insert(index, origin);
                self.names.insert(moved.thing.clone(), index);
            }
        }
        let moved: HashMap<usize, usize> = from.into_iter().map(|(to, from)| (from, to)).collect();
        let place = |index: usize| match gone.binary_search(&index) {
            Ok(_) => None,
            Err(_) => Some(moved.get(&index).copied().unwrap_or(index)),
        };
        let follow = |index: &mut usize| match place(*index) {
            Some(to) => {
                *index = to;
                true
            }
            None => false,
        };
        self.topics.retain(|_, index| follow(index));
        self.ready.retain_mut(follow);
        self.to_ask.retain_mut(follow);
        self.calls.retain(|_, call| follow(&mut call.lane));
        let timers = std::mem::take(&mut self.timers).into_iter();
        self.timers = timers.filter_map(|Reverse((at, index))| Some(Reverse((at, place(index)?)))).collect();
    }
}
