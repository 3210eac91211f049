//! Holds the arrows between modules: who may name whom. A new edge is a decision: make it here, and in
//! `docs/architecture.md`.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Each module with the modules it may name.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("twin", &[]),
    ("rql", &[]),
    ("ports", &["twin"]),
    ("api", &["twin"]),
    ("reconcile", &["ports", "twin"]),
    ("tls", &[]),
    ("ditto", &["ports", "tls", "twin", "settings", "telemetry"]),
    ("mqtt", &["ditto", "ports", "tls", "twin", "settings", "telemetry"]),
    ("source", &["api", "reconcile", "ports", "twin", "settings", "telemetry"]),
    ("controller", &["api", "reconcile", "ports", "twin", "settings", "telemetry"]),
    ("engine", &["twin", "rql", "settings", "telemetry", "workers"]),
    ("facade", &["ports", "rql", "tls", "twin", "settings", "telemetry", "workers"]),
    ("secrets", &[]),
    ("settings", &["telemetry", "twin"]),
    ("sim", &["api", "ditto", "engine", "reconcile", "settings", "telemetry", "twin"]),
    ("telemetry", &["settings"]),
    ("workers", &[]),
    (
        "role",
        &[
            "api",
            "controller",
            "ditto",
            "engine",
            "facade",
            "mqtt",
            "ports",
            "reconcile",
            "secrets",
            "settings",
            "source",
            "telemetry",
            "twin",
        ],
    ),
];

/// Crates that the pure modules must not name: no Kubernetes, no HTTP, no async.
const NOT_IN_THE_CORE: &[&str] =
    &["kube", "k8s_openapi", "axum", "reqwest", "tokio", "futures", "std::fs", "std::net", "SystemTime"];

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a readable source tree").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8 source");
            found.push((path.strip_prefix("src").expect("under src").display().to_string(), text));
        }
    }
}

fn all() -> Vec<(String, String)> {
    let mut files = vec![];
    sources(Path::new("src"), &mut files);
    files
}

/// The modules that `text` names through `crate::`, also in braces.
fn named(text: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => {
                found.insert(word(rest));
            }
            Some(group) => {
                let mut depth = 0;
                let mut start = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if c.is_alphanumeric() && start => {
                            found.insert(word(&group[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

#[test]
fn modules_name_only_what_they_may() {
    let mut broken = vec![];
    let mut seen = BTreeSet::new();
    for (file, text) in all() {
        let module = file.split(['/', '.']).next().unwrap_or_default().to_owned();
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        match MAY_NAME.iter().find(|(name, _)| *name == module) {
            None => broken.push(format!("{file}: the module {module} has no row in MAY_NAME")),
            Some((_, allowed)) => {
                let wrong = named(&text)
                    .into_iter()
                    .filter(|used| *used != module && !allowed.contains(&used.as_str()));
                broken.extend(wrong.map(|used| format!("{file} names {used}")));
            }
        }
        seen.insert(module);
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!(seen.len(), MAY_NAME.len(), "a row in MAY_NAME has no module any more: {seen:?}");
}

#[test]
fn the_core_names_no_kubernetes_no_http_and_no_clock() {
    for (file, text) in all() {
        if (file.starts_with("twin/") || file.starts_with("rql/")) && !file.contains("tests") {
            for word in NOT_IN_THE_CORE {
                let used = text
                    .lines()
                    .any(|line| !line.trim_start().starts_with("//") && line.contains(&format!("{word}::")));
                assert!(!used, "{file} names {word}");
            }
            assert!(!text.contains("async fn"), "{file} is async");
        }
    }
}

#[test]
fn files_stay_small_enough_to_have_one_subject() {
    const LINES_MAX: usize = 500;
    let long: Vec<_> = all()
        .into_iter()
        .map(|(file, text)| (text.lines().count(), file))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "above {LINES_MAX} lines: {long:?}");
}

#[test]
fn names_are_found_also_in_braces() {
    let text = "use crate::{twin::{id, json}, ports, api::X};\ncrate::rql::parse(); use crate::engine;";
    let found: Vec<_> = named(text).into_iter().collect();
    assert_eq!(found, ["api", "engine", "ports", "rql", "twin"]);
}
