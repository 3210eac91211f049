//! The folder the engine keeps its state in.
//!
//! ```text
//! store/      fjall: keyspaces `things`, `policies` (id → document or tombstone), `meta` (format, commits)
//! watermark   the number of commits that were acknowledged, as text
//! ```
//!
//! fjall checks what it reads and cuts off a torn tail, but it also cuts where the middle of its journal is
//! broken. The watermark tells the two apart: it is written after a commit is on disk (not synced itself: a
//! killed process loses nothing of it, a power cut at worst sets it back), so it never counts a commit that
//! the journal may lack. Fewer commits than it says is damage.
pub mod committer;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use serde_json::{Value, json};

use super::EngineError;
use super::state::{Change, Entry, Kind, State};

/// Grows when the folder's content changes its meaning.
const FORMAT: u64 = 1;
/// The engine reads from memory: the store needs hardly any cache. In bytes.
const CACHE: u64 = 1024 * 1024;
/// What a keyspace holds in memory before it becomes a file. In bytes; small, for `dev` on a laptop.
const MEMTABLE: u64 = 2 * 1024 * 1024;

/// Where changes go to stay.
pub trait Disk: Send + 'static {
    /// Returns once all of `changes` are on disk, or none counts.
    fn write(&mut self, changes: &[&Change]) -> Result<(), DiskError>;
}

/// After either, nothing more is written until the engine is started again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    #[error("the disk is full: free some space and restart the engine")]
    Full,
    #[error("the disk refused a write ({0}): check it and restart the engine")]
    Broken(String),
}

pub struct Store {
    db: Database,
    things: Keyspace,
    policies: Keyspace,
    meta: Keyspace,
    watermark: File,
    commits: u64,
}

impl Store {
    /// Opens the folder, making it when it is not there, and reads everything in it.
    pub fn open(path: &Path) -> Result<(Self, State), EngineError> {
        let folder = |cause: io::Error| EngineError::Folder { path: path.into(), cause: cause.to_string() };
        std::fs::create_dir_all(path).map_err(folder)?;
        let options = File::options().read(true).write(true).create(true).truncate(false).clone();
        let mut watermark = options.open(path.join("watermark")).map_err(folder)?;
        let acknowledged = read_number(&mut watermark).map_err(folder)?;
        // fjall asserts on some damage, and damage is no reason to panic
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open_store(path, watermark)));
        let (store, state) = opened.unwrap_or_else(|_| Err(damaged(path, "the store cannot be read")))?;
        if store.commits < acknowledged {
            let missing = acknowledged - store.commits;
            return Err(damaged(path, &format!("the last {missing} of {acknowledged} commits are missing")));
        }
        Ok((store, state))
    }

    fn open_store(path: &Path, watermark: File) -> Result<(Self, State), EngineError> {
        let failed = |error: fjall::Error| match error {
            fjall::Error::Locked => EngineError::Locked { path: path.into() },
            fjall::Error::Io(cause) if is_outside(&cause) => {
                EngineError::Folder { path: path.into(), cause: cause.to_string() }
            }
            other => damaged(path, &format!("{other:?}")),
        };
        let builder = Database::builder(path.join("store")).worker_threads(1).cache_size(CACHE);
        let db = builder.open().map_err(failed)?;
        let keyspace = |name| {
            db.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE)).map_err(failed)
        };
        let (things, policies, meta) = (keyspace("things")?, keyspace("policies")?, keyspace("meta")?);
        let number = |key: &str| -> Result<Option<u64>, EngineError> {
            let Some(bytes) = meta.get(key).map_err(failed)? else { return Ok(None) };
            let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
            number.map(Some).ok_or_else(|| damaged(path, &format!("`{key}` is no number")))
        };
        match number("format")? {
            None => meta.insert("format", FORMAT.to_string()).map_err(failed)?,
            Some(FORMAT) => {}
            Some(found) => return Err(EngineError::Format { path: path.into(), found, expected: FORMAT }),
        }
        let commits = number("commits")?.unwrap_or_default();
        let mut state = State::default();
        for (kind, keyspace) in [(Kind::Thing, &things), (Kind::Policy, &policies)] {
            for row in keyspace.iter() {
                let (key, value) = row.into_inner().map_err(failed)?;
                let change = decode(kind, &key, &value).ok_or_else(|| {
                    damaged(path, &format!("the {kind:?} `{}` cannot be read", String::from_utf8_lossy(&key)))
                })?;
                state.put(change);
            }
        }
        Ok((Self { db, things, policies, meta, watermark, commits }, state))
    }

    fn acknowledge(&mut self) -> io::Result<()> {
        self.watermark.seek(SeekFrom::Start(0))?;
        self.watermark.write_all(format!("{:020}", self.commits).as_bytes())
    }
}

impl Disk for Store {
    fn write(&mut self, changes: &[&Change]) -> Result<(), DiskError> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for change in changes {
            let keyspace = match change.kind {
                Kind::Thing => &self.things,
                Kind::Policy => &self.policies,
            };
            batch.insert(keyspace, change.id.as_str(), encode(&change.entry));
        }
        batch.insert(&self.meta, "commits", (self.commits + 1).to_string());
        batch.commit().map_err(|error| match error {
            fjall::Error::Io(cause) if is_full(&cause) => DiskError::Full,
            other => DiskError::Broken(format!("{other:?}")),
        })?;
        self.commits += 1;
        // the writes are safe already: a watermark that cannot be written only warns of less
        self.acknowledge().unwrap_or_else(|error| tracing::warn!(%error, "the watermark was not written"));
        Ok(())
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Errors of the folder, not of what is in it.
fn is_outside(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    is_full(error) || matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | NotADirectory)
}

fn damaged(path: &Path, cause: &str) -> EngineError {
    EngineError::Damaged { path: path.into(), cause: cause.to_owned() }
}

/// Zero when nothing was written yet, or when a power cut left the file empty.
fn read_number(file: &mut File) -> io::Result<u64> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text.trim().parse().unwrap_or_default())
}

/// The document itself, or what remains of a deleted entity.
fn encode(entry: &Entry) -> Vec<u8> {
    match &entry.document {
        Some(document) => document.to_string().into_bytes(),
        None => json!({"_revision": entry.revision, "_deleted": true}).to_string().into_bytes(),
    }
}

fn decode(kind: Kind, key: &[u8], value: &[u8]) -> Option<Change> {
    let document: Value = serde_json::from_slice(value).ok()?;
    let revision = document["_revision"].as_u64()?;
    let deleted = document.get("_deleted").is_some();
    let id = std::str::from_utf8(key).ok()?.to_owned();
    Some(Change { kind, id, entry: Entry { revision, document: (!deleted).then(|| Arc::new(document)) } })
}
