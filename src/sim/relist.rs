//! A second list of everything: it goes over what is kept, and nothing is kept twice.
use std::sync::{Arc, Weak};

use kube::runtime::watcher::Event;
use serde_json::json;

use super::cluster::{Cluster, Kind};
use super::operator::{Operator, read};
use super::wire::Mailbox;
use crate::api::DigitalTwin;

const TWINS: usize = 50;

#[tokio::test]
async fn a_second_list_goes_over_the_first_one_by_one_and_sweeps_what_went() {
    let (mailbox, mut cluster) = (Mailbox::default(), Cluster::default());
    for number in 0..TWINS {
        let spec = json!({"thingId": format!("org.t:t{number}"), "policyId": "org.t:p"});
        cluster.apply(&(Kind::Twin, format!("t{number}")), &spec);
    }
    let listed: Vec<_> = cluster.at(cluster.log.len()).into_values().collect();
    let mut operator = Operator::start(&mailbox, super::client(&mailbox), &cluster, cluster.log.len(), 0);
    let shared = Arc::clone(&operator.context.shared);
    let (kept, claimed) = (
        || shared.twins.all(None),
        |number: usize| !shared.catalog.lock().claimants(&format!("org.t:t{number}")).is_empty(),
    );
    let old: Vec<Weak<_>> = kept().iter().map(Arc::downgrade).collect();
    assert_eq!(old.len(), TWINS);
    let alive = || old.iter().filter(|old| old.strong_count() > 0).count();

    let observer = &mut operator.twins.observer;
    observer.take(Ok(Event::Init));
    let (gone, there) = listed.split_first().expect("twins");
    for (taken, object) in there.iter().enumerate() {
        let due = observer.take(Ok(Event::InitApply(read::<DigitalTwin>(object))));
        assert!(due.is_none(), "nothing steers it otherwise than before");
        assert_eq!(alive(), TWINS - taken - 1, "each is replaced when it comes");
        assert_eq!(kept().len(), TWINS, "and nobody misses one meanwhile");
    }
    // A list that breaks off takes nothing away.
    observer.take(Ok(Event::Init));
    assert!(kept().len() == TWINS && claimed(0) && gone["metadata"]["name"] == "t0");
    for object in there {
        observer.take(Ok(Event::InitApply(read::<DigitalTwin>(object))));
    }
    observer.take(Ok(Event::InitDone));
    assert_eq!((kept().len(), alive()), (TWINS - 1, 0));
    assert!(!claimed(0) && claimed(1));
}
