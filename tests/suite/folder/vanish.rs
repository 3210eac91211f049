//! What happens in `dev` when documents go: by intention, by a slip, or many at once.
use super::dev::{Dev, SOON};
use super::{POLICY, policy, twin};
use crate::support::ditto::{folder, write};
use crate::support::wait_for;

const USER: &str = "nginx:ditto";
const GOOD: &str = "  attributes: {kw: 3}\n";

/// An editor that dies, a full disk, a merge gone wrong: the file is there and says nothing.
#[test]
fn a_file_that_lost_everything_deletes_nothing() {
    let files =
        folder(&[("policy.yaml", POLICY), ("pump.yaml", &twin("pump", GOOD)), ("b.yaml", &twin("b", GOOD))]);
    let logs = folder(&[]);
    let dev = Dev::start("dev", files.path(), logs.path(), &["--ephemeral"]);
    dev.says("applied      DigitalTwin default/pump");
    write(files.path(), "pump.yaml", "");
    dev.says("pump.yaml: declares nothing any more");
    // A document that really goes, seen later than the slip: had the slip counted, it would have gone first.
    std::fs::remove_file(files.path().join("b.yaml")).unwrap();
    wait_for("b to go", SOON, || dev.ditto.thing(USER, "org.acme:b").is_none().then_some(()));
    assert!(dev.ditto.thing(USER, "org.acme:pump").is_some(), "{}", dev.child.log());
    // Removing the file says that it is meant.
    std::fs::remove_file(files.path().join("pump.yaml")).unwrap();
    wait_for("pump to go", SOON, || dev.ditto.thing(USER, "org.acme:pump").is_none().then_some(()));
}

#[test]
fn f17_many_that_vanish_at_once_wait_for_a_yes() {
    let many: Vec<String> = (0..60).map(|i| twin(&format!("t{i}"), GOOD)).collect();
    let files = folder(&[
        ("many.yaml", &many.join("\n---\n")),
        ("keep.yaml", &twin("keep", GOOD)),
        ("policy.yaml", POLICY),
    ]);
    let logs = folder(&[]);
    let data = logs.path().join("data");
    let data = ["--data", data.to_str().unwrap()];
    let dev = Dev::start("dev", files.path(), logs.path(), &data);
    dev.says("applied      DigitalTwin default/t59");
    std::fs::remove_file(files.path().join("many.yaml")).unwrap();
    dev.says("60 of 61 twins");
    dev.says("--yes");
    assert!(dev.ditto.thing(USER, "org.acme:t7").is_some(), "{}", dev.child.log());

    // Back again: nothing is left to be asked.
    write(files.path(), "many.yaml", &many.join("\n---\n"));
    write(files.path(), "new.yaml", &twin("new", GOOD));
    dev.says("applied      DigitalTwin default/new");
    std::fs::remove_file(files.path().join("new.yaml")).unwrap();
    dev.says("deleted      DigitalTwin default/new");
    assert!(dev.ditto.thing(USER, "org.acme:t7").is_some(), "{}", dev.child.log());

    std::fs::remove_file(files.path().join("many.yaml")).unwrap();
    drop(dev);
    let yes = Dev::start(
        "yes",
        files.path(),
        logs.path(),
        &[&data[..], &["--owner", "folder", "--prune", "--yes"]].concat(),
    );
    wait_for("the confirmed ones to go", SOON, || {
        yes.ditto.thing(USER, "org.acme:t7").is_none().then_some(())
    });
    assert!(yes.ditto.thing(USER, "org.acme:keep").is_some());
}

/// A policy whose file went first is taken back when its last twin went, not forgotten.
#[test]
fn what_could_not_be_taken_back_is_tried_again() {
    let files = folder(&[
        ("keep.yaml", &twin("keep", GOOD).replace("{name: pumps}", "{name: others}")),
        ("others.yaml", &policy("others")),
        ("policy.yaml", POLICY),
        ("pump.yaml", &twin("pump", GOOD)),
    ]);
    let logs = folder(&[]);
    let dev = Dev::start("dev", files.path(), logs.path(), &["--ephemeral"]);
    dev.says("applied      DigitalTwin default/pump");
    std::fs::remove_file(files.path().join("policy.yaml")).unwrap();
    dev.says("DeletionHeld");
    std::fs::remove_file(files.path().join("pump.yaml")).unwrap();
    dev.says("deleted      DigitalTwin default/pump");
    dev.says("deleted      TwinPolicy  default/pumps");
    assert_eq!(dev.ditto.call(USER, "GET", "/policies/org.acme:pumps", None).0, 404);
}

#[test]
fn leftovers_are_told_although_a_file_is_broken() {
    let files =
        folder(&[("policy.yaml", POLICY), ("a.yaml", &twin("a", GOOD)), ("b.yaml", &twin("b", GOOD))]);
    let logs = folder(&[]);
    let data = logs.path().join("data");
    let data = ["--data", data.to_str().unwrap(), "--owner", "team"];
    let first = Dev::start("first", files.path(), logs.path(), &data);
    first.says("DigitalTwin default/b");
    drop(first);
    std::fs::remove_file(files.path().join("b.yaml")).unwrap();
    write(files.path(), "broken.yaml", "kind: [");
    let second = Dev::start("second", files.path(), logs.path(), &[&data[..], &["--prune"]].concat());
    second.says("(org.acme:b)");
    assert!(second.ditto.thing(USER, "org.acme:b").is_some(), "nothing is deleted while a file is broken");
    std::fs::remove_file(files.path().join("broken.yaml")).unwrap();
    second.says("deleted      DigitalTwin default/b");
}
