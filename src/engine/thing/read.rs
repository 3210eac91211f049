//! GET of a thing or a part of it.
use serde_json::{Value, json};

use super::super::command::{Answer, Caller, Headers, Live, Metadata};
use super::super::enforce::{Enforcer, Permission};
use super::super::failure::Failure;
use super::super::fields::Selector;
use super::super::history::Moment;
use super::super::place::{ThingPart, ThingPlace};
use super::super::precondition::{hash_tag, revision_tag};
use super::super::state::{Kind, State};
use super::super::time;
use super::{THING, condition_holds, conditions_readable, holds, metadata, path, readable as may_ask};
use crate::twin::json::Pointer;

/// Answers the part at `place`, cut down to what the caller may read and asked for.
pub fn read(
    state: &State,
    id: &str,
    place: &ThingPlace,
    headers: &Headers,
    caller: &Caller,
) -> Result<Answer, Failure> {
    let thing = state.get(Kind::Thing, id).ok_or_else(|| ThingPart::Thing.not_found())?;
    let thing = &*thing;
    let enforcer = policy_of(thing).and_then(|policy| state.enforcer(policy, caller.now));
    let enforcer = enforcer.ok_or_else(|| ThingPart::Thing.not_found())?;
    conditions_readable(headers, &enforcer, caller)?;
    if let (Live::If(condition), None) = (&headers.live, &headers.condition) {
        may_ask(condition, &enforcer, caller)?;
    }
    let segments = path(place.pointer.segments());
    if !enforcer.partial(&caller.subjects, THING, &segments, Permission::Read) {
        return Err(place.part.not_found());
    }
    let live_condition_matched = asks_live(headers, thing, caller)?;
    let present = state.revision(Kind::Thing, id);
    let past = match headers.moment {
        None => None,
        Some(moment) => earlier(state, id, moment)?,
    };
    let (thing, revision) = past.as_ref().map_or((thing, present), |(revision, thing)| (thing, *revision));
    condition_holds(headers, thing, caller)?;
    let value = find(thing, place)?;
    let etag = if place.is_root() { revision_tag(revision) } else { hash_tag(value) };
    let fields = headers.fields.as_ref().filter(|_| selectable(place.part));
    if !fields.is_some_and(|fields| fields.names("_policy")) {
        headers.preconditions.check(Some(&etag), true, "things")?;
    }
    let readable = view(&enforcer, caller, place, value).ok_or_else(|| place.part.not_found())?;
    let body = match fields {
        Some(fields) if place.is_root() => {
            let policy = fields.names("_policy").then(|| inline_policy(state, thing, caller)).flatten();
            selected(fields, &readable, policy)
        }
        Some(fields) if place.part == ThingPart::Features => {
            fields.with_features(&readable, &Pointer::root()).select(&readable)
        }
        Some(fields) => fields.select(&readable),
        None => shown(place, readable),
    };
    let metadata = match &headers.metadata {
        Metadata::Get(places) => Some(metadata::get(thing, place, places)?),
        _ => None,
    };
    // read as of a revision, Ditto 3.8.12 names the one before it in `entity-revision`
    let named = if headers.moment.is_some() { revision.saturating_sub(1) } else { revision };
    Ok(Answer { metadata, live_condition_matched, ..Answer::found(body, Some(etag), Some(named)) })
}

/// Whether the twin meets the condition under which a device is asked instead.
fn asks_live(headers: &Headers, thing: &Value, caller: &Caller) -> Result<Option<bool>, Failure> {
    match &headers.live {
        Live::If(condition) => holds(condition, thing, caller).map(Some),
        Live::Never | Live::Always => Ok(None),
    }
}

/// The thing at an earlier moment; `None` when that is the present.
fn earlier(state: &State, id: &str, moment: Moment) -> Result<Option<(u64, Value)>, Failure> {
    let modified = state.thing(id).and_then(|thing| time::parse(thing.node()?.at(&["_modified"])?.text()?));
    let is_present = match moment {
        Moment::Revision(revision) => revision == 0 || revision == state.revision(Kind::Thing, id),
        Moment::Time(time) => modified.is_some_and(|modified| modified <= time),
    };
    let past = state.past(id, moment);
    match past.and_then(|past| Some((past.revision(), past.node()?.unpack()))) {
        _ if is_present => Ok(None),
        Some(past) => Ok(Some(past)),
        None => Err(Failure::new(
            404,
            "things:thing.history.notfound",
            "the thing was not there then, or that is too long ago: the last 100 revisions since the start are kept",
        )),
    }
}

/// The readable part of a whole thing, as in lists and search results; `None` when nothing is.
/// Wildcards in `fields` are resolved in lists (`wildcards`), not in search results.
pub fn visible(
    state: &State,
    thing: &Value,
    fields: Option<&Selector>,
    caller: &Caller,
    wildcards: bool,
) -> Option<Value> {
    let enforcer = state.enforcer(policy_of(thing)?, caller.now)?;
    if !enforcer.partial(&caller.subjects, THING, &[], Permission::Read) {
        return None;
    }
    let place = ThingPlace::root();
    let readable = view(&enforcer, caller, &place, thing)?;
    Some(match fields {
        Some(fields) => {
            let policy = fields.names("_policy").then(|| inline_policy(state, thing, caller)).flatten();
            if wildcards {
                selected(fields, &readable, policy)
            } else {
                with_policy(fields.select(&readable), policy)
            }
        }
        None => shown(&place, readable),
    })
}

/// The policy of the thing as `_policy` shows it; absent when the caller may not read it.
fn inline_policy(state: &State, thing: &Value, caller: &Caller) -> Option<Value> {
    super::super::policy::visible(state, policy_of(thing)?, caller)
}

pub fn policy_of(thing: &Value) -> Option<&str> {
    thing["policyId"].as_str()
}

fn selected(fields: &Selector, readable: &Value, policy: Option<Value>) -> Value {
    with_policy(fields.with_features(readable, &Pointer::of(["features"])).select(readable), policy)
}

fn with_policy(mut body: Value, policy: Option<Value>) -> Value {
    if let Some(policy) = policy {
        body["_policy"] = policy;
    }
    body
}

/// `fields` is ignored below `attributes/` and for scalars. Observed on Ditto 3.8.12.
fn selectable(part: ThingPart) -> bool {
    use ThingPart::{Attributes, DesiredProperties, Feature, Features, Properties, Thing};
    matches!(part, Thing | Attributes | Features | Feature | Properties | DesiredProperties)
}

/// The value at `place`, or the 404 that names the outermost missing part.
fn find<'t>(thing: &'t Value, place: &ThingPlace) -> Result<&'t Value, Failure> {
    if let Some(value) = place.pointer.get(thing) {
        let emptied = |value: &Value| value["definition"].is_null() && value.get("definition").is_some();
        return match place.part {
            ThingPart::Feature if emptied(value) => Err(empty_definition()),
            ThingPart::FeatureDefinition if value.is_null() => Err(empty_definition()),
            _ => Ok(value),
        };
    }
    let around = place.around().filter(|around| around.pointer.get(thing).is_none());
    match around {
        Some(around) => find(thing, &around),
        None => Err(place.part.not_found()),
    }
}

/// A feature whose definition was set to `null` cannot be read any more. Observed on Ditto 3.8.12.
fn empty_definition() -> Failure {
    Failure::new(
        400,
        "things:feature.definition.empty",
        "the definition of a feature needs at least one identifier",
    )
}

/// What the caller may read of `value`. Whoever reads any part of a thing reads its id.
fn view(enforcer: &Enforcer, caller: &Caller, place: &ThingPlace, value: &Value) -> Option<Value> {
    let mut readable = enforcer.view(&caller.subjects, THING, &path(place.pointer.segments()), value)?;
    if place.is_root() && readable.get("thingId").is_none() {
        let Value::Object(rest) = readable.take() else { return None };
        let id = ("thingId".to_owned(), value["thingId"].clone());
        readable = Value::Object(std::iter::once(id).chain(rest).collect());
    }
    Some(readable)
}

/// Fields that begin with `_` show only when asked for; a definition of `null` reads as the empty string.
fn shown(place: &ThingPlace, mut value: Value) -> Value {
    match (&mut value, place.part) {
        (Value::Object(members), ThingPart::Thing) => members.retain(|name, _| !name.starts_with('_')),
        (Value::Null, ThingPart::Definition) => return json!(""),
        _ => {}
    }
    value
}

/// What a subscriber with these subjects may read of the fields an event is enriched with; `None` when that is nothing.
pub fn extra(
    state: &State,
    thing: &Value,
    enforcer: &Enforcer,
    fields: &Selector,
    reader: &Caller,
) -> Option<Value> {
    if !enforcer.partial(&reader.subjects, THING, &[], Permission::Read) {
        return None;
    }
    let readable = view(enforcer, reader, &ThingPlace::root(), thing)?;
    let policy = fields.names("_policy").then(|| inline_policy(state, thing, reader)).flatten();
    let extra = selected(fields, &readable, policy);
    extra.as_object().is_some_and(|members| !members.is_empty()).then_some(extra)
}
