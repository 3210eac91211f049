//! Clients that others wrote, as people use them. What each exercises stands in `docs/engine.md`.
use std::path::{Path, PathBuf};
use std::process::Command;

use twinops::engine::EngineOptions;

use crate::contract::engine::Engine;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// An engine that knows the user `ditto` with the password `ditto`.
fn engine() -> Engine {
    let users = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(users.path(), "ditto:ditto\n").expect("a temporary file");
    let file = Some(users.path().to_owned());
    Engine::with(EngineOptions { basic_auth_file: file, ..Engine::options() }).expect("it starts")
}

/// Where `make clients` put them.
pub fn installed() -> PathBuf {
    let path = Command::new(format!("{SCRIPTS}/clients.sh")).arg("path").output().expect("bash is there");
    let folder = PathBuf::from(String::from_utf8_lossy(&path.stdout).trim());
    assert!(folder.join("ready").exists(), "the clients are not installed: run `make clients`");
    folder
}

fn run(program: &Path, arguments: &[&str]) {
    let ended = Command::new(program).args(arguments).output();
    let ended = ended.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let [out, err] = [&ended.stdout, &ended.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(ended.status.success() && out.trim_end().ends_with("all well"), "{out}\n{err}");
}

fn node(script: &str) {
    let (engine, modules) = (engine(), installed().join("js"));
    let modules = modules.to_str().expect("a path of text");
    run(Path::new("node"), &[&format!("{SCRIPTS}/js/{script}"), &engine.base["http://".len()..], modules]);
}

#[test]
fn the_javascript_client_of_ditto_finds_everything_it_expects() {
    node("over_http.mjs");
}

#[test]
fn the_javascript_client_of_ditto_hears_over_websocket_what_another_writes() {
    node("over_ws.mjs");
}

fn python(script: &str) {
    let engine = engine();
    run(&installed().join("py/bin/python"), &[&format!("{SCRIPTS}/py/{script}"), &engine.base]);
}

#[test]
fn the_python_client_finds_everything_it_expects() {
    python("over_http.py");
}

#[test]
fn a_python_client_of_the_ditto_protocol_gets_every_answer_over_websocket() {
    python("over_ws.py");
}
