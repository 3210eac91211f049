//! Things and policies as something with a past.
use super::super::history::Revised;
use super::super::time;
use super::{Policy, Thing};

impl Revised for Policy {
    fn id(&self) -> &str {
        &self.id
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    /// A tree takes about four times its text.
    fn size(&self) -> usize {
        self.document.as_ref().map_or(0, |document| 4 * document.to_string().len())
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
