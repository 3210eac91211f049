//! The state behind its lock, and the order in which writes become durable.
//!
//! A write is applied in memory and queued for the disk under one lock, so both see writes in one order; its
//! answer waits until the disk has it. When the disk refuses, what it refused is taken back in memory.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use parking_lot::RwLock;

use super::apply::apply;
use super::command::{Answer, Caller, Command, Outcome, Verb};
use super::failure::Failure;
use super::live::{Cause, Deed, Event, Hub};
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
    /// Events and messages that found the queue of a subscriber full.
    pub overflowed: AtomicU64,
    /// Events nobody got, because too many waited to be handed out.
    pub unpublished: AtomicU64,
    /// Sockets and event streams that were one too many.
    pub turned_away: AtomicU64,
}

pub struct Core {
    pub state: Arc<RwLock<State>>,
    pub counts: Arc<Stats>,
    /// `None`: nothing is kept.
    pub committer: Option<Committer>,
    /// Who hears of it.
    pub hub: Arc<Hub>,
}

impl Core {
    /// `cause` is what the events of the command tell of it.
    pub async fn execute(
        &self,
        command: &Command,
        caller: &Caller,
        cause: &Cause,
    ) -> Result<Answer, Failure> {
        if command.verb == Verb::Get {
            return apply(&self.state.read(), command, caller).map(|outcome| outcome.answer);
        }
        let (answer, durable, revisions) = {
            let mut state = self.state.write();
            if let Some(committer) = &self.committer {
                committer.ready()?;
            }
            let Outcome { answer, changes, patch } = apply(&state, command, caller)?;
            let undo: Vec<Change> = changes.iter().map(|change| state.put(change.clone())).collect();
            let revisions = changes.len() as u64;
            let event = self.hub.wants(cause).then(|| {
                Event::of(
                    &state,
                    Deed { command, caller, cause, answer: &answer, changes: &changes, undo: &undo, patch },
                )
            });
            let durable = self.committer.as_ref().map(|committer| committer.commit(changes, undo).shared());
            if let Some(event) = event.flatten() {
                self.hub.enqueue(event, durable.clone());
            }
            (answer, durable, revisions)
        };
        if let Some(durable) = durable {
            durable
                .await
                .map_err(|_| Failure::new(503, "things:thing.unavailable", "the engine is stopping"))??;
        }
        self.counts.writes.fetch_add(1, Ordering::Relaxed);
        self.counts.revisions.fetch_add(revisions, Ordering::Relaxed);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::{Headers, Target};
    use super::super::place::{ThingPart, ThingPlace};
    use super::super::store::{Disk, DiskError};
    use super::*;
    use crate::twin::id::ThingId;
    use crate::twin::json::Pointer;
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;

    /// Takes `room` batches, then has no space left.
    struct SmallDisk {
        room: usize,
    }

    impl Disk for SmallDisk {
        fn write(&mut self, _: &[&Change]) -> Result<(), DiskError> {
            self.room = self.room.checked_sub(1).ok_or(DiskError::Full)?;
            Ok(())
        }
    }

    fn core(room: usize) -> Core {
        let (state, counts) = (Arc::default(), Arc::default());
        let committer =
            Committer::start(SmallDisk { room }, Arc::clone(&state), Arc::clone(&counts)).unwrap();
        let hub = Hub::start(CancellationToken::new(), Arc::clone(&counts));
        Core { state, counts, committer: Some(committer), hub }
    }

    fn command(verb: Verb, place: ThingPlace, body: Value) -> Command {
        let target = Target::Thing(ThingId::parse("disk:t").unwrap(), place);
        Command { target, verb, body, headers: Headers::default() }
    }

    fn caller() -> Caller {
        Caller { subjects: vec!["nginx:ditto".to_owned()], now: 1_000 }
    }

    #[tokio::test]
    async fn f43_a_full_disk_answers_507_and_readers_see_what_is_stored() {
        let core = core(2);
        let attribute =
            || ThingPlace { part: ThingPart::Attribute, pointer: Pointer::parse("/attributes/n") };
        let put = |n: i32| command(Verb::Put, attribute(), json!(n));
        core.execute(&command(Verb::Put, ThingPlace::root(), json!({})), &caller(), &Cause::default())
            .await
            .unwrap();
        core.execute(&put(1), &caller(), &Cause::default()).await.unwrap();
        for _ in 0..2 {
            let refused = core.execute(&put(2), &caller(), &Cause::default()).await.unwrap_err();
            assert_eq!(refused.status, 507, "{refused}");
            let read = core
                .execute(&command(Verb::Get, attribute(), Value::Null), &caller(), &Cause::default())
                .await
                .unwrap();
            assert_eq!((read.body, read.revision), (Some(json!(1)), Some(2)));
        }
        assert_eq!(core.committer.as_ref().and_then(Committer::failed), Some(DiskError::Full));
        assert_eq!(
            (core.counts.writes.load(Ordering::Relaxed), core.counts.refused.load(Ordering::Relaxed)),
            (2, 1)
        );
    }

    #[tokio::test]
    async fn f43_a_thing_the_disk_refused_was_never_there() {
        let core = core(0);
        let refused = core
            .execute(&command(Verb::Put, ThingPlace::root(), json!({})), &caller(), &Cause::default())
            .await
            .unwrap_err();
        let read = core
            .execute(&command(Verb::Get, ThingPlace::root(), Value::Null), &caller(), &Cause::default())
            .await
            .unwrap_err();
        assert_eq!((refused.status, read.status, core.state.read().count()), (507, 404, (0, 0)));
    }
}
