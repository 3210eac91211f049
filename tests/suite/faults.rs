//! `docs/faults.md` names tests: they must exist, and every row must stand there once, in order.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Where the bridge and its tests are: all of them that carry a row stand in it.
const BRIDGE: [&str; 3] = ["src/mqtt", "src/ditto/link", "tests/suite/mqtt"];

fn test_names(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            test_names(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8 source");
            let names = text.split("fn ").skip(1);
            found.extend(names.map(|rest| rest.split(['(', '<']).next().unwrap_or_default().to_owned()));
        }
    }
}

/// The rows that a name carries: `s46_s47_bad_messages` S46 and S47.
fn carried(name: &str) -> impl Iterator<Item = String> {
    let is_row = |word: &&str| {
        let number = word.strip_prefix(['f', 's']);
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    name.split('_').take_while(is_row).map(str::to_uppercase)
}

/// Rows of the table, each with its cells.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .filter(|line| line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(['F', 'S'])))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// The numbers of the rows of a kind, which must rise.
fn numbers(ids: &[&str], kind: char) -> Vec<u32> {
    let numbers = ids.iter().filter_map(|id| id.strip_prefix(kind)?.parse().ok());
    let numbers: Vec<u32> = numbers.collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{kind} {numbers:?}");
    numbers
}

#[test]
fn every_fault_row_names_tests_that_exist() {
    let mut known = BTreeSet::new();
    for folder in ["src", "tests"] {
        test_names(Path::new(folder), &mut known);
    }
    let text = fs::read_to_string("docs/faults.md").expect("docs/faults.md");
    let rows = rows(&text);
    let ids: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let faults = numbers(&ids, 'F');
    assert!((1..=52).all(|number| faults.contains(&number)), "{faults:?}");
    let attacks = numbers(&ids, 'S');
    assert!((1..=52).all(|number| attacks.contains(&number)), "{attacks:?}");
    assert_eq!(ids.len(), faults.len() + attacks.len());
    for row in rows {
        let tests = row.last().copied().unwrap_or_default();
        let prose = tests.starts_with('–');
        // In brackets stand scenarios.
        let outside: String =
            tests.split('(').map(|part| part.split_once(')').map_or(part, |(_, rest)| rest)).collect();
        let named: Vec<&str> = outside.split('`').skip(1).step_by(2).collect();
        let carries = |name: &&str| carried(name).any(|id| id == row[0]);
        assert!(prose || row[0].starts_with('F') || named.iter().all(carries), "{row:?}");
        assert!(prose || !named.is_empty(), "{} names no test", row[0]);
        for name in named {
            assert!(known.contains(name), "{}: there is no test {name}", row[0]);
        }
    }
}

#[test]
fn every_test_of_the_bridge_stands_in_the_rows_it_carries() {
    let mut known = BTreeSet::new();
    for folder in BRIDGE {
        test_names(Path::new(folder), &mut known);
    }
    let text = fs::read_to_string("docs/faults.md").expect("docs/faults.md");
    let rows = rows(&text);
    let mut count = 0;
    for name in &known {
        for id in carried(name) {
            let row = rows.iter().find(|row| row[0] == id).unwrap_or_else(|| panic!("{name}: no row {id}"));
            let quoted = format!("`{name}`");
            assert!(row.last().is_some_and(|tests| tests.contains(&quoted)), "{id} does not name {name}");
            count += 1;
        }
    }
    assert!(count > 30, "{count} tests were found in {BRIDGE:?}");
}
