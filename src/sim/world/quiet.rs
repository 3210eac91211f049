//! Whether anybody says or does anything although nothing changed (I6, I7).
use super::World;

/// After a change or a fault, first retries may still say something.
const SETTLED_MS: u64 = 60_000;

impl World {
    pub(super) fn ends_quiet(&mut self) {
        let noise = self.noise();
        self.watchman.problems.extend(noise);
        self.owed_too_long();
        if self.plan.faults.is_empty() && !self.others_write {
            let foreign =
                self.leader().context.shared.telemetry.foreign_statuses_of(["DigitalTwin", "TwinPolicy"]);
            let own = (foreign > 0).then(|| format!("I7: {foreign} own statuses were taken for foreign"));
            self.watchman.problems.extend(own);
        }
    }

    pub(super) fn owed_too_long(&mut self) {
        let owed = self.owed.drain(..).map(|step| format!("could never be done: {step:?}"));
        self.watchman.problems.extend(owed);
    }

    /// Something changed: what is said and done soon after may be about it.
    pub(super) fn change(&mut self) {
        self.changed = self.now;
        self.quiet = (0, vec![]);
    }

    /// What was said, and how often somebody looked, although nothing had changed for a while (I6, I7).
    fn noise(&self) -> Vec<String> {
        let (passes, said) = &self.quiet;
        // The slowest to hope looks every two minutes, and everybody once in a resync.
        let most = self.cluster.objects().len() * 6 + 2;
        let hasty =
            (*passes > most).then(|| format!("I6: {passes} passes, although at most {most} were due"));
        said.iter().map(|said| format!("I7: not quiet: {said}")).chain(hasty).collect()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.now > self.changed.max(self.broken) + SETTLED_MS
    }
}
