//! What no file declares any more and what is not taken back yet.
use std::collections::BTreeSet;

use kube::Resource;

use super::line::{Line, count};
use super::prune::is_unusual;
use super::{Declared, Gone, Key, Snapshot};

/// Kept until each is taken back, or declared again.
#[derive(Clone, Debug, Default)]
pub struct Pending(Gone);

impl Pending {
    /// Adds what is gone, and forgets what `now` declares again.
    pub fn add(&mut self, gone: Gone, now: &Snapshot) {
        self.0.twins.extend(gone.twins);
        self.0.policies.extend(gone.policies);
        forget(&mut self.0.twins, &now.twins);
        forget(&mut self.0.policies, &now.policies);
    }

    pub fn is_empty(&self) -> bool {
        self.0 == Gone::default()
    }

    /// What may be taken back now; the rest is put back with [`Pending::add`].
    pub fn take(&mut self) -> Gone {
        std::mem::take(&mut self.0)
    }

    /// Says why nothing is taken back, when unusually many twins went at once.
    pub fn held(&self, now: &Snapshot, owner: &str) -> Option<Line> {
        let (going, all) = (self.0.twins.len(), self.0.twins.len() + now.twins.len());
        is_unusual(going, all).then(|| {
            let message = format!(
                "{going} of {} are in no file any more: nothing is deleted; put the files back, or start again with \
                 --owner {owner} --prune --yes to delete them",
                count(all, "twin"),
            );
            Line::held("Folder", "DeletionHeld", message)
        })
    }
}

fn forget<T: Resource<DynamicType = ()>>(gone: &mut Vec<Declared<T>>, now: &[Declared<T>]) {
    let mut seen: BTreeSet<Key> = now.iter().map(Declared::key).collect();
    // The last one stands for all of its name: it is what was declared last.
    gone.reverse();
    gone.retain(|one| seen.insert(one.key()));
    gone.reverse();
}
