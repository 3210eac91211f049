//! Specs that are refused, by the API server or by us, in words that say what to change.
use serde_json::json;

use super::{Desk, NO_RESYNC, condition};

#[test]
fn an_invalid_spec_is_refused_by_the_api_server() {
    let desk = Desk::new(NO_RESYNC);
    let mut both = desk.twin("pump");
    both["spec"]["policyId"] = json!(desk.id("sensors"));
    let said = desk.apply(&both).refused();
    assert!(said.contains("name the policy once"), "{said}");

    desk.sensor("pump");
    let mut moved = desk.twin("pump");
    moved["spec"]["thingId"] = json!(desk.id("other"));
    let said = desk.apply(&moved).refused();
    assert!(said.contains("cannot be changed"), "{said}");
}

#[test]
fn a_null_in_a_declared_value_is_named_by_its_pointer() {
    let desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.policy("sensors")).ok();
    let mut twin = desk.twin("pump");
    twin["spec"]["attributes"] = json!({"plan": {"floor": null}});
    desk.apply(&twin).ok();
    let message = desk.wait_reason("dt", "pump", "InvalidSpec");
    assert!(message.contains("/attributes/plan/floor"), "{message}");
    assert_eq!(desk.thing("pump"), None);
    let told = desk.get("dt", "pump").unwrap();
    assert_eq!(condition(&told, "ReferencesResolved")["status"], "Unknown");

    twin["spec"]["attributes"] = json!({"plan": {"floor": 2}});
    desk.apply(&twin).ok();
    desk.wait_ready("dt", "pump");
}

#[test]
fn one_that_ditto_refuses_holds_nobody_else_up() {
    let desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.policy("sensors")).ok();
    let mut large = desk.twin("large");
    large["spec"]["attributes"]["text"] = json!("x".repeat(200 * 1_024));
    desk.apply(&large).ok();
    desk.apply(&desk.twin("pump")).ok();
    desk.wait_ready("dt", "pump");
    let message = desk.wait_reason("dt", "large", "TooLarge");
    assert!(message.contains("make the resource smaller"), "{message}");
    let told = desk.get("dt", "large").unwrap();
    assert_eq!(told["status"]["lastError"]["httpStatus"], 413, "{told:#}");
}
