//! `docs/faults.md` names tests: they must exist, and every row must stand there once, in order.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(['F', 'S'])))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
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
        let start = format!("{}_", row[0].to_lowercase());
        assert!(
            prose || row[0].starts_with('F') || named.iter().all(|name| name.starts_with(&start)),
            "{row:?}"
        );
        assert!(prose || !named.is_empty(), "{} names no test", row[0]);
        for name in named {
            assert!(known.contains(name), "{}: there is no test {name}", row[0]);
        }
    }
}
