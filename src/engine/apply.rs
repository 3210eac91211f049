//! The heart of the engine: one command against one state, without effects.
use super::command::{Caller, Command, Outcome, Target, Verb};
use super::failure::Failure;
use super::state::State;
use super::{policy, thing};

/// Answers the command and names the changes to store; nothing is changed here.
pub fn apply(state: &State, command: &Command, caller: &Caller) -> Result<Outcome, Failure> {
    match (&command.target, command.verb) {
        (Target::Thing(id, place), Verb::Get) => {
            thing::read(state, id.as_str(), place, &command.headers, caller).map(Outcome::read)
        }
        (Target::Thing(id, place), _) => thing::write(state, id, place, command, caller),
        (Target::Policy(id, place), Verb::Get) => {
            policy::read(state, id.as_str(), place, &command.headers, caller).map(Outcome::read)
        }
        (Target::Policy(id, place), _) => policy::write(state, id, place, command, caller),
    }
}
