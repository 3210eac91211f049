//! The `fields=` selector: only what is needed, and nothing Ditto would read differently.
use std::collections::BTreeMap;

use crate::twin::json::Pointer;

use super::request::encoded_length;

/// What every read of a thing asks for.
const ALWAYS: &str = "thingId,policyId,_revision,_metadata/twinops";
/// Everything of a thing that a resource can declare.
const WHOLE: [&str; 3] = ["definition", "attributes", "features"];
/// The longest selector, in bytes of a URI. Beside it the longest id (256 units, 9 bytes each when
/// percent-encoded) still fits into 7 KiB.
pub const SELECTOR_BYTES_MAX: usize = 4_096;

#[derive(Default)]
struct Node {
    whole: bool,
    below: BTreeMap<String, Node>,
}

/// `thingId,policyId,_revision,_metadata/twinops,attributes(a,b/c)`: `paths` with common prefixes folded.
///
/// Where a key cannot be named in a selector its parent is read instead, and where the whole would grow
/// beyond [`SELECTOR_BYTES_MAX`] deep paths are cut: so an answer may hold more than was asked for, never less.
/// Source: Ditto 3.8, `ImmutableJsonFieldSelectorFactory.java`.
pub fn selector(paths: &[Pointer]) -> String {
    let mut depth = paths.iter().map(|path| path.segments().len()).max().unwrap_or(0);
    loop {
        let text = written(paths, depth);
        if depth == 0 || encoded_length(&text) <= SELECTOR_BYTES_MAX {
            return text;
        }
        depth -= 1;
    }
}

fn written(paths: &[Pointer], depth: usize) -> String {
    let mut root = Node::default();
    for path in paths {
        let named: Vec<_> = path.segments().iter().take(depth).take_while(|key| is_nameable(key)).collect();
        if named.is_empty() {
            for key in WHOLE {
                root.insert([key]);
            }
        } else {
            root.insert(named);
        }
    }
    std::iter::once(ALWAYS.to_owned()).chain(root.write()).collect::<Vec<_>>().join(",")
}

impl Node {
    fn insert<S: AsRef<str>>(&mut self, path: impl IntoIterator<Item = S>) {
        let mut at = self;
        for key in path {
            at = at.below.entry(key.as_ref().to_owned()).or_default();
        }
        at.whole = true;
    }

    /// One text for each child: its key and, unless it is wanted whole, what is wanted below.
    fn write(&self) -> Vec<String> {
        let one = |(key, node): (&String, &Self)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            let below = if node.whole { vec![] } else { node.write() };
            match below.as_slice() {
                [] => key,
                [only] => format!("{key}/{only}"),
                many => format!("{key}({})", many.join(",")),
            }
        };
        self.below.iter().map(one).collect()
    }
}

/// `,` and parentheses divide a selector, `*` is a wildcard, `{{` starts a placeholder, `%` may be decoded
/// twice, and an empty segment makes a `//`, which is an invalid pointer.
fn is_nameable(key: &str) -> bool {
    !key.is_empty() && !key.contains([',', '(', ')', '*', '%']) && !key.contains("{{") && key.trim() == key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_names_what_is_needed() {
        let rows: [(&str, &[&str], &str); 15] = [
            ("nothing", &[], ""),
            ("a path", &["/attributes/a"], ",attributes/a"),
            ("two paths", &["/attributes/a", "/attributes/b/c"], ",attributes(a,b/c)"),
            (
                "deep ones",
                &["/features/f/properties/x", "/features/f/properties/y", "/features/g/definition"],
                ",features(f/properties(x,y),g/definition)",
            ),
            ("a path and one below it", &["/attributes/a/b", "/attributes/a"], ",attributes/a"),
            ("the same path twice", &["/definition", "/definition"], ",definition"),
            ("the root", &["/"], ",attributes,definition,features"),
            ("a key with a comma", &["/attributes/a/b,c"], ",attributes/a"),
            ("a key with a parenthesis", &["/features/f(1/properties/p"], ",features"),
            ("a key with a closing parenthesis", &["/attributes/a)"], ",attributes"),
            ("a wildcard", &["/features/*/properties"], ",features"),
            ("a percent sign", &["/attributes/50%"], ",attributes"),
            ("an empty key", &["/attributes//a"], ",attributes"),
            ("a placeholder", &["/attributes/{{ x }}/a"], ",attributes"),
            ("a tilde", &["/attributes/a~0b"], ",attributes/a~0b"),
        ];
        for (name, paths, expected) in rows {
            let paths: Vec<_> = paths.iter().map(|path| Pointer::parse(path)).collect();
            assert_eq!(selector(&paths), format!("{ALWAYS}{expected}"), "{name}");
        }
    }

    #[test]
    fn a_selector_too_long_reads_the_parents() {
        let deep = |i| Pointer::parse(&format!("/features/f/properties/a-rather-long-property-name-{i}"));
        let text = selector(&(0..500).map(deep).collect::<Vec<_>>());
        assert_eq!(text, format!("{ALWAYS},features/f/properties"));

        let wide = |i| Pointer::parse(&format!("/features/a-rather-long-feature-name-{i}/properties/p"));
        let text = selector(&(0..500).map(wide).collect::<Vec<_>>());
        assert_eq!(text, format!("{ALWAYS},features"));

        let few = selector(&(0..60).map(deep).collect::<Vec<_>>());
        assert!(few.contains("name-59") && encoded_length(&few) <= SELECTOR_BYTES_MAX);

        let foreign = |i| Pointer::parse(&format!("/nothing-ditto-knows-{i}"));
        let text = selector(&(0..500).map(foreign).collect::<Vec<_>>());
        assert_eq!(text, format!("{ALWAYS},attributes,definition,features"));
    }
}
