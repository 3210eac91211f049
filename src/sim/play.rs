//! Plays runs on all cores, and tells of those that went wrong.
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::fault::Plan;
use super::scenario::{Scenario, Storm, all};
use super::{Run, TELLS, differences, run, storm};
use crate::twin::json::Pointer;

/// Failures that are told in full; the rest is counted.
const TOLD_MAX: usize = 5;

/// A run that went wrong: how to play it again, and why.
pub struct Failed {
    pub plan: Plan,
    pub problems: Vec<String>,
}

/// What is wrong with a run, compared with the plain one.
pub fn judge(plain: &Run, run: &Run) -> Vec<String> {
    let mut problems = run.problems.clone();
    differences(&Pointer::root(), &plain.end, &run.end, &mut problems);
    problems
}

/// Plays one run, and judges it.
pub fn failed(scenario: &Scenario, plain: &Run, plan: &Plan) -> Option<Failed> {
    let problems = judge(plain, &run(scenario, plan));
    (!problems.is_empty()).then(|| Failed { plan: plan.clone(), problems })
}

/// Plays all plans.
pub fn play(what: &str, plans: &[(&Scenario, &Run, Plan)]) {
    on_all_cores(what, plans, |(scenario, plain, plan)| {
        (1, failed(scenario, plain, plan).into_iter().collect())
    });
}

/// Has `each` play the runs of every item, and tell how many there were. Fails with those that went wrong, how to
/// play them again, and what happened in the first.
pub fn on_all_cores<T: Sync>(what: &str, items: &[T], each: impl Fn(&T) -> (usize, Vec<Failed>) + Sync) {
    let (next, runs, failures) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(vec![]));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (count, failed) = each(item);
                    runs.fetch_add(count, Ordering::Relaxed);
                    failures.lock().unwrap().extend(failed);
                }
            });
        }
    });
    let (runs, mut failures) = (runs.into_inner(), failures.into_inner().unwrap());
    failures.sort_by_key(|failed: &Failed| failed.plan.to_string());
    println!("simulation, {what}: {runs} runs, {} failed, {:?}", failures.len(), started.elapsed());
    for Failed { plan, problems } in failures.iter().take(TOLD_MAX) {
        let (_, trace) = again(plan);
        println!("\n{}\nTWINOPS_SIM_REPLAY='{plan}'\n{problems:#?}", trace.join("\n"));
    }
    for Failed { plan, problems } in failures.iter().skip(TOLD_MAX) {
        println!("TWINOPS_SIM_REPLAY='{plan}' {}", problems[0]);
    }
    assert!(failures.is_empty(), "{} of {runs} runs failed", failures.len());
}

/// Plays a run, or a storm, by its plan: what was wrong, and what happened.
pub fn again(plan: &Plan) -> (Vec<String>, Vec<String>) {
    let all = all();
    let scenario = all.iter().find(|scenario| scenario.name == plan.scenario);
    let plain = scenario.map(|scenario| run(scenario, &Plan::plain(scenario.name)));
    TELLS.set(true);
    let told = if let (Some(scenario), Some(plain)) = (scenario, plain) {
        let run = run(scenario, plan);
        (judge(&plain, &run), run.trace)
    } else {
        assert_eq!(plan.scenario, Storm::NAME, "a scenario's name");
        let stormed = storm(plan);
        (stormed.problems, stormed.trace)
    };
    TELLS.set(false);
    told
}
