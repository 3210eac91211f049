//! What still holds although it cannot be read just now.
use std::collections::BTreeSet;

use kube::Resource;

use super::{Declared, Note, Snapshot};

/// `now`, and of `previous` what a broken file, a lost path or a path that is empty as a whole declared:
/// an editor's slip or a missing mount must not delete a fleet.
pub fn merge(previous: &Snapshot, mut now: Snapshot) -> Snapshot {
    let lost: BTreeSet<_> = now.lost.iter().map(|(root, _)| *root).collect();
    let empty: BTreeSet<_> = roots(previous).difference(&roots(&now)).copied().collect();
    for (root, error) in &now.lost {
        let file = now.roots.get(*root).cloned().unwrap_or_default();
        now.problems.push(Note { file, line: 0, what: format!("{error}; nothing is deleted") });
    }
    for root in empty.difference(&lost) {
        let file = now.roots.get(*root).cloned().unwrap_or_default();
        let broken = now.broken.iter().any(|broken| broken.starts_with(&file));
        if !broken {
            let what =
                "declares nothing any more; nothing is deleted: put the files back, or start with --prune";
            now.problems.push(Note { file, line: 0, what: what.into() });
        }
    }
    let held: BTreeSet<_> = lost.union(&empty).copied().collect();
    let broken = now.broken.clone();
    let holds = |place: &super::Place| held.contains(&place.root) || broken.contains(&place.file);
    now.twins = kept(&previous.twins, now.twins, holds);
    now.policies = kept(&previous.policies, now.policies, holds);
    now
}

/// The paths that declare anything.
fn roots(snapshot: &Snapshot) -> BTreeSet<usize> {
    let twins = snapshot.twins.iter().map(|twin| twin.place.root);
    twins.chain(snapshot.policies.iter().map(|policy| policy.place.root)).collect()
}

fn kept<T: Resource<DynamicType = ()>>(
    previous: &[Declared<T>],
    now: Vec<Declared<T>>,
    holds: impl Fn(&super::Place) -> bool,
) -> Vec<Declared<T>> {
    // What still stands in the same file is taken as it is now, wherever in the file.
    let standing: BTreeSet<_> = now.iter().map(|one| (one.key(), one.place.file.clone())).collect();
    let held = previous
        .iter()
        .filter(|one| holds(&one.place) && !standing.contains(&(one.key(), one.place.file.clone())));
    let mut all: Vec<_> = held.cloned().chain(now).collect();
    all.sort_by(|a, b| a.place.cmp(&b.place));
    let mut seen = BTreeSet::new();
    all.retain(|one| seen.insert(one.key()));
    all
}
