use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::*;

fn column(text: &str) -> usize {
    match parse(text) {
        Err(ParseError::Syntax { at, .. }) => at,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a_syntax_error_names_its_place() {
    let rows = [
        ("", 1),
        ("nonsense", 1),
        ("EQ(a,1)", 1),
        ("eq", 3),
        ("eq (a,1)", 3),
        ("eq()", 4),
        ("eq(a)", 5),
        ("eq(a,)", 6),
        ("eq(a, 1)", 6),
        ("eq(a,1", 7),
        ("eq(a,1))", 8),
        ("eq(a,1) ", 8),
        ("eq(a,1e3)", 7),
        ("eq(a,.5)", 6),
        ("eq(a,5.)", 7),
        ("eq(a,05)", 7),
        ("eq(a,-0)", 6),
        ("eq(a,99999999999999999999)", 6),
        ("eq(a,TRUE)", 6),
        ("eq(a,time:)", 11),
        ("eq(a,\"open)", 12),
        ("eq(\u{e4}\u{e4},\"bad\\q\")", 12),
        ("eq(a,\"\\ud800\")", 13),
        ("eq(a,\"\\u12\u{e4}\u{e4}\")", 9),
        ("eq(a\"b,1)", 5),
        ("and()", 5),
        ("and(eq(a,1),)", 13),
        ("and( eq(a,1))", 5),
        ("and(eq(a,1)eq(b,2))", 12),
        ("not(eq(a,1),eq(b,1))", 12),
        ("in(a)", 5),
        ("empty(a)", 1),
    ];
    for (text, at) in rows {
        assert_eq!(column(text), at, "{text}");
    }
    let error = parse("eq(a,1;").unwrap_err();
    assert_eq!(error.to_string(), "expected `)` at character 7, found ';'");
}

#[test]
fn literals_and_names_are_read_as_ditto_reads_them() {
    let property = |text: &str| Property::parse(text);
    let rows = [
        ("  eq(/a/b~1c~0d,1 )", Expr::Compare(Op::Eq, Property::of(["a", "b/c~d"]), Literal::Long(1))),
        ("ne(a b(c,+5)", Expr::Compare(Op::Ne, property("a b(c"), Literal::Long(5))),
        ("gt(a\\u002cb,-0.50)", Expr::Compare(Op::Gt, Property::of(["a,b"]), Literal::Double(-0.5))),
        (
            "le(a,'say \"x\" \\'y\\'')",
            Expr::Compare(Op::Le, property("a"), Literal::Text("say \"x\" 'y'".into())),
        ),
        (
            "like(a,\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\ud83d\\ude00it's\")",
            Expr::Compare(
                Op::Like,
                property("a"),
                Literal::Text("\"\\/\u{8}\u{c}\n\r\t\u{e4}\u{1f600}it's".into()),
            ),
        ),
        ("lt(a,time:now-1h[d])", Expr::Compare(Op::Lt, property("a"), Literal::Time("now-1h[d]".into()))),
        (
            "in(a,true ,false,null)",
            Expr::In(property("a"), vec![Literal::Bool(true), Literal::Bool(false), Literal::Null]),
        ),
        (
            "and(exists(a), not(exists(b)))",
            Expr::And(vec![Expr::Exists(property("a")), Expr::Not(Box::new(Expr::Exists(property("b"))))]),
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn s27_deep_nesting_is_refused_not_overflowed() {
    let nested = |levels: usize| format!("{}exists(a){}", "not(".repeat(levels), ")".repeat(levels));
    let list = |name: &str, item: &str, items: usize| format!("{name}({})", vec![item; items].join(","));
    assert!(parse(&nested(DEPTH_MAX - 1)).is_ok());
    let rows = [
        ("one level too deep", nested(DEPTH_MAX), ParseError::TooDeep),
        ("as deep as the length allows, never closed", "and(".repeat(2_000), ParseError::TooDeep),
        ("100,000 deep", "and(".repeat(100_000), ParseError::TooLong),
        ("a megabyte", format!("eq(a,\"{}\")", "x".repeat(1 << 20)), ParseError::TooLong),
        ("10,000 arguments", format!("in(a,{})", vec!["1"; 10_000].join(",")), ParseError::TooLong),
        ("too many operators", list("or", "exists(a)", NODES_MAX), ParseError::TooManyNodes),
    ];
    for (name, text, expected) in rows {
        assert_eq!(parse(&text), Err(expected), "{name}");
    }
    assert!(parse(&list("or", "exists(a)", NODES_MAX - 1)).is_ok());
    assert!(parse(&format!("in(a,{})", vec!["1"; 4_000].join(","))).is_ok());
}

fn name() -> impl Strategy<Value = String> {
    let tricky = ["$where", "a.b", "\0", "\"", "'", "\\", ",", ")", "(", "~1", "~", "/", " ", "*", ""];
    prop_oneof![
        proptest::sample::select(tricky.to_vec()).prop_map(str::to_owned),
        vec(any::<char>(), 0..6).prop_map(String::from_iter),
    ]
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        Just(Literal::Null),
        any::<bool>().prop_map(Literal::Bool),
        any::<i64>().prop_map(Literal::Long),
        proptest::num::f64::NORMAL.prop_map(Literal::Double),
        name().prop_map(Literal::Text),
        proptest::sample::select(vec!["now", "now-1h[d]", "now_epoch_millis", "nonsense"])
            .prop_map(|name| Literal::Time(name.to_owned())),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    let property = || vec(name(), 1..4).prop_map(Property::of);
    let op =
        proptest::sample::select(vec![Op::Eq, Op::Ne, Op::Gt, Op::Ge, Op::Lt, Op::Le, Op::Like, Op::Ilike]);
    let leaf = prop_oneof![
        property().prop_map(Expr::Exists),
        (op, property(), literal()).prop_map(|(op, property, literal)| Expr::Compare(op, property, literal)),
        (property(), vec(literal(), 1..4)).prop_map(|(property, literals)| Expr::In(property, literals)),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..3).prop_map(Expr::And),
            vec(inner.clone(), 1..3).prop_map(Expr::Or),
            inner.prop_map(|inner| Expr::Not(Box::new(inner))),
        ]
    })
}

proptest! {
    #[test]
    fn s28_names_are_literals_and_parse_print_round_trips(expr in expr()) {
        let text = expr.to_string();
        prop_assume!(text.len() <= LENGTH_MAX);
        prop_assert_eq!(parse(&text), Ok(expr), "{}", text);
    }

    #[test]
    fn s28_any_key_is_found_by_its_name_and_by_no_other(key in name(), value in name()) {
        let expr = Expr::Compare(Op::Eq, Property::of(["attributes", &key]), Literal::Text(value.clone()));
        let now = Now { epoch_millis: 0 };
        let here = json!({"attributes": {key.clone(): value.clone()}});
        let elsewhere = json!({"attributes": {format!("{key}x"): value, "a": {"b": 1}, "$where": 1}});
        let read = parse(&expr.to_string()).unwrap();
        prop_assert!(condition::holds(&read, &here, now) && search::matches(&read, &here, &|_| true, now));
        prop_assert!(!condition::holds(&read, &elsewhere, now) && !search::matches(&read, &elsewhere, &|_| true, now));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in vec(proptest::sample::select(
        vec!["and(", "not(", "eq(", "in(", "a", "/", ",", ")", "\"", "'", "\\", "u", "d83d", "-", "0", "1", ".", " ",
             "\u{e4}", "time:", "null"]), 0..20,
    ).prop_map(|parts| parts.concat())) {
        if let Ok(expr) = parse(&text) {
            prop_assert_eq!(parse(&expr.to_string()), Ok(expr));
        }
    }
}

#[test]
fn the_two_evaluators_differ_where_ditto_does() {
    let thing = json!({
        "thingId": "ns:t", "_namespace": "ns", "_revision": 3,
        "attributes": {
            "n": 5, "s": "12", "word": "b", "nul": null, "b": true, "o": {"k": 1}, "big": 9_007_199_254_740_993_i64,
            "tags": ["x", "y"], "deep": [[1]], "list": [{"id": 1}, {"id": 2}], "umlaut": "\u{c4}",
        },
        "features": {"lamp": {"properties": {"lvl": 10}}},
    });
    // (filter, condition, search)
    let rows = [
        ("ne(attributes/missing,1)", true, false),
        ("ne(attributes/nul,null)", false, false),
        ("eq(attributes/nul,null)", true, true),
        ("eq(attributes/missing,null)", false, false),
        ("gt(attributes/s,5)", true, false),
        ("eq(attributes/s,12)", true, false),
        ("eq(attributes/n,\"5\")", true, false),
        ("gt(attributes/word,1)", true, false),
        ("gt(attributes/b,\"a\")", true, false),
        ("gt(attributes/b,false)", true, true),
        ("ge(attributes/nul,null)", false, true),
        ("gt(attributes/nul,null)", false, false),
        ("like(attributes/n,\"*\")", true, false),
        ("like(attributes/b,\"tr?e\")", true, false),
        ("ilike(attributes/umlaut,\"\u{e4}\")", false, true),
        ("eq(attributes/o,1)", false, false),
        ("ne(attributes/o,1)", true, true),
        ("eq(attributes/tags,\"y\")", true, true),
        ("ne(attributes/tags,\"y\")", false, false),
        ("eq(attributes/tags/1,\"y\")", false, true),
        ("eq(attributes/deep,1)", true, false),
        ("eq(attributes/list/id,2)", true, true),
        ("exists(attributes/list/id)", true, true),
        ("in(attributes/missing,null)", false, true),
        ("in(attributes/n,\"x\",5.0)", true, true),
        ("in(attributes/s,12)", true, false),
        ("eq(features/*/properties/lvl,10)", false, true),
        ("exists(features/*)", false, true),
        ("eq(attributes/big,9007199254740993)", true, true),
        ("eq(attributes/big,9007199254740992)", false, false),
        ("eq(attributes/big,9007199254740992.0)", false, false),
        ("eq(namespace,\"ns\")", true, true),
        ("eq(_revision,3)", true, true),
        ("lt(attributes/n,time:now_epoch_millis)", true, false),
        ("not(exists(attributes/missing))", true, true),
    ];
    let now = Now { epoch_millis: 1_715_854_830_456 };
    for (text, condition, search) in rows {
        let expr = parse(text).unwrap();
        schema::check(&expr).unwrap();
        assert_eq!(condition::holds(&expr, &thing, now), condition, "condition {text}");
        assert_eq!(search::matches(&expr, &thing, &|_| true, now), search, "search {text}");
    }
}

#[test]
fn s29_a_search_on_an_unreadable_path_tells_nothing() {
    let with = |value| json!({"thingId": "ns:t", "attributes": {"secret": value, "open": 1}});
    let without = json!({"thingId": "ns:t", "attributes": {"open": 1}});
    let readable = |path: &[&str]| path != ["attributes", "secret"];
    let now = Now { epoch_millis: 0 };
    let literals = ["1", "2", "\"1\"", "null", "true", "1.5"];
    let mut filters = vec!["exists(attributes/secret)".to_owned()];
    for op in ["eq", "ne", "gt", "ge", "lt", "le", "in"] {
        filters.extend(literals.map(|literal| format!("{op}(attributes/secret,{literal})")));
    }
    filters.extend(["like", "ilike"].map(|op| format!("{op}(attributes/secret,\"*\")")));
    for text in filters {
        for (text, found) in [(text.clone(), false), (format!("not({text})"), true)] {
            let expr = parse(&text).unwrap();
            for thing in [with(json!(1)), with(json!("1")), with(json!(null)), without.clone()] {
                assert_eq!(search::matches(&expr, &thing, &readable, now), found, "{text} {thing}");
            }
        }
    }
}

#[test]
fn only_properties_a_thing_can_have_are_asked_for() {
    use schema::SchemaError::{DoubleSlash, TextWanted, UnknownProperty};
    let unknown = |path: &str| Err(UnknownProperty(Property::parse(path)));
    let rows = [
        ("eq(attributes/a/b,1)", Ok(())),
        ("exists(features/f)", Ok(())),
        ("exists(features/f/desiredProperties)", Ok(())),
        ("eq(features/*/definition,'a:b:1')", Ok(())),
        ("eq(_metadata/twinops/uid,'u')", Ok(())),
        ("eq(/thingId,'a:b')", Ok(())),
        ("eq(features/f,1)", unknown("features/f")),
        ("eq(features/f/properties,1)", unknown("features/f/properties")),
        ("exists(features/f/other)", unknown("features/f/other")),
        ("exists(attributes)", unknown("attributes")),
        ("and(exists(attributes/a),not(eq(unknown/a,1)))", unknown("unknown/a")),
        ("eq(topic:action,'created')", unknown("topic:action")),
        ("exists()", unknown("")),
        ("like(attributes/a,5)", Err(TextWanted(Op::Like))),
        ("ilike(attributes/a,time:now)", Err(TextWanted(Op::Ilike))),
        ("eq(attributes//a,1)", Err(DoubleSlash(Property::parse("attributes//a")))),
    ];
    for (text, expected) in rows {
        assert_eq!(schema::check(&parse(text).unwrap()), expected, "{text}");
    }
}

#[test]
fn only_a_filter_of_events_names_what_happened() {
    for text in
        ["eq(topic:action,\"created\")", "like(resource:path,\"/a*\")", "in(thing:id,\"a:b\",\"a:c\")"]
    {
        let expr = parse(text).unwrap();
        assert_eq!((schema::check(&expr).is_err(), schema::check_events(&expr)), (true, Ok(())), "{text}");
    }
    for text in ["eq(topic:nonsense,1)", "eq(topic/action,1)", "eq(nonsense,1)"] {
        assert!(schema::check_events(&parse(text).unwrap()).is_err(), "{text}");
    }
}
