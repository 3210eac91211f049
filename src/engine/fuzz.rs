//! Random input for what reads the input of strangers; it may be refused, it must not panic or go on for ever.
//!
//! bolero makes the bytes: at random on a stable compiler, and led by coverage where `cargo bolero test` finds a nightly.
//! They choose among the words that each language is made of, cut, repeated and shuffled, which reaches deeper than bytes
//! as they are.
use std::panic::RefUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bolero::{BorrowedInput, ByteSliceGenerator, DefaultEngine, TestTarget, check};
use serde_json::{Map, Value, json};

use super::enforce::{Enforcer, Permission};
use super::fields::Selector;
use super::live::protocol::{Envelope, Topic};
use crate::rql;
use crate::twin::json::{self, Pointer};

/// Rounds in an ordinary test; `TWINOPS_FUZZ_SECONDS` makes it a time instead.
const ROUNDS: usize = 2_000;
/// Bytes of a round: each is a choice.
const BYTES_MAX: usize = 1_024;
/// How long a failing input is made smaller.
const SHRINKS_WITHIN: Duration = Duration::from_secs(10);

/// Choices, as the bytes of a round make them; the first of each when they are used up.
struct Dice<'b>(&'b [u8]);

impl Dice<'_> {
    /// Below `limit`, which is at most 65,536.
    fn below(&mut self, limit: usize) -> usize {
        let bytes = self.0.len().min(if limit > 256 { 2 } else { 1 });
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken.iter().fold(0, |roll, byte| roll << 8 | usize::from(*byte)) % limit.max(1)
    }

    fn text(&mut self, words: &[&str]) -> String {
        let length = self.below(40);
        (0..length).map(|_| words[self.below(words.len())]).collect()
    }

    fn value(&mut self, depth: usize, words: &[&str]) -> Value {
        match self.below(if depth == 0 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.below(1_000)),
            3 => json!(f64::from(u32::try_from(self.below(1_000)).unwrap_or_default()) / 7.0),
            4 => json!(self.text(words)),
            5 => (0..self.below(4)).map(|_| self.value(depth - 1, words)).collect(),
            _ => Value::Object(self.object(depth - 1, words)),
        }
    }

    fn object(&mut self, depth: usize, words: &[&str]) -> Map<String, Value> {
        (0..self.below(5))
            .map(|_| (words[self.below(words.len())].to_owned(), self.value(depth, words)))
            .collect()
    }
}

type Target = TestTarget<ByteSliceGenerator, DefaultEngine, BorrowedInput>;

/// Calls `round` with new choices until it is enough; a panic names the seed and the smallest bytes that lead to it.
fn rounds(name: &str, target: Target, round: impl Fn(&mut Dice) + RefUnwindSafe) {
    let target = target.with_max_len(BYTES_MAX).with_shrink_time(SHRINKS_WITHIN);
    let target = match std::env::var("TWINOPS_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()) {
        Some(seconds) => target.with_iterations(usize::MAX).with_test_time(Duration::from_secs(seconds)),
        None => target.with_iterations(ROUNDS),
    };
    let count = AtomicU64::new(0);
    target.for_each(|bytes: &[u8]| {
        count.fetch_add(1, Ordering::Relaxed);
        round(&mut Dice(bytes));
    });
    println!("{name}: {} rounds", count.into_inner());
}

const PATHS: [&str; 14] = [
    "/",
    "a",
    "b",
    "~0",
    "~1",
    "~",
    "*",
    "features",
    "attributes",
    "properties",
    "\u{0}",
    "\u{e9}",
    "\u{1f600}",
    " ",
];

#[test]
fn fuzz_json_pointer() {
    rounds("JSON pointer", check!(), |dice| {
        let pointer = Pointer::parse(&dice.text(&PATHS));
        if !pointer.is_root() {
            assert_eq!(Pointer::parse(&pointer.to_string()), pointer);
        }
        let (mut root, value) = (dice.value(4, &PATHS), dice.value(2, &PATHS));
        pointer.set(&mut root, value.clone());
        assert_eq!(pointer.get(&root), Some(&value));
        pointer.remove(&mut root);
    });
}

#[test]
fn fuzz_merge_patch() {
    let keys = ["a", "b", "c", "{{ ~a|b~ }}", "{{ ~.*~ }}", "{{~(~}}", "{{ ~ }}", "{{~~}}", "~"];
    rounds("merge patch", check!(), |dice| {
        let (mut target, patch) = (dice.value(4, &keys), dice.value(4, &keys));
        drop(super::thing::fuzz_matched(&target, &patch));
        json::merge(&mut target, &patch);
        let once = target.clone();
        json::merge(&mut target, &patch);
        assert_eq!(target, once, "a patch twice is a patch once");
    });
}

/// An expression that mostly parses.
fn expression(dice: &mut Dice, depth: usize) -> String {
    let properties =
        ["attributes/a", "/features/*/properties/p", "features/f", "_revision", "thingId", "attributes/a/b"];
    let values = ["1", "-1.5", "\"x*\"", "'?'", "null", "true", "time:now-1h", "\"\\\"\""];
    let property = properties[dice.below(properties.len())];
    let value = values[dice.below(values.len())];
    match dice.below(if depth == 0 { 3 } else { 6 }) {
        0 => format!("exists({property})"),
        1 => format!("in({property},{value},{value})"),
        2 => format!("{}({property},{value})", ["eq", "ne", "lt", "ge", "like", "ilike"][dice.below(6)]),
        3 => format!("not({})", expression(dice, depth - 1)),
        _ => {
            let parts: Vec<String> = (0..=dice.below(3)).map(|_| expression(dice, depth - 1)).collect();
            format!("{}({})", ["and", "or"][dice.below(2)], parts.join(","))
        }
    }
}

#[test]
fn fuzz_rql() {
    let words = [
        "and(",
        "or(",
        "not(",
        "eq(",
        "ne(",
        "like(",
        "in(",
        "exists(",
        ")",
        ",",
        "attributes/a",
        "features/*/properties/p",
        "\"",
        "'",
        "x*",
        "?",
        "1",
        "-",
        "1.5",
        "time:now",
        "time:now-1h",
        "null",
        "true",
        "\\",
        " ",
        "_revision",
        "\u{e9}",
        "%",
    ];
    rounds("RQL", check!(), |dice| {
        let text = if dice.below(4) == 0 { dice.text(&words) } else { expression(dice, 4) };
        let Ok(expr) = rql::parse(&text) else { return };
        let thing =
            json!({"attributes": dice.value(3, &words), "features": dice.value(3, &words), "_revision": 1});
        if rql::schema::check(&expr).is_ok() {
            rql::condition::holds(&expr, &thing, rql::Now { epoch_millis: 0 });
        }
        assert_eq!(rql::parse(&expr.to_string()).as_ref(), Ok(&expr), "{text}");
    });
}

#[test]
fn fuzz_field_selector() {
    let words = ["(", ")", ",", "/", "a", "features", "*", "attributes", "_policy", "\u{e9}", " "];
    rounds("field selector", check!(), |dice| {
        let Ok(selector) = Selector::parse(&dice.text(&words)) else { return };
        let value = Value::Object(dice.object(4, &words));
        let selected = selector.with_features(&value, &Pointer::of(["features"])).select(&value);
        assert!(selected.is_object());
    });
}

#[test]
fn fuzz_policy_evaluator() {
    let words = [
        "READ",
        "WRITE",
        "thing:/",
        "thing:/a",
        "thing:/a/b",
        "policy:/",
        "x:y",
        "grant",
        "revoke",
        "subjects",
        "resources",
        "expiry",
    ];
    rounds("policy evaluator", check!(), |dice| {
        let mut entries = Map::new();
        for label in ["one", "two"] {
            let resource = |dice: &mut Dice| {
                let list = |dice: &mut Dice| {
                    (0..dice.below(3)).map(|_| json!(["READ", "WRITE"][dice.below(2)])).collect::<Vec<_>>()
                };
                json!({"grant": list(dice), "revoke": list(dice)})
            };
            let resources: Map<_, _> =
                (0..dice.below(4)).map(|_| (words[2 + dice.below(4)].to_owned(), resource(dice))).collect();
            let entry =
                json!({"subjects": {(["x:y", "x:z"][dice.below(2)]): {"type": "t"}}, "resources": resources});
            entries.insert(label.to_owned(), if dice.below(10) == 0 { dice.value(3, &words) } else { entry });
        }
        let enforcer = Enforcer::new(&entries, 0);
        let subjects = ["x:y".to_owned(), "x:z".to_owned()];
        for path in [&[][..], &["a"], &["a", "b"], &["a", "b", "c"]] {
            let unrestricted = enforcer.unrestricted(&subjects, "thing", path, Permission::Read);
            let partial = enforcer.partial(&subjects, "thing", path, Permission::Read);
            assert!(partial || !unrestricted, "whoever may read all may read some");
        }
        let value = json!({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}});
        enforcer.view(&subjects, "thing", &[], &value);
        enforcer.may_merge(&subjects, &[], &value);
    });
}

#[test]
fn fuzz_ws_envelope() {
    let words = [
        "/",
        "ns",
        "name",
        "things",
        "policies",
        "twin",
        "live",
        "commands",
        "modify",
        "merge",
        "search",
        "acks",
        "messages",
        "_",
        "{",
        "}",
        "\"topic\":",
        "\"path\":",
        "\"/\"",
        ",",
        "null",
        "\u{0}",
        "\u{1f600}",
    ];
    rounds("WS envelope", check!(), |dice| {
        drop(Envelope::parse(&dice.text(&words)));
        let topic = dice.text(&words[..14]);
        let mut frame =
            dice.object(3, &["topic", "headers", "path", "value", "fields", "status", "revision"]);
        frame.insert("topic".to_owned(), json!(topic));
        if let Ok(envelope) = Envelope::parse(&Value::Object(frame).to_string()) {
            assert_eq!(envelope.topic, topic);
        }
        if let Some(parsed) = Topic::parse(&topic) {
            assert!(topic.starts_with(&format!("{}/{}/", parsed.namespace, parsed.name)), "{topic}");
        }
    });
}
