//! Files that follow from others: compared by every test run, written by `make generate`.
use std::path::Path;

/// Set by `make generate`.
const WRITE: &str = "TWINOPS_GENERATE";

/// The file, from the root of the repository, must say this.
///
/// # Panics
/// When it does not, naming the command that writes it.
#[track_caller]
pub fn compare(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    if found == text {
        return;
    }
    let line = found.lines().zip(text.lines()).position(|(old, new)| old != new);
    let line = line.unwrap_or_else(|| found.lines().count().min(text.lines().count()));
    panic!(
        "{file} is not what it is made from, from line {} on: run `make generate`\nis:   {}\nmade: {}",
        line + 1,
        found.lines().nth(line).unwrap_or("(its end)"),
        text.lines().nth(line).unwrap_or("(its end)")
    );
}
