//! When to look at the folders again. Only that something changed is passed on: who looks reads everything.
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::event::ModifyKind;
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as Notify};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::files::is_ours;
use super::poll::{Stamps, identity};

/// How long it must be quiet: an editor saves in several steps.
const QUIET: Duration = Duration::from_millis(100);

/// How long a change may be held back by further ones.
const HELD_MAX: Duration = Duration::from_secs(1);

/// How often a path is checked for being another one than before: a folder that was removed and came
/// back is a new folder, which the old watch does not see. Also the interval where only polling works.
const CHECK: Duration = Duration::from_secs(1);

/// Watches folders and files until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    changes: watch::Receiver<u64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watcher {
    /// Starts watching. Read the folders after this, and nothing falls in between. `polling`: look every
    /// second instead of being told, as it is done anyhow where the system cannot tell.
    pub fn start(paths: &[PathBuf], recursive: bool, polling: bool) -> Self {
        let (told, changes) = watch::channel(0);
        if !polling {
            let roots: Vec<_> = paths.iter().map(|path| Root::new(path)).collect();
            // One place is enough: a signal that finds it taken says nothing new.
            let (raw, signals) = mpsc::channel(1);
            match Watching::new(roots, recursive, raw) {
                Ok(watching) => return Self { changes, task: tokio::spawn(run(watching, signals, told)) },
                Err(error) => tracing::info!(%error, "folders are polled every second instead of watched"),
            }
        }
        let before = Stamps::take(paths, recursive);
        let task = tokio::spawn(poll(paths.to_vec(), recursive, before, told));
        Self { changes, task }
    }

    /// Waits for the next change. Losing this future loses no change.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // The task never ends by itself; without it nothing changes any more.
            std::future::pending::<()>().await;
        }
    }
}

async fn run(mut watching: Watching, mut signals: mpsc::Receiver<()>, told: watch::Sender<u64>) {
    loop {
        tokio::select! {
            signal = signals.recv() => {
                if signal.is_none() {
                    return;
                }
                let held = Instant::now() + HELD_MAX;
                while let Ok(Some(())) = timeout_at(held.min(Instant::now() + QUIET), signals.recv()).await {
                    if Instant::now() >= held {
                        break;
                    }
                }
                watching.renew();
            }
            () = sleep(CHECK) => {
                if !watching.renew() {
                    continue;
                }
            }
        }
        told.send_modify(|changes| *changes += 1);
    }
}

async fn poll(paths: Vec<PathBuf>, recursive: bool, mut before: Stamps, told: watch::Sender<u64>) {
    loop {
        sleep(CHECK).await;
        let here = paths.clone();
        // Network folders can be slow, and the engine serves on the same threads.
        let Ok(now) = tokio::task::spawn_blocking(move || Stamps::take(&here, recursive)).await else {
            continue;
        };
        if now != before {
            before = now;
            told.send_modify(|changes| *changes += 1);
        }
    }
}

/// A path that was named.
#[derive(Clone, Debug)]
struct Root {
    path: PathBuf,
    /// What is watched for it: itself, or for a file the folder it is in, because editors replace files.
    folder: PathBuf,
    is_file: bool,
    /// Which folder is watched at that path; unset while there is none.
    watched: Option<Identity>,
}

impl Root {
    fn new(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let is_file = path.is_file();
        let folder = if is_file { path.parent().map(Path::to_owned) } else { None };
        Self { folder: folder.unwrap_or_else(|| path.clone()), path, is_file, watched: None }
    }

    /// Whether a change at `path` may change what is declared. Dot files are not read; of them only
    /// `..data` matters, which Kubernetes turns over when it updates a mounted volume.
    fn concerns(&self, path: &Path) -> bool {
        if self.is_file {
            return path == self.path;
        }
        let Ok(below) = path.strip_prefix(&self.path) else { return false };
        let mut dots = below.components().filter_map(|part| match part {
            Component::Normal(name) if name.as_encoded_bytes().starts_with(b".") => Some(name),
            _ => None,
        });
        match dots.next() {
            Some(name) => name == "..data",
            // A name without an ending may be a folder.
            None => is_ours(below) || below.extension().is_none(),
        }
    }
}

/// What tells a folder from another one at the same path.
type Identity = (u64, u64);

struct Watching {
    notify: RecommendedWatcher,
    roots: Vec<Root>,
    mode: RecursiveMode,
    /// Set when a watched folder was removed or renamed: another one may take its place and its number.
    replaced: Arc<AtomicBool>,
}

impl Watching {
    fn new(roots: Vec<Root>, recursive: bool, raw: mpsc::Sender<()>) -> notify::Result<Self> {
        let mode = if recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        let replaced = Arc::new(AtomicBool::new(false));
        let (concerned, lost) = (roots.clone(), replaced.clone());
        let handler = move |event: notify::Result<Event>| {
            if event.as_ref().is_ok_and(|event| replaces(event, &concerned)) {
                lost.store(true, Ordering::SeqCst);
            }
            if event.map_or(true, |event| matters(&event, &concerned)) {
                let _taken = raw.try_send(());
            }
        };
        let notify = RecommendedWatcher::new(handler, Config::default())?;
        let mut watching = Self { notify, roots, mode, replaced };
        watching.attach()?;
        Ok(watching)
    }

    /// Watches what is there and not watched yet. Returns whether anything came, went or was replaced.
    fn attach(&mut self) -> notify::Result<bool> {
        let (mut changed, mut failed) = (false, None);
        let replaced = self.replaced.swap(false, Ordering::SeqCst);
        for root in &mut self.roots {
            let there = identity(&root.folder);
            if there == root.watched && !replaced {
                continue;
            }
            changed = true;
            if root.watched.take().is_some() {
                // Fails when the system has dropped the watch together with the folder: as wanted.
                let _gone = self.notify.unwatch(&root.folder);
            }
            if there.is_some() {
                let mode = if root.is_file { RecursiveMode::NonRecursive } else { self.mode };
                match self.notify.watch(&root.folder, mode) {
                    Ok(()) => root.watched = there,
                    Err(error) => failed = Some(error),
                }
            }
        }
        failed.map_or(Ok(changed), Err)
    }

    fn renew(&mut self) -> bool {
        self.attach().unwrap_or_else(|error| {
            tracing::debug!(%error, "a folder cannot be watched; trying again");
            true
        })
    }
}

fn replaces(event: &Event, roots: &[Root]) -> bool {
    let moved = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
    moved && roots.iter().any(|root| event.paths.contains(&root.folder))
}

/// Reading a file is an event too: it must not make us read again.
fn matters(event: &Event, roots: &[Root]) -> bool {
    let concerns = |path: &PathBuf| roots.iter().any(|root| root.concerns(path));
    event.need_rescan() || (!event.kind.is_access() && event.paths.iter().any(concerns))
}
