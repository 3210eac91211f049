//! Rows in the order of their ids, of which a copy costs next to nothing: whoever searches for long keeps the rows as
//! they were, and no writer waits for that.
//!
//! Two levels: a list of leaves, each with some rows. A copy shares both; a write copies what it changes when it is shared.
use std::sync::Arc;

/// Rows in a leaf. A write to a shared leaf copies this many pointers, and one to a shared list one per leaf.
const LEAF_MAX: usize = 256;

pub trait Row {
    fn id(&self) -> &str;
}

#[derive(Debug)]
struct Leaf<R> {
    /// The id of the first row, or one before it and behind all of the leaf before.
    from: Arc<str>,
    rows: Arc<Rows<R>>,
}

impl<R> Clone for Leaf<R> {
    fn clone(&self) -> Self {
        Self { from: Arc::clone(&self.from), rows: Arc::clone(&self.rows) }
    }
}

#[derive(Debug)]
struct Rows<R> {
    /// A hash of the id of each row: the way to one row leads past the others without a look at them.
    hashes: Vec<u32>,
    rows: Vec<Arc<R>>,
}

impl<R> Clone for Rows<R> {
    fn clone(&self) -> Self {
        Self { hashes: self.hashes.clone(), rows: self.rows.clone() }
    }
}

impl<R: Row> Rows<R> {
    fn get(&self, id: &str) -> Option<usize> {
        let wanted = hash(id);
        let mut from = 0;
        loop {
            let at = from + self.hashes.get(from..)?.iter().position(|hash| *hash == wanted)?;
            if self.rows[at].id() == id {
                return Some(at);
            }
            from = at + 1;
        }
    }

    fn insert(&mut self, at: usize, row: Arc<R>) {
        self.hashes.insert(at, hash(row.id()));
        self.rows.insert(at, row);
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self { hashes: self.hashes.split_off(at), rows: self.rows.split_off(at) }
    }
}

/// FNV-1a.
fn hash(id: &str) -> u32 {
    id.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[derive(Debug)]
pub struct Ordered<R> {
    /// None is empty.
    leaves: Arc<Vec<Leaf<R>>>,
}

impl<R> Default for Ordered<R> {
    fn default() -> Self {
        Self { leaves: Arc::default() }
    }
}

impl<R> Clone for Ordered<R> {
    fn clone(&self) -> Self {
        Self { leaves: Arc::clone(&self.leaves) }
    }
}

impl<R: Row> Ordered<R> {
    pub fn get(&self, id: &str) -> Option<&Arc<R>> {
        let rows = &self.leaves.get(self.leaf_of(id))?.rows;
        rows.get(id).map(|at| &rows.rows[at])
    }

    /// Returns the row that was there.
    pub fn insert(&mut self, row: Arc<R>) -> Option<Arc<R>> {
        let leaf_at = self.leaf_of(row.id());
        let leaves = Arc::make_mut(&mut self.leaves);
        let Some(leaf) = leaves.get_mut(leaf_at) else {
            let from = row.id().into();
            let rows = Rows { hashes: vec![hash(row.id())], rows: vec![row] };
            leaves.push(Leaf { from, rows: Arc::new(rows) });
            return None;
        };
        let rows = Arc::make_mut(&mut leaf.rows);
        if let Some(at) = rows.get(row.id()) {
            return Some(std::mem::replace(&mut rows.rows[at], row));
        }
        let is_last = rows.rows.last().is_some_and(|last| last.id() < row.id());
        let before = |other: &Arc<R>| other.id() < row.id();
        let at = if is_last { rows.rows.len() } else { rows.rows.partition_point(before) };
        if row.id() < &*leaf.from {
            leaf.from = row.id().into();
        }
        if rows.rows.len() < LEAF_MAX {
            rows.insert(at, row);
        } else {
            // rows that arrive in order, as at the start, leave full leaves behind
            let mut upper = rows.split_off(if at == LEAF_MAX { LEAF_MAX } else { LEAF_MAX / 2 });
            let lower = rows.rows.len();
            let (half, at) =
                if at > lower || upper.rows.is_empty() { (&mut upper, at - lower) } else { (rows, at) };
            half.insert(at, row);
            let from = upper.rows[0].id().into();
            leaves.insert(leaf_at + 1, Leaf { from, rows: Arc::new(upper) });
        }
        None
    }

    pub fn remove(&mut self, id: &str) -> Option<Arc<R>> {
        let leaf_at = self.leaf_of(id);
        let leaves = Arc::make_mut(&mut self.leaves);
        let rows = Arc::make_mut(&mut leaves.get_mut(leaf_at)?.rows);
        let at = rows.get(id)?;
        rows.hashes.remove(at);
        let row = rows.rows.remove(at);
        if rows.rows.is_empty() {
            leaves.remove(leaf_at);
        }
        Some(row)
    }

    /// The rows from this id on.
    pub fn from(&self, id: &str) -> impl Iterator<Item = &Arc<R>> {
        let leaves = self.leaves.get(self.leaf_of(id)..).unwrap_or_default();
        let before = leaves.first().map_or(0, |leaf| leaf.rows.rows.partition_point(|row| row.id() < id));
        leaves.iter().flat_map(|leaf| leaf.rows.rows.iter()).skip(before)
    }

    /// How many rows there are from one id to another, to a leaf or two.
    pub fn about(&self, from: &str, to: Option<&str>) -> usize {
        let last = to.map_or(self.leaves.len(), |to| self.leaf_of(to) + 1);
        let leaves = self.leaves.get(self.leaf_of(from)..last).unwrap_or_default();
        leaves.iter().map(|leaf| leaf.rows.rows.len()).sum()
    }

    /// The last leaf that begins at or before the id, or else the first.
    fn leaf_of(&self, id: &str) -> usize {
        self.leaves.partition_point(|leaf| &*leaf.from <= id).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Named(String, u32);

    impl Row for Named {
        fn id(&self) -> &str {
            &self.0
        }
    }

    fn all(ordered: &Ordered<Named>, from: &str) -> Vec<(String, u32)> {
        ordered.from(from).map(|row| (row.0.clone(), row.1)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn it_is_a_map_and_its_copies_stay_as_they_were(
            in_order in 0..900_u32,
            steps in prop::collection::vec((0..1200_u32, any::<bool>()), 0..600),
            from in 0..1200_u32,
        ) {
            let (mut ordered, mut map) = (Ordered::default(), BTreeMap::new());
            let name = |n: u32| format!("{n:05}");
            for n in 0..in_order {
                ordered.insert(Arc::new(Named(name(n), 0)));
                map.insert(name(n), 0);
            }
            let (copy, then) = (ordered.clone(), map.clone());
            for (n, (id, insert)) in (1..).zip(steps) {
                if insert {
                    let before = ordered.insert(Arc::new(Named(name(id), n))).map(|row| row.1);
                    prop_assert_eq!(before, map.insert(name(id), n));
                } else {
                    prop_assert_eq!(ordered.remove(&name(id)).map(|row| row.1), map.remove(&name(id)));
                }
                prop_assert_eq!(ordered.get(&name(id)).map(|row| row.1), map.get(&name(id)).copied());
            }
            let from = name(from);
            prop_assert_eq!(all(&ordered, &from), map.range(from.clone()..).map(|(k, v)| (k.clone(), *v)).collect::<Vec<_>>());
            prop_assert_eq!(all(&copy, ""), then.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(ordered.about("", None), map.len());
        }
    }
}
