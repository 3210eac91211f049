//! Names on the way between Ditto's camelCase and the facade's `snake_case`: at the named levels of a thing, a feature
//! and a policy, and nowhere else. Values keep every byte.
//!
//! Text is renamed while it is copied; nothing is parsed into a tree. What comes from a client has been read as JSON
//! before, what comes from Ditto is believed to be, and whatever is not is refused here.
use std::borrow::Cow;

use super::scan::{Malformed, Scanner};

/// What a JSON text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Thing,
    /// An array of things.
    Things,
    /// Features by id.
    Features,
    Feature,
    Policy,
    /// A message with its subject: its own names, and no others.
    Command,
    /// Anything: copied as it is.
    Value,
}

/// Which way a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToDitto,
    ToClient,
}

/// Why a text cannot be renamed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("`{0}` is no member here that can be written")]
    Unknown(String),
    #[error("`{0}` is there twice; keep one of its spellings")]
    Twice(&'static str),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Client's name, Ditto's name, shape of the value. What a client may write.
const THING: [(&str, &str, Shape); 5] = [
    ("thing_id", "thingId", Shape::Value),
    ("policy_id", "policyId", Shape::Value),
    ("definition", "definition", Shape::Value),
    ("attributes", "attributes", Shape::Value),
    ("features", "features", Shape::Features),
];
const FEATURE: [(&str, &str, Shape); 3] = [
    ("definition", "definition", Shape::Value),
    ("properties", "properties", Shape::Value),
    ("desired_properties", "desiredProperties", Shape::Value),
];
const POLICY: [(&str, &str, Shape); 3] = [
    ("policy_id", "policyId", Shape::Value),
    ("entries", "entries", Shape::Value),
    ("imports", "imports", Shape::Value),
];
const COMMAND: [(&str, &str, Shape); 2] =
    [("subject", "subject", Shape::Value), ("value", "value", Shape::Value)];
/// What Ditto adds: shown, and ignored where a client sends back what it has read.
const SHOWN: [(&str, &str); 3] =
    [("revision", "_revision"), ("created", "_created"), ("modified", "_modified")];

/// The members of a shape that a client names.
fn members(shape: Shape) -> &'static [(&'static str, &'static str, Shape)] {
    match shape {
        Shape::Thing => &THING,
        Shape::Feature => &FEATURE,
        Shape::Policy => &POLICY,
        Shape::Command => &COMMAND,
        Shape::Things | Shape::Features | Shape::Value => &[],
    }
}

/// Ditto's name for a member of a shape in either spelling, with the shape of its value.
pub fn ditto_name(shape: Shape, name: &str) -> Option<(&'static str, Shape)> {
    members(shape).iter().find(|(ours, theirs, _)| *ours == name || *theirs == name).map(|(_, d, s)| (*d, *s))
}

/// Ditto's name for what it adds to a thing: `revision` is `_revision`.
pub fn shown_name(name: &str) -> Option<&'static str> {
    SHOWN.iter().find(|(ours, theirs)| *ours == name || *theirs == name).map(|(_, theirs)| *theirs)
}

/// A client's text in Ditto's names. It must be JSON; unknown members are refused.
pub fn to_ditto(text: &str, shape: Shape) -> Result<String, NameError> {
    rename(text, shape, Way::ToDitto)
}

/// Ditto's text in the facade's names.
pub fn to_client(text: &str, shape: Shape) -> Result<String, NameError> {
    rename(text, shape, Way::ToClient)
}

fn rename(text: &str, shape: Shape, way: Way) -> Result<String, NameError> {
    let mut renamer = Renamer::new(text, way);
    renamer.value(shape)?;
    renamer.scanner.end()?;
    Ok(renamer.out)
}

/// A page of a search: its things renamed, and where the next page begins.
pub struct Page {
    /// A JSON array.
    pub items: String,
    pub cursor: Option<String>,
}

/// Ditto's `{"items":[…],"cursor":"…"}`.
pub fn page(text: &str) -> Result<Page, NameError> {
    let mut renamer = Renamer::new(text, Way::ToClient);
    let (mut items, mut cursor) = (None, None);
    renamer.members(|this, name| {
        match name {
            "items" => {
                this.value(Shape::Things)?;
                items = Some(std::mem::take(&mut this.out));
            }
            "cursor" => cursor = serde_json::from_str(this.scanner.value()?).map_err(|_| Malformed)?,
            _ => drop(this.scanner.value()?),
        }
        Ok(())
    })?;
    renamer.scanner.end()?;
    Ok(Page { items: items.ok_or(Malformed)?, cursor })
}

/// Copies a text while it renames.
struct Renamer<'t> {
    scanner: Scanner<'t>,
    out: String,
    way: Way,
}

impl<'t> Renamer<'t> {
    fn new(text: &'t str, way: Way) -> Self {
        Self { scanner: Scanner::new(text), out: String::with_capacity(text.len() + 32), way }
    }

    fn value(&mut self, shape: Shape) -> Result<(), NameError> {
        use Shape::{Command, Feature, Features, Policy, Thing, Things};
        match (self.scanner.peek(), shape) {
            (Some(b'{'), Thing | Features | Feature | Policy | Command) => self.object(shape),
            (Some(b'['), Things) => {
                self.out.push('[');
                let mut first = true;
                self.items(|this| {
                    if !std::mem::take(&mut first) {
                        this.out.push(',');
                    }
                    this.value(Thing)
                })?;
                self.out.push(']');
                Ok(())
            }
            _ => {
                self.out.push_str(self.scanner.value()?);
                Ok(())
            }
        }
    }

    fn object(&mut self, shape: Shape) -> Result<(), NameError> {
        self.out.push('{');
        let mut seen: Vec<&'static str> = vec![];
        let mut first = true;
        self.members(|this, name| {
            let (written, shape) = match this.member(shape, name)? {
                Member::Dropped => return Ok(this.scanner.value().map(drop)?),
                Member::Known(name, _) if this.way == Way::ToDitto && seen.contains(&name) => {
                    return Err(NameError::Twice(name));
                }
                Member::Known(name, shape) => {
                    if this.way == Way::ToDitto {
                        seen.push(name);
                    }
                    (Cow::Borrowed(name), shape)
                }
                Member::Other(shape) => (Cow::Borrowed(name), shape),
            };
            if !std::mem::take(&mut first) {
                this.out.push(',');
            }
            quote(&mut this.out, &written);
            this.out.push(':');
            this.value(shape)
        })?;
        self.out.push('}');
        Ok(())
    }

    fn member(&self, shape: Shape, name: &str) -> Result<Member, NameError> {
        if shape == Shape::Features {
            return Ok(Member::Other(Shape::Feature));
        }
        let shows = matches!(shape, Shape::Thing | Shape::Policy);
        let shown = SHOWN.iter().find(|(ours, theirs)| shows && (*ours == name || *theirs == name));
        match self.way {
            Way::ToDitto => match (ditto_name(shape, name), shown) {
                (Some((theirs, shape)), _) => Ok(Member::Known(theirs, shape)),
                (None, Some((ours, _))) if *ours == name => Ok(Member::Dropped),
                (None, _) => Err(NameError::Unknown(name.chars().take(100).collect())),
            },
            Way::ToClient => {
                let known = members(shape).iter().find(|(_, theirs, _)| *theirs == name);
                Ok(match (known, shown) {
                    (Some((ours, _, shape)), _) => Member::Known(ours, *shape),
                    (None, Some((ours, _))) => Member::Known(ours, Shape::Value),
                    (None, None) => Member::Other(Shape::Value),
                })
            }
        }
    }

    /// Walks an object; `each` gets the name of a member and must step over its value.
    fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, &str) -> Result<(), NameError>,
    ) -> Result<(), NameError> {
        let mut more = self.scanner.open(b'{', b'}')?;
        while more {
            let name = self.scanner.name()?;
            each(self, &name)?;
            more = self.scanner.more(b'}')?;
        }
        Ok(())
    }

    /// Walks an array; `each` must step over an item.
    fn items(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), NameError>) -> Result<(), NameError> {
        let mut more = self.scanner.open(b'[', b']')?;
        while more {
            each(self)?;
            more = self.scanner.more(b']')?;
        }
        Ok(())
    }
}

enum Member {
    Known(&'static str, Shape),
    /// Under its own name.
    Other(Shape),
    Dropped,
}

fn quote(out: &mut String, name: &str) {
    if name.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(name);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(name).to_string());
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
