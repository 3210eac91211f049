//! `twinops dev` as a process: engine, watched folder, one line per twin as it changes.
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{POLICY, apply, twin};
use crate::support::ditto::{Ditto, STARTS_WITHIN, folder, get, last_after, twinops, write};
use crate::support::process::Child;
use crate::support::wait_for;

/// A change is noticed within 100 ms and a disappearance after 2 s; the rest is a slow machine.
pub const SOON: Duration = Duration::from_secs(20);
const USER: &str = "nginx:ditto";
const GOOD: &str = "  attributes: {kw: 3}\n";

pub struct Dev {
    pub child: Child,
    pub ditto: Ditto,
    management: String,
}

impl Dev {
    pub fn start(name: &str, files: &Path, logs: &Path, more: &[&str]) -> Self {
        let mut command = twinops();
        command.arg("dev").arg(files);
        command.args(["--engine-listen", "127.0.0.1:0", "--management-listen", "127.0.0.1:0"]);
        command.args(["--facade-listen", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0"]).args(more);
        let mut child = Child::start(name, &command, logs).expect("dev starts");
        let url = wait_for("dev to listen", STARTS_WITHIN, || {
            assert!(child.ended().is_none(), "dev ended:\n{}", child.log());
            child.log().contains("watching").then(|| last_after(&child.log(), "engine ")).flatten()
        });
        let management = last_after(&child.log(), "management ").expect("in the same line");
        Self { child, ditto: Ditto { url }, management }
    }

    #[track_caller]
    pub fn says(&self, text: &str) {
        let deadline = std::time::Instant::now() + SOON;
        while !self.child.log().contains(text) {
            assert!(std::time::Instant::now() < deadline, "no {text:?} in:\n{}", self.child.log());
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    /// How many lines hold `text`.
    pub fn lines(&self, text: &str) -> usize {
        self.child.log().lines().filter(|line| line.contains(text)).count()
    }
}

#[test]
fn edits_are_followed_and_apply_beside_it_changes_nothing() {
    let files = folder(&[("policy.yaml", POLICY), ("pump.yaml", &twin("pump", GOOD))]);
    let logs = folder(&[]);
    let dev = Dev::start("dev", files.path(), logs.path(), &["--ephemeral"]);
    dev.says("applied      DigitalTwin default/pump");
    let facade = last_after(&dev.child.log(), "facade ").expect("in the first line");
    assert_eq!(
        get(&format!("{facade}/things/org.acme:pump")).0,
        200,
        "the API for applications is there, too"
    );
    let before = dev.ditto.thing(USER, "org.acme:pump").unwrap();
    let beside = apply(files.path(), &dev.ditto, &["--ditto-pre-authenticated", USER]);
    assert_eq!((beside.code, beside.wrote()), (0, 0), "{}", beside.messages());
    assert_eq!(dev.ditto.thing(USER, "org.acme:pump").unwrap(), before);

    write(files.path(), "pump.yaml", &twin("pump", "  attributes: {kw: 4}\n"));
    wait_for("the edit to arrive", SOON, || {
        (dev.ditto.thing(USER, "org.acme:pump")?["attributes"]["kw"] == 4).then_some(())
    });

    // A file that does not parse keeps its twins and is named.
    write(files.path(), "pump.yaml", "kind: [\n");
    dev.says("pump.yaml:");
    std::thread::sleep(Duration::from_secs(3));
    assert!(dev.ditto.thing(USER, "org.acme:pump").is_some(), "{}", dev.child.log());
    write(files.path(), "pump.yaml", &twin("pump", "  attributes: {kw: 5}\n"));
    wait_for("the mended file to arrive", SOON, || {
        (dev.ditto.thing(USER, "org.acme:pump")?["attributes"]["kw"] == 5).then_some(())
    });

    // A document that is gone takes its thing with it; requests without credentials are the user.
    std::fs::remove_file(files.path().join("pump.yaml")).unwrap();
    wait_for("the thing to go", SOON, || dev.ditto.thing(USER, "org.acme:pump").is_none().then_some(()));
    dev.says("deleted      DigitalTwin default/pump");
    assert!(dev.management.starts_with("http://127.0.0.1:"));
}

#[test]
fn what_changes_behind_our_back_is_repaired() {
    let files = folder(&[("policy.yaml", POLICY), ("pump.yaml", &twin("pump", GOOD))]);
    let logs = folder(&[]);
    let dev = Dev::start("dev", files.path(), logs.path(), &["--ephemeral"]);
    dev.says("applied      DigitalTwin default/pump");
    let (status, _) = dev.ditto.call(USER, "PUT", "/things/org.acme:pump/attributes/kw", Some(&json!(99)));
    assert_eq!(status, 204);
    wait_for("the repair", SOON, || {
        (dev.ditto.thing(USER, "org.acme:pump")?["attributes"]["kw"] == 3).then_some(())
    });
    dev.says("repaired: /attributes/kw");
}

#[test]
fn what_did_not_change_is_said_once() {
    let files = folder(&[("policy.yaml", POLICY), ("pump.yaml", &twin("pump", GOOD))]);
    let logs = folder(&[]);
    let dev = Dev::start("dev", files.path(), logs.path(), &["--ephemeral"]);
    dev.says("applied      DigitalTwin default/pump");
    for name in ["b", "c"] {
        write(files.path(), &format!("{name}.yaml"), &twin(name, GOOD));
        dev.says(&format!("applied      DigitalTwin default/{name}"));
    }
    assert_eq!(dev.lines("default/pump "), 1, "{}", dev.child.log());
    assert_eq!((dev.lines("default/b "), dev.lines("default/pumps ")), (1, 1), "{}", dev.child.log());
}

#[test]
fn a_folder_that_vanishes_or_empties_deletes_nothing() {
    let files = folder(&[]);
    let inner = files.path().join("twins");
    std::fs::create_dir(&inner).unwrap();
    write(&inner, "policy.yaml", POLICY);
    write(&inner, "pump.yaml", &twin("pump", GOOD));
    let logs = folder(&[]);
    let dev = Dev::start("dev", &inner, logs.path(), &["--ephemeral"]);
    dev.says("applied      DigitalTwin default/pump");
    std::fs::rename(&inner, files.path().join("elsewhere")).unwrap();
    dev.says("nothing is deleted");
    std::thread::sleep(Duration::from_secs(4));
    assert!(dev.ditto.thing(USER, "org.acme:pump").is_some(), "{}", dev.child.log());
    std::fs::rename(files.path().join("elsewhere"), &inner).unwrap();
    write(&inner, "pump.yaml", &twin("pump", "  attributes: {kw: 7}\n"));
    wait_for("the folder to be followed again", SOON, || {
        (dev.ditto.thing(USER, "org.acme:pump")?["attributes"]["kw"] == 7).then_some(())
    });
}

/// Everything is on disk: what was declared before the stop is there after it, and what vanished meanwhile is told.
#[test]
fn a_restart_finds_everything_and_tells_what_vanished_meanwhile() {
    let files =
        folder(&[("policy.yaml", POLICY), ("a.yaml", &twin("a", GOOD)), ("b.yaml", &twin("b", GOOD))]);
    let logs = folder(&[]);
    let data = logs.path().join("data");
    let data = data.to_str().unwrap();
    let first = Dev::start("first", files.path(), logs.path(), &["--data", data]);
    first.says("DigitalTwin default/b");
    let before = first.ditto.thing(USER, "org.acme:a").unwrap();
    drop(first);
    std::fs::remove_file(files.path().join("b.yaml")).unwrap();
    let second = Dev::start("second", files.path(), logs.path(), &["--data", data]);
    second.says("in-sync      DigitalTwin default/a");
    second.says("1 thing of owner \"folder\" is in Ditto and in no file (org.acme:b);");
    assert_eq!(second.ditto.thing(USER, "org.acme:a").unwrap(), before, "no write, not even a revision");
    drop(second);
    let third =
        Dev::start("third", files.path(), logs.path(), &["--data", data, "--owner", "folder", "--prune"]);
    third.says("deleted      DigitalTwin default/b");
    assert_eq!(third.ditto.thing(USER, "org.acme:b"), None);
}
