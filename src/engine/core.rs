//! The state behind its lock, and the order in which writes become durable.
//!
//! A write is applied in memory and queued for the disk under one lock, so both see writes in one order; its
//! answer waits until the disk has it. When the disk refuses, what it refused is taken back in memory.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use parking_lot::RwLock;

use super::apply::apply;
use super::command::{Answer, Caller, Command, Outcome, Target, Verb};
use super::failure::Failure;
use super::live::{Cause, Deed, Event, Hub};
use super::policy;
use super::state::{State, Undo};
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
    /// Answers that would have been too large.
    pub answers_too_large: AtomicU64,
    /// Sockets and event streams that were one too many.
    pub turned_away: AtomicU64,
    /// Connections that were one too many.
    pub connections_turned_away: AtomicU64,
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
    /// The state as it is now, for reads that take their time: no writer waits for them.
    pub fn snapshot(&self) -> State {
        self.state.read().clone()
    }

    /// `cause` is what the events of the command tell of it.
    pub async fn execute(
        &self,
        command: &Command,
        caller: &Caller,
        cause: &Cause,
    ) -> Result<Answer, Failure> {
        if let Target::Policy(id, _) = &command.target
            && policy::any_expired(&self.state.read(), id, caller.now)
        {
            let without = |state: &State| {
                let changes = policy::without_expired(state, id, caller.now)?.into_iter().collect();
                Ok(Outcome { answer: Answer::default(), changes, patch: None })
            };
            if command.verb == Verb::Get {
                self.change(without, caller, None).await?;
            } else {
                // Both are applied before either waits for the disk: whoever pipelines commands relies on it.
                let write =
                    self.change(|state| apply(state, command, caller), caller, Some((command, cause)));
                return futures::try_join!(self.change(without, caller, None), write)
                    .map(|(_, answer)| answer);
            }
        }
        if command.verb == Verb::Get {
            return apply(&self.state.read(), command, caller).map(|outcome| outcome.answer);
        }
        self.change(|state| apply(state, command, caller), caller, Some((command, cause))).await
    }

    /// Carries out what `decide` says; answers when it is durable. `told` is what events say of it.
    async fn change(
        &self,
        decide: impl FnOnce(&State) -> Result<Outcome, Failure>,
        caller: &Caller,
        told: Option<(&Command, &Cause)>,
    ) -> Result<Answer, Failure> {
        let (answer, durable, revisions) = {
            let mut state = self.state.write();
            if let Some(committer) = &self.committer {
                committer.ready()?;
            }
            let Outcome { answer, changes, patch } = decide(&state)?;
            let undo: Vec<Undo> =
                changes.iter().map(|change| state.put_at(change.clone(), caller.now)).collect();
            let revisions = changes.len() as u64;
            let told = told.filter(|(_, cause)| self.hub.wants(cause));
            let event = told.and_then(|(command, cause)| {
                let (answer, changes, undo) = (&answer, &changes, &undo);
                Event::of(&state, Deed { command, caller, cause, answer, changes, undo, patch })
            });
            let durable = self.committer.as_ref().map(|committer| committer.commit(changes, undo).shared());
            if let Some(event) = event {
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
    use super::super::place::{PolicyPlace, ThingPart, ThingPlace};
    use super::super::state::{Change, Kind};
    use super::super::store::{Disk, DiskError, Durability};
    use super::super::time;
    use super::*;
    use crate::twin::id::{PolicyId, ThingId};
    use crate::twin::json::Pointer;
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;

    /// Takes as many batches as there is room for, then has no space left.
    #[derive(Clone, Default)]
    struct SmallDisk {
        room: Arc<Mutex<usize>>,
        written: Arc<Mutex<Vec<Change>>>,
        syncs: Arc<AtomicU64>,
    }

    impl Disk for SmallDisk {
        fn write(&mut self, changes: &[&Change], _: Durability) -> Result<(), DiskError> {
            let mut room = self.room.lock();
            *room = room.checked_sub(1).ok_or(DiskError::Full)?;
            self.written.lock().extend(changes.iter().map(|change| (*change).clone()));
            Ok(())
        }

        fn sync(&mut self) -> Result<(), DiskError> {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn recover(&mut self, before: &[Change]) -> Result<(), DiskError> {
            self.write(&before.iter().collect::<Vec<_>>(), Durability::Durable)
        }
    }

    fn core(room: usize) -> Core {
        core_on(SmallDisk { room: Arc::new(Mutex::new(room)), ..SmallDisk::default() }, Durability::Durable)
    }

    fn core_on(disk: SmallDisk, durability: Durability) -> Core {
        let (state, counts) = (Arc::default(), Arc::default());
        let committer = Committer::start(disk, durability, Arc::clone(&state), Arc::clone(&counts)).unwrap();
        let hub = Hub::start(CancellationToken::new(), Arc::clone(&counts));
        Core { state, counts, committer: Some(committer), hub }
    }

    #[tokio::test]
    async fn f43_writes_are_taken_again_when_space_returns() {
        let disk = SmallDisk { room: Arc::new(Mutex::new(1)), ..SmallDisk::default() };
        let core = core_on(disk.clone(), Durability::Durable);
        let put = |n: i32| command(Verb::Put, ThingPlace::root(), json!({"attributes": {"n": n}}));
        core.execute(&put(0), &caller(), &Cause::default()).await.unwrap();
        assert_eq!(core.execute(&put(1), &caller(), &Cause::default()).await.unwrap_err().status, 507);
        *disk.room.lock() = 100;
        let retried = loop {
            match core.execute(&put(2), &caller(), &Cause::default()).await {
                Err(refused) if refused.status == 507 => tokio::task::yield_now().await,
                other => break other,
            }
        };
        assert_eq!(retried.unwrap().revision, Some(2), "the refused write has no revision");
        assert_eq!(core.committer.as_ref().and_then(Committer::failed), None);
        let written = disk.written.lock().clone();
        let things: Vec<(u64, Value)> = written
            .iter()
            .filter(|change| change.kind == Kind::Thing)
            .map(|c| (c.entry.revision, c.entry.document.as_ref().unwrap().tree()["attributes"]["n"].clone()))
            .collect();
        let why = "what the refused write was to change is written once more, in case the disk has the refused write";
        assert_eq!(things, [(1, json!(0)), (1, json!(0)), (2, json!(2))], "{why}");
    }

    #[tokio::test]
    async fn a_relaxed_write_is_synced_without_another_write() {
        let disk = SmallDisk { room: Arc::new(Mutex::new(1)), ..SmallDisk::default() };
        let core = core_on(disk.clone(), Durability::Relaxed);
        core.execute(&command(Verb::Put, ThingPlace::root(), json!({})), &caller(), &Cause::default())
            .await
            .unwrap();
        while disk.syncs.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        core.committer.as_ref().unwrap().close();
        assert_eq!(disk.syncs.load(Ordering::Relaxed), 1);
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
    async fn a_subject_leaves_the_policy_when_it_expires() {
        let core = core(9);
        let id = PolicyId::parse("expiry:p").unwrap();
        let all = json!({"policy:/": {"grant": ["READ", "WRITE"], "revoke": []}});
        let expiry = "2026-01-01T00:00:00Z";
        let body = json!({"entries": {
            "owner": {"subjects": {"nginx:ditto": {"type": "user"}}, "resources": all},
            "guest": {"subjects": {"nginx:guest": {"type": "user", "expiry": expiry}}, "resources": {}},
        }});
        let command = |verb, body| Command {
            target: Target::Policy(id.clone(), PolicyPlace::Policy),
            verb,
            body,
            headers: Headers::default(),
        };
        core.execute(&command(Verb::Put, body), &caller(), &Cause::default()).await.unwrap();
        let expiry = time::parse(expiry).unwrap();
        let rows = [(expiry - 1, 1, true), (expiry, 2, false), (expiry + 1, 2, false)];
        for (now, revision, there) in rows {
            let read = core
                .execute(&command(Verb::Get, Value::Null), &Caller { now, ..caller() }, &Cause::default())
                .await
                .unwrap();
            let guest = &read.body.unwrap()["entries"]["guest"]["subjects"];
            assert_eq!((read.revision, guest.get("nginx:guest").is_some()), (Some(revision), there));
        }
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
