use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{Bench, options, said, value};
use super::*;
use crate::ditto::link::Heard;
use crate::ports::Refused;
use crate::twin::json::{merge, same};

/// What happens next in a run.
#[derive(Clone, Debug)]
enum Step {
    Say(usize, u8),
    Answer(usize, u8),
    Break,
    Reconnect,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..3, 0_u8..4).prop_map(|(thing, name)| Step::Say(thing, name)),
        6 => (0_usize..4, 0_u8..8).prop_map(|(order, result)| Step::Answer(order, result)),
        1 => Just(Step::Break),
        1 => Just(Step::Reconnect),
        2 => (1_u16..6_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever Ditto answers, in whatever order, and however often both sides break: every thing ends with the last
    /// value of every path, every message that was not sent again is acknowledged, in order, and none before a write
    /// that holds its value or a newer one was taken.
    #[test]
    fn f36_f37_f38_nothing_is_lost_whatever_happens(steps in prop::collection::vec(step(), 1..80)) {
        let mut bench = Bench::new(CoreOptions { window: 3, ..options() });
        let mut ditto: BTreeMap<String, Value> = BTreeMap::new();
        let mut wanted: BTreeMap<String, Value> = BTreeMap::new();
        // Values in the order they were said, by packet; unacknowledged ones come again after a reconnect.
        let mut sent: VecDeque<(u16, usize, u8, u64)> = VecDeque::new();
        let mut number = 0_u64;
        let carry = |ditto: &mut BTreeMap<String, Value>, order: &Order| match &order.what {
            What::Merge(patch) => {
                merge(ditto.entry(order.thing.to_string()).or_insert(json!({})), patch);
                Ok(Value::Null)
            }
            _ => Ok(json!({"_revision": 1})),
        };
        let say = |bench: &mut Bench, thing: usize, name: u8, number: u64| {
            bench.say(&format!("devices/a:t{thing}/telemetry"), &format!("{{\"n{name}\": {number}}}"))
        };
        let settle = |bench: &mut Bench, sent: &mut VecDeque<(u16, usize, u8, u64)>, ditto: &BTreeMap<String, Value>| {
            for packet in bench.acked.drain(..) {
                let (expected, thing, name, number) = sent.pop_front().expect("an ack for a message");
                assert_eq!(packet, expected, "in order");
                let held = ditto.get(&format!("a:t{thing}")).and_then(|it| it[format!("n{name}")]["properties"]["value"].as_u64());
                assert!(held.is_some_and(|held| held >= number), "acknowledged before it was written: {number} {held:?}");
            }
        };
        for step in steps {
            match step {
                Step::Say(thing, name) => {
                    number += 1;
                    let packet = say(&mut bench, thing, name, number);
                    sent.push_back((packet, thing, name, number));
                    merge(wanted.entry(format!("a:t{thing}")).or_insert(json!({})), &value(&format!("n{name}"), number));
                }
                Step::Answer(at, result) => {
                    if bench.orders.is_empty() { continue }
                    let order = bench.orders.remove(at % bench.orders.len()).unwrap();
                    // A write may be applied although its answer is lost.
                    let answer = match result {
                        0 => Err(Refused::Unavailable(said(503))),
                        1 => { let _ = carry(&mut ditto, &order); Err(Refused::Unavailable(said(0))) }
                        2 => Err(Refused::RateLimited { said: said(429), after_ms: Some(50) }),
                        3 => { let _ = carry(&mut ditto, &order); bench.orders.push_back(order); continue }
                        _ => carry(&mut ditto, &order),
                    };
                    bench.hear(Heard::Answer { epoch: order.epoch, number: order.number, result: answer });
                }
                Step::Break => { bench.down(); bench.later(Duration::from_millis(10)); bench.up(); }
                Step::Reconnect => {
                    bench.core.disconnected();
                    let again: Vec<_> = sent.drain(..).collect();
                    for (_, thing, name, number) in again {
                        let packet = say(&mut bench, thing, name, number);
                        sent.push_back((packet, thing, name, number));
                    }
                }
                // What was given up is not carried out later: Ditto may do that, see docs/mqtt.md.
                Step::Wait(millis) => {
                    bench.later(Duration::from_millis(millis.into()));
                    let Bench { orders, core, .. } = &mut bench;
                    orders.retain(|order| core.calls.contains_key(&order.number));
                }
            }
            settle(&mut bench, &mut sent, &ditto);
        }
        // Everything is well again.
        for _ in 0..1_000 {
            if sent.is_empty() && bench.orders.is_empty() { break }
            while let Some(order) = bench.orders.pop_front() {
                let answer = carry(&mut ditto, &order);
                bench.hear(Heard::Answer { epoch: order.epoch, number: order.number, result: answer });
                settle(&mut bench, &mut sent, &ditto);
            }
            bench.later(Duration::from_secs(1));
            settle(&mut bench, &mut sent, &ditto);
        }
        prop_assert!(sent.is_empty(), "not acknowledged: {sent:?}");
        prop_assert!(same(&json!(ditto), &json!(wanted)), "{ditto:?} {wanted:?}");
        prop_assert_eq!(bench.core.load().0, 0);
    }
}
