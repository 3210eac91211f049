//! Where twins come from when there is no cluster: folders of YAML.
//!
//! [`scan`] reads the folders into a [`Snapshot`], [`merge`] keeps what a broken file or a lost folder
//! declared before, [`Absences`] decides what is gone for good, and [`Watcher`] says when to look again.
//! [`Runner`] carries a snapshot out, with a [`Line`] for each resource.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kube::Resource;

use crate::api::{DigitalTwin, TwinPolicy};

mod absences;
mod files;
mod line;
mod merge;
mod pending;
mod poll;
mod prune;
mod resource;
mod run;
mod watch;
mod yaml;

pub use absences::{ABSENCE_MIN, Absences, Gone, Settled};
pub use line::{Line, Summary, Verdict, count, first_of};
pub use merge::merge;
pub use pending::Pending;
pub use prune::Leftovers;
pub use resource::DEFAULT_NAMESPACE;
use resource::Found;
pub use run::{Runner, place_of};
pub use watch::Watcher;

/// A path that was named on the command line and cannot be read. With one of them nothing is tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FolderError {
    #[error("{} does not exist: name a folder or a file of YAML", .0.display())]
    Missing(PathBuf),
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: String },
}

/// Where a resource stands. The lesser one is first: by path as named, then by file, then in the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which of the paths that were named, from 0.
    pub root: usize,
    pub file: PathBuf,
    /// Which document of the file, from 0.
    pub document: usize,
}

/// A resource and where it stands. Cheap to clone.
#[derive(Debug, PartialEq)]
pub struct Declared<T> {
    pub resource: Arc<T>,
    pub place: Place,
    /// Where its document starts, from 1.
    pub line: usize,
}

impl<T> Clone for Declared<T> {
    fn clone(&self) -> Self {
        Self { resource: Arc::clone(&self.resource), place: self.place.clone(), line: self.line }
    }
}

/// What tells resources apart: kind, namespace, name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl<T: Resource<DynamicType = ()>> Declared<T> {
    pub fn key(&self) -> Key {
        let meta = self.resource.meta();
        Key {
            kind: T::kind(&()).into_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

/// Something to change in a file, or a document that is somebody else's; shown as `file:line: what`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    pub file: PathBuf,
    /// From 1; 0 means the file or folder as a whole.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.what),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.what),
        }
    }
}

/// What the folders declare at one moment. Every resource stands there once and has a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// In the order of their places.
    pub twins: Vec<Declared<DigitalTwin>>,
    /// In the order of their places.
    pub policies: Vec<Declared<TwinPolicy>>,
    /// What is wrong and what to change.
    pub problems: Vec<Note>,
    /// Documents of other API groups.
    pub skipped: Vec<Note>,
    /// Files with a problem: what they declared before still holds.
    pub broken: BTreeSet<PathBuf>,
    /// Files that were read, whatever they hold.
    pub files: BTreeSet<PathBuf>,
    /// The paths that cannot be read, by their place among those named.
    pub lost: Vec<(usize, FolderError)>,
    /// The paths as they were named.
    pub roots: Vec<PathBuf>,
}

impl Snapshot {
    /// Why what is missing here is not known to be gone, as the end of a sentence that says what is not
    /// done: a file may have declared it, and an empty mount declares nothing.
    pub fn obstacle(&self) -> Option<String> {
        if let Some(problem) = self.problems.first() {
            return Some(format!("while a file cannot be read: {problem}"));
        }
        let files = || {
            let twins = self.twins.iter().map(|twin| &twin.place);
            twins.chain(self.policies.iter().map(|policy| &policy.place))
        };
        let mut roots = self.roots.iter().enumerate();
        // A file may have been found under another path that was named before.
        let silent =
            roots.find(|(root, path)| !files().any(|at| at.root == *root || at.file.starts_with(path)));
        match silent {
            Some((_, path)) => Some(format!(
                "while {} declares nothing at all; to delete everything, delete the things in Ditto",
                path.display()
            )),
            None if self.roots.is_empty() => Some("without a folder".into()),
            None => None,
        }
    }
}

/// Reads folders and files whole. Blocks on the disk.
///
/// # Errors
/// A path does not exist or cannot be listed. What is wrong inside of files is in the snapshot.
pub fn read(paths: &[PathBuf], recursive: bool) -> Result<Snapshot, FolderError> {
    let mut snapshot = scan(paths, recursive);
    if snapshot.lost.is_empty() { Ok(snapshot) } else { Err(snapshot.lost.swap_remove(0).1) }
}

/// As [`read`], and a path that cannot be read is a part of the answer: for looking again and again.
pub fn scan(paths: &[PathBuf], recursive: bool) -> Snapshot {
    let mut scan = Scan::default();
    let mut seen = BTreeSet::new();
    for (root, path) in paths.iter().enumerate() {
        match files::list(path, recursive) {
            Err(error) => scan.snapshot.lost.push((root, error)),
            Ok(files) => {
                for file in files {
                    let same = file.canonicalize().unwrap_or_else(|_| file.clone());
                    if seen.insert(same) {
                        scan.file(root, &file);
                    }
                }
            }
        }
    }
    Snapshot { roots: paths.to_vec(), ..scan.snapshot }
}

#[derive(Default)]
struct Scan {
    snapshot: Snapshot,
    /// Where each resource stands first.
    first: BTreeMap<Key, (PathBuf, usize)>,
}

impl Scan {
    fn file(&mut self, root: usize, file: &Path) {
        let note =
            |mistake: yaml::Mistake| Note { file: file.into(), line: mistake.line, what: mistake.what };
        let mut problems = vec![];
        match files::text(file) {
            Ok(text) => {
                self.snapshot.files.insert(file.into());
                let (documents, unreadable) = yaml::split(&text);
                for (index, document) in documents.into_iter().enumerate() {
                    let place = Place { root, file: file.into(), document: index };
                    let line = document.line;
                    match resource::read(&document) {
                        Found::Twin(twin) => problems.extend(self.add(*twin, place, line, |s| &mut s.twins)),
                        Found::Policy(policy) => {
                            problems.extend(self.add(*policy, place, line, |s| &mut s.policies));
                        }
                        Found::Nothing => {}
                        Found::Foreign(mistake) => self.snapshot.skipped.push(note(mistake)),
                        Found::Wrong(mistakes) => problems.extend(mistakes.into_iter().map(note)),
                    }
                }
                problems.extend(unreadable.map(note));
            }
            // Gone between the listing and the reading: the next look will not list it.
            Err(None) => {}
            Err(Some(what)) => problems.push(note(yaml::Mistake { line: 0, what })),
        }
        if !problems.is_empty() {
            self.snapshot.problems.append(&mut problems);
            self.snapshot.broken.insert(file.into());
        }
    }

    /// Adds a resource, or says where it stands already.
    fn add<T: Resource<DynamicType = ()>>(
        &mut self,
        resource: T,
        place: Place,
        line: usize,
        list: impl Fn(&mut Snapshot) -> &mut Vec<Declared<T>>,
    ) -> Option<Note> {
        let one = Declared { resource: Arc::new(resource), place, line };
        let key = one.key();
        if let Some((file, first)) = self.first.get(&key) {
            let at = format!("{}:{first}", file.display());
            let what = format!("{key} is declared at {at} already: remove one of the two");
            return Some(Note { file: one.place.file, line, what });
        }
        self.first.insert(key, (one.place.file.clone(), line));
        list(&mut self.snapshot).push(one);
        None
    }
}
