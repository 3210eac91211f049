//! The deterministic simulation: the operator, as it is, between a simulated API server and the engine as
//! Ditto, with devices and people beside it, and every request broken in every way.
//!
//! Real are: passes, catalog, finalizers, status, memory of own writes, backoff, the client of Ditto down
//! to its headers, and the engine from its routes to its state. Modelled are: the API server
//! ([`cluster`]), what the Kubernetes library does between a watch and a pass ([`operator`]), the
//! network ([`wire`]) and the clock ([`world`]). One scheduler moves everything, one request at a time, so
//! that a run is the same each time it is played. `docs/simulation.md` tells more.
mod applied;
mod backend;
mod check;
mod cluster;
mod fault;
mod operator;
mod plans;
mod play;
mod relist;
mod rows;
mod scenario;
mod step;
mod tests;
mod wire;
mod world;

use std::cell::Cell;
use std::time::Duration;

use serde_json::Value;

use self::fault::Plan;
use self::scenario::{LEFT_BEHIND, Scenario, Storm};
use self::wire::Mailbox;
use self::world::{Seen, World};
use crate::ditto::{Connection, Credentials, DittoClient};
use crate::twin::json::Pointer;

const NAMESPACE: &str = "plant";
const OWNER: &str = "this-cluster";
const RESYNC: Duration = Duration::from_secs(512);

thread_local! {
    /// Whether runs of this thread write down what happens.
    static TELLS: Cell<bool> = const { Cell::new(false) };
}

fn tells() -> bool {
    TELLS.get()
}

fn client(mailbox: &Mailbox) -> DittoClient {
    let connection = Connection {
        credentials: Credentials::PreAuthenticated(backend::OPERATOR.to_owned()),
        ..Connection::new("http://ditto", "sim")
    };
    DittoClient::on_wire(connection, mailbox.ditto()).expect("a client")
}

/// How a run went.
struct Run {
    problems: Vec<String>,
    end: Value,
    seen: Vec<Seen>,
    /// The numbers of the watch events that are about the scenario.
    events: std::ops::Range<usize>,
    trace: Vec<String>,
}

fn run(scenario: &Scenario, plan: &Plan) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new(plan.clone(), scenario.steps.clone());
        world.run().await;
        let mut end = check::end(&world.cluster, &world.ditto);
        if world.base_is_lost && !plan.faults.is_empty() {
            let left = LEFT_BEHIND.iter().filter(|(name, _)| *name == scenario.name);
            left.for_each(|(_, path)| drop(Pointer::parse(path).remove(&mut end)));
        }
        let mut problems = std::mem::take(&mut world.watchman.problems);
        if !scenario.leaves_marks {
            problems.extend(check::orphans(&world.cluster, &world.ditto));
        }
        for (place, wanted) in &scenario.end {
            let found = Pointer::parse(place).get(&end).unwrap_or(&Value::Null);
            if found != wanted {
                problems.push(format!("I1: at the end {place} is {found} and not {wanted}"));
            }
        }
        let World { seen, events, prelude_events, trace, .. } = world;
        Run { problems, end, seen, events: prelude_events..events, trace: trace.into() }
    })
}

/// How a storm went.
struct Stormed {
    problems: Vec<String>,
    /// Device writes that Ditto took; fewer than planned when something went wrong.
    writes: usize,
    passes: usize,
    trace: Vec<String>,
}

/// Device writes between the requests of passes over one twin.
fn storm(plan: &Plan) -> Stormed {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new(plan.clone(), Storm::steps());
        let (writes, passes) = world.storm().await;
        let problems = std::mem::take(&mut world.watchman.problems);
        Stormed { problems, writes, passes, trace: world.trace.into() }
    })
}

/// What differs between two ends, by place.
fn differences(place: &Pointer, a: &Value, b: &Value, found: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            for key in x.keys().chain(y.keys().filter(|key| !x.contains_key(*key))) {
                let none = Value::Null;
                differences(
                    &place.child(key),
                    x.get(key).unwrap_or(&none),
                    y.get(key).unwrap_or(&none),
                    found,
                );
            }
        }
        _ if a != b => found.push(format!("{place} is {b} and not {a}")),
        _ => {}
    }
}
