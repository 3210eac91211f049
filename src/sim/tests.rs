//! The runs.
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fault::{Dice, Fault, Mutant, Plan, Twist};
use super::plans::{pairs, singles, some};
use super::play::{Failed, again, failed, judge, on_all_cores, play};
use super::scenario::{NO_TWISTS, Scenario, Storm, all};
use super::{Run, run, storm};

/// Device writes of one storm: each begins anew and must come to rest.
const STORM_WRITES: usize = 5_000;
/// Pairs of each scenario, and for each round that is asked for beyond the first.
const PAIRS: usize = 2;
const PAIRS_A_ROUND: usize = 7;
/// Storms at most: in them a device writes a million times.
const STORMS_MAX: usize = 200;
/// Where the dice of the pairs begin.
const PAIRS_SEED: u64 = 0x7715_0b5e;
const STORM_SEED: u64 = 34;

/// How often a loop repeats: `few`, unless `TWINOPS_ROUNDS` asks for more.
fn rounds(few: usize) -> usize {
    std::env::var("TWINOPS_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .map_or(few, |n: usize| n.max(few))
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

/// `TWINOPS_SCENARIO=restored`: only the scenarios whose names begin so.
fn wanted() -> Vec<Scenario> {
    let Ok(start) = std::env::var("TWINOPS_SCENARIO") else { return all() };
    let some: Vec<_> = all().into_iter().filter(|scenario| scenario.name.starts_with(&start)).collect();
    assert!(!some.is_empty(), "TWINOPS_SCENARIO: no scenario begins with {start:?}");
    some
}

/// `make soak` runs them all; here every request and watch event of each scenario meets one of its faults.
#[test]
fn every_request_survives_every_fault() {
    let scenarios = wanted();
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

/// Of every request or event one plan; another one in each scenario.
fn one_each(plans: &[Plan], number: usize) -> Vec<Plan> {
    let place =
        |plan: &Plan| (plan.faults.first().map(|(at, _)| *at), plan.twists.first().map(|(at, _)| *at));
    let groups = plans.chunk_by(|a, b| place(a) == place(b)).enumerate();
    groups.map(|(at, group)| group[(7 * number + at) % group.len()].clone()).collect()
}

/// `TWINOPS_PART=3/12`: of all pairs the third of twelve parts, however many rounds are asked for.
fn part() -> Option<(usize, usize)> {
    let told = std::env::var("TWINOPS_PART").ok()?;
    let (part, of) = told.split_once('/').expect("TWINOPS_PART is a part and how many there are: 3/12");
    let number = |text: &str| text.parse().expect("TWINOPS_PART holds two numbers: 3/12");
    let (part, of): (usize, usize) = (number(part), number(of));
    assert!((1..=of).contains(&part), "TWINOPS_PART: there is no part {part} of {of}");
    Some((part - 1, of))
}

/// `make soak` runs all pairs of a scenario, or, where they are too many, some for each first fault; here two for each
/// scenario. They are counted on the run without faults; with a first fault there are mostly a few more.
#[test]
fn pairs_of_faults_are_survived() {
    let scenarios = wanted();
    let runs = plain(&scenarios);
    let part = part();
    let most = if part.is_some() { usize::MAX } else { PAIRS.max((rounds(1) - 1) * PAIRS_A_ROUND) };
    let (mut firsts, mut in_full, mut about) = (vec![], 0, 0);
    for (number, (scenario, plain)) in scenarios.iter().zip(&runs).enumerate() {
        let mut dice = Dice::new(PAIRS_SEED + number as u64);
        let all = singles(scenario, plain, number == 0, false);
        let count: usize = all.iter().map(|first| pairs(scenario, first, plain).len()).sum();
        about += count;
        in_full += usize::from(count <= most);
        let each = if count <= most { usize::MAX } else { (most / all.len().max(1)).max(1) };
        let taken = some(all, most, &mut dice);
        firsts.extend(taken.into_iter().map(|first| (scenario, plain, first, each, dice.next())));
    }
    if let Some((part, of)) = part {
        firsts = firsts.into_iter().skip(part).step_by(of).collect();
        println!("simulation, pairs of faults: about {about}; part {} of {of}", part + 1);
    } else {
        let all = scenarios.len();
        println!("simulation, pairs of faults: about {about}; all of them in {in_full} of {all} scenarios");
    }
    on_all_cores("pairs of faults", &firsts, |(scenario, plain, first, each, seed)| {
        let all = pairs(scenario, first, &run(scenario, first));
        let some = some(all, *each, &mut Dice::new(*seed));
        (some.len(), some.iter().filter_map(|plan| failed(scenario, plain, plan)).collect())
    });
}

/// Pairs that went wrong once. Which request has which number moves with the operator; what is left of them is two
/// faults close to each other.
#[test]
fn pairs_that_went_wrong_once_are_survived() {
    let plans = [
        "the_thing_is_deleted_behind_our_back:r12=403,r16=CrashStale",
        "recreated:r10=429,r11=DeposedLong",
        "adoption_only_if_identical:r13=429,r14=429",
        "seeds:r7=DeposedLong,r13=403",
        "twin_and_policy_go:r12=CrashStale,r15=Deposed",
        "restored_and_taken_over:r7=DeposedLong,r13=DeposedLong",
    ];
    for plan in plans {
        let plan: Plan = plan.parse().expect("a plan");
        let (problems, trace) = again(&plan);
        assert!(problems.is_empty(), "{plan}: {problems:#?}\n{}", trace.join("\n"));
    }
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
    let (storms, writes) =
        if rounds(1) > 1 { (rounds(1).min(STORMS_MAX), STORM_WRITES) } else { (2, STORM_WRITES / 5) };
    let plans: Vec<Plan> = (STORM_SEED..).take(storms).map(|seed| a_storm(seed, writes)).collect();
    let all_passes = AtomicUsize::new(0);
    on_all_cores(&format!("storms of {writes} device writes"), &plans, |plan| {
        let stormed = storm(plan);
        all_passes.fetch_add(stormed.passes, Ordering::Relaxed);
        // What comes after the first problem need not be played again.
        let plan = Plan { writes: plan.writes.min(stormed.writes + 1), ..plan.clone() };
        let failed = (!stormed.problems.is_empty()).then_some(Failed { plan, problems: stormed.problems });
        (1, failed.into_iter().collect())
    });
    let (writes, passes) = (storms * writes, all_passes.into_inner());
    println!("simulation, {writes} device writes among {passes} passes");
    assert!(passes > writes / 50, "only {passes} passes ran");
}

fn a_storm(seed: u64, writes: usize) -> Plan {
    Plan { seed: Some(seed), writes, ..Plan::plain(Storm::NAME) }
}

/// The checks can fail: an operator that is broken in any of these ways does not get through.
#[test]
fn a_broken_operator_is_caught() {
    let names = [
        "late_seeds",
        "spec_change",
        "removal",
        "delete",
        "rename_in_one_go",
        "policy_change_beside_people",
        "made_again_and_seeds_taken_away",
    ];
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

/// A verdict that says too much is caught at once, and what is left behind at the end.
#[test]
fn a_storm_catches_who_says_ready_too_early_and_who_removes_nothing() {
    for (mutant, check) in
        [(Mutant::ReportsUnwritten, "I5"), (Mutant::ForgetsOne, "I5"), (Mutant::NeverRemoves, "I1")]
    {
        let stormed = storm(&Plan { mutant: Some(mutant), ..a_storm(STORM_SEED, 300) });
        println!("{mutant:?} after {} device writes: {:?}", stormed.writes, stormed.problems);
        assert!(stormed.problems.iter().any(|problem| problem.starts_with(check)), "{mutant:?}");
    }
}

/// `TWINOPS_SIM_REPLAY='create:r3=Lost'` plays one run again and tells what happens in it.
#[test]
fn a_run_can_be_played_again() {
    let plans = match std::env::var("TWINOPS_SIM_REPLAY") {
        Ok(plan) => vec![plan],
        Err(_) => ["create:r3=Lost,e1=Twice", "storm:s=34,w=50"].map(str::to_owned).to_vec(),
    };
    for plan in plans {
        let plan: Plan = plan.parse().expect("a plan such as create:r3=Lost");
        let (first, second) = (again(&plan), again(&plan));
        println!("{}", first.1.join("\n"));
        assert_eq!(first.1, second.1, "the same each time");
        assert!(first.0.is_empty(), "{:#?}", first.0);
    }
}

#[test]
fn plans_are_read_back_as_written() {
    let faults = vec![(3, Fault::Lost), (9, Fault::Refused(412))];
    let plan = Plan { faults, twists: vec![(1, Twist::Missed)], seed: Some(7), ..Plan::plain("create") };
    assert_eq!(plan.to_string(), "create:r3=Lost,r9=412,e1=Missed,s=7");
    assert_eq!(plan.to_string().parse(), Ok(plan));
    assert_eq!(a_storm(34, 50).to_string(), "storm:s=34,w=50");
    assert_eq!("storm:s=34,w=50".parse(), Ok(a_storm(34, 50)));
    for wrong in ["create:x", "create:r1=Nonsense", "create:q1=Lost", "create:rx=Lost", "storm:w=x"] {
        assert!(wrong.parse::<Plan>().is_err(), "{wrong}");
    }
}
