//! `GET /status/metrics`.
use serde_json::Value;

use super::ask;
use crate::contract::engine::Engine;
use crate::contract::wire;

#[test]
fn what_the_engine_counts_is_told_to_who_has_credentials() {
    let engine = Engine::in_memory();
    let stranger = wire::send(&engine.base, "GET", "/status/metrics", &[], None);
    assert_eq!(stranger.status, 401, "{}", stranger.text);
    assert_eq!(ask(&engine.base, "PUT", "/api/2/things/metrics:t", &[], Some(b"{}")).status, 201);
    let told = ask(&engine.base, "GET", "/status/metrics", &[], None);
    let told: Value = serde_json::from_str(&told.text).expect("JSON");
    assert_eq!(told["requests"], 3, "{told}");
    assert_eq!(told["writes"], 1, "{told}");
    assert_eq!(told["revisions"], 2, "a thing and its policy: {told}");
    for name in [
        "subscribers",
        "signalsOverflowed",
        "eventsUnpublished",
        "subscribersTurnedAway",
        "revisionsForgotten",
        "answersTooLarge",
    ] {
        assert_eq!(told[name], 0, "{name}");
    }
}
