//! JSON as one run of bytes: about as long as its text, and read in place, without a tree.
//!
//! ```text
//! value    null | false | true            a tag
//!          i64 | u64 | f64                a tag, 8 bytes, little endian
//!          text                           a tag, size, UTF-8
//!          array | object                 a tag, size, then values, or names (size, UTF-8) each with its value
//! size     of what follows it, in bytes: 4 bytes, little endian; a name has 1 byte, or 255 and 4 bytes
//! ```
//!
//! Members keep their order. Only [`Packed::of`] and [`Packed::read`] make such bytes and they never leave memory, so a reader that meets
//! something else has no one to tell: it sees nothing there.
use serde_json::{Map, Number, Value};

use crate::rql::{self, Scalar, Tree};

pub(super) const NULL: u8 = 0;
pub(super) const FALSE: u8 = 1;
pub(super) const TRUE: u8 = 2;
const I64: u8 = 3;
const U64: u8 = 4;
const F64: u8 = 5;
pub(super) const TEXT: u8 = 6;
pub(super) const ARRAY: u8 = 7;
pub(super) const OBJECT: u8 = 8;

/// Tag and size.
const HEAD: usize = 5;
/// In place of a size that does not fit into a byte.
const LONG: u8 = u8::MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed(Box<[u8]>);

impl Packed {
    pub fn of(value: &Value) -> Self {
        let mut bytes = vec![];
        write(value, &mut bytes);
        Self::from_bytes(&bytes)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// A copy with another value at the place, which must be there.
    pub fn replace<S: AsRef<str>>(&self, place: &[S], value: &Value) -> Option<Self> {
        let mut bytes = Vec::with_capacity(self.0.len());
        copy(self.root(), place, value, &mut bytes)?;
        Some(Self::from_bytes(&bytes))
    }

    /// In bytes.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    pub fn root(&self) -> Node<'_> {
        Node(&self.0)
    }
}

fn copy<S: AsRef<str>>(from: Node<'_>, place: &[S], value: &Value, bytes: &mut Vec<u8>) -> Option<()> {
    let Some((name, below)) = place.split_first() else {
        write(value, bytes);
        return Some(());
    };
    let (at, mut replaced) = (begin(OBJECT, bytes), None);
    for (member, node) in from.members() {
        write_name(member, bytes);
        if member == name.as_ref() {
            copy(node, below, value, bytes)?;
            replaced = Some(());
        } else {
            bytes.extend_from_slice(node.0.get(..node.len())?);
        }
    }
    end(at, bytes);
    replaced
}

fn write(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Null => bytes.push(NULL),
        Value::Bool(value) => bytes.push(if *value { TRUE } else { FALSE }),
        Value::Number(number) => {
            if let Some(value) = number.as_i64() {
                write_integer(value, bytes);
            } else if let Some(value) = number.as_u64() {
                write_unsigned(value, bytes);
            } else {
                write_float(number.as_f64().unwrap_or_default(), bytes);
            }
        }
        Value::String(text) => write_text(text, bytes),
        Value::Array(items) => {
            let at = begin(ARRAY, bytes);
            for item in items {
                write(item, bytes);
            }
            end(at, bytes);
        }
        Value::Object(members) => {
            let at = begin(OBJECT, bytes);
            for (name, value) in members {
                write_name(name, bytes);
                write(value, bytes);
            }
            end(at, bytes);
        }
    }
}

pub(super) fn write_integer(value: i64, bytes: &mut Vec<u8>) {
    bytes.push(I64);
    bytes.extend_from_slice(&value.to_le_bytes());
}

/// One that no `i64` holds.
pub(super) fn write_unsigned(value: u64, bytes: &mut Vec<u8>) {
    bytes.push(U64);
    bytes.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn write_float(value: f64, bytes: &mut Vec<u8>) {
    bytes.push(F64);
    bytes.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn write_text(text: &str, bytes: &mut Vec<u8>) {
    bytes.push(TEXT);
    bytes.extend_from_slice(&size(text.len()));
    bytes.extend_from_slice(text.as_bytes());
}

pub(super) fn write_name(name: &str, bytes: &mut Vec<u8>) {
    match u8::try_from(name.len()) {
        Ok(size) if size != LONG => bytes.push(size),
        _ => {
            bytes.push(LONG);
            bytes.extend_from_slice(&size(name.len()));
        }
    }
    bytes.extend_from_slice(name.as_bytes());
}

/// The longest thing is far below 4 GB.
fn size(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes()
}

/// Begins an array or object whose size [`end`] fills in.
pub(super) fn begin(tag: u8, bytes: &mut Vec<u8>) -> usize {
    bytes.push(tag);
    bytes.extend_from_slice(&[0; 4]);
    bytes.len()
}

/// `content` is what [`begin`] returned.
pub(super) fn end(content: usize, bytes: &mut [u8]) {
    let written = size(bytes.len() - content);
    bytes[content - 4..content].copy_from_slice(&written);
}

/// A value in packed JSON: its bytes, and maybe those of what comes after it.
#[derive(Clone, Copy, Debug)]
pub struct Node<'t>(&'t [u8]);

impl<'t> Node<'t> {
    /// The value behind these names.
    pub fn at<S: AsRef<str>>(self, path: &[S]) -> Option<Self> {
        path.iter().try_fold(self, |node, name| node.member(name.as_ref()))
    }

    pub fn text(self) -> Option<&'t str> {
        if self.tag() != TEXT {
            return None;
        }
        std::str::from_utf8(self.content()).ok()
    }

    pub fn unsigned(self) -> Option<u64> {
        self.number()?.as_u64()
    }

    pub fn unpack(self) -> Value {
        match self.tag() {
            ARRAY => Value::Array(self.items().map(Self::unpack).collect()),
            OBJECT => {
                let members: Map<String, Value> =
                    self.members().map(|(name, value)| (name.to_owned(), value.unpack())).collect();
                Value::Object(members)
            }
            TEXT => self.text().into(),
            TRUE => true.into(),
            FALSE => false.into(),
            _ => self.number().map_or(Value::Null, Value::Number),
        }
    }

    pub(super) fn tag(self) -> u8 {
        self.0.first().copied().unwrap_or(NULL)
    }

    pub(super) fn number(self) -> Option<Number> {
        let eight: [u8; 8] = self.0.get(1..9)?.try_into().ok()?;
        match self.tag() {
            I64 => Some(i64::from_le_bytes(eight).into()),
            U64 => Some(u64::from_le_bytes(eight).into()),
            F64 => Number::from_f64(f64::from_le_bytes(eight)),
            _ => None,
        }
    }

    /// What a text, an array or an object holds.
    fn content(self) -> &'t [u8] {
        self.0.get(HEAD..self.len()).unwrap_or_default()
    }

    fn len(self) -> usize {
        match self.tag() {
            NULL | FALSE | TRUE => 1,
            I64 | U64 | F64 => 9,
            _ => HEAD + read_size(self.0.get(1..).unwrap_or_default()),
        }
    }

    fn pairs(self) -> Members<'t> {
        Members(if self.tag() == OBJECT { self.content() } else { &[] })
    }
}

fn read_size(bytes: &[u8]) -> usize {
    let four = bytes.first_chunk::<4>().copied().unwrap_or_default();
    u32::from_le_bytes(four) as usize
}

/// What is left of an object: names as bytes, with their values.
struct Members<'t>(&'t [u8]);

impl<'t> Iterator for Members<'t> {
    type Item = (&'t [u8], Node<'t>);

    fn next(&mut self) -> Option<Self::Item> {
        let (size, rest) = match self.0.split_first()? {
            (&LONG, rest) => (read_size(rest), rest.get(4..)?),
            (size, rest) => (usize::from(*size), rest),
        };
        let (name, rest) = rest.split_at_checked(size)?;
        let value = Node(rest);
        self.0 = rest.get(value.len()..).unwrap_or_default();
        Some((name, value))
    }
}

struct Items<'t>(&'t [u8]);

impl<'t> Iterator for Items<'t> {
    type Item = Node<'t>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = Node(self.0);
        self.0 = (!self.0.is_empty()).then(|| self.0.get(item.len()..).unwrap_or_default())?;
        Some(item)
    }
}

impl<'t> Tree<'t> for Node<'t> {
    fn scalar(self) -> Option<Scalar<'t>> {
        Some(match self.tag() {
            ARRAY | OBJECT => return None,
            TEXT => Scalar::Text(self.text().unwrap_or_default().into()),
            TRUE => Scalar::Bool(true),
            FALSE => Scalar::Bool(false),
            _ => self.number().map_or(Scalar::Null, |number| Scalar::Number(rql::Number::of(&number))),
        })
    }

    fn is_object(self) -> bool {
        self.tag() == OBJECT
    }

    fn member(self, name: &str) -> Option<Self> {
        self.pairs().find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }

    fn members(self) -> impl Iterator<Item = (&'t str, Self)> {
        self.pairs().map(|(name, value)| (std::str::from_utf8(name).unwrap_or_default(), value))
    }

    fn items(self) -> impl Iterator<Item = Self> {
        Items(if self.tag() == ARRAY { self.content() } else { &[] })
    }
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    pub fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((".{0,4}", inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks_to_the_same_text(value in any_json()) {
            prop_assert_eq!(Packed::of(&value).root().unpack().to_string(), value.to_string());
        }

        #[test]
        fn another_value_is_put_where_there_was_one(mut tree in any_json(), value in any_json(), pick in any::<usize>()) {
            let places = crate::twin::json::leaves(&tree);
            let (place, _) = places[pick % places.len()].clone();
            for place in [place.clone(), place.child("none")] {
                let packed = Packed::of(&tree).replace(place.segments(), &value);
                let there = place.get(&tree).is_some();
                if there {
                    place.set(&mut tree, value.clone());
                }
                prop_assert_eq!(packed, there.then(|| Packed::of(&tree)), "{}", place);
            }
        }

        #[test]
        fn broken_bytes_are_read_without_a_panic(bytes in prop::collection::vec(0_u8..10, 0..60)) {
            Node(&bytes).unpack();
        }
    }

    #[test]
    fn names_of_every_length_are_found() {
        for len in [0, 1, 254, 255, 256, 70_000] {
            let name = "n".repeat(len);
            let packed = Packed::of(&json!({"before": [1, {"a": 2}], name.clone(): "here", "after": null}));
            assert_eq!(packed.root().at(&[&name]).and_then(Node::text), Some("here"), "{len}");
            assert!(packed.root().at(&["after"]).is_some() && packed.root().at(&["none"]).is_none());
        }
    }
}
