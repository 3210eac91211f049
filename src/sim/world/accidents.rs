//! Operators that are killed, succeeded or go on late, devices that report, and what is made up for later.
use super::super::cluster::Kind;
use super::super::operator::{Flow, Life, Operator};
use super::{World, lost};

impl World {
    pub(super) fn crash(&mut self, o: usize, stale: bool) {
        self.note(|| "the operator is killed".to_owned());
        self.base_is_lost |= lost(&self.operators.remove(o).announced());
        self.mailbox.take();
        let entries = self.cluster.log.len();
        self.succeed(if stale { entries.saturating_sub(1) } else { entries });
    }

    pub(super) fn succeed(&mut self, entries: usize) {
        let next = Operator::start(&self.mailbox, self.client.clone(), &self.cluster, entries, self.now);
        self.operators.push(next);
        if entries < self.cluster.log.len() {
            for kind in Kind::ALL {
                self.leader().set_flow(kind, Flow::Lags);
            }
        }
    }

    /// Some device of every thing reports, where it may.
    pub(super) fn device(&mut self) {
        self.noise += 1;
        let things = self.ditto.things.iter().filter(|id| !id.ends_with(":bystander"));
        let things: Vec<String> = things.cloned().collect();
        for id in things {
            for path in ["/features/temperature/properties/value", "/features/temperature/properties/extra"] {
                if self.ditto.device(&id, path, Some(self.noise.into())) {
                    self.change();
                }
            }
        }
        self.note(|| "the device reports".to_owned());
        self.watchman.look(&self.cluster, &self.ditto);
    }

    pub(super) fn pay_debts(&mut self) -> bool {
        let (cluster, ditto) = (&mut self.cluster, &mut self.ditto);
        let (before, things) = (self.owed.len(), ditto.all_things());
        self.owed =
            std::mem::take(&mut self.owed).iter().flat_map(|step| step.perform(cluster, ditto)).collect();
        if self.owed.len() == before {
            return false;
        }
        self.watchman.touched(&things, &self.ditto);
        self.change();
        self.watchman.look(&self.cluster, &self.ditto);
        true
    }

    /// Watches that lag go on, and broken ones list anew.
    pub(super) fn catch_up(&mut self) -> bool {
        let (entries, now) = (self.cluster.log.len(), self.now);
        let Some(operator) = self.operators.last_mut() else { return false };
        for kind in Kind::ALL {
            match operator.watch(kind).1 {
                Flow::Runs => continue,
                Flow::Lags => operator.set_flow(kind, Flow::Runs),
                Flow::Broken => operator.list(kind, &self.cluster, entries, now),
            }
            return true;
        }
        false
    }

    /// Operators that were deposed end what they had begun.
    pub(super) fn go_on(&mut self, is_end: bool) -> bool {
        let stalled = |operator: &&mut Operator| {
            operator.life == Life::Stalled || is_end && operator.life == Life::StalledLong
        };
        let Some(operator) = self.operators.iter_mut().find(stalled) else { return false };
        operator.life = Life::Ends;
        self.note(|| "the old leader goes on".to_owned());
        true
    }
}
