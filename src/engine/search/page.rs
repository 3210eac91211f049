//! What a search answers.
use std::sync::Arc;

use serde::ser::{Serialize, Serializer};
use serde_json::Value;

use super::super::command::Caller;
use super::super::state::{Shown, State, Thing};
use super::super::thing;
use super::Query;

#[derive(Clone, Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    pub items: Vec<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// -1 at the end.
    #[serde(rename = "nextPageOffset", skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<i64>,
}

/// A thing as the caller sees it.
#[derive(Clone, Debug)]
pub enum Item {
    Whole(Arc<Thing>),
    Part(Value),
}

impl Item {
    /// `None` when the caller may read nothing of it.
    pub fn of(state: &State, thing: &Arc<Thing>, query: &Query, caller: &Caller) -> Option<Self> {
        if query.fields.is_none() && thing::reads_all(state, thing, caller) {
            return Some(Self::Whole(Arc::clone(thing)));
        }
        let tree = thing.node()?.unpack();
        thing::visible(state, &tree, query.fields.as_ref(), caller, query.wildcards).map(Self::Part)
    }

    /// Bytes of its JSON, about.
    pub fn size(&self) -> usize {
        match self {
            Self::Whole(thing) => thing.size(),
            Self::Part(value) => {
                let mut length = Length(0);
                // a tree of JSON can always be written
                drop(serde_json::to_writer(&mut length, value));
                length.0
            }
        }
    }

    pub fn into_value(self) -> Value {
        match self {
            Self::Part(value) => value,
            Self::Whole(_) => serde_json::to_value(self).unwrap_or_default(),
        }
    }
}

/// Counts what is written.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(thing) => thing.node().map(Shown).serialize(to),
            Self::Part(value) => value.serialize(to),
        }
    }
}
