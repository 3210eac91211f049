//! JSON text from packed bytes and back, without a tree in between.
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::packed::{ARRAY, FALSE, NULL, Node, OBJECT, Packed, TEXT, TRUE};
use super::packed::{begin, end, write_float, write_integer, write_name, write_text, write_unsigned};
use crate::rql::Tree;

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.tag() {
            TEXT => to.serialize_str(self.text().unwrap_or_default()),
            OBJECT => to.collect_map(self.members()),
            ARRAY => to.collect_seq(self.items()),
            TRUE => to.serialize_bool(true),
            FALSE => to.serialize_bool(false),
            _ => self.number().serialize(to),
        }
    }
}

/// A whole thing as it is shown: without the members that begin with `_`.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'t>(pub Node<'t>);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.members().filter(|(name, _)| !name.starts_with('_')))
    }
}

impl Packed {
    pub fn text(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(self.size());
        serde_json::to_writer(&mut text, &self.root())?;
        Ok(text)
    }

    /// Of two members of one name both are kept, so only for text that was written from a document.
    pub fn read(text: &[u8]) -> serde_json::Result<Self> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut json = serde_json::Deserializer::from_slice(text);
        Pack(&mut bytes).deserialize(&mut json)?;
        json.end()?;
        Ok(Self::from_bytes(&bytes))
    }
}

/// Writes the value it meets.
struct Pack<'b>(&'b mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Pack<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pack<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.push(NULL);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.0.push(if value { TRUE } else { FALSE });
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        write_integer(value, self.0);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => write_integer(value, self.0),
            Err(_) => write_unsigned(value, self.0),
        }
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        write_float(value, self.0);
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        write_text(text, self.0);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let at = begin(ARRAY, self.0);
        while items.next_element_seed(Pack(self.0))?.is_some() {}
        end(at, self.0);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let at = begin(OBJECT, self.0);
        while members.next_key_seed(Name(self.0))?.is_some() {
            members.next_value_seed(Pack(self.0))?;
        }
        end(at, self.0);
        Ok(())
    }
}

struct Name<'b>(&'b mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        write_name(name, self.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::packed::tests::any_json;
    use super::*;

    proptest! {
        #[test]
        fn text_is_packed_as_its_tree_is_and_written_as_its_tree_is(value in any_json()) {
            let text = value.to_string();
            let tree: Value = serde_json::from_str(&text).unwrap();
            let packed = Packed::read(text.as_bytes()).unwrap();
            prop_assert_eq!(&packed, &Packed::of(&tree));
            prop_assert_eq!(serde_json::to_string(&packed.root()).unwrap(), tree.to_string());
            prop_assert_eq!(serde_json::to_string(&Packed::of(&value).root()).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_json_is_not_packed() {
        let deep = "[".repeat(200);
        for text in ["", "{", "[1,]", "{\"a\" 1}", "1 2", "nul", "\"\\ud800\"", deep.as_str()] {
            assert!(Packed::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_thing_is_shown_without_its_special_members() {
        let thing = json!({"thingId": "a:b", "_revision": 3, "attributes": {"_a": 1}, "_metadata": {}});
        let shown = serde_json::to_value(Shown(Packed::of(&thing).root())).unwrap();
        assert_eq!(shown, json!({"thingId": "a:b", "attributes": {"_a": 1}}));
    }
}
