//! From the raw path of a request to what it names.
//!
//! Ditto's paths end in JSON pointers and subject ids, whose slashes are part of the name, so the path is
//! taken apart here and not by the router. Source: Ditto 3.8, `RootRoute`, `ThingsRoute`, `PoliciesRoute`.
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::super::depth::DEPTH_MAX;
use super::super::failure::Failure;
use super::super::live::Address;
use super::super::place::{PolicyPlace, ThingPart, ThingPlace};
use super::super::policy;
use super::refusal::Refusal;
use crate::twin::id::{IdError, PolicyId, ThingId, is_key};
use crate::twin::json::Pointer;

#[derive(Clone, Debug, PartialEq)]
pub enum Route {
    Health,
    Status,
    Metrics,
    Whoami,
    CheckPermissions,
    Things,
    Thing(ThingId, ThingPlace),
    Message(Address),
    /// Below `inbox` or `outbox`, and no mailbox.
    NoMailbox,
    MigrateDefinition,
    Search,
    Count,
    Policies,
    Policy(PolicyId, PolicyPlace),
    PolicyAction,
    CloudEvents,
}

impl Route {
    /// The methods, as the `Allow` header lists them.
    pub fn allowed(&self) -> &'static str {
        match self {
            Self::Health | Self::Status | Self::Metrics | Self::Whoami => "GET",
            Self::CheckPermissions
            | Self::Message(_)
            | Self::NoMailbox
            | Self::MigrateDefinition
            | Self::Policies
            | Self::CloudEvents => "POST",
            Self::Things | Self::Search | Self::Count | Self::PolicyAction => "GET, POST",
            Self::Thing(_, place) if place.part == ThingPart::PolicyId => "GET, PUT, PATCH",
            Self::Thing(..) => "GET, PUT, PATCH, DELETE",
            Self::Policy(_, place) => match place {
                PolicyPlace::Entries
                | PolicyPlace::Subjects(_)
                | PolicyPlace::Resources(_)
                | PolicyPlace::Imports => "GET, PUT",
                _ => "GET, PUT, DELETE",
            },
        }
    }
}

/// What stands before the routes of one version.
pub enum Entrance<'p> {
    /// Below `/api/2/`: needs credentials before anything else is said.
    Api(Vec<&'p str>),
    /// `/ws/2`
    Socket,
    /// Needs credentials.
    Guarded(Route),
    Open(Route),
}

/// Splits off the front of the path.
pub fn entrance(path: &str) -> Result<Entrance<'_>, Refusal> {
    let escapes_are_whole = path
        .split('%')
        .skip(1)
        .all(|rest| rest.get(..2).is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit())));
    if !path.is_ascii() || !escapes_are_whole {
        return Err(Refusal::Text(400, "the request-target is malformed: percent-encode it"));
    }
    let mut segments: Vec<&str> = path.split('/').skip(1).collect();
    let unsupported = |version: &str| !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
    match segments.as_slice() {
        ["health"] | ["status", "health"] => Ok(Entrance::Open(Route::Health)),
        ["status"] => Ok(Entrance::Open(Route::Status)),
        ["status", "metrics"] => Ok(Entrance::Guarded(Route::Metrics)),
        ["overall" | "devops", ..] => Err(Refusal::Operators),
        ["ws", "2"] => Ok(Entrance::Socket),
        ["api", "2", ..] => Ok(Entrance::Api(segments.split_off(2))),
        ["api" | "ws", version, ..] if unsupported(version) => {
            Err(Failure::new(404, "api.version.notsupported", format!("API version {version}: use 2")).into())
        }
        _ => Err(Refusal::NOT_FOUND),
    }
}

/// The route below `/api/2/`.
pub fn api(segments: &[&str]) -> Result<Route, Refusal> {
    let plain = match segments {
        [front @ .., ""] if !front.is_empty() => front,
        whole => whole,
    };
    if let ["things", id, rest @ ..] = segments
        && matches!(rest, ["inbox" | "outbox", ..] | ["features", _, "inbox" | "outbox", ..])
    {
        return message(id, rest);
    }
    match plain {
        // alone among the parts, it stands for nothing with a slash behind it (Ditto 3.8, `ThingsRoute.java`)
        ["things", _, "policyId"] if segments.len() > plain.len() => Err(Refusal::NOT_FOUND),
        ["whoami"] => Ok(Route::Whoami),
        ["checkPermissions"] => Ok(Route::CheckPermissions),
        ["cloudevents"] => Ok(Route::CloudEvents),
        ["things"] => Ok(Route::Things),
        ["search", "things"] => Ok(Route::Search),
        ["search", "things", "count"] => Ok(Route::Count),
        ["policies"] => Ok(Route::Policies),
        ["things", id, rest @ ..] => thing(id, rest),
        ["policies", id, ..] => policy_route(id, &segments[2..]),
        _ => Err(Refusal::NOT_FOUND),
    }
}

/// A mailbox; one without a slash behind it takes no messages, but streams them.
fn message(id: &str, rest: &[&str]) -> Result<Route, Refusal> {
    let id = thing_id(&decode(id))?;
    let path: Vec<String> = rest.iter().map(|segment| decode(segment)).collect();
    Ok(Address::read(&id, &path).map_or(Route::NoMailbox, Route::Message))
}

fn thing(id: &str, rest: &[&str]) -> Result<Route, Refusal> {
    let id = thing_id(&decode(id))?;
    if rest.contains(&"") {
        return Err(bad_pointer().into());
    }
    let place = match rest {
        [] => ThingPlace::root(),
        ["policyId"] => at(ThingPart::PolicyId, ["policyId"]),
        ["definition"] => at(ThingPart::Definition, ["definition"]),
        ["attributes"] => at(ThingPart::Attributes, ["attributes"]),
        ["attributes", below @ ..] => below_of(ThingPart::Attribute, &["attributes"], below)?,
        ["features"] => at(ThingPart::Features, ["features"]),
        ["features", feature, rest @ ..] => feature_place(&decode(feature), rest)?,
        ["migrateDefinition"] => return Ok(Route::MigrateDefinition),
        _ => return Err(Refusal::NOT_FOUND),
    };
    Ok(Route::Thing(id, place))
}

fn feature_place(id: &str, rest: &[&str]) -> Result<ThingPlace, Refusal> {
    if !is_key(id) {
        return Err(Failure::bad_key(id).into());
    }
    let place = match rest {
        [] => at(ThingPart::Feature, ["features", id]),
        ["definition"] => at(ThingPart::FeatureDefinition, ["features", id, "definition"]),
        ["properties"] => at(ThingPart::Properties, ["features", id, "properties"]),
        ["desiredProperties"] => at(ThingPart::DesiredProperties, ["features", id, "desiredProperties"]),
        ["properties", below @ ..] => below_of(ThingPart::Property, &["features", id, "properties"], below)?,
        ["desiredProperties", below @ ..] => {
            below_of(ThingPart::DesiredProperty, &["features", id, "desiredProperties"], below)?
        }
        _ => return Err(Refusal::NOT_FOUND),
    };
    Ok(place)
}

fn at<'s>(part: ThingPart, segments: impl IntoIterator<Item = &'s str>) -> ThingPlace {
    ThingPlace { part, pointer: Pointer::of(segments) }
}

/// The rest of the path is a JSON pointer: percent-decoded first, then split.
fn below_of(part: ThingPart, above: &[&str], below: &[&str]) -> Result<ThingPlace, Failure> {
    let text = decode(&below.join("/"));
    if text.split('/').any(str::is_empty) {
        return Err(bad_pointer());
    }
    if text.split('/').count() > DEPTH_MAX {
        return Err(Failure::new(
            400,
            "json.pointer.invalid",
            format!("a path has at most {DEPTH_MAX} segments"),
        ));
    }
    if let Some(key) = text.split('/').find(|segment| !is_key(segment)) {
        return Err(Failure::bad_key(key));
    }
    Ok(ThingPlace { part, pointer: Pointer::of(above.iter().copied()).join(&Pointer::parse(&text)) })
}

fn policy_route(id: &str, rest: &[&str]) -> Result<Route, Refusal> {
    let text = decode(id);
    let id = PolicyId::parse(&text);
    let id = id.map_err(|error| bad_id("policies", &text, error))?;
    // a subject id or resource key may end in a slash, everything else sheds it
    let place = match rest {
        ["entries", label, "subjects", subject @ ..] if subject.iter().any(|s| !s.is_empty()) => {
            PolicyPlace::Subject(decode(label), subject.join("/"))
        }
        ["entries", label, "resources", key @ ..] if key.iter().any(|s| !s.is_empty()) => {
            PolicyPlace::Resource(decode(label), policy::resource_key(&decode(&key.join("/")))?)
        }
        [front @ .., ""] => return shed(id, front),
        whole => return shed(id, whole),
    };
    Ok(Route::Policy(id, place))
}

fn shed(id: PolicyId, rest: &[&str]) -> Result<Route, Refusal> {
    let place = match rest {
        [] => PolicyPlace::Policy,
        ["entries"] => PolicyPlace::Entries,
        ["entries", label] => PolicyPlace::Entry(decode(label)),
        ["entries", label, "subjects"] => PolicyPlace::Subjects(decode(label)),
        ["entries", label, "resources"] => PolicyPlace::Resources(decode(label)),
        ["imports"] => PolicyPlace::Imports,
        ["imports", imported] => PolicyPlace::Import(decode(imported)),
        ["actions", action] | ["entries", _, "actions", action] if is_action(action) => {
            return Ok(Route::PolicyAction);
        }
        _ => return Err(Refusal::NOT_FOUND),
    };
    Ok(Route::Policy(id, place))
}

fn is_action(name: &str) -> bool {
    matches!(name, "activateTokenIntegration" | "deactivateTokenIntegration")
}

/// Reads a thing id as paths and query parameters hold it.
pub fn thing_id(text: &str) -> Result<ThingId, Failure> {
    ThingId::parse(text).map_err(|error| bad_id("things", text, error))
}

/// Ditto takes an empty namespace as valid; such a thing never exists here.
fn bad_id(kind: &str, text: &str, error: IdError) -> Failure {
    if error == IdError::NoNamespace {
        let entity = if kind == "things" { "thing" } else { "policy" };
        return Failure::new(404, format!("{kind}:{entity}.notfound"), format!("`{text}`: {error}"));
    }
    Failure::new(400, format!("{kind}:id.invalid"), format!("`{text}`: {error}"))
}

fn bad_pointer() -> Failure {
    Failure::new(400, "json.pointer.invalid", "a path must not hold two slashes in a row")
}

/// Bytes that are no UTF-8 become U+FFFD, as in Ditto.
fn decode(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// Everything but the `pchar` of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The path as a `Location` header shows it: decoded and encoded again, segment by segment.
pub fn normal(path: &str) -> String {
    let encode = |segment: &str| utf8_percent_encode(&decode(segment), SEGMENT).to_string();
    path.split('/').map(encode).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Result<Route, Refusal> {
        match entrance(path)? {
            Entrance::Api(segments) => api(&segments),
            Entrance::Open(route) | Entrance::Guarded(route) => Ok(route),
            Entrance::Socket => panic!("{path} is no route"),
        }
    }

    #[test]
    fn paths_name_parts_of_things() {
        let rows = [
            ("", ThingPart::Thing, "/"),
            ("/", ThingPart::Thing, "/"),
            ("/attributes/a%2Fb/c%20d", ThingPart::Attribute, "/attributes/a/b/c d"),
            ("/attributes/sl~1ash", ThingPart::Attribute, "/attributes/sl~1ash"),
            ("/attributes/", ThingPart::Attributes, "/attributes"),
            ("/features/f/properties/x/y", ThingPart::Property, "/features/f/properties/x/y"),
            ("/features/f/desiredProperties", ThingPart::DesiredProperties, "/features/f/desiredProperties"),
        ];
        for (path, part, pointer) in rows {
            let Ok(Route::Thing(id, place)) = of(&format!("/api/2/things/a.b:c{path}")) else {
                panic!("{path}")
            };
            assert_eq!(
                (id.as_str(), place.part, place.pointer.to_string().as_str()),
                ("a.b:c", part, pointer),
                "{path}"
            );
        }
    }

    #[test]
    fn slashes_belong_to_subjects_and_resources() {
        let rows = [
            ("/entries/l/subjects/nginx:a/b", PolicyPlace::Subject("l".into(), "nginx:a/b".into())),
            ("/entries/l/subjects/nginx:a%2Fb", PolicyPlace::Subject("l".into(), "nginx:a%2Fb".into())),
            ("/entries/l/resources/thing:/", PolicyPlace::Resource("l".into(), "thing:/".into())),
            ("/entries/l/resources/thing:/a%20b", PolicyPlace::Resource("l".into(), "thing:/a b".into())),
            ("/entries/l/subjects/", PolicyPlace::Subjects("l".into())),
            ("/", PolicyPlace::Policy),
        ];
        for (path, place) in rows {
            let Ok(Route::Policy(_, got)) = of(&format!("/api/2/policies/a:b{path}")) else {
                panic!("{path}")
            };
            assert_eq!(got, place, "{path}");
        }
    }

    #[test]
    fn broken_paths_are_refused_as_ditto_does() {
        let rows = [
            ("/api/2/things/a:b/attributes//x", Some("json.pointer.invalid")),
            ("/api/2/things/a:b/attributes/%C3%A4", Some("json.key.invalid")),
            ("/api/2/things/a:b/features/x%2Fy", Some("json.key.invalid")),
            ("/api/2/things/nocolon", Some("things:id.invalid")),
            ("/api/1/things", Some("api.version.notsupported")),
            ("/api/2/things/a:b/nonsense", None),
            ("/api/2/things/a:%zz", None),
            ("/api/2/things/a:%", None),
        ];
        for (path, expected) in rows {
            let got = match of(path) {
                Err(Refusal::Failure(failure)) => Some(failure.error.into_owned()),
                Err(_) => None,
                Ok(route) => panic!("{path}: {route:?}"),
            };
            assert_eq!(got.as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn locations_are_encoded_once() {
        let rows =
            [("/a:b%20c", "/a:b%20c"), ("/a%3Ab+c", "/a:b+c"), ("/x%2Fy", "/x%2Fy"), ("/%FF", "/%EF%BF%BD")];
        for (path, expected) in rows {
            assert_eq!(normal(path), expected);
        }
    }
}
