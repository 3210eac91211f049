//! The runs.
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::fault::{Dice, Fault, Mutant, Plan, Twist};
use super::scenario::{NO_LONG_STALLS, NO_TWISTS, Scenario, all};
use super::wire::Side;
use super::world::Seen;
use super::{Run, TELLS, differences, run, storm};
use crate::twin::json::Pointer;

/// Failures that are told in full; the rest is counted.
const TOLD_MAX: usize = 5;

/// How often a loop repeats: `few`, unless `TWINOPS_ROUNDS` asks for more.
fn rounds(few: usize) -> usize {
    std::env::var("TWINOPS_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .map_or(few, |n: usize| n.max(few))
}

/// What is wrong with a run, compared with the plain one.
fn judge(plain: &Run, run: &Run) -> Vec<String> {
    let mut problems = run.problems.clone();
    differences(&Pointer::root(), &plain.end, &run.end, &mut problems);
    problems
}

/// The faults that a request of a scenario can meet and should survive.
fn faults(scenario: &Scenario, seen: &Seen) -> Vec<Fault> {
    // Status is written on top of what was read, so there nobody comes too late.
    let is_report = seen.asked.side == Side::Cluster && seen.asked.path().ends_with("/status");
    let may_stall = is_report || !NO_LONG_STALLS.contains(&scenario.name);
    let fits = |fault: &Fault| match fault {
        Fault::StepFirst => seen.steps_left,
        Fault::DeposedLong => may_stall,
        // In the last step to stand still until all is quiet is to stand still until the end.
        Fault::Deposed => may_stall || seen.steps_left,
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
            let is_turn = match fault {
                Fault::Unsent => at % 3 == 0,
                Fault::Refused(500) => at % 3 == 1,
                Fault::Refused(503) => at % 3 == 2,
                Fault::Refused(409) => at % 2 == 0 || seen.asked.side == Side::Cluster,
                Fault::Refused(412) => at % 2 == 1,
                _ => true,
            };
            if all || is_turn {
                plans.push(Plan { faults: vec![(at, fault)], ..Plan::plain(scenario.name) });
            }
        }
    }
    if NO_TWISTS.contains(&scenario.name) {
        return plans;
    }
    let events = if is_first { 0..plain.events.end } else { plain.events.clone() };
    for at in events {
        for twist in [Twist::Twice, Twist::Late, Twist::Missed] {
            plans.push(Plan { twists: vec![(at, twist)], ..Plan::plain(scenario.name) });
        }
    }
    plans
}

/// Two faults of a scenario, in requests not far from each other more often than not.
fn pair(scenario: &Scenario, plain: &Run, dice: &mut Dice) -> Plan {
    let single = |dice: &mut Dice, at: usize| {
        let faults = faults(scenario, &plain.seen[at]);
        (at, faults[dice.roll(faults.len())])
    };
    let first = dice.roll(plain.seen.len());
    let far = if dice.chance(4) { plain.seen.len() } else { 6 };
    let second = (first + 1 + dice.roll(far)).min(plain.seen.len() - 1);
    let faults = vec![single(dice, first), single(dice, second)];
    let twists = if dice.chance(4) { vec![(dice.roll(plain.events.end), Twist::Late)] } else { vec![] };
    Plan { faults, twists, ..Plan::plain(scenario.name) }
}

/// Runs all plans on all cores, and fails with the first that went wrong, how to play them again, and
/// what happened.
pub fn play(what: &str, plans: &[(&Scenario, &Run, Plan)]) {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(vec![]));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((scenario, plain, plan)) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let problems = judge(plain, &run(scenario, plan));
                    if !problems.is_empty() {
                        failures.lock().unwrap().push((*scenario, plan.clone(), problems));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort_by_key(|(_, plan, _)| plan.to_string());
    println!("simulation, {what}: {} runs, {} failed, {:?}", plans.len(), failures.len(), started.elapsed());
    for (scenario, plan, problems) in failures.iter().take(TOLD_MAX) {
        TELLS.set(true);
        println!("\n{}", run(scenario, plan).trace.join("\n"));
        TELLS.set(false);
        println!("TWINOPS_SIM_REPLAY='{plan}'\n{problems:#?}");
    }
    for (_, plan, problems) in failures.iter().skip(TOLD_MAX) {
        println!("TWINOPS_SIM_REPLAY='{plan}' {}", problems[0]);
    }
    assert!(failures.is_empty(), "{} of {} runs failed", failures.len(), plans.len());
}

pub fn plain(scenarios: &[Scenario]) -> Vec<Run> {
    scenarios.iter().map(|scenario| run(scenario, &Plan::plain(scenario.name))).collect()
}

#[test]
fn every_scenario_ends_as_it_should() {
    let scenarios = all();
    let runs = plain(&scenarios);
    let plans: Vec<_> = scenarios
        .iter()
        .zip(&runs)
        .map(|(scenario, run)| (scenario, run, Plan::plain(scenario.name)))
        .collect();
    play("without faults", &plans);
}

/// `make soak` runs them all; here every third request and watch event of each scenario meets one of its faults.
#[test]
fn every_request_survives_every_fault() {
    let scenarios = all();
    let runs = plain(&scenarios);
    let in_full = rounds(1) > 1;
    let mut plans = vec![];
    for (number, (scenario, run)) in scenarios.iter().zip(&runs).enumerate() {
        let mut all = singles(scenario, run, number == 0, in_full);
        if !in_full {
            all = one_each(&all, number);
        }
        plans.extend(all.into_iter().map(|plan| (scenario, run, plan)));
    }
    play("single faults", &plans);
}

/// Of every third request or event one plan; another third in each scenario.
fn one_each(plans: &[Plan], number: usize) -> Vec<Plan> {
    let place =
        |plan: &Plan| (plan.faults.first().map(|(at, _)| *at), plan.twists.first().map(|(at, _)| *at));
    let groups = plans.chunk_by(|a, b| place(a) == place(b)).enumerate();
    let some = groups.filter(|(at, _)| at % 3 == number % 3);
    some.map(|(at, group)| group[(7 * number + at) % group.len()].clone()).collect()
}

#[test]
fn pairs_of_faults_are_survived() {
    let scenarios = all();
    let runs = plain(&scenarios);
    let mut dice = Dice::new(0x7715_0b5e);
    let plans: Vec<_> = (0..rounds(2))
        .flat_map(|_| 0..scenarios.len())
        .map(|at| (&scenarios[at], &runs[at], pair(&scenarios[at], &runs[at], &mut dice)))
        .collect();
    play("pairs of faults", &plans);
}

/// Passes interleave, events lag, devices report and steps come early, as the dice say.
#[test]
fn every_order_of_things_ends_the_same() {
    let scenarios = all();
    let runs = plain(&scenarios);
    let plans: Vec<_> = (0..rounds(2) as u64)
        .flat_map(|seed| scenarios.iter().zip(&runs).map(move |(scenario, run)| (scenario, run, seed)))
        .filter(|(scenario, ..)| !NO_TWISTS.contains(&scenario.name))
        .map(|(scenario, run, seed)| (scenario, run, Plan { seed: Some(seed), ..Plan::plain(scenario.name) }))
        .collect();
    play("other orders", &plans);
}

/// A million in `make soak`.
#[test]
fn f34_no_device_value_is_ever_overwritten() {
    let writes = if rounds(1) > 1 { 1_000_000 } else { 2_000 };
    let started = Instant::now();
    let (problems, passes) = storm(writes, 34);
    println!("simulation, {writes} device writes among {passes} passes: {:?}", started.elapsed());
    assert!(passes > writes / 50, "only {passes} passes ran");
    assert!(problems.is_empty(), "{problems:#?}");
}

/// The checks can fail: an operator that is broken in any of these ways does not get through.
#[test]
fn a_broken_operator_is_caught() {
    let names = ["late_seeds", "spec_change", "delete", "rename_in_one_go", "policy_change_beside_people"];
    let scenarios: Vec<Scenario> =
        all().into_iter().filter(|scenario| names.contains(&scenario.name)).collect();
    let runs = plain(&scenarios);
    let mut escaped = vec![];
    for mutant in Mutant::ALL {
        let mut plans = scenarios.iter().zip(&runs).flat_map(|(scenario, run)| {
            let plain = std::iter::once(Plan::plain(scenario.name));
            let sharp = |plan: &Plan| {
                plan.faults.iter().any(|(_, fault)| {
                    matches!(fault, Fault::DeposedLong | Fault::StepFirst | Fault::DeviceFirst)
                })
            };
            let some = singles(scenario, run, false, false).into_iter().filter(sharp);
            plain.chain(some).map(move |plan| (scenario, run, plan))
        });
        let caught = plans.find_map(|(scenario, plain, plan)| {
            let plan = Plan { mutant: Some(mutant), ..plan };
            let problems = judge(plain, &run(scenario, &plan));
            problems.first().map(|problem| format!("{plan}: {problem}"))
        });
        println!("{mutant:?} is caught by {caught:?}");
        if caught.is_none() {
            escaped.push(mutant);
        }
    }
    assert!(escaped.is_empty(), "not caught: {escaped:?}");
}

/// `TWINOPS_SIM_REPLAY='create:r3=Lost'` plays one run again and tells what happens in it.
#[test]
fn a_run_can_be_played_again() {
    let plan = std::env::var("TWINOPS_SIM_REPLAY").unwrap_or_else(|_| "create:r3=Lost,e1=Twice".to_owned());
    let plan: Plan = plan.parse().expect("a plan such as create:r3=Lost");
    let scenarios = all();
    let scenario =
        scenarios.iter().find(|scenario| scenario.name == plan.scenario).expect("a scenario's name");
    let plain = run(scenario, &Plan::plain(scenario.name));
    TELLS.set(true);
    let (first, second) = (run(scenario, &plan), run(scenario, &plan));
    TELLS.set(false);
    println!("{}", first.trace.join("\n"));
    assert_eq!(first.trace, second.trace, "the same each time");
    let problems = judge(&plain, &first);
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn plans_are_read_back_as_written() {
    let faults = vec![(3, Fault::Lost), (9, Fault::Refused(412))];
    let plan = Plan { faults, twists: vec![(1, Twist::Missed)], seed: Some(7), ..Plan::plain("create") };
    assert_eq!(plan.to_string(), "create:r3=Lost,r9=412,e1=Missed,s=7");
    assert_eq!(plan.to_string().parse(), Ok(plan));
    for wrong in ["create:x", "create:r1=Nonsense", "create:q1=Lost", "create:rx=Lost"] {
        assert!(wrong.parse::<Plan>().is_err(), "{wrong}");
    }
}
