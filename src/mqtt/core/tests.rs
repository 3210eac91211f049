use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::answers::CONTRADICTIONS_MAX;
use super::*;
use crate::ditto::link::{Heard, LiveMessage};
use crate::ports::{Refused, Said};

pub(super) const A: &str = "devices/a:a/telemetry";

pub(super) fn options() -> CoreOptions {
    CoreOptions {
        topics: Topics::default(),
        replica: Replica::ALONE,
        payload_max: 1_000,
        packet_max: 256 * 1_024,
        max_rate: None,
        auto_create: None,
        window: 4,
        deadline: Duration::from_secs(10),
        command_subtopics: false,
        dead_letter_topic: None,
    }
}

/// A core with a Ditto that a test answers for.
pub(super) struct Bench {
    pub core: Core,
    now: Instant,
    pub orders: VecDeque<Order>,
    pub published: Vec<(String, Value)>,
    packet: u16,
    pub acked: Vec<u16>,
    epoch: u64,
}

impl Bench {
    pub fn new(options: CoreOptions) -> Self {
        let now = Instant::now();
        let mut bench = Self {
            core: Core::new(options, now, 7),
            now,
            orders: VecDeque::new(),
            published: vec![],
            packet: 0,
            acked: vec![],
            epoch: 0,
        };
        bench.up();
        bench
    }

    pub fn up(&mut self) {
        self.epoch += 1;
        self.hear(Heard::Up { epoch: self.epoch, live: true });
    }

    pub fn down(&mut self) {
        self.orders.clear();
        self.hear(Heard::Down { epoch: self.epoch, why: String::new() });
    }

    pub fn hear(&mut self, heard: Heard) {
        self.core.heard(heard, self.now);
        self.turn();
    }

    fn turn(&mut self) {
        self.core.turn(self.now);
        for effect in self.core.effects() {
            match effect {
                Effect::Order(order) => self.orders.push_back(order),
                Effect::Publish { topic, payload, .. } => {
                    self.published.push((topic, serde_json::from_slice(&payload).unwrap()));
                }
                Effect::Rejected { .. } | Effect::TooLarge { .. } => {}
            }
        }
        while let Some(packet) = self.core.acks.due() {
            self.acked.push(packet);
        }
    }

    pub fn now(&self) -> Instant {
        self.now
    }

    pub fn later(&mut self, by: Duration) {
        self.now += by;
        self.turn();
    }

    /// Takes a message and returns the packet it is acknowledged with.
    pub fn say(&mut self, topic: &str, payload: &str) -> u16 {
        self.packet += 1;
        self.core.message(
            Incoming {
                topic: topic.as_bytes(),
                payload: payload.as_bytes(),
                skipped: None,
                is_duplicate: false,
                packet: Some(self.packet),
            },
            self.now,
        );
        self.turn();
        self.packet
    }

    pub fn answer(&mut self, result: Result<Value, Refused>) -> What {
        let Order { epoch, number, what, .. } = self.orders.pop_front().expect("an order");
        self.hear(Heard::Answer { epoch, number, result });
        what
    }

    pub fn merged(&mut self, patch: Value) {
        assert_eq!(self.answer(Ok(Value::Null)), What::Merge(patch));
    }

    /// The next question is about a thing with this telemetry and these features.
    #[expect(clippy::needless_pass_by_value, reason = "rows read better so")]
    pub fn learn(&mut self, telemetry: Value, features: Value) {
        let about =
            json!({"_revision": 5, "features": features, "_metadata": {"twinops": {"telemetry": telemetry}}});
        assert_eq!(self.answer(Ok(about)), What::About);
    }

    fn rejected(&self, reason: Reject) -> u64 {
        self.core.counts.rejected.get(&reason).copied().unwrap_or_default()
    }
}

pub(super) fn said(status: u16) -> Said {
    Said { status, message: "x".to_owned(), ..Said::default() }
}

pub(super) fn value(name: &str, value: impl Into<Value>) -> Value {
    json!({name: {"properties": {"value": value.into()}}})
}

#[test]
fn an_idle_thing_is_written_at_once_and_what_comes_meanwhile_goes_together() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 1}"#);
    bench.learn(json!(null), json!({}));
    bench.say(A, r#"{"t": 2}"#);
    bench.say(A, r#"{"t": 3, "h": 60}"#);
    assert_eq!(bench.orders.len(), 1, "one write of a thing is on its way at most");
    assert!(bench.acked.is_empty(), "nothing is acknowledged before it is written");
    bench.merged(value("t", 1));
    assert_eq!(bench.acked, [1]);
    bench.merged(json!({"t": {"properties": {"value": 3}}, "h": {"properties": {"value": 60}}}));
    assert_eq!(bench.acked, [1, 2, 3]);
    bench.say(A, r#"{"t": 4}"#);
    assert_eq!(bench.orders.len(), 1, "at once");
    let counts = &bench.core.counts;
    assert_eq!((counts.received, counts.coalesced, counts.writes, counts.written), (4, 1, 2, 3));
}

#[test]
fn f37_acknowledgements_wait_for_the_write_of_the_message_before() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 1}"#);
    bench.say("devices/a:b/telemetry", r#"{"t": 1}"#);
    bench.learn(json!(null), json!({}));
    bench.learn(json!(null), json!({}));
    let first = bench.orders.pop_front().unwrap();
    bench.merged(value("t", 1));
    assert!(bench.acked.is_empty(), "the second is written, and the first not yet");
    bench.hear(Heard::Answer { epoch: first.epoch, number: first.number, result: Ok(Value::Null) });
    assert_eq!(bench.acked, [1, 2]);
}

#[test]
fn f38_what_ditto_does_not_take_waits_and_the_last_value_is_written() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 1, "h": 1}"#);
    bench.learn(json!(null), json!({}));
    for round in 2..100 {
        bench.answer(Err(Refused::Unavailable(said(503))));
        bench.say(A, &format!("{{\"t\": {round}}}"));
        assert!(bench.orders.is_empty(), "not at once");
        bench.later(Duration::from_secs(6));
    }
    assert!(bench.acked.is_empty());
    assert!(bench.core.load().0 < 2_000, "as much as one message: {:?}", bench.core.load());
    bench.merged(json!({"t": {"properties": {"value": 99}}, "h": {"properties": {"value": 1}}}));
    assert_eq!(bench.acked.len(), 99);
    assert_eq!(bench.core.counts.retries, 98);
}

#[test]
fn a_link_that_breaks_sends_everything_again() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 1}"#);
    bench.down();
    bench.say(A, r#"{"h": 1}"#);
    bench.up();
    bench.learn(json!(null), json!({}));
    assert_eq!(bench.orders.len(), 1);
    bench.down();
    bench.say(A, r#"{"t": 2}"#);
    assert!(bench.orders.is_empty());
    bench.up();
    // The write, and whether the rules are still those.
    let whats: Vec<What> = bench.orders.iter().map(|order| order.what.clone()).collect();
    let patch = json!({"t": {"properties": {"value": 2}}, "h": {"properties": {"value": 1}}});
    assert!(whats.contains(&What::Merge(patch)) && whats.contains(&What::About), "{whats:?}");
    // An answer of the time before means nothing.
    bench.hear(Heard::Answer { epoch: 1, number: 2, result: Ok(Value::Null) });
    assert!(bench.acked.is_empty());
}

#[test]
fn ditto_that_asks_for_patience_gets_it() {
    let mut bench = Bench::new(options());
    for thing in ["a", "b", "c", "d"] {
        bench.say(&format!("devices/a:{thing}/telemetry"), r#"{"t": 1}"#);
    }
    (0..4).for_each(|_| bench.learn(json!(null), json!({})));
    bench.answer(Err(Refused::RateLimited { said: said(429), after_ms: Some(3_000) }));
    (0..3).for_each(|_| drop(bench.answer(Err(Refused::RateLimited { said: said(429), after_ms: None }))));
    bench.later(Duration::from_millis(2_900));
    assert!(bench.orders.is_empty());
    bench.later(Duration::from_millis(100));
    assert_eq!(bench.orders.len(), 2, "half as many at once");
    for _ in 0..4 {
        bench.merged(value("t", 1));
    }
    assert_eq!(bench.acked, [1, 2, 3, 4]);
}

#[test]
fn an_answer_that_never_comes_is_given_up() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 1}"#);
    bench.later(Duration::from_secs(11));
    bench.orders.clear();
    bench.later(Duration::from_secs(6));
    bench.learn(json!(null), json!({}));
    bench.merged(value("t", 1));
    assert_eq!((bench.acked.as_slice(), bench.core.counts.retries), (&[1][..], 1));
}

#[test]
fn a_thing_that_ditto_does_not_know_is_not_made() {
    let mut bench = Bench::new(CoreOptions { dead_letter_topic: Some("dead".to_owned()), ..options() });
    bench.say(A, r#"{"t": 1}"#);
    bench.say(A, r#"{"h": 2}"#);
    assert_eq!(bench.answer(Err(Refused::Missing(said(404)))), What::About);
    assert_eq!(bench.acked, [1, 2], "or they would come again for ever");
    let (topic, letter) = bench.published.pop().unwrap();
    assert_eq!(
        (topic.as_str(), &letter["reason"], &letter["messages"]),
        ("dead", &json!("unknown_twin"), &json!(2))
    );
    assert_eq!(letter["payload"], json!({"t": 1, "h": 2}));
    bench.say(A, r#"{"t": 3}"#);
    assert!(bench.orders.is_empty(), "not asked about with every message");
    assert_eq!(bench.rejected(Reject::UnknownTwin), 3);
    // It is made: that is heard of.
    bench.hear(Heard::Changed { thing: ThingId::parse("a:a").unwrap() });
    bench.learn(json!(null), json!({}));
    bench.say(A, r#"{"t": 4}"#);
    bench.merged(value("t", 4));
    // It is deleted between two messages.
    bench.say(A, r#"{"t": 5}"#);
    bench.answer(Err(Refused::Missing(said(404))));
    bench.answer(Err(Refused::Missing(said(404))));
    assert_eq!((bench.rejected(Reject::UnknownTwin), bench.acked.len()), (4, 5));
    // It is forgotten.
    bench.later(Duration::from_mins(1));
    assert!(bench.core.lanes.is_empty() && bench.core.topics.is_empty());
}

#[test]
fn a_thing_is_made_when_that_is_wanted() {
    let policy = PolicyId::parse("a:p").unwrap();
    let mut bench = Bench::new(CoreOptions { auto_create: Some(policy.clone()), ..options() });
    bench.say(A, r#"{"t": 1}"#);
    bench.answer(Err(Refused::Missing(said(404))));
    assert_eq!(bench.answer(Ok(Value::Null)), What::Create(policy));
    bench.learn(json!(null), json!({}));
    bench.merged(value("t", 1));
    assert_eq!((bench.acked.as_slice(), bench.core.counts.created), (&[1][..], 1));
    // One that is refused is not tried for ever.
    bench.say("devices/a:z/telemetry", r#"{"t": 1}"#);
    bench.answer(Err(Refused::Missing(said(404))));
    bench.answer(Err(Refused::Forbidden(said(403))));
    assert_eq!((bench.rejected(Reject::Refused), bench.acked.len()), (1, 2));
}

#[test]
fn a_thing_that_is_there_and_hidden_is_not_made_for_ever() {
    let policy = PolicyId::parse("a:p").unwrap();
    let mut bench = Bench::new(CoreOptions { auto_create: Some(policy.clone()), ..options() });
    bench.say(A, r#"{"t": 1}"#);
    for _ in 0..=CONTRADICTIONS_MAX {
        assert_eq!(bench.answer(Err(Refused::Missing(said(404)))), What::About);
        assert_eq!(bench.answer(Err(Refused::Changed(said(412)))), What::Create(policy.clone()));
    }
    assert!(bench.orders.is_empty(), "{:?}", bench.orders);
    assert_eq!((bench.rejected(Reject::Refused), bench.acked.as_slice()), (1, &[1][..]));
    assert_eq!(bench.core.counts.created, 0);
}

#[test]
fn rules_of_the_twin_count_also_for_what_came_before_they_were_known() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 1, "seq": 5}"#);
    bench.learn(json!({"mapping": {"t": "/features/climate/properties/air"}, "maxRate": 10}), json!({}));
    bench.merged(json!({"climate": {"properties": {"air": 1}}}));
    bench.say(A, r#"{"t": 2}"#);
    assert!(bench.orders.is_empty(), "ten a second");
    bench.later(Duration::from_millis(100));
    bench.merged(json!({"climate": {"properties": {"air": 2}}}));
    // The rules change.
    bench.hear(Heard::Changed { thing: ThingId::parse("a:a").unwrap() });
    bench.learn(json!({"enabled": false}), json!({}));
    bench.say(A, r#"{"t": 3}"#);
    assert_eq!((bench.rejected(Reject::Disabled), bench.acked.len(), bench.orders.len()), (1, 3, 0));
}

#[test]
fn f36_an_older_message_is_acknowledged_with_the_newer_one() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 0}"#);
    bench.learn(json!(null), json!({}));
    bench.merged(value("t", 0));
    bench.say(A, r#"{"t": 2, "seq": 2}"#);
    bench.say(A, r#"{"t": 1, "seq": 1}"#);
    assert_eq!(bench.acked, [1]);
    bench.merged(value("t", 2));
    assert_eq!(bench.acked, [1, 2, 3]);
    assert_eq!((bench.rejected(Reject::Outdated), bench.orders.len()), (1, 0));
}

#[test]
fn s49_of_a_write_that_is_refused_everything_else_is_written() {
    let mut bench = Bench::new(CoreOptions { dead_letter_topic: Some("dead".to_owned()), ..options() });
    bench.say(A, r#"{"a": 1, "b": 2, "c": 3}"#);
    bench.learn(json!(null), json!({}));
    bench.answer(Err(Refused::TooLarge(said(413))));
    bench.say(A, r#"{"c": 4}"#);
    bench.merged(value("a", 1));
    assert_eq!(bench.answer(Err(Refused::TooLarge(said(413)))), What::Merge(value("b", 2)));
    assert!(bench.acked.is_empty());
    bench.merged(value("c", 3));
    assert_eq!(bench.acked, [1]);
    bench.merged(value("c", 4));
    assert_eq!((bench.acked.as_slice(), bench.rejected(Reject::TooLarge)), (&[1, 2][..], 1));
    assert_eq!(bench.published[0].1["payload"], json!({"b": 2}));
    assert_eq!(bench.core.load().0, 0);
}

#[test]
fn s46_s47_s48_bad_messages_are_acknowledged_and_told_with_their_reason() {
    let mut bench = Bench::new(CoreOptions { dead_letter_topic: Some("dead".to_owned()), ..options() });
    bench.say(A, r#"{"t": 0}"#);
    bench.learn(json!(null), json!({}));
    bench.merged(value("t", 0));
    let long = format!("{{\"t\": \"{}\"}}", "x".repeat(1_000));
    let rows = [
        ("devices//telemetry", "{}", Reject::BadTopic),
        ("devices/a/b/telemetry", "{}", Reject::BadTopic),
        (A, "25.5", Reject::BadJson),
        (A, "{\"t\": null}", Reject::BadValue),
        (A, long.as_str(), Reject::TooLarge),
    ];
    for (topic, payload, reason) in rows {
        let packet = bench.say(topic, payload);
        assert_eq!(bench.acked.last(), Some(&packet), "{topic} {payload}");
        let (_, letter) = bench.published.pop().unwrap();
        assert_eq!((&letter["reason"], &letter["from"]), (&json!(reason.word()), &json!(topic)));
        assert_eq!(bench.orders.len(), 0);
    }
    // The payload names another thing: the topic alone counts.
    bench.say(A, r#"{"thingId": "a:b"}"#);
    assert_eq!(bench.orders[0].thing.as_str(), "a:a");
}

#[test]
fn f39_replicas_share_the_things_and_leave_none_out() {
    let mut taken = BTreeMap::new();
    for index in 0..3 {
        let mut bench =
            Bench::new(CoreOptions { replica: Replica { index, count: 3 }, window: 1_000, ..options() });
        for thing in 0..90 {
            bench.say(&format!("devices/a:t{thing}/telemetry"), r#"{"t": 1}"#);
            let message = LiveMessage {
                thing: ThingId::parse(&format!("a:t{thing}")).unwrap(),
                subject: "s".to_owned(),
                correlation: thing.to_string(),
                path: "/inbox/messages/s".to_owned(),
                topic: String::new(),
                content_type: None,
                value: None,
                patience: None,
            };
            bench.hear(Heard::Message(message));
        }
        let asked: Vec<String> = bench.orders.iter().map(|order| order.thing.to_string()).collect();
        let told = bench.published.iter().map(|(topic, _)| topic.split('/').nth(1).unwrap().to_owned());
        assert_eq!(asked, told.collect::<Vec<_>>(), "both directions");
        assert_eq!(bench.core.counts.elsewhere, 90 - asked.len() as u64);
        for thing in asked {
            *taken.entry(thing).or_insert(0) += 1;
        }
    }
    assert_eq!(taken.len(), 90);
    assert!(taken.values().all(|count| *count == 1));
}

#[test]
fn silence_makes_a_device_stale() {
    let mut bench = Bench::new(options());
    bench.say(A, r#"{"t": 1}"#);
    bench.learn(json!({"staleAfter": "90s"}), json!({}));
    bench.merged(value("t", 1));
    bench.hear(Heard::Changed { thing: ThingId::parse("a:quiet").unwrap() });
    bench.learn(json!(null), json!({}));
    bench.later(Duration::from_secs(1));
    assert_eq!(bench.core.population(), Population { online: 1, stale: 0, unheard: 1 });
    bench.later(Duration::from_secs(90));
    assert_eq!(bench.core.population(), Population { online: 0, stale: 1, unheard: 1 });
    let stale = bench.core.devices(bench.now, |presence| presence == Presence::Stale, "", 10);
    assert_eq!(
        (stale.len(), stale[0].thing_id.as_str(), stale[0].heard_ago),
        (1, "a:a", Some(Duration::from_secs(91)))
    );
    assert_eq!(bench.core.devices(bench.now, |_| true, "a:a", 10).len(), 1, "the next page");
}

#[test]
fn s50_a_message_that_comes_again_after_every_reconnect_is_handled_once_each_time() {
    let mut bench = Bench::new(options());
    for round in 1..=3 {
        let packet = bench.say(A, "no json");
        assert_eq!((bench.acked.last(), bench.rejected(Reject::BadJson)), (Some(&packet), round));
        bench.core.disconnected();
    }
    assert!(bench.orders.is_empty() && bench.core.acks.is_empty());
}

#[test]
fn memory_is_bounded_by_reading_no_further() {
    let mut bench = Bench::new(CoreOptions { payload_max: 65_536, ..options() });
    bench.down();
    let mut things = 0;
    while !bench.core.is_full() {
        things += 1;
        let payload = format!("{{\"t\": \"{}\"}}", "x".repeat(50_000));
        bench.say(&format!("devices/a:t{things}/telemetry"), &payload);
        bench.say(&format!("devices/a:t{things}/telemetry"), &payload);
    }
    let most = WAITING_BYTES_MAX / 50_000;
    assert!((most - 20..=most + 20).contains(&things), "{things} {most}");
}
