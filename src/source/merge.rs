//! What still holds although it cannot be read just now.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kube::Resource;

use super::{Declared, Key, Note, Place, Snapshot};

/// `now`, and of `previous` what a broken file, a file that lost all its documents, a lost path or a path
/// that is empty as a whole declared: an editor's slip or a missing mount must not delete a fleet.
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
    let emptied = emptied(previous, &now);
    for (_, file) in emptied.iter().filter(|(root, _)| !held.contains(root)) {
        if !now.broken.contains(file) {
            let what =
                "declares nothing any more; nothing is deleted: put the documents back, or remove the file";
            now.problems.push(Note { file: file.clone(), line: 0, what: what.into() });
        }
    }
    let broken = now.broken.clone();
    let declared: BTreeSet<Key> = places(&now).map(|(_, key)| key).collect();
    let holds = |place: &Place, key: &Key| {
        let emptied = emptied.contains(&(place.root, place.file.clone()));
        held.contains(&place.root) || broken.contains(&place.file) || (emptied && !declared.contains(key))
    };
    now.twins = kept(&previous.twins, now.twins, holds);
    now.policies = kept(&previous.policies, now.policies, holds);
    now
}

/// Files, with the path they were found under, that are there and lost all that they declared. What moved
/// to another file is not lost.
fn emptied(previous: &Snapshot, now: &Snapshot) -> BTreeSet<(usize, PathBuf)> {
    let standing: BTreeSet<&Path> = places(now).map(|(place, _)| place.file.as_path()).collect();
    let declared: BTreeSet<Key> = places(now).map(|(_, key)| key).collect();
    let lost = |(place, key): &(&Place, Key)| {
        now.files.contains(&place.file) && !standing.contains(place.file.as_path()) && !declared.contains(key)
    };
    places(previous).filter(lost).map(|(place, _)| (place.root, place.file.clone())).collect()
}

fn places(snapshot: &Snapshot) -> impl Iterator<Item = (&Place, Key)> {
    let twins = snapshot.twins.iter().map(|twin| (&twin.place, twin.key()));
    twins.chain(snapshot.policies.iter().map(|policy| (&policy.place, policy.key())))
}

/// The paths that declare anything.
fn roots(snapshot: &Snapshot) -> BTreeSet<usize> {
    places(snapshot).map(|(place, _)| place.root).collect()
}

fn kept<T: Resource<DynamicType = ()>>(
    previous: &[Declared<T>],
    now: Vec<Declared<T>>,
    holds: impl Fn(&Place, &Key) -> bool,
) -> Vec<Declared<T>> {
    // What still stands in the same file is taken as it is now, wherever in the file.
    let standing: BTreeSet<_> = now.iter().map(|one| (one.key(), one.place.file.clone())).collect();
    let held = previous.iter().filter(|one| {
        let key = one.key();
        holds(&one.place, &key) && !standing.contains(&(key, one.place.file.clone()))
    });
    let mut all: Vec<_> = held.cloned().chain(now).collect();
    all.sort_by(|a, b| a.place.cmp(&b.place));
    let mut seen = BTreeSet::new();
    all.retain(|one| seen.insert(one.key()));
    all
}
