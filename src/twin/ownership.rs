//! Who keeps which declared path.
use serde_json::Value;

use super::desired::{Desired, Mode};
use super::json::{Pointer, leaves};

/// The declared leaves, by who keeps them. Paths in mode Ignore are in neither list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    pub enforced: Vec<(Pointer, Value)>,
    pub seeds: Vec<(Pointer, Value)>,
}

/// The mode of `path`: the longest of `fields` that covers it, else the default. By default the
/// properties of a feature are seeded, because devices write them; everything else is enforced.
pub fn mode_of(path: &Pointer, fields: &[(Pointer, Mode)]) -> Mode {
    let longest = fields
        .iter()
        .filter(|(prefix, _)| prefix.covers(path))
        .max_by_key(|(prefix, _)| prefix.segments().len());
    match (longest, path.segments()) {
        (Some((_, mode)), _) => *mode,
        (None, [root, _, part, ..]) if root == "features" && part == "properties" => Mode::Seed,
        (None, _) => Mode::Enforce,
    }
}

pub fn declared(desired: &Desired) -> Declared {
    let mut declared = Declared::default();
    for (path, value) in leaves(&desired.document) {
        if path.is_root() {
            continue;
        }
        match mode_of(&path, &desired.fields) {
            Mode::Enforce => declared.enforced.push((path, value.clone())),
            Mode::Seed => declared.seeds.push((path, value.clone())),
            Mode::Ignore => {}
        }
    }
    declared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let fields = [
            ("/features/f/properties", Mode::Enforce),
            ("/features/f/properties/a/b", Mode::Ignore),
            ("/attributes", Mode::Seed),
        ]
        .map(|(path, mode)| (Pointer::parse(path), mode));
        let cases = [
            ("/features/f/properties/a", Mode::Enforce),
            ("/features/f/properties/a/b/c", Mode::Ignore),
            ("/features/g/properties/a", Mode::Seed),
            ("/features/g/properties", Mode::Seed),
            ("/features/g/desiredProperties/a", Mode::Enforce),
            ("/features/g/definition", Mode::Enforce),
            ("/features/g", Mode::Enforce),
            ("/attributes/x", Mode::Seed),
            ("/definition", Mode::Enforce),
            ("/attributesx", Mode::Enforce),
        ];
        for (path, mode) in cases {
            assert_eq!(mode_of(&Pointer::parse(path), &fields), mode, "{path}");
        }
    }
}
