use super::super::fields::SELECTOR_BYTES_MAX;
use super::*;

fn id(text: &str) -> ThingId {
    ThingId::parse(text).unwrap()
}

#[test]
fn batches_keep_the_order_and_fit_the_uri() {
    let mut ids: Vec<_> = (0..500).map(|i| id(&format!("org.acme:a-thing-with-a-name-{i}"))).collect();
    ids.push(id("org.acme:with,comma"));
    ids.extend((0..5).map(|i| id(&format!("org.acme:{}{i}", "泵".repeat(200)))));
    for room in [URI_BYTES_MAX, 3_000, 1] {
        let batches = batches(&ids, room);
        assert_eq!(batches.concat(), ids, "{room}: everything, in order");
        for batch in batches.iter().filter(|batch| batch.len() > 1) {
            let text = batch.iter().map(ThingId::as_str).collect::<Vec<_>>().join(",");
            assert!("/things?ids=&fields=".len() + encoded_length(&text) <= room && batch.len() <= BATCH_MAX);
            assert!(!text.contains("with,comma"), "an id with a comma stands alone");
        }
    }
    assert_eq!(batches(&ids, URI_BYTES_MAX)[0].len(), 200);
    assert_eq!(batches(&[], URI_BYTES_MAX), Vec::<&[ThingId]>::new());
}

#[test]
fn ten_thousand_things_are_asked_for_in_sixty_calls() {
    let client = DittoClient::new(crate::ditto::Connection::new("http://127.0.0.1:9", "t")).unwrap();
    let ids: Vec<_> = (0..10_000).map(|i| id(&format!("com.example:temperature-sensor-{i:05}"))).collect();
    let fields = [
        "/attributes/type",
        "/attributes/location",
        "/features/temperature/definition",
        "/features/temperature/properties/value",
        "/features/temperature/desiredProperties/reportingInterval",
    ]
    .map(Pointer::parse);
    let (mut rest, mut calls) = (ids.as_slice(), 0);
    while !rest.is_empty() {
        rest = &rest[client.batch(rest, &fields)..];
        calls += 1;
    }
    assert!(calls <= 60, "{calls}");
    assert_eq!(client.batch(&[], &fields), 0);
}

#[test]
fn the_longest_id_and_the_longest_selector_fit_together() {
    let longest = format!("a:{}", "泵".repeat(254));
    let used = "/things?ids=&fields=".len() + encoded_length(&longest) + SELECTOR_BYTES_MAX;
    assert!(used <= URI_BYTES_MAX, "{used}");
}

#[test]
fn a_thing_is_read_as_far_as_it_shows_itself() {
    let whole = json!({
        "thingId": "a:b", "policyId": "a:p", "_revision": 7, "_metadata": {"twinops": {"uid": "u"}},
        "definition": "x:y:1", "attributes": {"a": 1}, "features": {},
    });
    let expected = FoundThing {
        id: "a:b".into(),
        revision: 7,
        policy_id: Some("a:p".into()),
        mark: Some(json!({"uid": "u"})),
        document: json!({"definition": "x:y:1", "attributes": {"a": 1}, "features": {}}),
    };
    assert_eq!(found(&whole, None, None), Some(expected));
    let hidden = found(&json!({}), Some(&id("a:b")), Some(3)).unwrap();
    assert_eq!((hidden.id.as_str(), hidden.revision, hidden.mark), ("a:b", 3, None));
    let rows = [
        ("no id", json!({"_revision": 1})),
        ("no revision", json!({"thingId": "a:b"})),
        ("a revision below zero", json!({"thingId": "a:b", "_revision": -1})),
        ("no object", json!([1])),
    ];
    for (name, thing) in rows {
        assert_eq!(found(&thing, None, None), None, "{name}");
    }
}

#[test]
fn header_bytes_are_what_is_sent() {
    let patch = ThingPatch {
        body: json!({"policyId": "a:p"}),
        condition: "not(exists(_metadata/twinops))".into(),
        guards: vec![(Pointer::parse("/features/泵"), "not(exists(features/泵))".into())],
        metadata: Metadata::Put(json!({"name": "泵"})),
    };
    let headers = patch_headers(&patch);
    let expected = [
        ("if-match", "*"),
        ("put-metadata", r#"[{"key":"/twinops","value":{"name":"\u6cf5"}}]"#),
        ("merge-thing-patch-conditions", r#"{"features/\u6cf5":"not(exists(features/\u6cf5))"}"#),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
    let sum: usize = expected.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert_eq!(header_bytes(&patch), sum + "condition".len() + patch.condition.len());
}
