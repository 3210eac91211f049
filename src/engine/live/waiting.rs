//! Who waits for the word of another session, by thing and correlation id.
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::super::failure::Failure;

/// Words one waiter takes before it looks; a request names few acknowledgements. More are dropped.
const WORDS: usize = 64;
/// Requests that wait at the same time. Each holds a connection; more are refused with 429.
const WAITING_MAX: usize = 10_000;

type Key = (String, String);

/// Open questions whose answers are `T`.
pub struct Waiting<T>(Mutex<HashMap<Key, mpsc::Sender<T>>>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Waiting<T> {
    /// A correlation id still in use is a 409, as in Ditto 3.8.
    pub fn open(self: &Arc<Self>, thing_id: &str, correlation_id: &str) -> Result<Wait<T>, Failure> {
        let key = (thing_id.to_owned(), correlation_id.to_owned());
        let (sender, words) = mpsc::channel(WORDS);
        let mut open = self.0.lock();
        if open.len() >= WAITING_MAX {
            return Err(Failure::new(429, "too.many.requests", "too many requests wait for an answer"));
        }
        if open.contains_key(&key) {
            return Err(Failure::new(
                409,
                "acknowledgement:request.duplicate.correlation-id",
                "a request with this correlation-id still waits: use another",
            ));
        }
        open.insert(key.clone(), sender);
        Ok(Wait { waiting: Arc::clone(self), key, words })
    }

    /// Whether somebody waited for it.
    pub fn tell(&self, thing_id: &str, correlation_id: &str, word: T) -> bool {
        let open = self.0.lock();
        let waiter = open.get(&(thing_id.to_owned(), correlation_id.to_owned()));
        waiter.is_some_and(|waiter| waiter.try_send(word).is_ok())
    }
}

/// An open question; dropping it ends the waiting.
pub struct Wait<T> {
    waiting: Arc<Waiting<T>>,
    key: Key,
    words: mpsc::Receiver<T>,
}

impl<T> Wait<T> {
    pub async fn word(&mut self) -> Option<T> {
        self.words.recv().await
    }
}

impl<T> Drop for Wait<T> {
    fn drop(&mut self) {
        self.waiting.0.lock().remove(&self.key);
    }
}
