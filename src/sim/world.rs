//! The scheduler: decides what happens next, and lets the plan's faults happen.
mod accidents;
mod answers;
mod heard;
mod quiet;
mod storm;

use std::collections::VecDeque;

use futures::poll;
use kube::runtime::controller::Action;

use super::backend::Backend;
use super::check::Watchman;
use super::cluster::{Cluster, Key, Kind};
use super::fault::{Dice, Plan, Twist};
use super::operator::{Flow, Life, Operator, Pass, pause};
use super::step::Step;
use super::wire::{Asked, Mailbox};
use crate::api::annotation::TAKEOVER;
use crate::ditto::DittoClient;

/// Between two steps nothing more may be due for so long, in milliseconds: wake-ups and first retries.
const SHORT_MS: u64 = 10_000;
/// As [`SHORT_MS`], where a scenario asks for calm: also the slowest retry is over.
const CALM_MS: u64 = 150_000;
/// At the end nothing may have changed for longer than a resync takes to come round.
const LONG_MS: u64 = 600_000;
/// More passes than any run needs: beyond it somebody never comes to rest (I6).
const PASSES_MAX: usize = 600;
/// More turns of other tasks than a request ever takes to come out.
const TURNS_MAX: usize = 16;
/// Requests that are kept for choosing faults; a scenario has far fewer.
const SEEN_MAX: usize = 4_096;
/// Lines of a trace that are kept: the last ones, of a storm far more happens.
const TRACE_MAX: usize = 4_096;
/// Passes at the same time, when the dice decide.
const TOGETHER_MAX: usize = 3;

/// A request of the plain run, with what is known for choosing faults.
#[derive(Clone)]
pub struct Seen {
    pub asked: Asked,
    /// Another step may come right before it.
    pub may_step: bool,
    /// Nothing of the scenario comes after it.
    pub is_last_step: bool,
    /// Before the scenario's own steps: others make sure of it.
    pub is_prelude: bool,
}

pub struct World {
    pub cluster: Cluster,
    pub ditto: Backend,
    pub watchman: Watchman,
    pub plan: Plan,
    pub seen: Vec<Seen>,
    asked: usize,
    performed: usize,
    pub events: usize,
    pub prelude_events: usize,
    pub trace: VecDeque<String>,
    pub operators: Vec<Operator>,
    steps: VecDeque<Step>,
    /// What devices and people could not do yet.
    owed: Vec<Step>,
    dice: Option<Dice>,
    mailbox: Mailbox,
    client: DittoClient,
    now: u64,
    changed: u64,
    /// When the last fault of the plan happened.
    broken: u64,
    /// Somebody was told that nobody remembers what was written last.
    pub base_is_lost: bool,
    /// Somebody beside operators wrote a status.
    others_write: bool,
    passes: usize,
    /// Passes, and what was announced, since it was quiet.
    quiet: (usize, Vec<String>),
    noise: i64,
}

enum Choice {
    Show(Kind),
    Answer(usize, usize),
    Begin(Key),
    Step,
    Device,
}

impl World {
    pub fn new(plan: Plan, steps: Vec<Step>) -> Self {
        let mailbox = Mailbox::default();
        let client = super::client(&mailbox);
        let cluster = Cluster::default();
        let first = Operator::start(&mailbox, client.clone(), &cluster, 0, 0);
        Self {
            ditto: Backend::new(),
            watchman: Watchman::default(),
            dice: plan.seed.map(Dice::new),
            plan,
            seen: vec![],
            asked: 0,
            performed: 0,
            events: 0,
            prelude_events: 0,
            trace: VecDeque::new(),
            operators: vec![first],
            steps: steps.into(),
            owed: vec![],
            cluster,
            mailbox,
            client,
            now: 0,
            changed: 0,
            broken: 0,
            base_is_lost: false,
            others_write: false,
            passes: 0,
            quiet: (0, vec![]),
            noise: 0,
        }
    }

    /// All steps, then quiet.
    pub async fn run(&mut self) {
        while let Some(step) = self.steps.front() {
            let is_calm = matches!(step, Step::Calm);
            if !self.owed.is_empty() {
                self.settle(LONG_MS, false).await;
                self.owed_too_long();
            }
            if is_calm {
                // As long as it is the next one, no other comes early.
                self.settle(CALM_MS, false).await;
            }
            self.step();
            if !is_calm {
                self.settle(SHORT_MS, false).await;
            }
        }
        self.settle(LONG_MS, true).await;
        self.ends_quiet();
    }

    fn leader(&mut self) -> &mut Operator {
        self.operators.last_mut().expect("somebody leads")
    }

    /// The next step, unless one before it could not be done yet.
    fn step(&mut self) -> bool {
        if !self.owed.is_empty() {
            return false;
        }
        let Some(step) = self.steps.pop_front() else { return false };
        self.perform(&step);
        true
    }

    fn perform(&mut self, step: &Step) {
        self.performed += 1;
        self.note(|| format!("step {step:?}"));
        let before = self.ditto.all_things();
        let owed = step.perform(&mut self.cluster, &mut self.ditto);
        self.owed.extend(owed);
        self.watchman.touched(&before, &self.ditto);
        match step {
            Step::Restore(..) => self.watchman.restored(),
            Step::Annotate(key, TAKEOVER, _) => self.watchman.taken_over(self.cluster.get(key)),
            _ => {}
        }
        self.others_write |= step.writes_status();
        self.change();
        self.watchman.look(&self.cluster, &self.ditto);
    }

    async fn settle(&mut self, window: u64, is_end: bool) {
        loop {
            if self.passes > PASSES_MAX {
                self.watchman.problems.push("it never comes to rest".to_owned());
                return;
            }
            if let Some(choice) = self.choose() {
                self.carry_out(choice).await;
            } else if !(self.pay_debts() || self.catch_up() || self.go_on(is_end)) {
                let due = self.leader().queue.values().min().copied();
                match due.filter(|due| *due <= self.changed.max(self.broken) + window) {
                    Some(due) => self.now = self.now.max(due),
                    None => return,
                }
            }
        }
    }

    fn choose(&mut self) -> Option<Choice> {
        let mut choices = vec![];
        let leader = self.operators.len() - 1;
        for kind in Kind::ALL {
            if self.operators[leader].next_event(kind, &self.cluster).is_some() {
                choices.push(Choice::Show(kind));
            }
        }
        for (o, operator) in self.operators.iter().enumerate() {
            let moves = matches!(operator.life, Life::Leads | Life::Ends);
            choices.extend((0..operator.passes.len()).filter(|_| moves).map(|p| Choice::Answer(o, p)));
        }
        let operator = &self.operators[leader];
        let together = if self.dice.is_some() { TOGETHER_MAX } else { 1 };
        if operator.passes.len() < together {
            let due = operator.queue.iter().filter(|(key, due)| **due <= self.now && !operator.runs(key));
            choices.extend(due.map(|(key, _)| Choice::Begin(key.clone())));
        }
        let Some(dice) = &mut self.dice else { return choices.into_iter().next() };
        if !choices.is_empty() && dice.chance(24) {
            return Some(Choice::Device);
        }
        if !choices.is_empty() && dice.chance(16) && !matches!(self.steps.front(), None | Some(Step::Calm)) {
            return Some(Choice::Step);
        }
        let at = dice.roll(choices.len());
        choices.into_iter().nth(at)
    }

    async fn carry_out(&mut self, choice: Choice) {
        let leader = self.operators.len() - 1;
        match choice {
            Choice::Show(kind) => self.show(kind),
            Choice::Answer(o, p) => self.answer(o, p).await,
            Choice::Step => {
                self.step();
            }
            Choice::Device => self.device(),
            Choice::Begin(key) => {
                self.note(|| format!("pass over {key:?}"));
                self.passes += 1;
                self.quiet.0 += usize::from(self.is_quiet());
                self.operators[leader].begin(&key);
                if let Some(p) = self.operators[leader].passes.iter().position(|pass| pass.key == key) {
                    self.drive(leader, p).await;
                }
            }
        }
    }

    fn show(&mut self, kind: Kind) {
        let leader = self.operators.len() - 1;
        let Some((at, change)) = self.operators[leader].next_event(kind, &self.cluster) else { return };
        let change = change.clone();
        let number = self.events;
        self.events += 1;
        if self.performed <= 2 {
            self.prelude_events = self.events;
        }
        let twist = self.plan.twist(number);
        let version = &change.object["metadata"]["resourceVersion"];
        self.note(|| {
            format!("e{number} {:?} version {version} gone {} {twist:?}", change.key, change.is_gone)
        });
        let operator = &mut self.operators[leader];
        match twist {
            None => operator.show(at, &change, self.now),
            Some(Twist::Twice) => {
                operator.show(at, &change, self.now);
                operator.show(at, &change, self.now);
            }
            Some(Twist::Late) => operator.set_flow(kind, Flow::Lags),
            Some(Twist::Missed) => operator.set_flow(kind, Flow::Broken),
        }
    }

    /// Until its next request comes out, or it is done.
    async fn drive(&mut self, o: usize, p: usize) {
        for _ in 0..TURNS_MAX {
            let pass = &mut self.operators[o].passes[p];
            if let std::task::Poll::Ready(ran) = poll!(pass.future.as_mut()) {
                let pass = self.operators[o].passes.remove(p);
                let Ok(action) = ran;
                self.over(o, &pass, &action);
                return;
            }
            if let Some(arrived) = self.mailbox.take() {
                pass.waiting = Some(arrived);
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    fn over(&mut self, o: usize, pass: &Pass, action: &Action) {
        let (key, pause) = (pass.key.clone(), pause(action));
        self.note(|| format!("pass over {key:?} ends, again after {pause:?} ms"));
        let now = self.now;
        let operator = &mut self.operators[o];
        operator.take_wake_ups(now);
        let said = operator.announced();
        self.base_is_lost |= lost(&said);
        if let Some(pause) = pause {
            let due = operator.queue.entry(key).or_insert(now + pause);
            *due = (*due).min(now + pause);
        }
        if operator.life == Life::Ends && operator.passes.is_empty() {
            self.operators.remove(o);
        }
        if self.is_quiet() {
            self.quiet.1.extend(said);
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if super::tells() {
            let line = format!("{:>7} {}", self.now, line());
            self.trace.push_back(line);
            if self.trace.len() > TRACE_MAX {
                self.trace.pop_front();
            }
        }
    }
}

fn lost(said: &[String]) -> bool {
    said.iter().any(|said| said.starts_with("BaseLost"))
}
