//! What is gone for good, and what only blinked: editors and version control delete and write again.
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kube::Resource;

use super::{Declared, Key, Snapshot, merge};
use crate::api::{DigitalTwin, TwinPolicy};

/// How long a document must be absent until it counts as deleted: longer than a checkout takes to put
/// files back, shorter than a person waits.
pub const ABSENCE_MIN: Duration = Duration::from_secs(2);

/// Resources that are no longer declared, as they stood there last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gone {
    pub twins: Vec<Declared<DigitalTwin>>,
    pub policies: Vec<Declared<TwinPolicy>>,
}

/// What holds after a look at the folders.
#[derive(Clone, Debug)]
pub struct Settled {
    pub snapshot: Snapshot,
    /// Told once.
    pub gone: Gone,
    /// When to look again although nothing changes; unset: never.
    pub again: Option<Instant>,
}

/// Remembers what was declared and since when it is missing. Has no clock of its own.
#[derive(Clone, Debug, Default)]
pub struct Absences {
    current: Snapshot,
    since: BTreeMap<Key, Instant>,
}

impl Absences {
    /// Takes what was read at the moment `at`. What is missing stays in the snapshot for
    /// [`ABSENCE_MIN`]; what [`merge`] keeps is not missing. While a file is broken nothing is gone:
    /// what is missing elsewhere may have moved into it.
    pub fn settle(&mut self, read: Snapshot, at: Instant) -> Settled {
        let mut snapshot = merge(&self.current, read);
        let is_whole = snapshot.broken.is_empty();
        if !is_whole {
            self.since.clear();
        }
        let mut since = BTreeMap::new();
        let gone = Gone {
            twins: self.missing(&self.current.twins, &mut snapshot.twins, at, &mut since),
            policies: self.missing(&self.current.policies, &mut snapshot.policies, at, &mut since),
        };
        self.since = if is_whole { since } else { BTreeMap::new() };
        self.current = snapshot.clone();
        let again = self.since.values().min().map(|first| *first + ABSENCE_MIN);
        Settled { snapshot, gone, again }
    }

    /// Puts back what is missing for a short time, and returns what is gone.
    fn missing<T: Resource<DynamicType = ()>>(
        &self,
        before: &[Declared<T>],
        now: &mut Vec<Declared<T>>,
        at: Instant,
        since: &mut BTreeMap<Key, Instant>,
    ) -> Vec<Declared<T>> {
        let present: BTreeSet<_> = now.iter().map(Declared::key).collect();
        let mut gone = vec![];
        for one in before {
            let key = one.key();
            if present.contains(&key) {
                continue;
            }
            let first = self.since.get(&key).copied().unwrap_or(at);
            if at.saturating_duration_since(first) >= ABSENCE_MIN {
                gone.push(one.clone());
            } else {
                since.insert(key, first);
                now.push(one.clone());
            }
        }
        now.sort_by(|a, b| a.place.cmp(&b.place));
        gone
    }
}
