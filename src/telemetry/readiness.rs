//! Whether this process can do its work, and if not, why.
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

/// Named checks, set from anywhere; clones share them. Ready is who passes all of them.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<RwLock<BTreeMap<&'static str, Result<(), String>>>>);

impl Readiness {
    /// None of `checks` has passed yet. Without any, the process is ready from the start.
    pub fn new(checks: impl IntoIterator<Item = &'static str>) -> Self {
        let unknown = |name| (name, Err("not checked yet".to_owned()));
        Self(Arc::new(RwLock::new(checks.into_iter().map(unknown).collect())))
    }

    /// What a check says now. The reason is for people: one line, and what to do.
    pub fn set(&self, check: &'static str, result: Result<(), String>) {
        let result = result.map_err(|reason| reason.replace(char::is_control, " "));
        self.0.write().insert(check, result);
    }

    pub fn is_ready(&self) -> bool {
        self.0.read().values().all(Result::is_ok)
    }

    /// Every check with what it says, by name.
    pub fn checks(&self) -> Vec<(&'static str, Result<(), String>)> {
        self.0.read().iter().map(|(name, result)| (*name, result.clone())).collect()
    }
}
