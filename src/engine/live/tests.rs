use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::super::command::{Caller, Command, Headers, Target, Verb};
use super::super::core::Core;
use super::super::place::{ThingPart, ThingPlace};
use super::super::state::Change;
use super::super::store::committer::Committer;
use super::super::store::{Disk, DiskError, Durability};
use super::event::Cause;
use super::filter::Filter;
use super::hub::{Hub, Interests, SUBSCRIBERS_MAX, Signal, Subscription};
use crate::twin::id::ThingId;
use crate::twin::json::Pointer;

/// Takes so many batches, each slowly enough that several writes wait for it.
struct Disks(usize);

impl Disk for Disks {
    fn write(&mut self, _: &[&Change], _: Durability) -> Result<(), DiskError> {
        std::thread::sleep(Duration::from_millis(2));
        self.0 = self.0.checked_sub(1).ok_or(DiskError::Full)?;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        Ok(())
    }

    fn recover(&mut self, _: &[Change]) -> Result<(), DiskError> {
        Err(DiskError::Full)
    }
}

fn core(batches: usize) -> Arc<Core> {
    let (state, counts) = (Arc::default(), Arc::default());
    let committer =
        Committer::start(Disks(batches), Durability::Durable, Arc::clone(&state), Arc::clone(&counts))
            .unwrap();
    let hub = Hub::start(CancellationToken::new(), Arc::clone(&counts));
    Arc::new(Core { state, counts, committer: Some(committer), hub })
}

fn caller() -> Caller {
    Caller { subjects: vec!["nginx:ditto".to_owned()], now: 1_000 }
}

fn command(verb: Verb, path: &str, body: Value) -> Command {
    let part = if path.is_empty() { ThingPart::Thing } else { ThingPart::Attribute };
    let place = ThingPlace { part, pointer: Pointer::parse(path) };
    let target = Target::Thing(ThingId::parse("live:t").unwrap(), place);
    Command { target, verb, body, headers: Headers::default() }
}

fn listen(core: &Core, filter: Filter) -> Subscription {
    let subscription = core.hub.subscribe(caller().subjects, vec![]).unwrap();
    subscription.want(Interests { events: Some(Arc::new(filter)), ..Interests::default() });
    subscription
}

async fn revision(subscription: &mut Subscription) -> u64 {
    match subscription.next().await {
        Some(Signal::Event(event, _)) => event.revision,
        _ => panic!("an event"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_in_the_order_of_the_revisions() {
    const WRITERS: usize = 50;
    let core = core(usize::MAX);
    let mut subscription = listen(&core, Filter::default());
    let create = command(Verb::Put, "", json!({}));
    core.execute(&create, &caller(), &Cause::default()).await.unwrap();
    let writers = (0..WRITERS).map(|n| {
        let core = Arc::clone(&core);
        tokio::spawn(async move {
            let put = command(Verb::Put, "/attributes/n", json!(n));
            core.execute(&put, &caller(), &Cause::default()).await.map(drop)
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap().unwrap();
    }
    for expected in 1..=WRITERS as u64 + 1 {
        assert_eq!(revision(&mut subscription).await, expected);
    }
}

#[tokio::test]
async fn f43_a_write_the_disk_refused_is_never_told() {
    let core = core(2);
    let mut subscription = listen(&core, Filter::default());
    let create = command(Verb::Put, "", json!({}));
    core.execute(&create, &caller(), &Cause::default()).await.unwrap();
    let put = |n: i32| command(Verb::Put, "/attributes/n", json!(n));
    core.execute(&put(1), &caller(), &Cause::default()).await.unwrap();
    core.execute(&put(2), &caller(), &Cause::default()).await.unwrap_err();
    assert_eq!((revision(&mut subscription).await, revision(&mut subscription).await), (1, 2));
    tokio::task::yield_now().await;
    assert!(subscription.ready().is_none());
}

#[tokio::test]
async fn a_filter_sees_the_change_and_the_extra_fields_and_nothing_else() {
    let core = core(usize::MAX);
    let mut subscription = listen(&core, Filter::default());
    let execute = async |verb, path: &str, body| {
        core.execute(&command(verb, path, body), &caller(), &Cause::default()).await.map(drop)
    };
    execute(Verb::Put, "", json!({"attributes": {"kind": "lamp", "n": 1}})).await.unwrap();
    execute(Verb::Put, "/attributes/n", json!(5)).await.unwrap();
    execute(Verb::Patch, "/attributes/n", json!(7)).await.unwrap();
    execute(Verb::Delete, "/attributes/n", Value::Null).await.unwrap();
    let rows = [
        ("gt(attributes/n,4)", "", [false, true, true, false]),
        ("eq(attributes/kind,\"lamp\")", "", [true, false, false, false]),
        ("eq(attributes/kind,\"lamp\")", "attributes/kind", [true, true, true, true]),
        ("in(topic:action,\"created\",\"deleted\")", "", [true, false, false, true]),
        ("like(resource:path,\"/attributes*\")", "", [false, true, true, true]),
        (
            "and(eq(thing:id,\"live:t\"),eq(topic:channel,\"twin\"),gt(_revision,2))",
            "",
            [false, false, true, true],
        ),
        ("ne(attributes/n,5)", "", [true, false, true, true]),
    ];
    let mut events = vec![];
    for _ in 0..4 {
        let Some(Signal::Event(event, _)) = subscription.next().await else { panic!("an event") };
        events.push(event);
    }
    for (expr, extra, expected) in rows {
        let parameter = |name: &str| match name {
            "filter" => Some(expr),
            "extraFields" => Some(extra).filter(|extra| !extra.is_empty()),
            _ => None,
        };
        let filter = Filter::read(parameter).unwrap();
        let passes = events.iter().map(|event| {
            let extra = filter.extra(&core, event.after.as_deref(), event.enforcer.as_deref(), &caller());
            filter.passes(event, extra.as_ref(), 2_000)
        });
        assert_eq!(passes.collect::<Vec<_>>(), expected, "{expr}");
    }
}

#[tokio::test]
async fn a_merge_shows_what_it_left_behind() {
    let core = core(usize::MAX);
    let mut subscription = listen(&core, Filter::default());
    let execute = async |verb, body| {
        core.execute(&command(verb, "", body), &caller(), &Cause::default()).await.map(drop).unwrap();
    };
    execute(Verb::Put, json!({"attributes": {"a": 1}})).await;
    execute(Verb::Patch, json!({"attributes": {"a": null, "b": {"c": 1, "d": null}}})).await;
    let _created = subscription.next().await;
    let Some(Signal::Event(merged, _)) = subscription.next().await else { panic!("an event") };
    assert_eq!(merged.sparse(), json!({"thingId": "live:t", "attributes": {"b": {"c": 1}}}));
    let patch = json!({"attributes": {"a": null, "b": {"c": 1, "d": null}}});
    assert_eq!(merged.value(), Some(patch));
}

#[tokio::test]
async fn one_more_subscriber_is_turned_away_until_another_leaves() {
    let core = core(usize::MAX);
    let subscribe = || core.hub.subscribe(vec!["nginx:ditto".to_owned()], vec![]);
    let mut all: Vec<Subscription> = (0..SUBSCRIBERS_MAX).map(|_| subscribe().unwrap()).collect();
    let refused = subscribe().err().unwrap();
    assert_eq!((refused.status, refused.error.as_ref()), (429, "too.many.requests"));
    let turned_away = core.counts.turned_away.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((turned_away, core.hub.subscribers()), (1, SUBSCRIBERS_MAX));
    drop(all.pop());
    assert!(subscribe().is_ok());
}

/// The answer to a write comes before its event is handed out, and who listens from then on must not get it.
#[tokio::test]
async fn who_begins_to_listen_hears_nothing_of_what_was_before() {
    let core = core(usize::MAX);
    let mut first = listen(&core, Filter::default());
    let put = command(Verb::Put, "", json!({"attributes": {"a": 1}}));
    core.execute(&put, &caller(), &Cause::default()).await.map(drop).unwrap();
    let Some(Signal::Event(event, _)) = first.next().await else { panic!("an event") };
    let event = std::sync::Arc::into_inner(event).unwrap();

    let (durable, waits) = tokio::sync::oneshot::channel();
    core.hub.enqueue(event, Some(futures::FutureExt::shared(waits)));
    let mut second = listen(&core, Filter::default());
    durable.send(Ok(())).unwrap();
    assert!(first.next().await.is_some(), "who listened before hears of it");
    assert!(second.ready().is_none(), "who listens since does not");
}
