//! What the parts of a thing must look like. The same rules hold for what a PUT writes and for what a
//! merge patch leaves behind; `null` is allowed wherever a part may be absent.
//! Source: Ditto 3.8, `ThingBuilder`, `ImmutableFeature`, `JsonKeyValidator.java`.
use serde_json::{Map, Value};

use super::super::failure::Failure;
use super::super::place::{ThingPart, ThingPlace};
use crate::twin::id::{PolicyId, ThingId, is_key};
use crate::twin::json::Object;

/// The members of a thing, in the order Ditto writes them. Others are dropped.
const MEMBERS: [&str; 5] = ["thingId", "policyId", "definition", "attributes", "features"];
const FEATURE_MEMBERS: [&str; 3] = ["definition", "properties", "desiredProperties"];

/// Checks the value for the part at `place` and returns it without the members Ditto does not know.
pub fn part(place: &ThingPlace, id: &ThingId, value: &Value) -> Result<Value, Failure> {
    match place.part {
        ThingPart::Thing => thing(id, value).map(Value::Object),
        // alone, what is no string is read as one (Ditto 3.8, `ThingsRoute.java`)
        ThingPart::PolicyId if !value.is_string() => {
            parse_policy_id(&value.to_string()).map(|_| value.clone())
        }
        ThingPart::PolicyId => policy_id(value).map(|()| value.clone()),
        ThingPart::Definition => definition(value).map(|()| value.clone()),
        ThingPart::Attributes | ThingPart::Properties | ThingPart::DesiredProperties => {
            bag(value).map(|()| value.clone())
        }
        ThingPart::Attribute | ThingPart::Property | ThingPart::DesiredProperty => {
            keys(value).map(|()| value.clone())
        }
        ThingPart::Features => features(value),
        ThingPart::Feature => feature(value),
        ThingPart::FeatureDefinition => feature_definition(value).map(|()| value.clone()),
    }
}

/// A whole thing, or a merge patch of one: known members only, each well formed or `null`.
pub fn thing(id: &ThingId, value: &Value) -> Result<Object, Failure> {
    let members = match value {
        Value::Null => return Ok(Map::new()),
        Value::Object(members) => members,
        _ => return Err(Failure::bad_json("a thing must be a JSON object")),
    };
    if let Some(given) = members.get("thingId") {
        own_id(id, given)?;
    }
    if let Some(given) = members.get("policyId").filter(|given| !given.is_null()) {
        policy_id(given)?;
    }
    let mut checked = Map::new();
    for name in MEMBERS {
        let Some(value) = members.get(name) else { continue };
        let value = match name {
            "definition" => definition(value).map(|()| value.clone())?,
            "attributes" => bag(value).map(|()| value.clone())?,
            "features" => features(value)?,
            _ => value.clone(),
        };
        checked.insert(name.to_owned(), value);
    }
    Ok(checked)
}

fn own_id(id: &ThingId, given: &Value) -> Result<(), Failure> {
    if given.as_str() == Some(id.as_str()) {
        return Ok(());
    }
    Err(Failure::new(
        400,
        "things:id.notsettable",
        "the `thingId` in the body must be the one in the path, or left out",
    ))
}

fn policy_id(value: &Value) -> Result<(), Failure> {
    let text = value.as_str().ok_or_else(|| Failure::bad_json("a policyId must be a JSON string"))?;
    parse_policy_id(text).map(drop)
}

pub fn parse_policy_id(text: &str) -> Result<PolicyId, Failure> {
    PolicyId::parse(text)
        .map_err(|error| Failure::new(400, "policies:id.invalid", format!("`{text}`: {error}")))
}

fn definition(value: &Value) -> Result<(), Failure> {
    match value {
        Value::Null => Ok(()),
        Value::String(text) => identifier(text),
        _ => Err(Failure::new(400, "json.format.invalid", "a definition must be a JSON string or null")),
    }
}

fn identifier(text: &str) -> Result<(), Failure> {
    let word = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    let url = ["http://", "https://"]
        .iter()
        .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if url && !text.contains(char::is_whitespace) || text.split(':').count() == 3 && text.split(':').all(word)
    {
        return Ok(());
    }
    Err(Failure::new(
        400,
        "things:definition.identifier.invalid",
        format!("`{text}` is no definition: write `namespace:name:version` or an http(s) URL"),
    ))
}

fn features(value: &Value) -> Result<Value, Failure> {
    let Some(features) = object_or_null(value, "features")? else { return Ok(Value::Null) };
    let mut checked = Map::new();
    for (id, value) in features {
        key(id)?;
        checked.insert(id.clone(), feature(value)?);
    }
    Ok(Value::Object(checked))
}

fn feature(value: &Value) -> Result<Value, Failure> {
    let Some(members) = object_or_null(value, "a feature")? else { return Ok(Value::Null) };
    let mut checked = Map::new();
    for name in FEATURE_MEMBERS {
        let Some(value) = members.get(name) else { continue };
        if name == "definition" {
            feature_definition(value)?;
        } else {
            bag(value)?;
        }
        checked.insert(name.to_owned(), value.clone());
    }
    Ok(Value::Object(checked))
}

fn feature_definition(value: &Value) -> Result<(), Failure> {
    let identifiers = match value {
        Value::Null => return Ok(()),
        Value::Array(identifiers) => identifiers,
        _ => return Err(Failure::bad_json("the definition of a feature must be a JSON array of strings")),
    };
    if identifiers.is_empty() {
        return Err(Failure::new(
            400,
            "things:feature.definition.empty",
            "the definition of a feature needs an identifier",
        ));
    }
    identifiers.iter().try_for_each(|item| match item.as_str() {
        Some(text) => identifier(text),
        None => identifier(&item.to_string()),
    })
}

/// Attributes, properties or desired properties: an object or `null`.
fn bag(value: &Value) -> Result<(), Failure> {
    object_or_null(value, "attributes and properties")?;
    keys(value)
}

fn object_or_null<'v>(value: &'v Value, what: &str) -> Result<Option<&'v Object>, Failure> {
    match value {
        Value::Null => Ok(None),
        Value::Object(members) => Ok(Some(members)),
        _ => Err(Failure::bad_json(format!("{what} must be a JSON object"))),
    }
}

/// Every key of every object, but not of those inside arrays: Ditto leaves arrays alone.
fn keys(value: &Value) -> Result<(), Failure> {
    let Value::Object(members) = value else { return Ok(()) };
    members.iter().try_for_each(|(name, value)| {
        key(name)?;
        keys(value)
    })
}

fn key(name: &str) -> Result<(), Failure> {
    match name {
        "" => Err(Failure::bad_json("a key must not be empty")),
        _ if is_key(name) => Ok(()),
        _ => Err(Failure::bad_key(name)),
    }
}
