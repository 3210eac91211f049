//! Group commit: one thread writes everything that waits as one synced batch, then answers all of it.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::oneshot;

use super::super::core::Stats;
use super::super::failure::Failure;
use super::super::state::{Change, State};
use super::{Disk, DiskError};

/// Writes that may wait for the disk. Each holds a request; more are refused with 503, to be tried again.
const WAITING_MAX: usize = 4096;

/// Resolves once the write is on disk, or with why it is not.
pub type Durable = oneshot::Receiver<Result<(), Failure>>;

struct Write {
    changes: Vec<Change>,
    /// Takes `changes` back in memory, in reverse order.
    undo: Vec<Change>,
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
    pub fn start(disk: impl Disk, state: Arc<RwLock<State>>, counts: Arc<Stats>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("engine-committer".to_owned());
        let thread = thread.spawn(move || commit_all(disk, &of_thread, &state, &counts))?;
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

    pub fn commit(&self, changes: Vec<Change>, undo: Vec<Change>) -> Durable {
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

fn commit_all(mut disk: impl Disk, shared: &Shared, state: &RwLock<State>, counts: &Stats) {
    loop {
        let batch = {
            let mut queue = shared.queue.lock();
            while queue.waiting.is_empty() && !queue.closed {
                shared.arrived.wait(&mut queue);
            }
            std::mem::take(&mut queue.waiting)
        };
        if batch.is_empty() {
            return;
        }
        let changes: Vec<&Change> = batch.iter().flat_map(|write| &write.changes).collect();
        match disk.write(&changes) {
            Ok(()) => {
                counts.commits.fetch_add(1, Ordering::Relaxed);
                answer(batch, &Ok(()));
            }
            Err(error) => return give_up(&error, batch, shared, state, counts),
        }
    }
}

/// Takes back in memory what is not on disk, so that readers see what a restart would find.
fn give_up(
    error: &DiskError,
    mut refused: Vec<Write>,
    shared: &Shared,
    state: &RwLock<State>,
    counts: &Stats,
) {
    tracing::error!(%error, "no more writes are taken");
    {
        let mut state = state.write();
        let mut queue = shared.queue.lock();
        queue.failed = Some(error.clone());
        refused.append(&mut queue.waiting);
        for write in refused.iter_mut().rev() {
            for change in write.undo.drain(..).rev() {
                state.put(change);
            }
        }
    }
    counts.refused.fetch_add(refused.len() as u64, Ordering::Relaxed);
    answer(refused, &Err(failure(error)));
}

/// A sender who has gone away needs no answer.
fn answer(writes: Vec<Write>, result: &Result<(), Failure>) {
    for write in writes {
        drop(write.done.send(result.clone()));
    }
}
