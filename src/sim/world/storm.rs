//! Device writes among the requests of passes over one twin whose spec is edited and whose thing drifts.
use serde_json::Value;

use super::super::check;
use super::super::fault::Dice;
use super::super::scenario::{STORM, Storm, THING};
use super::super::step::twin;
use super::{LONG_MS, SHORT_MS, World};

/// Away from the scheduler's dice, so that neither decides what the other rolls.
const OTHER_DICE: u64 = 0x5EED;

impl World {
    /// Lets devices write as often as the plan says, or until something is wrong; then quiet. Returns how many
    /// writes and passes there were.
    pub async fn storm(&mut self) -> (usize, usize) {
        let (seed, writes) = (self.plan.seed.unwrap_or_default(), self.plan.writes);
        self.dice = None;
        while self.step() {
            self.settle(SHORT_MS, false).await;
            self.owed_too_long();
        }
        self.dice = Some(Dice::new(seed));
        let mut dice = Dice::new(seed ^ OTHER_DICE);
        let mut written = 0;
        while written < writes && self.watchman.problems.is_empty() {
            written += usize::from(self.turn(&mut dice, written).await);
        }
        self.dice = None;
        let passes = std::mem::take(&mut self.passes);
        if self.watchman.problems.is_empty() {
            self.settle(LONG_MS, true).await;
            self.ends_quiet();
            let end = check::at_rest(&twin(STORM), &self.cluster, &mut self.ditto);
            self.watchman.problems.extend(end);
            self.watchman.problems.extend(check::orphans(&self.cluster, &self.ditto));
        }
        (written, passes)
    }

    /// Something happens; `true` when it was a write of the device.
    async fn turn(&mut self, dice: &mut Dice, written: usize) -> bool {
        match dice.roll(8) {
            0 if dice.chance(6) => self.perform(&Storm::edit(dice)),
            1 if dice.chance(40) => self.perform(&Storm::drift(dice)),
            // A resync now and then: the clock goes to whatever is due next.
            2 if dice.chance(20) => {
                let due = self.leader().queue.values().min().copied();
                self.now = self.now.max(due.unwrap_or(self.now));
            }
            3..=5 => {
                if let Some(choice) = self.choose() {
                    self.carry_out(choice).await;
                }
            }
            _ => {
                let (path, value) = Storm::report(dice, written, |path| self.is_seeded(path));
                self.note(|| format!("device {path} {value:?}"));
                return self.ditto.device(THING, path, value);
            }
        }
        false
    }

    fn is_seeded(&self, path: &str) -> bool {
        let object = self.cluster.get(&twin(STORM));
        let seeded = object.and_then(|object| object["status"]["lastApplied"]["seeded"].as_array());
        seeded.is_some_and(|paths| paths.iter().any(|seeded: &Value| seeded == path))
    }
}
