//! PUT, PATCH and DELETE of a thing or a part of it.
use std::io;

use serde_json::{Value, json};

use super::super::command::{Answer, Caller, Command, Headers, IfEqual, Live, Metadata, Outcome, Verb};
use super::super::depth;
use super::super::enforce::{Enforcer, Permission};
use super::super::failure::Failure;
use super::super::place::{ThingPart, ThingPlace};
use super::super::precondition::{hash_tag, revision_tag};
use super::super::state::{Change, Content, Entry, Kind, Packed, State};
use super::super::time;
use super::read::policy_of;
use super::replace::replace;
use super::{SIZE_MAX, THING, condition_holds, conditions_readable, create, merge, metadata, path, shape};
use crate::twin::id::ThingId;
use crate::twin::json::{self, Pointer};

/// Carries the command out on a copy; nothing is changed here.
pub fn write(
    state: &State,
    id: &ThingId,
    place: &ThingPlace,
    command: &Command,
    caller: &Caller,
) -> Result<Outcome, Failure> {
    let body = match command.verb {
        Verb::Delete | Verb::Get => Value::Null,
        Verb::Put => shape::part(place, id, &command.body)?,
        Verb::Patch => merge::check(place, id, &command.body)?,
    };
    if command.verb == Verb::Put
        && let Some(outcome) = replace(state, id, place, &command.headers, &body, caller)
    {
        return Ok(outcome);
    }
    write_tree(state, id, place, (command, body), caller)
}

/// The way that knows everything; what [`replace`] answers, it answers, too.
pub fn write_tree(
    state: &State,
    id: &ThingId,
    place: &ThingPlace,
    (command, body): (&Command, Value),
    caller: &Caller,
) -> Result<Outcome, Failure> {
    let Some(thing) = state.get(Kind::Thing, id.as_str()) else {
        return match (command.verb, &command.headers.live) {
            (Verb::Put | Verb::Patch, Live::If(_)) if place.is_root() => Err(live_condition()),
            (Verb::Put | Verb::Patch, Live::Never) if place.is_root() => {
                create::create(state, id, command, body, caller)
            }
            _ => Err(ThingPart::Thing.not_found()),
        };
    };
    let thing = &*thing;
    let enforcer = policy_of(thing).and_then(|policy| state.enforcer(policy, caller.now));
    let enforcer = enforcer.ok_or_else(|| ThingPart::Thing.not_modifiable())?;
    let headers = &command.headers;
    conditions_readable(headers, &enforcer, caller)?;
    permit(&enforcer, place, command.verb, &body, caller)?;
    match headers.live {
        Live::Never => {}
        Live::If(_) => return Err(live_condition()),
        Live::Always => return Err(Failure::not_built("the live channel")),
    }
    let forgone = match command.verb {
        Verb::Patch => merge::matched(thing, &place.pointer, &body)?,
        _ => vec![],
    };
    permit_each(&enforcer, &forgone, caller)?;
    condition_holds(headers, thing, caller)?;
    let revision = state.revision(Kind::Thing, id.as_str());
    let write = Write { id, place, headers, thing, revision, verb: command.verb };
    match command.verb {
        Verb::Get | Verb::Delete => write.delete(caller),
        Verb::Put => write.put(body, caller),
        Verb::Patch => write.patch(body, &forgone, caller),
    }
}

fn live_condition() -> Failure {
    let message = "`live-channel-condition` is for reads only";
    Failure::new(405, "things:live.channelcondition.notallowed", message)
}

/// Source: Ditto 3.8, `ThingCommandEnforcement.java`: a merge without WRITE on all of its place needs it on every leaf.
pub(super) fn permit(
    enforcer: &Enforcer,
    place: &ThingPlace,
    verb: Verb,
    body: &Value,
    caller: &Caller,
) -> Result<(), Failure> {
    let (subjects, segments) = (&caller.subjects, path(place.pointer.segments()));
    let unrestricted = enforcer.unrestricted(subjects, THING, &segments, Permission::Write);
    match verb {
        _ if unrestricted => Ok(()),
        Verb::Patch if enforcer.may_merge(subjects, &segments, body) => Ok(()),
        Verb::Patch => Err(ThingPart::Thing.not_modifiable()),
        Verb::Delete if place.is_root() => {
            Err(Failure::new(403, "things:thing.notdeletable", "WRITE on `thing:/` is missing"))
        }
        _ => Err(place.part.not_modifiable()),
    }
}

/// What a pattern deletes needs WRITE as if it were named; Ditto asks it of the pattern's own text alone.
fn permit_each(enforcer: &Enforcer, places: &[Pointer], caller: &Caller) -> Result<(), Failure> {
    let may = |place: &Pointer| {
        enforcer.unrestricted(&caller.subjects, THING, &path(place.segments()), Permission::Write)
    };
    if places.iter().all(may) { Ok(()) } else { Err(ThingPart::Thing.not_modifiable()) }
}

struct Write<'a> {
    id: &'a ThingId,
    place: &'a ThingPlace,
    headers: &'a Headers,
    thing: &'a Value,
    revision: u64,
    verb: Verb,
}

impl Write<'_> {
    fn current(&self) -> Option<&Value> {
        self.place.pointer.get(self.thing)
    }

    fn tag(&self, thing: &Value, revision: u64) -> Option<String> {
        // a merged policyId or definition answers with the tag of the thing, observed on Ditto 3.8.12
        if self.place.is_root() {
            return Some(revision_tag(revision));
        }
        self.place.pointer.get(thing).map(hash_tag)
    }

    fn check_preconditions(&self) -> Result<(), Failure> {
        self.headers.preconditions.check(self.tag(self.thing, self.revision).as_deref(), false, "things")
    }

    fn delete(&self, caller: &Caller) -> Result<Outcome, Failure> {
        if self.place.is_root() {
            self.check_preconditions()?;
            let entry = Entry { revision: self.revision + 1, document: None };
            let change = Change { kind: Kind::Thing, id: self.id.to_string(), entry };
            return Ok(Outcome {
                answer: Answer::changed(None, self.revision + 1),
                changes: vec![change],
                patch: None,
            });
        }
        if self.current().is_none() {
            return Err(self.nothing_to_delete());
        }
        self.check_preconditions()?;
        let mut thing = self.thing.clone();
        self.place.pointer.remove(&mut thing);
        let thing = self.finish(thing, &Value::Null, caller)?;
        Ok(self.outcome(Answer::changed(None, self.revision + 1), &thing, None))
    }

    /// The part itself, unless it is in a feature that is not there either.
    fn nothing_to_delete(&self) -> Failure {
        if self.in_missing_feature() { ThingPart::Feature.not_found() } else { self.place.part.not_found() }
    }

    fn in_missing_feature(&self) -> bool {
        let segments = self.place.pointer.segments();
        segments.len() > 2
            && segments[0] == "features"
            && Pointer::of(segments[..2].iter().cloned()).get(self.thing).is_none()
    }

    fn put(&self, body: Value, caller: &Caller) -> Result<Outcome, Failure> {
        self.check_preconditions()?;
        if self.in_missing_feature() {
            return Err(ThingPart::Feature.not_found());
        }
        if self.headers.if_equal == IfEqual::Skip && self.put_changes_nothing(&body) {
            return Err(unchanged());
        }
        let mut thing = self.thing.clone();
        if self.place.is_root() {
            replace_members(&mut thing, &body);
        } else {
            self.place.pointer.set(&mut thing, body.clone());
        }
        let thing = self.finish(thing, &body, caller)?;
        let revision = self.revision + 1;
        let answer = match self.tag(&thing, revision) {
            Some(etag) if self.current().is_none() => Answer::created(body, etag, revision),
            etag => Answer::changed(etag, revision),
        };
        Ok(self.outcome(answer, &thing, None))
    }

    fn outcome(&self, answer: Answer, thing: &Value, patch: Option<Value>) -> Outcome {
        Outcome { answer, changes: vec![change(self.id, self.revision + 1, thing)], patch }
    }

    /// `if-equal` has no effect on PUT of the attributes, and a PUT of a thing must name its policy.
    /// Observed on Ditto 3.8.12.
    fn put_changes_nothing(&self, body: &Value) -> bool {
        match self.place.part {
            ThingPart::Attributes => false,
            ThingPart::Thing => {
                let mut replaced = self.thing.clone();
                replace_members(&mut replaced, body);
                body.get("policyId").is_some() && json::same(&replaced, self.thing)
            }
            _ => self.current().is_some_and(|current| json::same(current, body)),
        }
    }

    /// `forgone` are the places that patterns in the patch delete, before anything is merged.
    fn patch(&self, mut patch: Value, forgone: &[Pointer], caller: &Caller) -> Result<Outcome, Failure> {
        self.check_preconditions()?;
        // `if-equal` looks at the whole patch, whatever its conditions leave of it (Ditto 3.8, `MergeThingStrategy.java`)
        if self.headers.if_equal != IfEqual::Update && json::same(&self.patched(&patch, forgone), self.thing)
        {
            return Err(unchanged());
        }
        if self.headers.if_equal == IfEqual::SkipMinimizingMerge
            && let Some(changes) = self.current().and_then(|current| merge::changes(current, &patch))
        {
            patch = changes;
        }
        merge::drop_unmet(&mut patch, self.headers, self.thing, caller)?;
        let thing = self.patched(&patch, forgone);
        let thing = self.finish(thing, &patch, caller)?;
        let revision = self.revision + 1;
        let etag = match self.place.part {
            _ if patch.is_null() => None,
            ThingPart::PolicyId | ThingPart::Definition => Some(revision_tag(revision)),
            _ => self.tag(&thing, revision),
        };
        Ok(self.outcome(Answer::changed(etag, revision), &thing, Some(patch)))
    }

    fn patched(&self, patch: &Value, forgone: &[Pointer]) -> Value {
        let mut thing = self.thing.clone();
        for place in forgone {
            place.remove(&mut thing);
        }
        json::merge(&mut thing, &merge::from_root(&self.place.pointer, patch));
        thing
    }

    fn finish(&self, mut thing: Value, written: &Value, caller: &Caller) -> Result<Value, Failure> {
        match &self.headers.metadata {
            Metadata::Put(notes) => {
                let whole = if self.place.is_root() { thing.clone() } else { written.clone() };
                metadata::put(&mut thing, self.place, notes, &whole)?;
            }
            Metadata::Delete(keys) => metadata::delete(&mut thing, self.place, keys, self.current())?,
            Metadata::None | Metadata::Get(_) => {}
        }
        if !self.place.is_root() || matches!(self.headers.metadata, Metadata::None | Metadata::Get(_)) {
            metadata::follow(&mut thing, self.place, self.verb, written);
        }
        stamp(self.id, thing, self.revision + 1, caller)
    }
}

/// A PUT of the thing replaces what it may name and keeps the policy when it names none.
fn replace_members(thing: &mut Value, body: &Value) {
    if let Some(policy) = body.get("policyId").filter(|id| !id.is_null()) {
        thing["policyId"] = policy.clone();
    }
    let Value::Object(members) = thing else { return };
    for name in ["definition", "attributes", "features"] {
        members.shift_remove(name);
        match body.get(name) {
            Some(Value::Null) if name != "definition" => {}
            Some(value) => drop(members.insert(name.to_owned(), value.clone())),
            None => {}
        }
    }
}

fn unchanged() -> Failure {
    Failure::new(412, "things:precondition.failed", "`if-equal`: nothing would change")
}

/// The thing with its members in Ditto's order, dated and counted.
pub fn stamp(id: &ThingId, mut thing: Value, revision: u64, caller: &Caller) -> Result<Value, Failure> {
    let now = time::print(caller.now);
    let mut stamped = json!({});
    for name in ["thingId", "policyId", "definition", "attributes", "features"] {
        if let Some(value) = thing.get_mut(name) {
            stamped[name] = value.take();
        }
    }
    if units(&stamped) > SIZE_MAX {
        return Err(Failure::new(
            413,
            "things:thing.toolarge",
            format!("a thing has at most {SIZE_MAX} characters of JSON"),
        ));
    }
    stamped["_namespace"] = json!(id.namespace());
    stamped["_revision"] = json!(revision);
    stamped["_created"] = thing.get("_created").cloned().unwrap_or_else(|| json!(now));
    stamped["_modified"] = json!(now);
    if let Some(notes) = thing.get_mut("_metadata") {
        stamped["_metadata"] = notes.take();
    }
    depth::check(&stamped)?;
    Ok(stamped)
}

/// The stamped thing as it is stored.
pub fn change(id: &ThingId, revision: u64, stamped: &Value) -> Change {
    let document = Some(Content::Packed(Packed::of(stamped)));
    Change { kind: Kind::Thing, id: id.to_string(), entry: Entry { revision, document } }
}

/// How long the JSON text is, in UTF-16 units.
fn units(value: &Value) -> usize {
    struct Units(usize);
    impl io::Write for Units {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            // a character of four bytes is two units
            let units = |byte: &u8| usize::from(byte & 0xc0 != 0x80) + usize::from(*byte >= 0xf0);
            self.0 += text.iter().map(units).sum::<usize>();
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut units = Units(0);
    // counting fails for nothing that is JSON
    serde_json::to_writer(&mut units, value).map_or(usize::MAX, |()| units.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_thing_is_that_of_its_text_in_utf_16() {
        for value in [json!({}), json!({"\u{e4}\n": ["\u{1f600}\u{1}", 1.5, null]}), json!("\u{ffff}\"")] {
            assert_eq!(units(&value), value.to_string().encode_utf16().count(), "{value}");
        }
    }
}
