//! Which runs there are: each request and watch event of a scenario with each fault, and pairs of them.
use super::Run;
use super::fault::{Dice, Fault, Plan, Twist};
use super::scenario::{NO_LONG_STALLS, NO_TWISTS, Scenario};
use super::wire::Side;
use super::world::Seen;

const TWISTS: [Twist; 3] = [Twist::Twice, Twist::Late, Twist::Missed];

/// The faults that a request of a scenario can meet and should survive.
fn faults(scenario: &Scenario, seen: &Seen) -> Vec<Fault> {
    // Status is written on top of what was read, so there nobody comes too late.
    let is_report = seen.asked.side == Side::Cluster && seen.asked.path().ends_with("/status");
    let may_stall = is_report || !NO_LONG_STALLS.contains(&scenario.name);
    let fits = |fault: &Fault| match fault {
        Fault::StepFirst => seen.may_step,
        Fault::DeposedLong => may_stall,
        // In the last step to stand still until all is quiet is to stand still until the end.
        Fault::Deposed => may_stall || !seen.is_last_step,
        _ => true,
    };
    Fault::of(&seen.asked).into_iter().filter(fits).collect()
}

/// Every single fault of a scenario: each request and watch event × each fault. Of faults that mean the
/// same to the operator only the one whose turn it is, unless `all` are wanted.
pub fn singles(scenario: &Scenario, plain: &Run, is_first: bool, all: bool) -> Vec<Plan> {
    let mut plans = vec![];
    for (at, seen) in plain.seen.iter().enumerate().filter(|(_, seen)| is_first || !seen.is_prelude) {
        for fault in faults(scenario, seen) {
            if all || is_turn(at, seen, fault) {
                plans.push(Plan { faults: vec![(at, fault)], ..Plan::plain(scenario.name) });
            }
        }
    }
    if NO_TWISTS.contains(&scenario.name) {
        return plans;
    }
    let events = if is_first { 0..plain.events.end } else { plain.events.clone() };
    for at in events {
        for twist in TWISTS {
            plans.push(Plan { twists: vec![(at, twist)], ..Plan::plain(scenario.name) });
        }
    }
    plans
}

/// Of faults that mean the same to the operator one has its turn at each request.
fn is_turn(at: usize, seen: &Seen, fault: Fault) -> bool {
    match fault {
        Fault::Unsent => at.is_multiple_of(3),
        Fault::Refused(500) => at % 3 == 1,
        Fault::Refused(503) => at % 3 == 2,
        Fault::Refused(409) => at.is_multiple_of(2) || seen.asked.side == Side::Cluster,
        Fault::Refused(412) => at % 2 == 1,
        _ => true,
    }
}

/// All pairs that begin with `first`: each fault of each later request, and each twist of a watch event, of
/// `run`, which has the first. A twist is followed by twists only; its pairs with faults begin with the fault.
pub fn pairs(scenario: &Scenario, first: &Plan, run: &Run) -> Vec<Plan> {
    let mut plans = vec![];
    // A step that comes early may be the last: then who stalls until all is quiet stalls to the end. And with a watch event
    // that comes late the same request is another one.
    let is_stall = |(_, fault): &(usize, Fault)| matches!(fault, Fault::Deposed | Fault::DeposedLong);
    let stalls = NO_LONG_STALLS.contains(&scenario.name) && first.faults.first().is_some_and(is_stall);
    if let Some((place, _)) = first.faults.first() {
        let fits = |fault: &Fault| !(stalls && *fault == Fault::StepFirst);
        for (at, seen) in run.seen.iter().enumerate().skip(place + 1) {
            let some = faults(scenario, seen).into_iter().filter(|fault| is_turn(at, seen, *fault));
            for fault in some.filter(fits) {
                let faults = first.faults.iter().copied().chain([(at, fault)]).collect();
                plans.push(Plan { faults, ..first.clone() });
            }
        }
    }
    if !NO_TWISTS.contains(&scenario.name) {
        let after = first.twists.first().map_or(0, |(at, _)| at + 1);
        for at in run.events.clone().skip_while(|at| *at < after) {
            for twist in TWISTS.into_iter().filter(|twist| !stalls || *twist == Twist::Twice) {
                let twists = first.twists.iter().copied().chain([(at, twist)]).collect();
                plans.push(Plan { twists, ..first.clone() });
            }
        }
    }
    plans
}

/// At most so many of them, as the dice say.
pub fn some(mut plans: Vec<Plan>, most: usize, dice: &mut Dice) -> Vec<Plan> {
    while plans.len() > most {
        plans.swap_remove(dice.roll(plans.len()));
    }
    plans
}
