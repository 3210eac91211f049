//! One watch over one kind, and the controller it drives.
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use kube::Api;
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{Action, Config, Controller, Error};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, Event, watcher};

use super::context::{Context, Ditto, Managed, PASSES_MAX, Shelf, place};
use super::health::Patience;
use super::observer::Observer;
use super::packed::Packed;
use super::pass::reconcile;

/// Resources in one page of a list: a page is kept whole, as it came and parsed, until all of it was taken.
const PAGE: u32 = 200;

/// A status that somebody else wrote is looked at within this time, and no more often.
pub const OVERWRITTEN_APART: Duration = Duration::from_secs(5);

/// Watches and passes until the stop; passes that run are carried to their end. `pause` gathers
/// wake-ups of one batch.
pub async fn run<K: Managed, D: Ditto>(context: Arc<Context<D>>, shelf: Shelf<K>, pause: Duration) {
    let Shelf { scope, store, writer, wakes, overwritten } = shelf;
    let shared = Arc::clone(&context.shared);
    let api: Api<DeserializeGuard<K>> = match &scope {
        None => Api::all(shared.client.clone()),
        Some(namespace) => Api::namespaced(shared.client.clone(), namespace),
    };
    let (waking, noting) = (Arc::clone(&shared), Arc::clone(&shared));
    let name = watch_name::<K>(scope.as_deref());
    let mut observer = Observer::<K>::new(Arc::clone(&shared), name, (store.clone(), writer));
    let config = watcher::Config::default().page_size(PAGE);
    let objects = anew_when_gone(move || watcher(api.clone(), config.clone()))
        .backoff(Patience::default())
        // It tells about errors; in the queue they would hold up the wake-ups.
        .filter_map(move |event| ready(observer.take(event).map(Ok)))
        .inspect(move |object| {
            if let Ok(object) = object {
                K::desk(&noting).due.add(place(object.meta()));
                noting.tell_due::<K>();
            }
        });
    let woken = stream::select(wakes.stream(pause), overwritten.stream(OVERWRITTEN_APART));
    let woken = woken.map(|(namespace, name)| ObjectRef::new(&name).within(&namespace));
    Controller::for_stream(objects, store)
        .with_config(Config::default().concurrency(PASSES_MAX))
        .reconcile_on(woken)
        .graceful_shutdown_on(shared.stop.clone().cancelled_owned())
        .run(reconcile::<K, D>, never::<K, D>, context)
        .for_each(|passed| {
            match passed {
                Ok(_) => {}
                Err(Error::ObjectNotFound(gone)) => {
                    let place = (gone.namespace.unwrap_or_default(), gone.name);
                    K::desk(&waking).forget(&place);
                }
                Err(error) => tracing::warn!(%error, kind = K::KIND, "the queue stumbled"),
            }
            ready(())
        })
        .await;
}

/// A watch that begins anew, with a list, also where the answer to its start is 410. The library would ask for the
/// same version for ever; of an API server itself it hears of that in the stream, but others may stand between.
pub(super) fn anew_when_gone<T, S>(start: impl Fn() -> S + Send + 'static) -> BoxStream<'static, Watched<T>>
where
    T: Send + 'static,
    S: Stream<Item = Watched<T>> + Send + 'static,
{
    let until_gone = |events: S| {
        stream::unfold(Some(events.boxed()), |events| async {
            let mut events = events?;
            let event = events.next().await?;
            let rest = (!is_gone(&event)).then_some(events);
            Some((event, rest))
        })
    };
    stream::repeat_with(start).flat_map(until_gone).boxed()
}

/// What a watch says.
pub(super) type Watched<T> = Result<Event<T>, watcher::Error>;

fn is_gone<T>(event: &Watched<T>) -> bool {
    matches!(event, Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) if status.code == 410)
}

pub fn watch_name<K: Managed>(scope: Option<&str>) -> String {
    match scope {
        None => K::DEFINITION.to_owned(),
        Some(namespace) => format!("{} in {namespace}", K::DEFINITION),
    }
}

/// A pass has no error of its own: what went wrong stands in status.
#[allow(clippy::trivially_copy_pass_by_ref)] // kube asks for a reference
fn never<K: Managed, D>(_: Arc<Packed<K>>, error: &Infallible, _: Arc<Context<D>>) -> Action {
    match *error {}
}
