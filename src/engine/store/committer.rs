//! Group commit: one thread writes everything that waits as one synced batch, then answers all of it.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::oneshot;

use super::super::core::Stats;
use super::super::failure::Failure;
use super::super::state::{Change, State, Undo};
use super::{Disk, DiskError, Durability};

/// Writes that may wait for the disk. Each holds a request; more are refused with 503, to be tried again.
const WAITING_MAX: usize = 4096;

/// How long a relaxed write may be in the hands of the operating system only.
const UNSYNCED_MAX: Duration = Duration::from_millis(100);
/// How often a disk that was full is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Resolves once the write is on disk, or with why it is not.
pub type Durable = oneshot::Receiver<Result<(), Failure>>;

struct Write {
    changes: Vec<Change>,
    /// Takes `changes` back in memory, in reverse order.
    undo: Vec<Undo>,
    done: oneshot::Sender<Result<(), Failure>>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Write>,
    closed: bool,
    failed: Option<DiskError>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

pub struct Committer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Committer {
    /// Starts the thread that owns the disk.
    pub fn start(
        disk: impl Disk,
        durability: Durability,
        state: Arc<RwLock<State>>,
        counts: Arc<Stats>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("engine-committer".to_owned());
        let thread =
            thread.spawn(move || Loop { disk, durability, shared: of_thread, state, counts }.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Whether a write would be taken now. Ask, apply and [`Self::commit`] under the lock of the state.
    pub fn ready(&self) -> Result<(), Failure> {
        let queue = self.shared.queue.lock();
        match &queue.failed {
            Some(error) => Err(failure(error)),
            None if queue.waiting.len() >= WAITING_MAX => Err(Failure::new(
                503,
                "things:thing.unavailable",
                "too many writes wait for the disk: try again",
            )),
            None => Ok(()),
        }
    }

    pub fn commit(&self, changes: Vec<Change>, undo: Vec<Undo>) -> Durable {
        let (done, durable) = oneshot::channel();
        self.shared.queue.lock().waiting.push(Write { changes, undo, done });
        self.shared.arrived.notify_one();
        durable
    }

    /// What stopped the writing, if anything did.
    pub fn failed(&self) -> Option<DiskError> {
        self.shared.queue.lock().failed.clone()
    }

    /// Writes what still waits and lets go of the disk. Blocks.
    pub fn close(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.arrived.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the committer panicked");
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.close();
    }
}

fn failure(error: &DiskError) -> Failure {
    let status = if *error == DiskError::Full { 507 } else { 503 };
    Failure::new(status, "things:thing.unavailable", error.to_string())
}

/// What the thread works with.
struct Loop<D> {
    disk: D,
    durability: Durability,
    shared: Arc<Shared>,
    state: Arc<RwLock<State>>,
    counts: Arc<Stats>,
}

impl<D: Disk> Loop<D> {
    fn run(mut self) {
        let mut sync_at = None;
        loop {
            let (batch, closed) = self.next(sync_at);
            let result = if batch.is_empty() { Ok(()) } else { self.write(&batch) };
            let result = result.and_then(|()| match sync_at {
                Some(at) if closed || Instant::now() >= at => {
                    sync_at = None;
                    self.disk.sync()
                }
                _ => Ok(()),
            });
            match result {
                Ok(()) if closed && batch.is_empty() => return,
                Ok(()) => {
                    if self.durability == Durability::Relaxed && !batch.is_empty() {
                        sync_at = sync_at.or_else(|| Some(Instant::now() + UNSYNCED_MAX));
                    }
                    answer(batch, &Ok(()));
                }
                Err(error) => {
                    let before = self.take_back(&error, batch);
                    if !error.can_pass() || !self.recovered(&before) {
                        return;
                    }
                    sync_at = None;
                }
            }
        }
    }

    /// What waits, and whether it is the last; nothing when it is time to sync.
    fn next(&self, sync_at: Option<Instant>) -> (Vec<Write>, bool) {
        let mut queue = self.shared.queue.lock();
        while queue.waiting.is_empty() && !queue.closed {
            match sync_at {
                None => self.shared.arrived.wait(&mut queue),
                Some(at) if self.shared.arrived.wait_until(&mut queue, at).timed_out() => break,
                Some(_) => {}
            }
        }
        (std::mem::take(&mut queue.waiting), queue.closed)
    }

    fn write(&mut self, batch: &[Write]) -> Result<(), DiskError> {
        let changes: Vec<&Change> = batch.iter().flat_map(|write| &write.changes).collect();
        self.disk.write(&changes, self.durability)?;
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes back in memory what is not on disk, so that readers see what a restart would find; returns that.
    fn take_back(&self, error: &DiskError, mut refused: Vec<Write>) -> Vec<Change> {
        tracing::error!(%error, "no more writes are taken");
        let mut before = vec![];
        {
            let mut state = self.state.write();
            let mut queue = self.shared.queue.lock();
            queue.failed = Some(error.clone());
            refused.append(&mut queue.waiting);
            for write in refused.iter_mut().rev() {
                for undo in write.undo.drain(..).rev() {
                    state.undo(undo);
                }
            }
            for change in refused.iter().flat_map(|write| &write.changes) {
                let entry = state.entry(change.kind, &change.id);
                before.push(Change { entry, ..change.clone() });
            }
        }
        self.counts.refused.fetch_add(refused.len() as u64, Ordering::Relaxed);
        answer(refused, &Err(failure(error)));
        before
    }

    /// Tries until the disk takes writes again; `false` when the engine stops first, or the disk is broken.
    fn recovered(&mut self, before: &[Change]) -> bool {
        loop {
            {
                let mut queue = self.shared.queue.lock();
                if !queue.closed {
                    self.shared.arrived.wait_for(&mut queue, RETRY);
                }
                if queue.closed {
                    return false;
                }
            }
            let result = self.disk.recover(before);
            let mut queue = self.shared.queue.lock();
            match result {
                Ok(()) => {
                    tracing::info!("writes are taken again");
                    queue.failed = None;
                    return true;
                }
                Err(error) => {
                    let can_pass = error.can_pass();
                    queue.failed = Some(error);
                    if !can_pass {
                        return false;
                    }
                }
            }
        }
    }
}

/// A sender who has gone away needs no answer.
fn answer(writes: Vec<Write>, result: &Result<(), Failure>) {
    for write in writes {
        drop(write.done.send(result.clone()));
    }
}
