//! A Ditto that forgot what it had acknowledged: its data came back from a backup.
use std::path::Path;

use serde_json::json;

use super::{Desk, QUICK_RESYNC, SOON, USER};
use crate::support::ditto::{Engine, STARTS_WITHIN, get};
use crate::support::{free_port, wait_for};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

#[test]
fn f26_what_ditto_lost_is_written_again_and_what_came_back_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    let address = format!("127.0.0.1:{}", free_port());
    let start = || {
        let engine = Engine::start_at(&address, folder.path(), Some(&data));
        // Its log still tells of the start before.
        wait_for("the engine to answer", STARTS_WITHIN, || {
            (get(&format!("{}/health", engine.ditto.url)).0 != 0).then_some(())
        });
        engine
    };
    let mut engine = start();
    let desk = Desk::beside(&engine.ditto.clone(), QUICK_RESYNC, &["--ditto-timeout", "2s"]);
    let thing = |engine: &Engine, name: &str| engine.ditto.thing(USER, &desk.id(name));
    let mut pump = desk.sensor("pump");
    desk.apply(&desk.twin("brief")).ok();
    desk.wait_ready("dt", "brief");
    engine.child.stop();
    copy(&data, &backup);

    let mut engine = start();
    pump["spec"]["attributes"]["location"] = json!("warehouse-2");
    desk.apply(&pump).ok();
    let mut policy = desk.policy("sensors");
    policy["spec"]["entries"]["people"]["subjects"]["nginx:ada"] = json!({"type": "user"});
    desk.apply(&policy).ok();
    desk.apply(&desk.twin("late")).ok();
    for (kind, name) in [("tp", "sensors"), ("dt", "pump"), ("dt", "late")] {
        desk.wait_ready(kind, name);
    }
    desk.delete("dt", "brief");
    desk.wait_gone("dt", "brief");
    wait_for("the move", SOON, || {
        (thing(&engine, "pump")?["attributes"]["location"] == "warehouse-2").then_some(())
    });
    engine.child.stop();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);

    let engine = start();
    let what = |name: &str| format!("{name}, in:\n{}", desk.operator.child.log());
    wait_for(&what("the edit that was lost"), SOON, || {
        (thing(&engine, "pump")?["attributes"]["location"] == "warehouse-2").then_some(())
    });
    wait_for(&what("the thing that was lost"), SOON, || thing(&engine, "late"));
    wait_for(&what("the entry that was lost"), SOON, || {
        let path = format!("/policies/{}/entries/people/subjects/nginx:ada", desk.id("sensors"));
        (engine.ditto.call(USER, "GET", &path, None).0 == 200).then_some(())
    });
    // Its twin went meanwhile. A mark proves no wish, so it is told and left.
    wait_for(&what("the thing without a resource to be told"), SOON, || {
        (desk.operator.metric("twinops_strays") == 1).then_some(())
    });
    let log = desk.operator.child.log();
    assert!(log.contains(&desk.id("brief")) && log.contains("although their resources are gone"), "{log}");
    assert!(thing(&engine, "brief").is_some());
    assert_eq!(thing(&engine, "pump").unwrap()["_metadata"]["twinops"]["generation"], 2);

    // Declared again it is a twin's once more.
    desk.apply(&desk.twin("brief")).ok();
    desk.wait_ready("dt", "brief");
    wait_for("nothing to be left over", SOON, || (desk.operator.metric("twinops_strays") == 0).then_some(()));
}
