//! The end of a twin, and what becomes of its thing.
use serde_json::{Value, json};

use super::{Desk, NO_RESYNC, SOON, USER, ditto};
use crate::support::wait_for;

#[test]
fn a_deleted_twin_takes_its_thing_with_it() {
    let desk = Desk::new(NO_RESYNC);
    desk.sensor("pump");
    desk.delete("dt", "pump");
    desk.wait_gone("dt", "pump");
    assert_eq!(desk.thing("pump"), None);
    desk.delete("tp", "sensors");
    desk.wait_gone("tp", "sensors");
    let (status, _) = ditto().call(USER, "GET", &format!("/policies/{}", desk.id("sensors")), None);
    assert_eq!(status, 404);
}

#[test]
fn retain_leaves_the_thing_and_takes_the_mark_off() {
    let desk = Desk::new(NO_RESYNC);
    let mut twin = desk.twin("pump");
    twin["spec"]["management"] = json!({"deletion": "Retain"});
    desk.apply(&desk.policy("sensors")).ok();
    desk.apply(&twin).ok();
    desk.wait_ready("dt", "pump");
    desk.delete("dt", "pump");
    desk.wait_gone("dt", "pump");
    let thing = desk.thing("pump").expect("the thing stays");
    assert_eq!(thing["attributes"]["location"], "warehouse-1");
    assert!(thing["_metadata"]["twinops"].is_null(), "{thing}");
}

#[test]
fn release_leaves_the_thing_whatever_the_spec_says() {
    let desk = Desk::new(NO_RESYNC);
    desk.sensor("pump");
    desk.kubectl(&["annotate", "dt", "pump", "twinops.dev/release=true"]).ok();
    desk.delete("dt", "pump");
    desk.wait_gone("dt", "pump");
    let thing = desk.thing("pump").expect("the thing stays");
    assert!(thing["_metadata"]["twinops"].is_null(), "{thing}");
}

#[test]
fn a_thing_that_was_there_before_is_adopted_and_stays() {
    let desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.policy("sensors")).ok();
    desk.wait_ready("tp", "sensors");
    let thing = json!({"policyId": desk.id("sensors"), "attributes": {"location": "old", "serial": 7}});
    let path = format!("/things/{}", desk.id("pump"));
    assert_eq!(ditto().call(USER, "PUT", &path, Some(&thing)).0, 201);
    desk.apply(&desk.twin("pump")).ok();
    let twin = desk.wait_ready("dt", "pump");
    assert_eq!(twin["status"]["origin"], "Adopted");
    let adopted = desk.thing("pump").unwrap();
    assert_eq!(adopted["attributes"], json!({"location": "warehouse-1", "serial": 7}));
    desk.delete("dt", "pump");
    desk.wait_gone("dt", "pump");
    assert!(desk.thing("pump").expect("an adopted thing stays")["_metadata"]["twinops"].is_null());
}

#[test]
fn a_suspended_twin_goes_without_a_word_to_ditto() {
    let desk = Desk::new(NO_RESYNC);
    let mut twin = desk.sensor("pump");
    twin["spec"]["suspend"] = json!(true);
    desk.apply(&twin).ok();
    let before = desk.thing("pump").unwrap();
    desk.delete("dt", "pump");
    desk.wait_gone("dt", "pump");
    assert_eq!(desk.thing("pump").unwrap(), before);
    wait_for("an Event that says so", SOON, || {
        let events = desk.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).ok();
        events.contains("LeftInDitto").then_some(())
    });
}

#[test]
fn a_policy_in_use_waits_for_its_twins() {
    let desk = Desk::new(NO_RESYNC);
    desk.sensor("pump");
    desk.delete("tp", "sensors");
    let message = desk.wait_reason("tp", "sensors", "DeletionHeld");
    assert!(message.contains("1 twins use this policy"), "{message}");
    desk.delete("dt", "pump");
    desk.wait_gone("dt", "pump");
    assert_eq!(desk.thing("pump"), None);
    desk.wait_gone("tp", "sensors");
}

#[test]
fn f17_a_rolling_deletion_is_held_as_one_at_once_would_be() {
    let desk = Desk::with(NO_RESYNC, &["--breaker-twins", "3", "--breaker-percent", "20"]);
    desk.apply(&desk.policy("sensors")).ok();
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        desk.apply(&desk.twin(name)).ok();
    }
    for name in names {
        desk.wait_ready("dt", name);
    }
    for name in &names[..3] {
        desk.delete("dt", name);
        desk.wait_gone("dt", name);
    }
    desk.delete("dt", "d");
    let message = desk.wait_reason("dt", "d", "DeletionHeld");
    assert!(message.contains("4 of 5 twins") && message.contains("--breaker-twins"), "{message}");
    assert!(desk.thing("d").is_some());
    desk.kubectl(&["annotate", "dt", "d", "twinops.dev/confirm-deletion=true"]).ok();
    desk.wait_gone("dt", "d");
    assert_eq!(desk.thing("d"), None);
}

#[test]
fn f17_a_mass_deletion_is_held_until_it_is_confirmed() {
    const TWINS: usize = 55;
    let mut desk = Desk::new(NO_RESYNC);
    desk.sensor("pump-0");
    let twins: Vec<Value> = (1..TWINS).map(|number| desk.twin(&format!("pump-{number}"))).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": twins});
    let path = crate::support::ditto::write(desk.folder.path(), "twins.json", &list.to_string());
    desk.kubectl(&["create", "-f", path.to_str().unwrap()]).ok();
    for number in 0..TWINS {
        desk.wait_ready("dt", &format!("pump-{number}"));
    }
    desk.restart(NO_RESYNC, |desk| {
        desk.kubectl(&["delete", "dt", "--all", "--wait=false"]).ok();
    });
    for name in ["pump-0", "pump-54"] {
        let message = desk.wait_reason("dt", name, "DeletionHeld");
        assert!(message.contains("55 of 55 twins") && message.contains("confirm-deletion"), "{message}");
        assert!(desk.thing(name).is_some());
    }
    desk.kubectl(&["annotate", "dt", "--all", "twinops.dev/confirm-deletion=true"]).ok();
    for number in 0..TWINS {
        desk.wait_gone("dt", &format!("pump-{number}"));
    }
    assert_eq!(desk.thing("pump-54"), None);
}
