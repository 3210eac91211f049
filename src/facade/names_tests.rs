use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn names_change_at_the_named_levels_and_nowhere_else() {
    let client = json!({
        "thing_id": "a:b", "policy_id": "a:p", "definition": "a:b:1",
        "attributes": {"thing_id": 1, "desired_properties": {"thingId": "x"}},
        "features": {"policy_id": {"properties": {"desired_properties": 1}, "desired_properties": {"policy_id": 2}}},
    });
    let ditto = json!({
        "thingId": "a:b", "policyId": "a:p", "definition": "a:b:1",
        "attributes": {"thing_id": 1, "desired_properties": {"thingId": "x"}},
        "features": {"policy_id": {"properties": {"desired_properties": 1}, "desiredProperties": {"policy_id": 2}}},
    });
    assert_eq!(to_ditto(&client.to_string(), Shape::Thing).unwrap(), ditto.to_string());
    assert_eq!(
        to_ditto(&ditto.to_string(), Shape::Thing).unwrap(),
        ditto.to_string(),
        "Ditto's own names are taken too"
    );
    assert_eq!(to_client(&ditto.to_string(), Shape::Thing).unwrap(), client.to_string());
}

#[test]
fn what_ditto_adds_is_shown_and_may_be_sent_back() {
    let shown = r#"{"thing_id":"a:b","revision":7,"created":"x","modified":"y"}"#;
    let ditto = r#"{"thingId":"a:b","_revision":7,"_created":"x","_modified":"y"}"#;
    assert_eq!(to_client(ditto, Shape::Thing).unwrap(), shown);
    assert_eq!(to_ditto(shown, Shape::Thing).unwrap(), r#"{"thingId":"a:b"}"#);
    assert_eq!(to_ditto(r#"{"revision":7}"#, Shape::Thing).unwrap(), "{}");
}

#[test]
fn s18_members_that_no_client_may_write_are_refused() {
    let unknown = |name: &str| Err(NameError::Unknown(name.to_owned()));
    let rows = [
        (r#"{"_policy":{}}"#, unknown("_policy")),
        (r#"{"_pol\u0069cy":{}}"#, unknown("_policy")),
        (r#"{"_copyPolicyFrom":"a:b"}"#, unknown("_copyPolicyFrom")),
        (r#"{"_metadata":{}}"#, unknown("_metadata")),
        (r#"{"_revision":1}"#, unknown("_revision")),
        (r#"{"_created":"x"}"#, unknown("_created")),
        (r#"{"__proto__":{}}"#, unknown("__proto__")),
        (r#"{"thing_id":"a:b","thingId":"a:c"}"#, Err(NameError::Twice("thingId"))),
        (r#"{"thing_id":"a:b","thing\u005fid":"a:c"}"#, Err(NameError::Twice("thingId"))),
        (r#"{"features":{"f":{"x":1}}}"#, unknown("x")),
        (r#"{"features":{"f":{"revision":1}}}"#, unknown("revision")),
    ];
    for (text, expected) in rows {
        assert_eq!(to_ditto(text, Shape::Thing), expected, "{text}");
    }
}

#[test]
fn values_keep_every_byte() {
    let text = r#"{"attributes":{"big":123456789012345678901234567890,"e":1.50E+2,"s":"a\u0041\"}]"}, "features" : {"f":null}}"#;
    let expected = r#"{"attributes":{"big":123456789012345678901234567890,"e":1.50E+2,"s":"a\u0041\"}]"},"features":{"f":null}}"#;
    assert_eq!(to_ditto(text, Shape::Thing).unwrap(), expected);
    assert_eq!(to_client(text, Shape::Thing).unwrap(), expected);
}

#[test]
fn a_page_has_its_things_and_where_the_next_begins() {
    let text = r#"{"items":[{"thingId":"a:b"},{"thingId":"a:c"}],"cursor":"xyz","nextPageOffset":2}"#;
    let read = page(text).unwrap();
    assert_eq!(read.items, r#"[{"thing_id":"a:b"},{"thing_id":"a:c"}]"#);
    assert_eq!(read.cursor.as_deref(), Some("xyz"));
    let last = page(r#"{"items":[]}"#).unwrap();
    assert_eq!((last.items.as_str(), last.cursor), ("[]", None));
    for broken in ["", "{}", "[]", r#"{"items":[}"#, r#"{"items":[{"a":1}"#] {
        assert!(page(broken).is_err(), "{broken}");
    }
}

#[test]
fn what_is_no_json_is_refused_and_never_panics() {
    for text in [
        "",
        "{",
        "{\"",
        "{\"a",
        "{\"a\\",
        "{\"a\":",
        "{\"attributes\":\"",
        "{\"attributes\":[",
        "}",
        "{}x",
        "\u{feff}{}",
    ] {
        for shape in [Shape::Thing, Shape::Things, Shape::Features, Shape::Value] {
            assert!(to_client(text, shape).is_err(), "{text:?} {shape:?}");
        }
    }
}

/// The same, with a tree.
fn by_tree(value: &Value, shape: Shape) -> Value {
    let Value::Object(object) = value else { return value.clone() };
    let renamed = object.iter().map(|(name, value)| match shape {
        Shape::Features => (name.clone(), by_tree(value, Shape::Feature)),
        shape => match ditto_name(shape, name) {
            Some((theirs, shape)) => (theirs.to_owned(), by_tree(value, shape)),
            None => (name.clone(), value.clone()),
        },
    });
    Value::Object(renamed.collect())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}|[\"\\\\{}\\[\\]:, ]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("thing_id|desired_properties|\\PC{1,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn renaming_text_is_renaming_the_tree(
        attributes in any_json(),
        features in prop::collection::btree_map(
            "\\PC{1,6}",
            (any_json(), any_json()).prop_map(|(p, d)| json!({"properties": p, "desired_properties": d})),
            0..3,
        ),
    ) {
        let thing = json!({"thing_id": "a:b", "attributes": attributes, "features": features});
        for text in [thing.to_string(), format!("{thing:#}")] {
            let ditto = to_ditto(&text, Shape::Thing).unwrap();
            let tree: Value = serde_json::from_str(&ditto).unwrap();
            prop_assert_eq!(&tree, &by_tree(&thing, Shape::Thing));
            let back: Value = serde_json::from_str(&to_client(&ditto, Shape::Thing).unwrap()).unwrap();
            prop_assert_eq!(&back, &thing);
        }
    }

    #[test]
    fn text_of_any_kind_does_no_harm(text in "[{}\\[\\]\":,a\\\\ ]{0,40}|\\PC{0,40}") {
        for shape in [Shape::Thing, Shape::Things, Shape::Features, Shape::Feature, Shape::Value] {
            let _ = to_client(&text, shape);
            let _ = to_ditto(&text, shape);
        }
        let _ = page(&text);
    }
}
