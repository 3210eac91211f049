//! The state behind its lock, and the order in which writes become durable.
//!
//! A write is applied in memory and queued for the disk under one lock, so both see writes in one order; its
//! answer waits until the disk has it. When the disk refuses, what it refused is taken back in memory.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::apply::apply;
use super::command::{Answer, Caller, Command, Outcome, Verb};
use super::failure::Failure;
use super::state::{Change, State};
use super::store::committer::Committer;

/// What the engine counts; all since it started.
#[derive(Debug, Default)]
pub struct Stats {
    pub requests: AtomicU64,
    /// Commands that changed something.
    pub writes: AtomicU64,
    /// Revisions of things and policies; a thing that brings its policy counts twice.
    pub revisions: AtomicU64,
    /// Synced batches; writes that wait together share one.
    pub commits: AtomicU64,
    /// Writes the disk refused.
    pub refused: AtomicU64,
}

pub struct Core {
    pub state: Arc<RwLock<State>>,
    pub stats: Arc<Stats>,
    /// `None`: nothing is kept.
    pub committer: Option<Committer>,
}

impl Core {
    pub async fn execute(&self, command: &Command, caller: &Caller) -> Result<Answer, Failure> {
        if command.verb == Verb::Get {
            return apply(&self.state.read(), command, caller).map(|outcome| outcome.answer);
        }
        let (answer, durable, revisions) = {
            let mut state = self.state.write();
            if let Some(committer) = &self.committer {
                committer.ready()?;
            }
            let Outcome { answer, changes } = apply(&state, command, caller)?;
            let undo: Vec<Change> = changes.iter().map(|change| state.put(change.clone())).collect();
            let revisions = changes.len() as u64;
            (answer, self.committer.as_ref().map(|committer| committer.commit(changes, undo)), revisions)
        };
        if let Some(durable) = durable {
            durable
                .await
                .map_err(|_| Failure::new(503, "things:thing.unavailable", "the engine is stopping"))??;
        }
        self.stats.writes.fetch_add(1, Ordering::Relaxed);
        self.stats.revisions.fetch_add(revisions, Ordering::Relaxed);
        Ok(answer)
    }
}
