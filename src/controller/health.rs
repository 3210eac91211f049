//! Whether every watch is filled and alive.
use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::error::ControllerError;
use super::{DITTO, KUBERNETES};
use crate::ports::Refused;
use crate::telemetry::Readiness;

/// Watches by name, each with what keeps it from working.
#[derive(Debug)]
pub struct Health {
    readiness: Readiness,
    failing: Mutex<BTreeMap<String, Option<ControllerError>>>,
}

impl Health {
    pub fn new(readiness: Readiness) -> Self {
        Self { readiness, failing: Mutex::default() }
    }

    /// A watch that has to be filled before we are ready.
    pub fn expect(&self, watch: &str) {
        self.failing.lock().insert(watch.to_owned(), None);
        self.tell();
    }

    pub fn fine(&self, watch: &str) {
        if self.failing.lock().remove(watch).is_some() {
            tracing::info!(watch, "watching");
            self.tell();
        }
    }

    pub fn failed(&self, watch: &str, error: ControllerError) {
        let before = self.failing.lock().insert(watch.to_owned(), Some(error.clone()));
        if before.flatten().as_ref() != Some(&error) {
            tracing::warn!(watch, %error, "a watch does not work; it is tried again");
            self.tell();
        }
    }

    fn tell(&self) {
        let failing = self.failing.lock();
        let worst = failing.iter().max_by_key(|(_, error)| error.is_some());
        let result = match worst {
            None => Ok(()),
            Some((watch, None)) => Err(format!("{watch}: not listed yet")),
            Some((watch, Some(error))) => Err(format!("{watch}: {error}")),
        };
        self.readiness.set(KUBERNETES, result);
    }

    /// What Ditto last answered to the question who we are.
    pub fn ditto(&self, answer: Result<(), &Refused>) {
        self.readiness
            .set(DITTO, answer.map_err(|refused| ControllerError::Ditto(refused.clone()).to_string()));
    }
}
