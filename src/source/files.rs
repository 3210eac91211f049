//! Which files of a folder are read, and their text.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::FolderError;

/// The largest file that is read. Ditto takes things of 100 KB; 16 MiB are a fleet in one file.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The endings of files that are read in a folder; a file that is named itself may have any.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// The files a path stands for, sorted; a file stands for itself.
pub fn list(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, FolderError> {
    let wrong = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => FolderError::Missing(path.into()),
        _ => FolderError::Unreadable { path: path.into(), cause: cause.to_string() },
    };
    if !fs::metadata(path).map_err(wrong)?.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut found = vec![];
    collect(path, recursive, &mut found).map_err(wrong)?;
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, recursive: bool, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut below = vec![folder.to_owned()];
    while let Some(next) = below.pop() {
        let entries = match fs::read_dir(&next) {
            // A subfolder may go while we read.
            Err(error) if error.kind() == io::ErrorKind::NotFound && next != folder => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // A folder behind a link is not followed: links can form a circle.
            if entry.file_type()?.is_dir() {
                if recursive {
                    below.push(path);
                }
            } else if is_ours(&path) && !path.is_dir() {
                found.push(path);
            }
        }
    }
    Ok(())
}

/// Whether a file in a folder is read, by its name.
pub fn is_ours(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ENDINGS.iter().any(|ours| ending.eq_ignore_ascii_case(ours)))
}

/// The text of a file, or what to do about it; `None` when it is gone.
pub fn text(file: &Path) -> Result<String, Option<String>> {
    let wrong = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => None,
        _ => Some(format!("cannot be read ({error}): correct its permissions or remove it")),
    };
    let about = fs::metadata(file).map_err(wrong)?;
    if !about.is_file() {
        return Err(Some("is no plain file: replace it by one".into()));
    }
    if about.len() > FILE_BYTES_MAX {
        let (size, max) = (about.len() >> 20, FILE_BYTES_MAX >> 20);
        return Err(Some(format!("has {size} MiB, at most {max} are read: split it into several files")));
    }
    String::from_utf8(fs::read(file).map_err(wrong)?)
        .map_err(|_| Some("is not UTF-8 text: save it as UTF-8".into()))
}
