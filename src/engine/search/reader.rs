//! What one caller may read, asked once per policy and not once per thing.
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::super::command::Caller;
use super::super::enforce::{Enforcer, Permission};
use super::super::state::State;

/// Policies remembered during one search; the next one begins anew.
const REMEMBERED_MAX: usize = 1_000;

pub struct Reader<'s> {
    state: &'s State,
    caller: &'s Caller,
    /// The places the search looks at.
    places: Vec<Vec<&'s str>>,
    known: RefCell<HashMap<String, Option<Rc<Access>>>>,
    /// The one asked for last: most things have the policy of the one before.
    last: RefCell<Option<(String, Option<Rc<Access>>)>>,
}

/// What a policy lets the caller read.
pub struct Access {
    enforcer: Arc<Enforcer>,
    /// Of the thing and everything in it.
    whole: bool,
    /// Of each place.
    places: Vec<bool>,
}

impl<'s> Reader<'s> {
    pub fn new(state: &'s State, caller: &'s Caller, places: Vec<Vec<&'s str>>) -> Self {
        Self { state, caller, places, known: RefCell::default(), last: RefCell::default() }
    }

    /// `None` when the caller may read nothing at all.
    pub fn access(&self, policy_id: &str) -> Option<Rc<Access>> {
        if let Some((_, access)) = self.last.borrow().as_ref().filter(|(last, _)| last == policy_id) {
            return access.clone();
        }
        let access = self.access_of(policy_id);
        *self.last.borrow_mut() = Some((policy_id.to_owned(), access.clone()));
        access
    }

    fn access_of(&self, policy_id: &str) -> Option<Rc<Access>> {
        if let Some(known) = self.known.borrow().get(policy_id) {
            return known.clone();
        }
        let access = self.state.enforcer(policy_id, self.caller.now).and_then(|enforcer| {
            let subjects = &self.caller.subjects;
            enforcer.any_read(subjects).then(|| {
                Rc::new(Access {
                    whole: enforcer.unrestricted(subjects, "thing", &[], Permission::Read),
                    places: self.places.iter().map(|place| readable(&enforcer, subjects, place)).collect(),
                    enforcer,
                })
            })
        });
        let mut known = self.known.borrow_mut();
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(policy_id.to_owned(), access.clone());
        access
    }

    pub fn readable(&self, access: &Access, path: &[&str]) -> bool {
        let asked_before = || {
            let at = self.places.iter().position(|place| place == path)?;
            access.places.get(at).copied()
        };
        access.whole
            || asked_before().unwrap_or_else(|| readable(&access.enforcer, &self.caller.subjects, path))
    }
}

fn readable(enforcer: &Enforcer, subjects: &[String], path: &[&str]) -> bool {
    enforcer.partial(subjects, "thing", path, Permission::Read)
}
