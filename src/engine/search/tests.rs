//! The planned search finds what a look at every thing finds.
use proptest::prelude::*;
use serde_json::json;

use super::super::command::Caller;
use super::super::state::{Change, Content, Entry, Kind};
use super::super::thing;
use super::*;

const FILTERS: [&str; 28] = [
    "and(ge(attributes/a,1),lt(attributes/a,2))",
    "and(lt(attributes/a,\"t-2\"),gt(attributes/a,\"t-1\"),ge(attributes/o/x,1))",
    "and(ge(attributes/a,2),le(attributes/a,1))",
    "and(le(features/*/properties/p,1),ge(features/*/properties/p,2))",
    "eq(attributes/a,1)",
    "eq(attributes/a,\"t-1\")",
    "eq(attributes/a,null)",
    "in(attributes/a,1,\"t-2\",true)",
    "in(attributes/a,null,2)",
    "gt(attributes/a,1)",
    "ge(attributes/a,\"t-1\")",
    "lt(attributes/a,\"t-2\")",
    "le(attributes/a,1.5)",
    "le(attributes/a,null)",
    "ne(attributes/a,1)",
    "like(attributes/a,\"t-*\")",
    "like(attributes/a,\"t-1?*\")",
    "like(attributes/a,\"*1\")",
    "ilike(attributes/a,\"T-*\")",
    "gt(attributes/a,false)",
    "eq(attributes/o/x,2)",
    "eq(features/f/properties/p,2)",
    "ge(features/*/properties/p,2)",
    "eq(policyId,\"n:secret\")",
    "gt(_revision,2)",
    "ge(thingId,\"n:5\")",
    "like(thingId,\"n:1*\")",
    "exists(attributes/a)",
];

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        (0..4).prop_map(|n| json!(n)),
        (0..4).prop_map(|n| json!(f64::from(n) / 2.0)),
        (0..30).prop_map(|n| json!(format!("t-{n}"))),
        (0..3).prop_map(|n| json!(format!("u{n}"))),
    ];
    prop_oneof![
        4 => scalar.clone(),
        1 => prop::collection::vec(scalar.clone(), 0..4).prop_map(Value::from),
        1 => prop::collection::vec(json_object(scalar), 0..3).prop_map(Value::from),
    ]
}

fn json_object(scalar: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    scalar.prop_map(|x| json!({"x": x}))
}

fn filter() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(FILTERS.to_vec()).prop_map(str::to_owned);
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 1..4).prop_map(|all| format!("and({})", all.join(","))),
            1 => prop::collection::vec(inner.clone(), 1..4).prop_map(|any| format!("or({})", any.join(","))),
            1 => inner.prop_map(|inner| format!("not({inner})")),
        ]
    })
}

/// What a write brings: which thing, its value (`None` deletes), under which policy.
type Write = (usize, Option<Value>, usize);

fn write() -> impl Strategy<Value = Write> {
    (0..40_usize, prop::option::weighted(0.9, value()), 0..3_usize)
}

const POLICIES: [(&str, &str); 3] =
    [("n:open", "thing:/"), ("n:partial", "thing:/features"), ("n:secret", "policy:/")];

fn policy(id: &str, resource: &str) -> Change {
    let grants = json!({"READ": {"subjects": {"nginx:ada": {"type": "t"}},
        "resources": {resource: {"grant": ["READ"], "revoke": []}}}});
    let document = json!({"policyId": id, "entries": grants});
    Change {
        kind: Kind::Policy,
        id: id.into(),
        entry: Entry { revision: 1, document: Some(document.into()) },
    }
}

fn change((n, value, policy): Write, revision: u64) -> Change {
    let id = format!("{}:{n}", ["n", "n.m"][n % 2]);
    let document = value.map(|value| {
        Content::from(json!({
            "thingId": id, "policyId": POLICIES[policy].0, "attributes": {"a": value, "o": value},
            "features": {"f": {"properties": {"p": value}}, "g": {"properties": {"p": n}}},
            "_namespace": id.split(':').next(), "_revision": revision,
        }))
    });
    Change { kind: Kind::Thing, id, entry: Entry { revision, document } }
}

/// Every thing, asked as a tree, with the rights asked anew for every path.
fn naive(state: &State, filter: &str, caller: &Caller) -> Vec<String> {
    let expr = rql::parse(filter).expect("a filter");
    let found = state.things_from("").filter(|thing| {
        let document = state.get(Kind::Thing, thing.id()).expect("it lives");
        let enforcer = state.enforcer(document["policyId"].as_str().expect("a policy"), caller.now);
        enforcer.is_some_and(|enforcer| {
            let readable = |path: &[&str]| {
                enforcer.partial(&caller.subjects, "thing", path, super::super::enforce::Permission::Read)
            };
            enforcer.any_read(&caller.subjects)
                && rql::search::matches(&expr, &*document, &readable, Now { epoch_millis: caller.now })
        })
    });
    found.map(|thing| thing.id().to_owned()).collect()
}

fn caller() -> Caller {
    Caller { subjects: vec!["nginx:ada".into()], now: 0 }
}

fn shown(page: &Page) -> Vec<Value> {
    page.items.iter().cloned().map(Item::into_value).collect()
}

fn ids(page: &Page) -> Vec<String> {
    shown(page).iter().filter_map(|item| item["thingId"].as_str().map(str::to_owned)).collect()
}

fn world() -> State {
    let mut state = State::default();
    for (id, resource) in POLICIES {
        state.put(policy(id, resource));
    }
    state
}

proptest! {
    #[test]
    fn a_planned_search_finds_what_a_look_at_every_thing_finds(
        writes in prop::collection::vec(write(), 0..120),
        filters in prop::collection::vec(filter(), 1..8),
        refused in any::<bool>(),
    ) {
        let (mut state, caller) = (world(), caller());
        let mut filters = filters.iter().cycle();
        for (revision, write) in (1..).zip(writes) {
            let undo = state.put(change(write, revision));
            if refused && revision % 3 == 0 {
                state.undo(undo);
            }
            if revision % 8 != 0 {
                continue;
            }
            let filter = filters.next().expect("a cycle");
            let mut query = Query { filters: vec![filter.clone()], ..Query::default() };
            let expected = naive(&state, filter, &caller);
            prop_assert_eq!(count(&state, &query, &caller).expect("a count"), expected.len(), "{}", filter);
            query.options = Some("size(200)".into());
            let page = run(&state, &query, &caller).expect("a page");
            prop_assert_eq!(&ids(&page), &expected, "{}", filter);
            let visible = |id: &String| thing::visible(&state, &*state.get(Kind::Thing, id)?, None, &caller, false);
            prop_assert_eq!(shown(&page), expected.iter().filter_map(visible).collect::<Vec<_>>(), "{}", filter);
            query.options = Some("size(200),sort(-attributes/a)".into());
            let mut sorted = ids(&run(&state, &query, &caller).expect("a page"));
            sorted.sort_unstable();
            prop_assert_eq!(&sorted, &expected, "{}", filter);
            let mut paged = vec![];
            query.options = Some("size(3)".into());
            loop {
                let page = run(&state, &query, &caller).expect("a page");
                paged.extend(ids(&page));
                let Some(cursor) = page.cursor else { break };
                query.options = Some(format!("size(3),cursor({cursor})"));
            }
            prop_assert_eq!(paged, expected, "{}", filter);
        }
    }
}

/// Enough things for every part of an index: texts that share no prefix any more, long arrays, equal hashes of keys.
#[test]
fn an_index_survives_what_its_texts_become() {
    let (mut state, caller) = (world(), caller());
    let put = |state: &mut State, n: u64, text: String| {
        let document = json!({"thingId": format!("n:{n:05}"), "policyId": "n:open", "attributes": {"a": text},
            "_namespace": "n"});
        let entry = Entry { revision: 1, document: Some(document.into()) };
        drop(state.put(Change { kind: Kind::Thing, id: format!("n:{n:05}"), entry }));
    };
    let found = |state: &State, filter: &str| {
        let query = Query { filters: vec![filter.into()], ..Query::default() };
        count(state, &query, &caller).expect("a count")
    };
    for n in 0..3_000 {
        put(&mut state, n, format!("a-long-common-prefix-{n:05}"));
    }
    assert_eq!(found(&state, "lt(attributes/a,\"a-long-common-prefix-00010\")"), 10);
    for n in 0..3_000 {
        put(&mut state, n, format!("{}-{n:05}", ["a", "b"][usize::from(n % 2 == 0)]));
        if n % 500 == 0 {
            assert_eq!(
                found(&state, "like(attributes/a,\"b-*\")"),
                usize::try_from(n / 2 + 1).expect("small")
            );
            assert_eq!(found(&state, &format!("eq(attributes/a,\"b-{n:05}\")")), 1);
        }
    }
    assert_eq!(found(&state, "gt(attributes/a,\"b-02990\")"), 4);
}

#[test]
fn more_properties_than_indexes_are_all_searched() {
    let (mut state, caller) = (world(), caller());
    for n in 0..50 {
        let attributes: serde_json::Map<String, Value> =
            (0..60).map(|i| (format!("a{i}"), json!(n))).collect();
        let long: Vec<u64> = (0..if n % 2 == 0 { 300 } else { 2 }).collect();
        let document = json!({"thingId": format!("n:{n}"), "policyId": "n:open", "attributes": attributes,
            "features": {"f": {"properties": {"long": long}}}, "_namespace": "n"});
        let entry = Entry { revision: 1, document: Some(document.into()) };
        state.put(Change { kind: Kind::Thing, id: format!("n:{n}"), entry });
    }
    for round in 0..2 {
        for i in 0..60 {
            let query = Query { filters: vec![format!("eq(attributes/a{i},7)")], ..Query::default() };
            assert_eq!(count(&state, &query, &caller).expect("a count"), 1, "{round} {i}");
        }
    }
    for (filter, expected) in
        [("eq(features/f/properties/long,299)", 25), ("eq(features/f/properties/long,1)", 50)]
    {
        let query = Query { filters: vec![filter.into()], ..Query::default() };
        assert_eq!(count(&state, &query, &caller).expect("a count"), expected, "{filter}");
    }
}

/// More things than are indexed while a search waits for it.
#[test]
fn searches_are_right_before_while_and_after_an_index_is_made() {
    let (mut state, caller) = (world(), caller());
    let put = |state: &mut State, n: usize, text: &str| {
        let document = json!({"thingId": format!("n:{n:05}"), "policyId": "n:open", "attributes": {"a": text},
            "_namespace": "n"});
        let entry = Entry { revision: 1, document: Some(document.into()) };
        drop(state.put(Change { kind: Kind::Thing, id: format!("n:{n:05}"), entry }));
    };
    let things = plan::INDEXED_AT_ONCE_MAX + 1;
    (0..things).for_each(|n| put(&mut state, n, "old"));
    let property = rql::Property::parse("attributes/a");
    let is_indexed = |state: &State| {
        let nothing = super::super::state::Wanted::Equal(vec![]);
        !matches!(state.propose(&property, &nothing, 1), super::super::state::Proposal::NotIndexed)
    };
    let (mut written, mut after) = (0, 0);
    while after < 3 {
        put(&mut state, written, "new");
        written += 1;
        for (text, expected) in [("new", written), ("old", things - written)] {
            let query = Query { filters: vec![format!("eq(attributes/a,\"{text}\")")], ..Query::default() };
            assert_eq!(count(&state, &query, &caller).expect("a count"), expected, "{text}");
        }
        after += usize::from(is_indexed(&state));
        assert!(written < things, "it is never indexed");
    }
}

/// Every id in the order of the pages, a thing at a time.
fn paged(state: &State, query: &Query) -> Vec<String> {
    let (caller, mut query, mut found) = (caller(), query.clone(), vec![]);
    loop {
        let page = run(state, &query, &caller).unwrap_or_else(|failure| panic!("{failure}"));
        found.extend(ids(&page));
        assert!(found.len() < 100, "it never ends: {found:?}");
        let Some(cursor) = page.cursor else { return found };
        query.turn(&cursor);
    }
}

fn with_values(values: &[Value]) -> State {
    let mut state = world();
    for (n, value) in values.iter().enumerate() {
        state.put(change((n, Some(value.clone()), 0), 1));
    }
    state
}

#[test]
fn pages_sorted_by_numbers_beyond_2_to_the_53_leave_nothing_out() {
    let values = [
        json!(9_007_199_254_740_993_i64),
        json!(9_007_199_254_740_992.0),
        json!(9_007_199_254_740_992_i64),
        json!(0),
        json!(-0.0),
        json!(0.0),
    ];
    let state = with_values(&values);
    // equal ones by id: n.m:1 is before n:2, and n.m:5 before n:4
    let query = Query { options: Some("size(1),sort(+attributes/a)".into()), ..Query::default() };
    assert_eq!(paged(&state, &query), ["n.m:3", "n.m:5", "n:4", "n.m:1", "n:2", "n:0"]);
}

#[test]
fn a_filter_of_several_lines_has_a_second_page() {
    let state = with_values(&[json!("x\ny"), json!("x\ny"), json!("x"), json!("x\ny")]);
    for filter in ["eq(attributes/a,\"x\ny\")", "and(eq(attributes/a,\"x\ny\"),\n  exists(attributes/o))"] {
        let (filters, options) = (vec![filter.into()], Some("size(1)".into()));
        let found = paged(&state, &Query { filters, options, ..Query::default() });
        assert_eq!(found, ["n.m:1", "n.m:3", "n:0"], "{filter}");
    }
}
