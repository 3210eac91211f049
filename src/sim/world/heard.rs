//! News of a change that a pass could not look into.
use std::time::Instant;

use serde_json::{Value, json};

use super::super::super::changes::Heard;
use super::super::backend::PEOPLE;
use super::super::fault::{Fault, Plan};
use super::super::scenario::{THING, all};
use super::super::step::twin;
use super::super::wire::Side;
use super::super::{NAMESPACE, RESYNC};
use super::{Choice, SHORT_MS, World};

const WHO: &str = "sim:somebody";

impl World {
    /// Plays until nothing is due; the first request to Ditto of a twin's pass is refused as of nobody it knows. Tells
    /// whether the news of a change was still there right after that pass.
    async fn refuse_one(&mut self) -> bool {
        let (mut refused, mut kept) = (false, None);
        while let Some(choice) = self.choose() {
            if let Choice::Answer(o, p) = choice {
                let waiting = self.operators[o].passes[p].waiting.as_ref();
                if !refused && waiting.is_some_and(|arrived| arrived.asked.side == Side::Ditto) {
                    self.plan.faults.push((self.asked, Fault::Refused(401)));
                    refused = true;
                }
            }
            self.carry_out(choice).await;
            if refused && kept.is_none() && self.leader().passes.is_empty() {
                let place = (NAMESPACE.to_owned(), "t".to_owned());
                kept = Some(self.leader().context.shared.heard.lock().contains_key(&place));
            }
        }
        kept.expect("a pass that was refused")
    }
}

#[tokio::test]
async fn f29_whose_change_it_was_is_told_by_the_pass_that_could_look() {
    let scenario = all().into_iter().find(|scenario| scenario.name == "create").expect("a scenario");
    let mut world = World::new(Plan::plain("create"), scenario.steps.clone());
    world.run().await;
    let path = format!("/things/{THING}");
    let wrong = json!({"attributes": {"location": "elsewhere"}});
    assert!(world.ditto.by_hand(PEOPLE, "PATCH", &path, Some(&wrong)));
    world.change();
    // As the stream of changes would tell.
    let place = (NAMESPACE.to_owned(), "t".to_owned());
    let heard = Heard { since: Instant::now(), originator: Some(WHO.to_owned()) };
    let shared = &world.leader().context.shared;
    shared.heard.lock().insert(place, heard);
    shared.wake(([(NAMESPACE.to_owned(), "t".to_owned())].into(), [].into()));
    let now = world.now;
    world.leader().take_wake_ups(now);
    assert!(world.refuse_one().await, "the pass that was refused keeps the news");

    world.settle(SHORT_MS.max(u64::try_from(RESYNC.as_millis()).expect("small") / 2), false).await;
    let status = world.cluster.get(&twin("t")).expect("the twin")["status"].clone();
    assert_eq!(status["drift"]["originator"], WHO, "{status:#}");
    let thing = world.ditto.thing(THING).expect("the thing");
    assert_eq!(thing["attributes"]["location"], Value::from("hall-1"));
    assert!(world.leader().context.shared.heard.lock().is_empty(), "told once");
}
