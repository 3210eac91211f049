//! The mark: TwinOps' note in Ditto that says which resource a thing or policy belongs to.
//!
//! On a thing it is the metadata `/twinops`, written whole with every write. It fences mistakes, not
//! malice: whoever may write any part of a thing may forge it.
use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Value, json};

use super::desired::Identity;
use super::json::Pointer;

/// The whole mark as header JSON, in bytes. The rest of Ditto's 5,120 bytes of headers is for guards.
pub const MARK_BYTES_MAX: usize = 3_072;
/// The base inside the mark, in bytes: beyond it parts are forgotten, see [`Base::within`].
pub const BASE_BYTES_MAX: usize = 1_536;
/// What a twin tells the bridge, in bytes.
pub const TELEMETRY_BYTES_MAX: usize = 2_048;
const VERSION: i64 = 1;

/// Where a thing or policy came from. Written once and copied ever after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Created,
    Adopted,
}

impl Origin {
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Adopted => "Adopted",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "Created" => Some(Self::Created),
            "Adopted" => Some(Self::Adopted),
            _ => None,
        }
    }
}

/// What the last write left behind: which paths are ours to remove and which seeds are decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    pub enforced: BTreeSet<Pointer>,
    /// The root among them stands for every seed there is: too many to be told apart.
    pub seeded: BTreeSet<Pointer>,
}

impl Base {
    pub fn decided(&self, seed: &Pointer) -> bool {
        self.seeded.contains(seed) || self.seeds_are_forgotten()
    }

    pub fn seeds_are_forgotten(&self) -> bool {
        self.seeded.contains(&Pointer::root())
    }

    /// As much of it as `fits`. Enforced paths are forgotten first: then nothing is removed, which a
    /// user sees and repairs. Then the seeds, and all count as decided: written again, one would
    /// overwrite that a device took it away.
    #[must_use]
    pub fn within(self, fits: impl Fn(&Self) -> bool) -> Self {
        let all_seeds = || BTreeSet::from([Pointer::root()]);
        if fits(&self) {
            return self;
        }
        let without_paths = Self { enforced: BTreeSet::new(), seeded: self.seeded };
        if fits(&without_paths) {
            return without_paths;
        }
        let without_seeds = Self { enforced: self.enforced, seeded: all_seeds() };
        if fits(&without_seeds) {
            return without_seeds;
        }
        Self { enforced: BTreeSet::new(), seeded: all_seeds() }
    }

    fn to_json(&self) -> Value {
        json!({"e": fold(&self.enforced), "s": fold(&self.seeded)})
    }

    fn from_json(value: &Value) -> Option<Self> {
        let paths = |key: &str| {
            let texts: Option<Vec<&str>> = value.get(key)?.as_array()?.iter().map(Value::as_str).collect();
            unfold(texts?)
        };
        Some(Self { enforced: paths("e")?, seeded: paths("s")? })
    }
}

/// The note itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    pub owner: String,
    pub uid: String,
    pub generation: i64,
    pub namespace: String,
    pub name: String,
    pub origin: Origin,
    pub hash: String,
    pub telemetry: Option<Value>,
    /// Folders have no status: their base rides here.
    pub base: Option<Base>,
    /// Policies only: the labels the resource declared.
    pub labels: Option<BTreeSet<String>>,
}

impl Mark {
    pub fn of(identity: &Identity, origin: Origin, hash: String) -> Self {
        Self {
            owner: identity.owner.clone(),
            uid: identity.uid.clone(),
            generation: identity.generation,
            namespace: identity.namespace.clone(),
            name: identity.name.clone(),
            origin,
            hash,
            telemetry: None,
            base: None,
            labels: None,
        }
    }

    pub fn place(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub fn to_json(&self) -> Value {
        let mut mark = json!({
            "v": VERSION, "owner": self.owner, "uid": self.uid, "generation": self.generation,
            "namespace": self.namespace, "name": self.name, "origin": self.origin.word(), "hash": self.hash,
        });
        if let Some(telemetry) = &self.telemetry {
            mark["telemetry"] = telemetry.clone();
        }
        if let Some(base) = &self.base {
            mark["base"] = base.to_json();
        }
        if let Some(labels) = &self.labels {
            mark["labels"] = json!(labels);
        }
        mark
    }

    /// `None` when the note is not one of ours in a shape this version reads.
    pub fn from_json(value: &Value) -> Option<Self> {
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        Some(Self {
            owner: text("owner")?,
            uid: text("uid")?,
            generation: value.get("generation")?.as_i64()?,
            namespace: text("namespace")?,
            name: text("name")?,
            origin: Origin::parse(value.get("origin")?.as_str()?)?,
            hash: text("hash")?,
            telemetry: value.get("telemetry").cloned(),
            base: value.get("base").and_then(Base::from_json),
            labels: value.get("labels").and_then(|labels| {
                labels.as_array()?.iter().map(|l| l.as_str().map(str::to_owned)).collect()
            }),
        })
    }

    /// Puts in what fits of `base`.
    pub fn carry(&mut self, base: Base) {
        let alone = ascii(&self.to_json()).len();
        let room = BASE_BYTES_MAX.min(MARK_BYTES_MAX.saturating_sub(alone + "\"base\":,".len()));
        self.base = Some(base.within(|base| ascii(&base.to_json()).len() <= room));
    }
}

/// Front coding: each path as the number of leading characters it shares with the one before, a colon, and
/// the rest. One that shares nothing is written as it is, so a list of plain paths reads back too.
///
/// Each name of a document stands there at most once, so the list is never much longer than the document.
pub fn fold(paths: &BTreeSet<Pointer>) -> Vec<String> {
    // The slash that all begin with is not worth a number.
    const WORTH_IT: usize = 2;
    let mut before = String::new();
    let mut folded = Vec::with_capacity(paths.len());
    for path in paths.iter().map(ToString::to_string) {
        let alike = before.chars().zip(path.chars()).take_while(|(a, b)| a == b);
        let (shared, bytes) =
            alike.fold((0, 0), |(shared, bytes), (c, _)| (shared + 1, bytes + c.len_utf8()));
        folded.push(if shared < WORTH_IT { path.clone() } else { format!("{shared}:{}", &path[bytes..]) });
        before = path;
    }
    folded
}

/// What [`fold`] made. `None` when it is damaged.
pub fn unfold<'t>(folded: impl IntoIterator<Item = &'t str>) -> Option<BTreeSet<Pointer>> {
    let mut before = String::new();
    let mut paths = BTreeSet::new();
    for entry in folded {
        before = if entry.starts_with('/') {
            entry.to_owned()
        } else {
            let (shared, rest) = entry.split_once(':')?;
            let shared = shared.parse::<usize>().ok().filter(|shared| *shared > 0)?;
            let bytes = before.char_indices().nth(shared).map_or(before.len(), |(at, _)| at);
            format!("{}{rest}", &before[..bytes])
        };
        if !before.starts_with('/') {
            return None;
        }
        paths.insert(Pointer::parse(&before));
    }
    Some(paths)
}

/// Compact JSON that fits a header: everything beyond ASCII as `\uXXXX`.
pub fn ascii(value: &Value) -> String {
    let text = value.to_string();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _infallible = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        let identity = Identity {
            owner: "folder".into(),
            uid: "u-1".into(),
            generation: 3,
            namespace: "plant".into(),
            name: "pump".into(),
        };
        Mark::of(&identity, Origin::Created, "h".into())
    }

    fn paths(texts: &[&str]) -> BTreeSet<Pointer> {
        texts.iter().map(|text| Pointer::parse(text)).collect()
    }

    #[test]
    fn a_mark_reads_back_as_written() {
        let mut whole = mark();
        whole.telemetry = Some(json!({"enabled": true}));
        whole.labels = Some(["a".to_owned()].into());
        let base = Base {
            enforced: paths(&["/attributes/a", "/attributes/b/c", "/attributes/b/d", "/definition"]),
            seeded: paths(&["/features/f/properties/x~1y"]),
        };
        whole.carry(base.clone());
        assert_eq!(whole.base, Some(base));
        assert_eq!(Mark::from_json(&whole.to_json()), Some(whole));
    }

    #[test]
    fn prefixes_are_written_once() {
        let folded = fold(&paths(&["/attributes/b/c", "/attributes/b/d", "/attributes/e"]));
        assert_eq!(folded, ["/attributes/b/c", "14:d", "12:e"]);
        assert_eq!(unfold(folded.iter().map(String::as_str)).map(|paths| paths.len()), Some(3));
        let plain = ["/attributes/b/c", "/attributes/b/d", "/attributes/e"];
        assert_eq!(unfold(plain), Some(paths(&["/attributes/b/c", "/attributes/b/d", "/attributes/e"])));
    }

    #[test]
    fn paths_are_forgotten_before_seeds_and_forgotten_seeds_are_all_decided() {
        let long = |count: usize| -> BTreeSet<Pointer> {
            (0..count).map(|i| Pointer::parse(&format!("/attributes/{i}-some-long-name"))).collect()
        };
        let rows = [
            ("all fits", 20, 20, 20, Ok(20)),
            ("seeds before paths", 200, 20, 0, Ok(20)),
            ("the seeds alone are too many", 20, 200, 20, Err("/attributes/any")),
            ("each alone is too many", 200, 200, 0, Err("/attributes/any")),
        ];
        for (name, enforced, seeded, kept, seeds) in rows {
            let mut mark = mark();
            mark.carry(Base { enforced: long(enforced), seeded: long(seeded) });
            let carried = Mark::from_json(&mark.to_json()).and_then(|mark| mark.base).unwrap();
            assert_eq!(carried.enforced.len(), kept, "{name}");
            match seeds {
                Ok(seeds) => assert_eq!(carried.seeded.len(), seeds, "{name}"),
                Err(any) => assert!(carried.decided(&Pointer::parse(any)), "{name}"),
            }
            assert!(ascii(&mark.to_json()["base"]).len() <= BASE_BYTES_MAX, "{name}");
        }
    }

    #[test]
    fn telemetry_leaves_the_base_what_the_mark_has_left() {
        let mut mark = mark();
        mark.telemetry = Some(json!({"mapping": "x".repeat(TELEMETRY_BYTES_MAX - 16)}));
        let long = (0..60).map(|i| Pointer::parse(&format!("/attributes/{i}-some-long-name"))).collect();
        mark.carry(Base { enforced: long, seeded: paths(&["/features/f/properties/v"]) });
        assert!(ascii(&mark.to_json()).len() <= MARK_BYTES_MAX);
        assert_eq!(mark.base.map(|base| (base.enforced.len(), base.seeded.len())), Some((0, 1)));
    }

    #[test]
    fn foreign_notes_are_not_marks() {
        for text in ["null", "5", "{}", r#"{"uid":"u"}"#, r#"{"v":1,"owner":"o","uid":5}"#] {
            assert_eq!(Mark::from_json(&serde_json::from_str(text).unwrap()), None, "{text}");
        }
        let mut bad = mark().to_json();
        bad["base"] = json!({"e": ["9:x"], "s": []});
        assert_eq!(Mark::from_json(&bad).and_then(|m| m.base), None, "a damaged base is no base");
    }

    #[test]
    fn headers_are_ascii() {
        assert_eq!(ascii(&json!({"n": "泵😀"})), r#"{"n":"\u6cf5\ud83d\ude00"}"#);
    }
}
