//! Where journals end. A kill or a power cut tears the write that was under way, and fjall cuts off what it reads of it:
//! this tells of it.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes read at once, from the end on: a journal is made with zeros behind.
const BLOCK: u64 = 1024 * 1024;

/// What is written in each journal of a folder, in bytes. Nothing when it cannot be read: then it cannot be opened either.
pub fn written(store: &Path) -> BTreeMap<PathBuf, u64> {
    let paths = std::fs::read_dir(store).into_iter().flatten().flatten().map(|file| file.path());
    let journals = paths.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    journals.filter_map(|path| File::open(&path).and_then(end).ok().map(|end| (path, end))).collect()
}

/// To be called when the store is opened, and nothing is written yet.
pub fn tell_what_is_gone(written: &BTreeMap<PathBuf, u64>) {
    for (path, before) in written {
        // one whose rows are all in tables is deleted
        let Ok(now) = File::open(path).and_then(end) else { continue };
        if now < *before {
            let (journal, bytes) = (path.display(), before - now);
            tracing::warn!(%journal, bytes, "the end of the journal was torn, and is cut off");
        }
    }
}

/// Behind the last byte that is not zero.
fn end(mut file: File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = vec![];
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        file.by_ref().take(end - start).read_to_end(&mut block)?;
        if let Some(last) = block.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_behind_are_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let block = usize::try_from(BLOCK).unwrap();
        let rows: [(&str, Vec<u8>, u64); 5] = [
            ("nothing", vec![], 0),
            ("zeros", vec![0; 3 * block], 0),
            ("no zeros", vec![7; 10], 10),
            ("some", [vec![7, 0, 7], vec![0; 2 * block]].concat(), 3),
            ("at a border", [vec![7; block], vec![0; block]].concat(), BLOCK),
        ];
        for (what, bytes, expected) in rows {
            let path = folder.path().join("1.jnl");
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(written(folder.path()), BTreeMap::from([(path, expected)]), "{what}");
        }
    }
}
