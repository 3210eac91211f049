use proptest::prelude::*;
use serde_json::json;

use super::super::json::{merge, same};
use super::*;

fn payload(value: &Value) -> Payload {
    Payload::read(value.to_string().as_bytes(), None).unwrap()
}

fn written(messages: &[Value], rules: &Rules) -> Value {
    let mut sheet = Sheet::default();
    for message in messages {
        sheet.take(payload(message));
    }
    sheet.patch(rules)
}

#[test]
fn members_become_features() {
    let rows = [
        (
            "a scalar is the property value",
            json!({"temperature": 25.5, "humidity": 60, "on": true, "mode": "eco"}),
            json!({
                "temperature": {"properties": {"value": 25.5}}, "humidity": {"properties": {"value": 60}},
                "on": {"properties": {"value": true}}, "mode": {"properties": {"value": "eco"}}
            }),
        ),
        (
            "an object is merged into the properties, however deep",
            json!({"gps": {"lat": 1.5, "fix": {"kind": "3d"}}}),
            json!({"gps": {"properties": {"lat": 1.5, "fix": {"kind": "3d"}}}}),
        ),
        (
            "an array is a value",
            json!({"xyz": [1, null, {"a/b": 2}], "gps": {"track": [[1, 2]]}}),
            json!({"xyz": {"properties": {"value": [1, null, {"a/b": 2}]}}, "gps": {"properties": {"track": [[1, 2]]}}}),
        ),
        ("an empty object makes the feature", json!({"gps": {}}), json!({"gps": {"properties": {}}})),
        ("nothing is nothing", json!({}), json!({})),
    ];
    for (name, message, patch) in rows {
        assert_eq!(written(&[message], &Rules::default()), patch, "{name}");
    }
    let one = Payload::read(b"25.5", Some("temperature")).unwrap();
    let mut sheet = Sheet::default();
    sheet.take(one);
    assert_eq!(sheet.patch(&Rules::default()), json!({"temperature": {"properties": {"value": 25.5}}}));
}

#[test]
fn a_rule_sends_a_member_elsewhere() {
    let rules = Rules::read(&json!({
        "mapping": {
            "t": "/features/climate/properties/air/temperature",
            "h": "/features/climate/properties/air/humidity",
            "seq": "/features/link/properties/seq",
            "wrong": "/attributes/x", "also": "/features/f/properties", "star": "/features/*/properties/x"
        }
    }));
    let patch = written(&[json!({"t": 1, "h": {"relative": 60}, "wrong": 2, "other": 3})], &rules);
    let expected = json!({
        "climate": {"properties": {"air": {"temperature": 1, "humidity": {"relative": 60}}}},
        "wrong": {"properties": {"value": 2}}, "other": {"properties": {"value": 3}}
    });
    assert!(same(&patch, &expected), "{patch}");
    // A member with a rule tells no order any more.
    let mut message = payload(&json!({"seq": 7, "timestamp": 5}));
    assert_eq!(message.order(&rules), Order { time: Some((Clock::Number, 5.0)), seq: None });
    assert_eq!(message, payload(&json!({"seq": 7})));
}

#[test]
fn rules_are_read_from_the_mark_and_nothing_wrong_in_it_counts() {
    let read = Rules::read(&json!({"enabled": false, "maxRate": 5, "staleAfter": "15m"}));
    let stale_after = Some(Duration::from_mins(15));
    assert_eq!(read, Rules { enabled: false, max_rate: Some(5), stale_after, ..Rules::default() });
    for wrong in
        [json!(null), json!(5), json!({"enabled": "no", "maxRate": -1, "staleAfter": "soon", "mapping": []})]
    {
        assert_eq!(Rules::read(&wrong), Rules::default(), "{wrong}");
    }
    for (text, seconds) in
        [("90s", Some(90)), ("1h", Some(3_600)), ("", None), ("h", None), ("5", None), ("泵", None)]
    {
        assert_eq!(duration(text), seconds.map(Duration::from_secs), "{text}");
    }
}

#[test]
fn s48_payloads_that_no_thing_takes_are_refused_with_a_reason() {
    let long = format!("{{\"{}\": 1}}", "k".repeat(257));
    let deep = |levels: usize| format!("{{\"a\": {}1{}}}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let lists = |levels: usize| format!("{{\"a\": {}{}}}", "[".repeat(levels), "]".repeat(levels));
    let bomb = format!("{{\"a\": {}", "[".repeat(100_000));
    let many = format!("{{{}}}", (0..1_001).map(|i| format!("\"f{i}\": 1")).collect::<Vec<_>>().join(","));
    let rows: Vec<(&str, Vec<u8>, Result<(), Reject>)> = vec![
        ("fine", b"{\"a\": 1}".to_vec(), Ok(())),
        ("a tilde", b"{\"a~b\": 1}".to_vec(), Ok(())),
        ("names of other languages", br#"{"__proto__": 1, "$x": {"$ref": 2}}"#.to_vec(), Ok(())),
        ("the deepest", deep(DEPTH_MAX - 1).into_bytes(), Ok(())),
        ("too deep", deep(DEPTH_MAX).into_bytes(), Err(Reject::BadValue)),
        ("the deepest array", lists(DEPTH_MAX - 1).into_bytes(), Ok(())),
        ("arrays too deep", lists(DEPTH_MAX).into_bytes(), Err(Reject::BadValue)),
        ("a bomb", bomb.into_bytes(), Err(Reject::BadJson)),
        ("nothing", vec![], Err(Reject::BadJson)),
        ("no UTF-8", vec![b'{', b'"', 0xff, b'"', b':', b'1', b'}'], Err(Reject::BadJson)),
        ("no object", b"25.5".to_vec(), Err(Reject::BadJson)),
        ("an array", b"[1]".to_vec(), Err(Reject::BadJson)),
        ("NaN", b"{\"a\": NaN}".to_vec(), Err(Reject::BadJson)),
        ("infinite", b"{\"a\": 1e999}".to_vec(), Err(Reject::BadJson)),
        ("two documents", b"{} {}".to_vec(), Err(Reject::BadJson)),
        ("a null", b"{\"a\": null}".to_vec(), Err(Reject::BadValue)),
        ("a null below", b"{\"a\": {\"b\": null}}".to_vec(), Err(Reject::BadValue)),
        ("a slash", b"{\"a/b\": 1}".to_vec(), Err(Reject::BadValue)),
        ("a slash below", b"{\"a\": {\"b/c\": 1}}".to_vec(), Err(Reject::BadValue)),
        ("no name", b"{\"\": 1}".to_vec(), Err(Reject::BadValue)),
        ("a star", b"{\"*\": 1}".to_vec(), Err(Reject::BadValue)),
        ("a pattern", b"{\"{{ ~.*~ }}\": 1}".to_vec(), Err(Reject::BadValue)),
        ("a pattern below", b"{\"a\": {\"{{ ~.*~ }}\": 1}}".to_vec(), Err(Reject::BadValue)),
        ("a long name", long.into_bytes(), Err(Reject::BadValue)),
        ("many members", many.into_bytes(), Err(Reject::TooLarge)),
    ];
    for (name, bytes, expected) in rows {
        assert_eq!(Payload::read(&bytes, None).map(|_| ()), expected, "{name}");
    }
}

#[test]
fn f36_older_messages_are_kept_away_for_a_minute() {
    let rules = Rules::default();
    let order = |message: Value| payload(&message).order(&rules);
    let mut guard = Guard::default();
    let second = Duration::from_secs(1);
    assert!(guard.admits(order(json!({"seq": 5})), second));
    assert!(guard.admits(order(json!({"seq": 5})), second), "a duplicate is harmless");
    assert!(!guard.admits(order(json!({"seq": 4})), second));
    assert!(guard.admits(order(json!({"a": 1})), second), "what says nothing is taken");
    assert!(guard.admits(order(json!({"seq": 1})), second + ORDER_KEPT), "a device that started anew");
    let mut guard = Guard::default();
    assert!(guard.admits(order(json!({"timestamp": "2026-01-01T00:00:10Z"})), second));
    assert!(!guard.admits(order(json!({"timestamp": "2026-01-01T01:00:09.999+01:00"})), second));
    assert!(guard.admits(order(json!({"timestamp": 5})), second), "another kind of clock");
    assert!(guard.admits(order(json!({"timestamp": "yesterday"})), second), "no time at all");
    assert_eq!(payload(&json!({"timestamp": "yesterday", "a": 1})).order(&rules), Order::default());
}

#[test]
fn f41_a_clock_an_hour_off_is_compared_with_itself_only() {
    let rules = Rules::default();
    let at = |hour: u64, minute: u64| {
        payload(&json!({"timestamp": format!("2026-01-01T{hour:02}:{minute:02}:00Z")})).order(&rules)
    };
    // One device's clock is an hour ahead, another's behind: both are heard, whatever ours says.
    for hour in [11, 13] {
        let mut guard = Guard::default();
        assert!((0..10).all(|minute| guard.admits(at(hour, minute), Duration::from_secs(60 * minute))));
    }
    // A clock that is put right is heard again after a minute.
    let mut guard = Guard::default();
    assert!(guard.admits(at(13, 0), Duration::from_secs(1)));
    assert!(!guard.admits(at(12, 0), Duration::from_secs(30)));
    assert!(guard.admits(at(12, 1), Duration::from_secs(61)));
    assert!(guard.admits(at(12, 2), Duration::from_secs(62)));
}

#[test]
fn a_sheet_knows_how_much_it_holds() {
    let mut sheet = Sheet::default();
    for round in 0..1_000 {
        sheet.take(payload(&json!({"a": round, "b": {"c": round, "d": {"e": "x".repeat(round % 7)}}})));
    }
    let once: usize = sheet.clone().apart().iter().map(Sheet::bytes).sum();
    assert!(sheet.bytes() < 1_000 && once.abs_diff(sheet.bytes()) < 200, "{} {once}", sheet.bytes());
    assert_eq!((sheet.clone().apart().len(), sheet.clone().chunks(10_000).len()), (2, 1));
    assert_eq!(sheet.clone().chunks(10).len(), 2, "a name is not cut");
    assert_eq!(sheet.said(), json!({"a": 999, "b": {"c": 999, "d": {"e": "x".repeat(999 % 7)}}}));
}

/// Names that meet, scalars and objects that do not change places with each other below one name.
fn message() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![any::<i32>().prop_map(Value::from), any::<bool>().prop_map(Value::from)];
    let list = prop::collection::vec(any::<u8>(), 0..3).prop_map(|items| json!(items));
    let leaf = prop_oneof![scalar, list];
    let object = prop::collection::btree_map("[v-z]", leaf.clone(), 0..3).prop_map(|members| json!(members));
    let object = prop_oneof![
        object.clone(),
        leaf.clone().prop_map(|value| json!({"value": value})),
        object.prop_map(|below| json!({"deep": below})),
    ];
    prop::collection::btree_map("[a-c]", prop_oneof![leaf, object], 0..4).prop_map(|members| json!(members))
}

proptest! {
    /// Whatever is merged on the way, a thing ends as if every message had been written by itself.
    #[test]
    fn merging_messages_changes_no_last_value(messages in prop::collection::vec(message(), 1..12), cut in 0_usize..12, mapped: bool) {
        let rules = if mapped { Rules::read(&json!({"mapping": {"a": "/features/z/properties/q/a"}})) } else { Rules::default() };
        // A mapped name takes a scalar or objects: who changes between them changes what is there, see docs/mqtt.md.
        let messages: Vec<Value> = messages.into_iter().map(|mut message| {
            if mapped && message["a"].is_object() {
                message["a"] = json!(1);
            }
            message
        }).collect();
        let mut alone = json!({});
        for message in &messages {
            merge(&mut alone, &written(std::slice::from_ref(message), &rules));
        }
        let (first, second) = messages.split_at(cut.min(messages.len()));
        let mut sheet = Sheet::default();
        for message in first {
            sheet.take(payload(message));
        }
        let mut newer = Sheet::default();
        for message in second {
            newer.take(payload(message));
        }
        // A write that failed goes under what came meanwhile.
        sheet.absorb(newer);
        let mut together = json!({});
        merge(&mut together, &sheet.patch(&rules));
        prop_assert!(same(&alone, &together), "{alone} {together}");
        // One name at a time is the same.
        let mut parts = json!({});
        for part in sheet.chunks(cut * 40) {
            merge(&mut parts, &part.patch(&rules));
        }
        prop_assert!(same(&alone, &parts));
    }

    #[test]
    fn s48_no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Payload::read(&bytes, None);
        let _ = Payload::read(&bytes, Some("f"));
    }
}
