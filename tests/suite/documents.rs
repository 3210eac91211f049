//! What the documents say of the tests is true.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Fewer would mean that the page lost its tables, or that its names are no longer found.
const NAMES_MIN: usize = 40;

/// The test names in a text: `snake_case` of at least three words between back quotes.
fn names(text: &str) -> BTreeSet<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| {
        word.split('_').count() >= 3
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    quoted.filter(is_name).collect()
}

fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn every_test_that_the_ownership_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/ownership.md")).expect("docs/ownership.md");
    let mut code = String::new();
    sources(&root.join("src"), &mut code);
    sources(&root.join("tests"), &mut code);
    let named = names(&page);
    assert!(named.len() >= NAMES_MIN, "only {} tests are named", named.len());
    let missing: Vec<_> = named.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

/// Whether `values.yaml` has it: a dotted path, where `<…>` stands for any member.
fn is_value(values: &Value, path: &str) -> bool {
    let Some((name, rest)) = path.split_once('.') else {
        return values.get(path).is_some();
    };
    if name.starts_with('<') {
        values.as_object().is_some_and(|all| all.values().all(|value| is_value(value, rest)))
    } else {
        values.get(name).is_some_and(|value| is_value(value, rest))
    }
}

#[test]
fn every_row_of_the_production_checklist_names_a_value_and_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/security.md")).expect("docs/security.md");
    let (_, rest) = page.split_once("## Production checklist").expect("the checklist");
    let table = rest.split("\n#").next().unwrap_or(rest);
    let values = fs::read_to_string(root.join("charts/twinops/values.yaml")).expect("values");
    let values: Value = serde_yaml::from_str(&values).expect("YAML");
    assert!(is_value(&values, "ditto.services.<any>.digest") && !is_value(&values, "ditto.services.<any>.x"));
    let mut code = String::new();
    sources(&root.join("src"), &mut code);
    sources(&root.join("tests"), &mut code);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| |"))
        .map(|line| line.trim_matches('|').split(" | ").collect())
        .collect();
    assert!(rows.len() >= 20, "only {} rows", rows.len());
    for row in rows {
        assert_eq!(row.len(), 3, "{row:?}");
        let spans: Vec<&str> = row[1].split('`').skip(1).step_by(2).collect();
        let mut is_named = false;
        for span in spans {
            let path = span.split(':').next().unwrap_or(span);
            let is_label = path.contains('/') && !root.join(path).exists();
            // A word alone is the value of a value, or a key of a Secret.
            let is_path = path.contains('.') && !root.join(path).exists();
            assert!(is_label || !is_path || is_value(&values, path), "no such value: {path}");
            is_named |= is_label || path.contains('.');
        }
        assert!(is_named, "no value is named in {row:?}");
        let named = names(row[2]);
        assert!(!named.is_empty(), "no test is named in {row:?}");
        let missing: Vec<_> = named.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
        assert!(missing.is_empty(), "no such tests: {missing:?}");
    }
}

#[test]
fn every_row_of_the_ownership_page_names_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/ownership.md")).expect("docs/ownership.md");
    let (_, tables) = page.split_once("## The matrix").expect("the matrix");
    let rows = tables.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    // A heading row says so in its last cell.
    let unnamed: Vec<_> = rows.filter(|row| !row.ends_with("| test |") && names(row).is_empty()).collect();
    assert!(unnamed.is_empty(), "no test is named in {unnamed:#?}");
}

/// Sections between which a merge could not decide.
#[test]
fn no_document_holds_what_a_merge_left_behind() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = fs::read_dir(root.join("docs")).expect("docs").map(|entry| entry.expect("an entry").path());
    let pages = pages.chain(["README.md", "CHANGELOG.md"].map(|name| root.join(name)));
    let pages: Vec<_> = pages.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect();
    assert!(pages.len() > 10, "{pages:?}");
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        let left = text
            .lines()
            .find(|line| ["<<<<<<<", ">>>>>>>", "=======", "@@"].iter().any(|m| line.starts_with(m)));
        assert_eq!(left, None, "{}", page.display());
    }
}
