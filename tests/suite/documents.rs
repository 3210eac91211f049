//! What the documents say of the tests is true.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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
