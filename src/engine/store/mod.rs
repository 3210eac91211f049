//! The folder the engine keeps its state in.
//!
//! ```text
//! store/      fjall, keyspace `engine`: `t` + thing id, `p` + policy id → document or tombstone; `format`, `commits`
//! watermark   the number of commits that were acknowledged, as text
//! ```
//!
//! fjall checks what it reads and cuts off a torn tail, but it also cuts where the middle of its journal is
//! broken. The watermark tells the two apart: it is written after a commit is on disk (not synced itself: a
//! killed process loses nothing of it, a power cut at worst sets it back), so it never counts a commit that
//! the journal may lack. Fewer commits than it says is damage.
//!
//! One keyspace, because each costs a dozen syncs when it is made. Format 1 had three, `things`, `policies` and `meta`:
//! they are read, written into the one, and only then the format is raised, so an upgrade that is cut off begins anew.
pub mod committer;
mod tail;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use serde_json::json;

use super::EngineError;
use super::state::{Change, Content, Entry, Kind, Packed, State};
pub use crate::settings::Durability;

/// Grows when the folder's content changes its meaning.
const FORMAT: u64 = 2;
/// The engine reads from memory: the store needs hardly any cache. In bytes.
const CACHE: u64 = 1024 * 1024;
/// What is held in memory before it becomes a file. In bytes; a file costs some syncs, between which writes wait.
const MEMTABLE: u64 = 16 * 1024 * 1024;
/// What must fit onto a disk that was full before writes are taken again. In bytes.
const SPACE: usize = 1024 * 1024;
/// Rows an upgrade writes at once.
const UPGRADE_BATCH: usize = 1_000;

/// Where changes go to stay.
pub trait Disk: Send + 'static {
    /// Returns once all of `changes` are on disk, or with [`Durability::Relaxed`] in the hands of the operating system;
    /// or none counts.
    fn write(&mut self, changes: &[&Change], durability: Durability) -> Result<(), DiskError>;

    /// Brings to disk what was written relaxed.
    fn sync(&mut self) -> Result<(), DiskError>;

    /// After an error that [can pass](DiskError::can_pass): `Ok` once writes are possible again. `before` is what the
    /// refused writes were to change, as it is now.
    fn recover(&mut self, before: &[Change]) -> Result<(), DiskError>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    #[error("the disk is full: free some space, and writes are taken again")]
    Full,
    #[error("the store stopped ({0}): it is opened anew, try again")]
    Stopped(String),
    /// Nothing more is written until the engine is started again.
    #[error("the disk refused a write ({0}): check it and restart the engine")]
    Broken(String),
}

impl DiskError {
    pub fn can_pass(&self) -> bool {
        matches!(self, Self::Full | Self::Stopped(_))
    }
}

pub struct Store {
    path: PathBuf,
    /// `None` while it cannot be opened.
    open: Option<Opened>,
    watermark: File,
    commits: u64,
}

/// Every clone of it must be gone before the folder can be opened again.
struct Opened {
    db: Database,
    rows: Keyspace,
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
        let loaded = catch_unwind(AssertUnwindSafe(|| Opened::open(path).and_then(|open| open.load(path))));
        let (open, commits, state) =
            loaded.unwrap_or_else(|_| Err(damaged(path, "the store cannot be read")))?;
        if commits < acknowledged {
            let missing = acknowledged - commits;
            return Err(damaged(path, &format!("the last {missing} of {acknowledged} commits are missing")));
        }
        if commits > acknowledged {
            tracing::info!(more = commits - acknowledged, "commits that nobody was told of were kept");
        }
        Ok((Self { path: path.into(), open: Some(open), watermark, commits }, state))
    }

    fn acknowledge(&mut self) {
        let mut write = || {
            self.watermark.seek(SeekFrom::Start(0))?;
            self.watermark.write_all(format!("{:020}", self.commits).as_bytes())
        };
        // the writes are safe already: a watermark that cannot be written only warns of less
        write().unwrap_or_else(|error: io::Error| tracing::warn!(%error, "the watermark was not written"));
    }

    /// Fails as long as there is no space.
    fn probe(&self) -> io::Result<()> {
        let path = self.path.join("probe");
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&vec![0; SPACE])?;
            file.sync_all()
        });
        std::fs::remove_file(&path)?;
        written
    }
}

impl Opened {
    fn open(path: &Path) -> Result<Self, EngineError> {
        let builder = Database::builder(path.join("store")).worker_threads(1).cache_size(CACHE);
        let written = tail::written(&path.join("store"));
        let db = builder.open().map_err(|error| outside(path, error))?;
        tail::tell_what_is_gone(&written);
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
        let rows = db.keyspace("engine", options).map_err(|error| outside(path, error))?;
        Ok(Self { db, rows })
    }

    /// Everything, brought to this format: the number of commits and the state.
    fn load(self, path: &Path) -> Result<(Self, u64, State), EngineError> {
        match number(&self.rows, "format", path)? {
            Some(FORMAT) => {}
            Some(found) => return Err(EngineError::Format { path: path.into(), found, expected: FORMAT }),
            None => self.upgrade(path)?,
        }
        let commits = number(&self.rows, "commits", path)?.unwrap_or_default();
        let mut state = State::default();
        for kind in [Kind::Policy, Kind::Thing] {
            for row in self.rows.prefix([tag(kind)]) {
                let (key, value) = row.into_inner().map_err(|error| outside(path, error))?;
                load(&mut state, kind, key.get(1..).unwrap_or_default(), &value).ok_or_else(|| {
                    damaged(path, &format!("the {kind:?} `{}` cannot be read", String::from_utf8_lossy(&key)))
                })?;
            }
        }
        Ok((self, commits, state))
    }

    /// From an empty folder, or from format 1.
    fn upgrade(&self, path: &Path) -> Result<(), EngineError> {
        let failed = |error| outside(path, error);
        let mut commits = 0;
        if self.db.keyspace_exists("meta") {
            let keyspace = |name| self.db.keyspace(name, KeyspaceCreateOptions::default).map_err(failed);
            let meta = keyspace("meta")?;
            if let Some(found) = number(&meta, "format", path)?.filter(|found| *found != 1) {
                return Err(EngineError::Format { path: path.into(), found, expected: FORMAT });
            }
            tracing::info!(folder = %path.display(), "the data folder is brought from format 1 to {FORMAT}");
            commits = number(&meta, "commits", path)?.unwrap_or_default();
            for (kind, name) in [(Kind::Thing, "things"), (Kind::Policy, "policies")] {
                let old = keyspace(name)?;
                let rows: Vec<_> =
                    old.iter().map(|row| row.into_inner().map_err(failed)).collect::<Result<_, _>>()?;
                for some in rows.chunks(UPGRADE_BATCH) {
                    let mut batch = self.db.batch();
                    for (id, document) in some {
                        batch.insert(&self.rows, [&[tag(kind)], &**id].concat(), document.clone());
                    }
                    batch.commit().map_err(failed)?;
                }
            }
        }
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&self.rows, "commits", commits.to_string());
        batch.insert(&self.rows, "format", FORMAT.to_string());
        batch.commit().map_err(failed)?;
        for name in ["things", "policies", "meta"] {
            if self.db.keyspace_exists(name) {
                let old = self.db.keyspace(name, KeyspaceCreateOptions::default).map_err(failed)?;
                self.db.delete_keyspace(old).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn commit(&self, changes: &[&Change], commits: u64, durability: Durability) -> fjall::Result<()> {
        let mode = match durability {
            Durability::Durable => PersistMode::SyncData,
            Durability::Relaxed => PersistMode::Buffer,
        };
        let mut batch = self.db.batch().durability(Some(mode));
        for change in changes {
            let key = [&[tag(change.kind)], change.id.as_bytes()].concat();
            if change.entry == Entry::default() {
                batch.remove(&self.rows, key);
            } else {
                batch.insert(&self.rows, key, encode(&change.entry));
            }
        }
        batch.insert(&self.rows, "commits", commits.to_string());
        batch.commit()
    }
}

impl Disk for Store {
    fn write(&mut self, changes: &[&Change], durability: Durability) -> Result<(), DiskError> {
        let open = self.open.as_ref().ok_or_else(|| DiskError::Stopped("it is closed".to_owned()))?;
        open.commit(changes, self.commits + 1, durability).map_err(refused)?;
        self.commits += 1;
        if durability == Durability::Durable {
            self.acknowledge();
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        let open = self.open.as_ref().ok_or_else(|| DiskError::Stopped("it is closed".to_owned()))?;
        open.db.persist(PersistMode::SyncData).map_err(refused)?;
        self.acknowledge();
        Ok(())
    }

    /// fjall serves no more writes after one has failed, so it is opened anew. Its journal may or may not hold the
    /// refused batch: what was before is written over it.
    fn recover(&mut self, before: &[Change]) -> Result<(), DiskError> {
        self.probe().map_err(|error| refused(error.into()))?;
        self.open = None;
        let opened = catch_unwind(AssertUnwindSafe(|| Opened::open(&self.path)));
        let opened = opened.unwrap_or_else(|_| Err(damaged(&self.path, "the store cannot be read")));
        self.open = Some(opened.map_err(|error| DiskError::Stopped(error.to_string()))?);
        self.write(&before.iter().collect::<Vec<_>>(), Durability::Durable)
    }
}

/// What a keyspace's keys begin with; not the first letter of `format` and `commits`.
fn tag(kind: Kind) -> u8 {
    match kind {
        Kind::Thing => b't',
        Kind::Policy => b'p',
    }
}

fn number(rows: &Keyspace, key: &str, path: &Path) -> Result<Option<u64>, EngineError> {
    let Some(bytes) = rows.get(key).map_err(|error| outside(path, error))? else { return Ok(None) };
    let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| damaged(path, &format!("`{key}` is no number")))
}

fn refused(error: fjall::Error) -> DiskError {
    match error {
        fjall::Error::Io(cause) if is_full(&cause) => DiskError::Full,
        // it failed in the background, and nothing that was acknowledged is lost
        fjall::Error::Poisoned => DiskError::Stopped("it failed in the background".to_owned()),
        other => DiskError::Broken(format!("{other:?}")),
    }
}

fn outside(path: &Path, error: fjall::Error) -> EngineError {
    match error {
        fjall::Error::Locked => EngineError::Locked { path: path.into() },
        fjall::Error::Io(cause) if is_outside(&cause) => {
            EngineError::Folder { path: path.into(), cause: cause.to_string() }
        }
        other => damaged(path, &format!("{other:?}")),
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
        Some(document) => document.text(),
        None => json!({"_revision": entry.revision, "_deleted": true}).to_string().into_bytes(),
    }
}

/// Reads a row into the state; `None` when it is none.
fn load(state: &mut State, kind: Kind, id: &[u8], value: &[u8]) -> Option<()> {
    let id = std::str::from_utf8(id).ok()?;
    let packed = Packed::read(value).ok()?;
    let revision = packed.root().at(&["_revision"])?.unsigned()?;
    let lives = packed.root().at(&["_deleted"]).is_none();
    match kind {
        Kind::Thing => drop(state.put_packed(id, revision, lives.then_some(packed))),
        Kind::Policy => {
            let document = lives.then_some(Content::Packed(packed));
            // nothing is replaced by it
            state.put_at(Change { kind, id: id.to_owned(), entry: Entry { revision, document } }, 0);
        }
    }
    Some(())
}
