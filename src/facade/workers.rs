//! Threads that serve connections, one for each core, each with a runtime of its own.
//!
//! A request then stays on one thread, from its connection over the one to Ditto and back; handed from thread to thread,
//! as a runtime of many threads does, it costs twice the CPU (docs/benchmarks.md).
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

thread_local! {
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// The number of this thread among those that serve; 0 on any other, too.
pub fn here() -> usize {
    HERE.get()
}

/// As many as there are cores for us.
pub fn count() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// They end when the last of these is dropped.
pub struct Workers {
    all: Vec<Worker>,
    end: CancellationToken,
}

struct Worker {
    runtime: Handle,
    /// Connections that it serves.
    open: Arc<AtomicUsize>,
}

impl Workers {
    pub fn start(count: usize) -> io::Result<Self> {
        let end = CancellationToken::new();
        let start = |number: usize| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (handle, end) = (runtime.handle().clone(), end.clone());
            thread::Builder::new().name(format!("facade-{number}")).spawn(move || {
                HERE.set(number);
                runtime.block_on(end.cancelled());
            })?;
            Ok(Worker { runtime: handle, open: Arc::default() })
        };
        let all = (0..count.max(1)).map(start).collect::<io::Result<_>>()?;
        Ok(Self { all, end })
    }

    /// Runs `serve` on the thread that serves the fewest.
    pub fn spawn(&self, serve: impl Future<Output = ()> + Send + 'static) {
        let Some(worker) = self.all.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed)) else {
            return;
        };
        let served = Served::new(Arc::clone(&worker.open));
        worker.runtime.spawn(async move {
            serve.await;
            drop(served);
        });
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Counts as long as it is held: a connection that panics is one less, too.
struct Served(Arc<AtomicUsize>);

impl Served {
    fn new(open: Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn connections_go_to_who_has_the_fewest_and_threads_end() {
        let workers = Workers::start(3).unwrap();
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

        let ended = Arc::downgrade(&workers.all[0].open);
        drop(workers);
        while ended.strong_count() > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_connection_that_panics_is_one_less() {
        let workers = Workers::start(1).unwrap();
        workers.spawn(async { panic!("as a handler might") });
        while workers.all[0].open.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        let (tell, told) = mpsc::channel();
        workers.spawn(async move { tell.send(()).unwrap() });
        told.recv().unwrap();
    }
}
