//! Threads that serve connections, one for each core, each with a runtime of its own.
//!
//! A request then stays on one thread, from its connection to whatever it waits for and back; handed from thread to
//! thread, as a runtime of many threads does, it costs up to twice the CPU (docs/benchmarks.md).
use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

thread_local! {
    static HERE: RefCell<Place> = RefCell::default();
}

/// A thread among those that serve.
#[derive(Clone, Default)]
struct Place {
    number: usize,
    /// What it serves: connections, and sockets that were connections.
    open: Arc<AtomicUsize>,
    /// All that is served, on every thread.
    tasks: TaskTracker,
}

/// The number of this thread among those that serve; 0 on any other, too.
pub fn here() -> usize {
    HERE.with_borrow(|place| place.number)
}

/// As many as there are cores for us.
pub fn count() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// One more on this thread, as long as it is held: for a socket, which goes on when its connection has ended.
pub fn stay() -> Served {
    HERE.with_borrow(Served::new)
}

/// They end when this is dropped, and what they serve with them.
pub struct Workers(Vec<Worker>);

struct Worker {
    /// Of one thread; while that is busy at length (`block_in_place`), another takes over what else it serves.
    runtime: Option<Runtime>,
    place: Place,
}

impl Workers {
    pub fn start(name: &str, count: usize) -> io::Result<Self> {
        let tasks = TaskTracker::new();
        let start = |number: usize| {
            let place = Place { number, open: Arc::default(), tasks: tasks.clone() };
            let here = place.clone();
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name(format!("{name}-{number}"))
                .on_thread_start(move || HERE.set(here.clone()))
                .enable_all()
                .build()?;
            Ok(Worker { runtime: Some(runtime), place })
        };
        (0..count.max(1)).map(start).collect::<io::Result<_>>().map(Self)
    }

    /// Runs `serve` on the thread that serves the fewest.
    pub fn spawn(&self, serve: impl Future<Output = ()> + Send + 'static) {
        let fewest = self.0.iter().min_by_key(|worker| worker.place.open.load(Ordering::Relaxed));
        let Some(Worker { runtime: Some(runtime), place }) = fewest else { return };
        let served = Served::new(place);
        runtime.spawn(async move {
            serve.await;
            drop(served);
        });
    }

    /// Waits until nothing is served; says so in the log where that takes longer than `deadline`.
    pub async fn drained(&self, deadline: Duration) {
        let Some(Worker { place, .. }) = self.0.first() else { return };
        place.tasks.close();
        if tokio::time::timeout(deadline, place.tasks.wait()).await.is_err() {
            tracing::warn!(open = place.tasks.len(), "connections are cut off");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Not waited for: this may be dropped where nothing may block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Counts as long as it is held: a connection that panics is one less, too.
pub struct Served {
    open: Arc<AtomicUsize>,
    _task: TaskTrackerToken,
}

impl Served {
    fn new(place: &Place) -> Self {
        place.open.fetch_add(1, Ordering::Relaxed);
        Self { open: Arc::clone(&place.open), _task: place.tasks.token() }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    #[test]
    fn connections_go_to_who_has_the_fewest_and_threads_end() {
        let workers = Workers::start("test", 3).unwrap();
        let (tell, told) = mpsc::channel();
        let close = CancellationToken::new();
        let connect = |workers: &Workers| {
            let (tell, close) = (tell.clone(), close.clone());
            workers.spawn(async move {
                tell.send((here(), thread::current().id())).unwrap();
                close.cancelled().await;
            });
            told.recv().unwrap()
        };
        let mut first: Vec<_> = (0..3).map(|_| connect(&workers)).collect();
        first.sort_unstable_by_key(|(number, _)| *number);
        assert_eq!(first.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2]);
        let mut second: Vec<_> = (0..3).map(|_| connect(&workers)).collect();
        second.sort_unstable_by_key(|(number, _)| *number);
        assert_eq!(first, second, "each has one more, on its own thread");

        let ended = Arc::downgrade(&workers.0[0].place.open);
        drop(workers);
        while ended.strong_count() > 0 {
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn what_stays_when_its_connection_has_ended_is_counted_and_waited_for() {
        let workers = Workers::start("test", 2).unwrap();
        let (tell, told) = mpsc::channel();
        let close = CancellationToken::new();
        for _ in 0..2 {
            let (tell, close) = (tell.clone(), close.clone());
            workers.spawn(async move {
                let served = stay();
                tokio::spawn(async move {
                    tell.send(here()).unwrap();
                    close.cancelled().await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    tell.send(10).unwrap();
                    drop(served);
                });
            });
            // The next one comes when this connection has become a socket.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!([told.recv().unwrap(), told.recv().unwrap()], [0, 1], "not both on the first");
        close.cancel();
        workers.drained(Duration::from_secs(10)).await;
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [10, 10]);
    }

    #[test]
    fn a_connection_that_panics_is_one_less() {
        let workers = Workers::start("test", 1).unwrap();
        workers.spawn(async { panic!("as a handler might") });
        while workers.0[0].place.open.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        let (tell, told) = mpsc::channel();
        workers.spawn(async move { tell.send(()).unwrap() });
        told.recv().unwrap();
    }
}
