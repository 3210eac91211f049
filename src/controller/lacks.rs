//! What an older definition lacks of a status.
//!
//! An apply with a field that the definition does not know is refused as a whole, so the field is left out. It
//! never comes back from the API server, and then it is no news that it is not there.
use std::collections::BTreeSet;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

type Path = Vec<String>;

/// The fields that the API server refused last, until it takes them.
#[derive(Debug, Default)]
pub struct Lacks(Mutex<BTreeSet<Path>>);

impl Lacks {
    /// Whether two statuses say the same in what the definition can hold.
    pub fn same<S: Serialize + PartialEq>(&self, one: &S, other: &S) -> bool {
        if one == other {
            return true;
        }
        let lacks = self.0.lock();
        let without = |status: &S| {
            let mut status = json!(status);
            lacks.iter().for_each(|path| {
                cut(&mut status, path);
            });
            status
        };
        !lacks.is_empty() && without(one) == without(other)
    }

    /// Whether what stands there is what the watch had shown, or our own.
    pub fn is_known<S: Serialize + PartialEq>(&self, stands: Option<&S>, shown: Option<&S>, own: &S) -> bool {
        stands == shown || stands.is_some_and(|stands| self.same(stands, own))
    }

    pub fn has(&self, field: &str) -> bool {
        self.0.lock().iter().any(|path| path[..] == [field])
    }

    /// Takes out of `status` what the refusal names. Returns what that was: nothing when the refusal is about
    /// something else.
    pub fn leave_out(&self, status: &mut Value, message: &str) -> BTreeSet<Path> {
        let mut out = unknown(message);
        out.retain(|path| cut(status, path));
        self.0.lock().extend(out.iter().cloned());
        out
    }

    /// A whole status was taken: the definition has all that stood in it.
    pub fn taken(&self, status: &Value) {
        self.0.lock().retain(|path| !cut(&mut status.clone(), path));
    }
}

/// Source: kube-apiserver 1.36, structured-merge-diff: one line for each field.
fn unknown(message: &str) -> BTreeSet<Path> {
    let fields = message.split(".status.").skip(1);
    let named = fields.filter_map(|rest| {
        let (path, _) = rest.split_once(": field not declared in schema")?;
        (!path.contains(": ")).then(|| segments(path))
    });
    named.collect()
}

/// Without the keys of list items: an item of a list has the fields of all others.
fn segments(path: &str) -> Path {
    let (mut plain, mut depth) = (String::new(), 0_usize);
    for c in path.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    plain.split('.').map(str::to_owned).collect()
}

/// Returns whether it stood there.
fn cut(value: &mut Value, path: &[String]) -> bool {
    match (value, path) {
        // In each of them: `any` would end with the first.
        (Value::Array(items), _) => {
            items.iter_mut().filter_map(|item| cut(item, path).then_some(())).count() > 0
        }
        (Value::Object(fields), [leaf]) => fields.shift_remove(leaf).is_some(),
        (Value::Object(fields), [first, rest @ ..]) => {
            fields.get_mut(first).is_some_and(|value| cut(value, rest))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(path: &str) -> String {
        format!(
            "failed to create typed patch object (/pump; x): .status.{path}: field not declared in schema"
        )
    }

    #[test]
    fn f18_fields_that_an_older_definition_lacks_are_left_out() {
        let lacks = Lacks::default();
        let whole = json!({
            "revision": 1, "lastSyncTime": "now", "drift": {"count": 1, "originator": "x"},
            "conditions": [{"type": "Ready", "novel": 1}],
        });
        let mut status = whole.clone();
        assert!(!lacks.leave_out(&mut status, &message("lastSyncTime")).is_empty());
        assert!(
            lacks.leave_out(&mut status, &message("lastSyncTime")).is_empty(),
            "it is out already, so the refusal is about something else"
        );
        assert!(!lacks.leave_out(&mut status, &message("drift.originator")).is_empty());
        assert!(!lacks.leave_out(&mut status, &message("conditions[type=\"Ready\"].novel")).is_empty());
        let left = json!({"revision": 1, "drift": {"count": 1}, "conditions": [{"type": "Ready"}]});
        assert_eq!(status, left, "only what is named");
        let other = ".status.revision: expected integer";
        assert!(lacks.leave_out(&mut status, other).is_empty());
    }

    #[test]
    fn f18_what_the_definition_lacks_is_no_news_until_it_is_taken() {
        let lacks = Lacks::default();
        let (whole, kept) = (json!({"revision": 2, "usedBy": 1}), json!({"usedBy": 1}));
        assert!(!lacks.same(&whole, &kept));
        lacks.leave_out(&mut whole.clone(), &message("revision"));
        assert!(lacks.same(&whole, &kept) && lacks.has("revision"));
        assert!(!lacks.same(&whole, &json!({"usedBy": 2})), "all else is news");
        assert!(lacks.is_known(Some(&kept), None, &whole) && lacks.is_known(None, None, &whole));
        assert!(!lacks.is_known(None, Some(&kept), &whole), "it was taken away");
        lacks.taken(&kept);
        assert!(lacks.same(&whole, &kept), "that says nothing about it");
        lacks.taken(&whole);
        assert!(!lacks.same(&whole, &kept), "the definition is new");
    }
}
