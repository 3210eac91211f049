//! Looking at files again and again, where the system does not tell of changes: network folders, some
//! containers, or a system that is out of watches.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::files;

/// What tells one state of the folders from another without reading the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    identity: Option<(u64, u64)>,
}

impl Stamps {
    /// Blocks on the disk. A path that cannot be read is a state too.
    pub fn take(paths: &[PathBuf], recursive: bool) -> Self {
        let files = paths.iter().flat_map(|path| files::list(path, recursive).unwrap_or_default());
        Self(files.map(|file| (file.clone(), stamp(&file))).collect())
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let about = fs::metadata(file).ok()?;
    Some(Stamp { bytes: about.len(), modified: about.modified().ok(), identity: identity(file) })
}

/// Two files, or two folders, at one path differ in it.
#[cfg(unix)]
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|about| (about.dev(), about.ino()))
}

#[cfg(not(unix))]
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    let made = fs::metadata(path).ok()?.created().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some((made.as_secs(), u64::from(made.subsec_nanos())))
}
