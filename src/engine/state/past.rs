//! Things and policies as something with a past.
use serde_json::Value;

use super::super::history::Revised;
use super::super::time;
use super::{Policy, Thing};

/// What the map of an object keeps beside a key's text and its value, in bytes: the text's place, its hash, an index.
const MEMBER: usize = size_of::<String>() + 24;

/// A tree in memory, in bytes, about. Nothing is written out for it.
pub fn size(value: &Value) -> usize {
    let within = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| MEMBER + name.len() + size(value)).sum(),
        _ => 0,
    };
    size_of::<Value>() + within
}

impl Revised for Policy {
    fn id(&self) -> &str {
        &self.id
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn size(&self) -> usize {
        self.size
    }

    fn modified(&self) -> Option<i64> {
        time::parse(self.document.as_ref()?["_modified"].as_str()?)
    }
}

impl Revised for Thing {
    fn id(&self) -> &str {
        self.id()
    }

    fn revision(&self) -> u64 {
        self.revision()
    }

    fn size(&self) -> usize {
        self.size()
    }

    fn modified(&self) -> Option<i64> {
        time::parse(self.node()?.at(&["_modified"])?.text()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn a_policy_is_as_large_as_its_tree_and_counted_once() {
        let one = json!({"entries": {"own": {"subjects": {"a:b": {"type": "t"}}}}});
        let mut two = one.clone();
        two["entries"]["another"] = one["entries"]["own"].clone();
        two["entries"]["another"]["subjects"]["a:b"]["type"] = json!("t".repeat(1_001));
        let [one, two] = [one, two].map(|tree| Policy::new("a:b", 1, Some(Arc::new(tree))));
        let texts = "another".len() + "subjects".len() + "a:b".len() + "type".len() + 1_001;
        assert!(Revised::size(&two) >= Revised::size(&one) + texts + 4 * size_of::<Value>());
        assert!(Revised::size(&two) < Revised::size(&one) + 2 * texts, "{}", Revised::size(&two));
        assert_eq!(Revised::size(&Policy::new("a:b", 2, None)), 0);
    }
}
