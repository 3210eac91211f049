//! What goes wrong with one thing, one connection, or one order.
use std::time::Duration;

use serde_json::json;

use super::failing::{ALONE_MAX, GIVE_UP_AFTER, PROBE_EVERY};
use super::tests::{A, Bench, options, said, value};
use super::*;
use crate::ditto::link::{Heard, LiveMessage};
use crate::ports::Refused;

const B: &str = "devices/a:b/telemetry";

fn unavailable() -> Refused {
    Refused::Unavailable(said(500))
}

fn thing(id: &str) -> ThingId {
    ThingId::parse(id).unwrap()
}

/// Answers everything: what is written to the bad things fails, and everything else is taken. Returns the things that
/// were written without changing anything in them.
fn answer_all(bench: &mut Bench, bad: &[&str]) -> Vec<String> {
    let mut probed = vec![];
    while let Some(order) = bench.orders.pop_front() {
        if order.what == What::Merge(json!({})) {
            probed.push(order.thing.to_string());
        }
        let result = match &order.what {
            What::Merge(_) if bad.contains(&order.thing.as_str()) => Err(unavailable()),
            What::Merge(_) => Ok(Value::Null),
            _ => Ok(json!({"_revision": 1})),
        };
        bench.hear(Heard::Answer { epoch: order.epoch, number: order.number, result });
    }
    probed
}

fn rejected(bench: &Bench, reason: Reject) -> u64 {
    bench.core.counts.rejected.get(&reason).copied().unwrap_or_default()
}

#[test]
fn f38_a_thing_that_fails_alone_is_given_up_and_the_others_are_acknowledged() {
    let mut bench = Bench::new(CoreOptions { dead_letter_topic: Some("dead".to_owned()), ..options() });
    let bad = bench.say(A, r#"{"t": 1}"#);
    let step = Duration::from_millis(500);
    let mut waited = Duration::ZERO;
    while rejected(&bench, Reject::Refused) == 0 {
        assert!(bench.acked.is_empty(), "nothing is acknowledged before the first");
        assert!(waited < 2 * GIVE_UP_AFTER, "given up at last");
        bench.say(B, r#"{"t": 1}"#);
        answer_all(&mut bench, &["a:a"]);
        bench.later(step);
        waited += step;
    }
    assert!(waited >= GIVE_UP_AFTER, "{waited:?}");
    assert!(bench.acked.len() > 100 && bench.acked[0] == bad, "{:?}", bench.acked.len());
    let (topic, letter) = bench.published.pop().unwrap();
    assert_eq!((topic.as_str(), &letter["reason"]), ("dead", &json!("refused")));
    assert_eq!((&letter["from"], &letter["payload"]), (&json!("a:a"), &json!({"t": 1})));
    assert_eq!(bench.core.load().0, 0);

    // What it says next holds nobody up for long, also when it speaks seldom.
    for (given_up, pause) in [(1, Duration::ZERO), (2, GIVE_UP_AFTER * 3 / 2)] {
        bench.later(pause);
        bench.say(A, r#"{"t": 2}"#);
        let mut tries = 0;
        while rejected(&bench, Reject::Refused) == given_up {
            tries += 1;
            bench.say(B, r#"{"t": 1}"#);
            answer_all(&mut bench, &["a:a"]);
            bench.later(step);
            assert!(tries < 10, "after {pause:?}");
        }
    }
    assert!(bench.core.counts.retries >= u64::from(ALONE_MAX) + 2, "it was tried more than once");
    // It is mended.
    let last = bench.say(A, r#"{"t": 3}"#);
    answer_all(&mut bench, &[]);
    bench.later(step);
    answer_all(&mut bench, &[]);
    assert_eq!((bench.acked.last(), rejected(&bench, Reject::Refused)), (Some(&last), 3));
}

#[test]
fn f38_a_thing_that_fails_is_given_up_when_the_broker_sends_nothing_more() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 1}"#);
    // The others speak until the window of the broker is full.
    for _ in 0..10 {
        bench.say(B, r#"{"t": 1}"#);
        answer_all(&mut bench, &["a:a"]);
        bench.later(Duration::from_millis(500));
    }
    let mut waited = Duration::ZERO;
    while rejected(&bench, Reject::Refused) == 0 && waited < 2 * GIVE_UP_AFTER {
        answer_all(&mut bench, &["a:a"]);
        bench.later(Duration::from_secs(1));
        waited += Duration::from_secs(1);
    }
    assert_eq!((rejected(&bench, Reject::Refused), bench.acked.len()), (1, 11));
}

#[test]
fn f38_a_thing_that_fills_the_window_alone_is_given_up_too() {
    let mut bench = Bench::new(options());
    bench.say(B, r#"{"t": 1}"#);
    answer_all(&mut bench, &[]);
    bench.say(A, r#"{"t": 1}"#);
    let mut waited = Duration::ZERO;
    while rejected(&bench, Reject::Refused) == 0 && waited < 2 * GIVE_UP_AFTER {
        answer_all(&mut bench, &["a:a"]);
        bench.later(Duration::from_secs(1));
        waited += Duration::from_secs(1);
    }
    assert_eq!((rejected(&bench, Reject::Refused), bench.acked.len()), (1, 2));
    assert!(waited >= GIVE_UP_AFTER, "{waited:?}");
}

#[test]
fn f38_nothing_is_given_up_while_ditto_answers_reads_and_takes_no_write() {
    const HOUR: Duration = Duration::from_hours(1);
    let mut bench = Bench::new(options());
    bench.say(B, r#"{"t": 0}"#);
    answer_all(&mut bench, &[]);
    // A fails first, so that the next message of B is done and waits for it.
    bench.say(A, r#"{"t": 1}"#);
    bench.say(B, r#"{"t": 1}"#);
    answer_all(&mut bench, &["a:a"]);
    // From then on no write is taken, and everything is read.
    let mut probes = 0_u32;
    for _ in 0..HOUR.as_secs() {
        probes += u32::try_from(answer_all(&mut bench, &["a:a", "a:b"]).len()).expect("a few");
        bench.later(Duration::from_secs(1));
    }
    assert_eq!((rejected(&bench, Reject::Refused), bench.acked.len()), (0, 1));
    let most = HOUR.div_duration_f64(PROBE_EVERY);
    assert!((most / 2.0..=most + 1.0).contains(&f64::from(probes)), "{probes} writes that change nothing");
    // It takes writes again, and the value that waited.
    for _ in 0..3 {
        answer_all(&mut bench, &[]);
        bench.later(Duration::from_secs(6));
    }
    assert_eq!((rejected(&bench, Reject::Refused), bench.acked.len()), (0, 3));
}

#[test]
fn f38_whether_ditto_takes_writes_is_asked_of_things_that_were_written_and_changes_nothing() {
    let mut bench = Bench::new(CoreOptions { window: 10, ..options() });
    // B was written; C may be read and not written.
    bench.say(B, r#"{"t": 0}"#);
    bench.say("devices/a:c/telemetry", r#"{"t": 0}"#);
    while let Some(order) = bench.orders.pop_front() {
        let result = match (&order.what, order.thing.as_str()) {
            (What::Merge(_), "a:c") => Err(Refused::Forbidden(said(403))),
            (What::Merge(_), _) => Ok(Value::Null),
            _ => Ok(json!({"_revision": 1})),
        };
        bench.hear(Heard::Answer { epoch: order.epoch, number: order.number, result });
    }
    bench.say(A, r#"{"t": 1}"#);
    bench.say(B, r#"{"t": 1}"#);
    let mut probed = vec![];
    for _ in 0..300 {
        probed.extend(answer_all(&mut bench, &["a:a"]));
        bench.later(Duration::from_secs(1));
    }
    assert!(probed.len() > 5 && probed.iter().all(|thing| thing == "a:b"), "{probed:?}");
    assert_eq!(bench.core.counts.probes, probed.len() as u64);
}

#[test]
fn f38_a_thing_that_failed_alone_is_not_given_up_while_all_of_ditto_is_away() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 1}"#);
    for _ in 0..20 {
        bench.say(B, r#"{"t": 1}"#);
        answer_all(&mut bench, &["a:a"]);
        bench.later(Duration::from_secs(2));
    }
    // B is silent, its messages are done and wait for that of A; and Ditto answers nothing.
    for _ in 0..3_600 {
        while let Some(order) = bench.orders.pop_front() {
            bench.hear(Heard::Answer {
                epoch: order.epoch,
                number: order.number,
                result: Err(unavailable()),
            });
        }
        bench.later(Duration::from_secs(1));
    }
    assert_eq!((rejected(&bench, Reject::Refused), bench.acked.len()), (0, 0));
    // It is back, with A too.
    for _ in 0..3 {
        answer_all(&mut bench, &[]);
        bench.later(Duration::from_secs(6));
    }
    assert_eq!((rejected(&bench, Reject::Refused), bench.acked.len()), (0, 21));
}

#[test]
fn f36_a_late_message_does_not_overwrite_what_was_written_before_others_were_given_up() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 5, "seq": 5}"#);
    answer_all(&mut bench, &[]);
    bench.say(A, r#"{"t": 6, "seq": 6}"#);
    answer_all(&mut bench, &["a:a"]);
    let now = Instant::now();
    bench.core.drop_waiting(0, Reject::Refused, "x", now);
    bench.say(A, r#"{"t": 4, "seq": 4}"#);
    assert_eq!((rejected(&bench, Reject::Refused), rejected(&bench, Reject::Outdated)), (1, 1));
}

#[test]
fn f38_while_ditto_as_a_whole_is_away_nothing_is_given_up() {
    let mut bench = Bench::new(options());
    let names = ["a:a", "a:b", "a:c"];
    let say = |bench: &mut Bench| {
        for name in names {
            bench.say(&format!("devices/{name}/telemetry"), r#"{"t": 1}"#);
        }
    };
    say(&mut bench);
    answer_all(&mut bench, &[]);
    assert_eq!(bench.acked.len(), 3);
    for second in 0..3_600 {
        if second % 60 == 0 {
            say(&mut bench);
        }
        answer_all(&mut bench, &names);
        bench.later(Duration::from_secs(1));
    }
    assert_eq!(bench.acked.len(), 3);
    for _ in 0..10 {
        answer_all(&mut bench, &[]);
        bench.later(Duration::from_secs(6));
    }
    assert_eq!(bench.acked.len(), 183);
    assert!(Reject::ALL.iter().all(|reason| rejected(&bench, *reason) == 0));
}

#[test]
fn equal_correlation_ids_of_two_things_are_two_messages() {
    let mut bench = Bench::new(options());
    for name in ["a", "b"] {
        bench.hear(Heard::Message(LiveMessage {
            thing: thing(&format!("a:{name}")),
            subject: "s".to_owned(),
            correlation: "same".to_owned(),
            path: "/inbox/messages/s".to_owned(),
            topic: format!("a/{name}/things/live/messages/s"),
            content_type: None,
            value: None,
            patience: Some(Duration::from_secs(10)),
        }));
    }
    for name in ["a", "b"] {
        bench.say(&format!("devices/a:{name}/responses/same"), &json!(name).to_string());
        let order = bench.orders.pop_front().unwrap();
        let What::Reply(reply) = order.what else { panic!("no reply") };
        assert_eq!((order.thing, reply.value), (thing(&format!("a:{name}")), Some(json!(name))));
        assert_eq!(reply.topic, format!("a/{name}/things/live/messages/s"));
    }
    assert_eq!((bench.core.counts.responses, bench.core.counts.responses_unknown), (2, 0));
}

#[test]
fn a_thing_that_is_made_while_it_is_asked_about_is_asked_about_again() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 1}"#);
    // It is made after Ditto looked and before the answer is here.
    bench.hear(Heard::Changed { thing: thing("a:a") });
    assert_eq!(bench.answer(Err(Refused::Missing(said(404)))), What::About);
    assert!(bench.acked.is_empty());
    bench.learn(json!(null), json!({}));
    bench.merged(value("t", 1));
    assert_eq!((bench.acked.as_slice(), rejected(&bench, Reject::UnknownTwin)), (&[1][..], 0));
    // Once: nothing changed since.
    bench.say(B, r#"{"t": 1}"#);
    bench.hear(Heard::Changed { thing: thing("a:b") });
    bench.answer(Err(Refused::Missing(said(404))));
    bench.answer(Err(Refused::Missing(said(404))));
    assert_eq!((bench.orders.len(), rejected(&bench, Reject::UnknownTwin)), (0, 1));
}

#[test]
fn f36_an_older_message_that_comes_before_the_thing_is_known_overwrites_nothing() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 2, "seq": 2, "u": 2}"#);
    bench.say(A, r#"{"t": 1, "seq": 1, "v": 1}"#);
    bench.say(A, r#"{"w": 3, "seq": 3}"#);
    bench.learn(json!(null), json!({}));
    let patch = json!({"t": {"properties": {"value": 2}}, "u": {"properties": {"value": 2}}, "w": {"properties": {"value": 3}}});
    bench.merged(patch);
    assert_eq!((bench.acked.as_slice(), rejected(&bench, Reject::Outdated)), (&[1, 2, 3][..], 1));
    assert_eq!(bench.core.load().0, 0);
    // And the order holds on.
    bench.say(A, r#"{"t": 1, "seq": 2}"#);
    assert_eq!((bench.orders.len(), rejected(&bench, Reject::Outdated)), (0, 2));
}

#[test]
fn a_member_that_a_rule_takes_away_from_the_order_did_not_tell_it_before_either() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 2, "seq": 2}"#);
    bench.say(A, r#"{"t": 1, "seq": 1}"#);
    bench.learn(json!({"mapping": {"seq": "/features/count/properties/value"}}), json!({}));
    bench.merged(json!({"t": {"properties": {"value": 1}}, "count": {"properties": {"value": 1}}}));
    assert_eq!((bench.acked.as_slice(), rejected(&bench, Reject::Outdated)), (&[1, 2][..], 0));
}

#[test]
fn f36_an_older_message_after_a_thing_came_back_is_acknowledged_and_not_written() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 2, "seq": 2}"#);
    bench.learn(json!(null), json!({}));
    // Missing when written, there when asked: what is known is asked for again.
    bench.answer(Err(Refused::Missing(said(404))));
    bench.say(A, r#"{"t": 1, "seq": 1}"#);
    bench.learn(json!(null), json!({}));
    bench.merged(value("t", 2));
    assert_eq!((bench.acked.as_slice(), rejected(&bench, Reject::Outdated)), (&[1, 2][..], 1));
    assert_eq!(bench.core.load().0, 0);
}

#[test]
fn what_waits_for_a_thing_that_is_missing_is_dropped_with_what_was_overtaken() {
    let mut bench = Bench::new(CoreOptions { dead_letter_topic: Some("dead".to_owned()), ..options() });
    bench.say(A, r#"{"t": 2, "seq": 2}"#);
    bench.say(A, r#"{"u": 1, "seq": 1}"#);
    bench.answer(Err(Refused::Missing(said(404))));
    assert_eq!((bench.acked.as_slice(), rejected(&bench, Reject::UnknownTwin)), (&[1, 2][..], 2));
    assert_eq!(bench.published[0].1["payload"], json!({"t": 2, "u": 1, "seq": 1}));
    assert_eq!(bench.core.load().0, 0);
}

#[test]
fn s49_a_broker_without_a_window_is_read_no_further_than_so_many_messages() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 1}"#);
    while !bench.core.is_full() {
        bench.say(A, r#"{"t": 1}"#);
        assert!(bench.core.acks.len() <= UNACKNOWLEDGED_MAX);
    }
    assert_eq!(bench.core.acks.len(), UNACKNOWLEDGED_MAX);
    assert!(UNACKNOWLEDGED_MAX > usize::from(crate::mqtt::wire::RECEIVE_MAXIMUM), "MQTT 5 is never stopped");
    bench.learn(json!(null), json!({}));
    bench.merged(value("t", 1));
    assert!(!bench.core.is_full());
}

#[test]
fn f35_a_broker_that_breaks_again_and_again_leaves_nothing_of_its_connections() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 1}"#);
    bench.learn(json!(null), json!({}));
    for _ in 0..10 {
        for _ in 0..100 {
            bench.say(A, r#"{"t": 2}"#);
        }
        bench.core.disconnected();
    }
    let lane = &bench.core.lanes[0];
    let of_flight = lane.flight.as_ref().map_or(0, |flight| flight.tickets.len());
    assert_eq!((lane.tickets.len(), of_flight), (0, 0));
    let packet = bench.say(A, r#"{"t": 3}"#);
    bench.merged(value("t", 1));
    bench.merged(value("t", 3));
    assert_eq!(bench.acked, [packet]);
}

#[test]
fn things_that_are_forgotten_leave_the_others_where_they_are() {
    let mut bench = Bench::new(CoreOptions { window: 100, ..options() });
    for number in 0..30 {
        bench.say(&format!("devices/a:t{number}/telemetry"), r#"{"t": 1}"#);
    }
    // Each third is missing, the last one too.
    while let Some(order) = bench.orders.pop_front() {
        let number: u32 = order.thing.name().trim_start_matches('t').parse().unwrap();
        let result = match &order.what {
            What::About if number % 3 == 2 => Err(Refused::Missing(said(404))),
            What::About => Ok(json!({"_revision": 1})),
            _ => Ok(Value::Null),
        };
        bench.hear(Heard::Answer { epoch: order.epoch, number: order.number, result });
    }
    // Some have a write on its way, some wait for their time.
    bench.say("devices/a:t27/telemetry", r#"{"t": 2}"#);
    bench.say("devices/a:t28/telemetry", r#"{"t": 2}"#);
    bench.answer(Err(unavailable()));
    let flying = bench.orders.clone();
    bench.core.sweep(bench.core.start + Duration::from_mins(1));
    let core = &bench.core;
    assert_eq!((core.lanes.len(), core.names.len(), core.topics.len(), core.missing), (20, 20, 20, 0));
    for (thing, index) in &core.names {
        assert_eq!(core.lanes[*index].thing, *thing);
    }
    for (topic, index) in &core.topics {
        assert!(String::from_utf8_lossy(topic).contains(core.lanes[*index].thing.as_str()));
    }
    for order in &flying {
        assert_eq!(core.lanes[core.calls[&order.number].lane].thing, order.thing);
    }
    bench.later(Duration::from_secs(6));
    answer_all(&mut bench, &[]);
    assert_eq!(bench.acked.len(), 32);
    assert!(bench.core.lanes.iter().all(|(_, lane)| lane.is_idle()));
}
