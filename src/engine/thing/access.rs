//! Whether a command may go out on the live channel. The rights are those of the twin; nothing is read or written there.
//! Source: Ditto 3.8, `LiveSignalEnforcement.java`, `ThingCommandEnforcement.java`.
use std::sync::Arc;

use super::super::command::{Caller, Command, Verb};
use super::super::enforce::{Enforcer, Permission};
use super::super::failure::Failure;
use super::super::place::{ThingPart, ThingPlace};
use super::super::state::{Document, Kind, State};
use super::read::policy_of;
use super::write::permit;
use super::{THING, check_body, condition_holds, conditions_readable, path};
use crate::twin::id::ThingId;
use crate::twin::json::Pointer;

/// The thing a live signal is about, and who may read it.
pub struct Access {
    pub thing: Document,
    pub enforcer: Arc<Enforcer>,
}

/// The command may be sent. A condition holds for all but reads, which Ditto sends without asking.
pub fn command(
    state: &State,
    id: &ThingId,
    place: &ThingPlace,
    command: &Command,
    caller: &Caller,
) -> Result<Access, Failure> {
    check_body(id, place, command.verb, &command.body)?;
    let thing = state.get(Kind::Thing, id.as_str()).ok_or_else(|| ThingPart::Thing.not_found())?;
    let enforcer = policy_of(&thing).and_then(|policy| state.enforcer(policy, caller.now));
    let reads = command.verb == Verb::Get;
    let lost = || if reads { ThingPart::Thing.not_found() } else { ThingPart::Thing.not_modifiable() };
    let enforcer = enforcer.ok_or_else(lost)?;
    conditions_readable(&command.headers, &enforcer, caller)?;
    if reads {
        let segments = path(place.pointer.segments());
        if !enforcer.partial(&caller.subjects, THING, &segments, Permission::Read) {
            return Err(place.part.not_found());
        }
    } else {
        permit(&enforcer, place, command.verb, &command.body, caller)?;
        condition_holds(&command.headers, &thing, caller)?;
    }
    Ok(Access { thing, enforcer })
}

/// The caller may send an event about this place of the thing.
pub fn event(state: &State, id: &ThingId, place: &Pointer, caller: &Caller) -> Result<Access, Failure> {
    let thing = state.get(Kind::Thing, id.as_str()).ok_or_else(|| ThingPart::Thing.not_found())?;
    let enforcer = policy_of(&thing).and_then(|policy| state.enforcer(policy, caller.now));
    let enforcer = enforcer.ok_or_else(|| ThingPart::Thing.not_found())?;
    if !enforcer.unrestricted(&caller.subjects, THING, &path(place.segments()), Permission::Write) {
        return Err(Failure::new(
            403,
            "things:event.notallowed",
            "WRITE is missing where the event happened",
        ));
    }
    Ok(Access { thing, enforcer })
}
