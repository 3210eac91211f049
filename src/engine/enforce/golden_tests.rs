//! Every permission decided in the recorded conversations about enforcement and search, decided again.
use serde_json::{Value, json};

use super::*;
use crate::{
    rql::{self, Now},
    twin::json::{Pointer, merge},
};

/// A thing and its policy's entries, as the requests of a conversation leave them.
#[derive(Clone, Default)]
struct World {
    thing: Value,
    entries: Value,
}

fn steps(scenario: &str) -> Vec<Value> {
    let file = format!("{}/tests/golden/{scenario}.json", env!("CARGO_MANIFEST_DIR"));
    let mut golden: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let Value::Array(steps) = golden["steps"].take() else { panic!("{scenario} has no steps") };
    steps.into_iter().filter(|step| step["response"]["status"].is_u64()).collect()
}

/// `"alice+bob"` as the subjects the gateway makes of it.
fn subjects(step: &Value) -> Vec<String> {
    step["request"]["as"].as_str().unwrap().split('+').map(|user| format!("nginx:{user}")).collect()
}

/// What a policy holds that Ditto makes for a thing created without one.
fn default_entries(owner: &[String]) -> Value {
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    json!({"DEFAULT": {"subjects": {&owner[0]: {}}, "resources": {"thing:/": all, "policy:/": all, "message:/": all}}})
}

impl World {
    fn create(step: &Value) -> Self {
        let mut thing = step["request"]["body"].clone();
        let policy = thing.as_object_mut().unwrap().remove("_policy");
        let entries =
            policy.map_or_else(|| default_entries(&subjects(step)), |mut policy| policy["entries"].take());
        let id = step["request"]["path"].as_str().unwrap().rsplit('/').next().unwrap();
        merge(&mut thing, &json!({"thingId": id, "policyId": id}));
        Self { thing, entries }
    }

    fn enforcer(&self) -> Enforcer {
        Enforcer::new(self.entries.as_object().unwrap(), 0)
    }

    fn apply(&mut self, root: Root, method: &str, place: &Pointer, body: &Value) {
        let document = if root == Root::Thing { &mut self.thing } else { &mut self.entries };
        match method {
            "DELETE" => _ = place.remove(document),
            "PUT" => place.set(document, body.clone()),
            "PATCH" => {
                let mut part = place.get(document).cloned().unwrap_or_default();
                merge(&mut part, body);
                place.set(document, part);
            }
            _ => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Root {
    Thing,
    Entries,
}

/// What a request path names: a place in the thing or, keys of resources being one segment, among the entries.
fn target(path: &str) -> Option<(Root, Pointer)> {
    if let Some(rest) = path.strip_prefix("/api/2/things/") {
        let (_, place) = rest.split_once('/').unwrap_or((rest, ""));
        return (!place.contains("messages/") && !rest.contains(":missing"))
            .then(|| (Root::Thing, Pointer::parse(place)));
    }
    let (_, place) = path.strip_prefix("/api/2/policies/")?.split_once("/entries/")?;
    let (label, resource) = place.split_once("/resources/").unwrap_or((place, ""));
    let segments = [label, "resources", resource];
    Some((Root::Entries, Pointer::of(segments.into_iter().take(if resource.is_empty() { 1 } else { 3 }))))
}

/// Compares one step's outcome with what the enforcer says. Returns whether there was something to compare.
fn compared(world: &World, step: &Value, place: &Pointer, name: &str) -> bool {
    let (method, status) =
        (step["request"]["method"].as_str().unwrap(), step["response"]["status"].as_u64().unwrap());
    let (enforcer, subjects) = (world.enforcer(), subjects(step));
    let path: Vec<&str> = place.segments().iter().map(String::as_str).collect();
    match (method, status) {
        ("GET", _) => {
            let value = place.get(&world.thing).expect(name);
            let mut seen = enforcer.view(&subjects, "thing", &path, value);
            if let (Some(Value::Object(members)), true) = (&mut seen, place.is_root()) {
                members.insert("thingId".to_owned(), world.thing["thingId"].clone());
            }
            assert_eq!(seen, (status == 200).then(|| step["response"]["body"].clone()), "{name}");
        }
        ("PATCH", 204 | 403) => {
            let may = enforcer.may_merge(&subjects, &path, &step["request"]["body"]);
            assert_eq!(may, status == 204, "{name}");
        }
        ("PUT" | "DELETE", 201 | 204 | 403 | 404) => {
            let may = enforcer.unrestricted(&subjects, "thing", &path, Permission::Write);
            assert_eq!(may, status != 403, "{name}");
        }
        _ => return false,
    }
    true
}

#[test]
fn permissions_are_decided_as_recorded() {
    for (scenario, at_least) in
        [("enforcement-grants", 50), ("enforcement-revokes", 33), ("enforcement-policy-change", 8)]
    {
        let mut world = World::default();
        let mut checked = 0;
        for (i, step) in steps(scenario).iter().enumerate() {
            let (method, path) = (&step["request"]["method"], step["request"]["path"].as_str().unwrap());
            let name = format!("{scenario} {i}: {} {method} {path}", step["request"]["as"]);
            if i == 0 {
                world = World::create(step);
                continue;
            }
            let Some((root, place)) = target(path).filter(|_| !path.contains('?')) else { continue };
            if root == Root::Thing && compared(&world, step, &place, &name) {
                checked += 1;
            }
            if step["response"]["status"].as_u64().is_some_and(|status| status < 300) {
                world.apply(root, method.as_str().unwrap(), &place, &step["request"]["body"]);
            }
        }
        assert!(checked >= at_least, "{scenario}: only {checked} steps were compared");
    }
}

#[test]
fn s29_searches_see_only_what_was_recorded() {
    let mut worlds: Vec<World> = vec![];
    let mut checked = 0;
    for (i, step) in steps("search-permissions").iter().enumerate() {
        let path = step["request"]["path"].as_str().unwrap();
        let method = step["request"]["method"].as_str().unwrap();
        if path.starts_with("/api/2/things/") {
            worlds.push(World::create(step));
            continue;
        }
        if let Some((Root::Entries, place)) = target(path) {
            worlds[1].apply(Root::Entries, method, &place, &step["request"]["body"]);
            continue;
        }
        let filter = path.split_once("filter=").map(|(_, filter)| filter.replace("%22", "\""));
        let Ok(expr) = rql::parse(filter.as_deref().unwrap_or("exists(thingId)")) else { panic!("{path}") };
        if let Err(error) = rql::schema::check(&expr) {
            assert_eq!(step["response"]["status"], 400, "{i} {path} {error}");
            continue;
        }
        checked += 1;
        let subjects = subjects(step);
        let items: Vec<Value> = worlds
            .iter()
            .filter(|world| {
                let enforcer = world.enforcer();
                let readable = |path: &[&str]| enforcer.readable(&subjects, path);
                enforcer.any_read(&subjects)
                    && rql::search::matches(&expr, &world.thing, &readable, Now { epoch_millis: 0 })
            })
            .map(|world| {
                let mut item = world.enforcer().view(&subjects, "thing", &[], &world.thing).unwrap();
                merge(&mut item, &json!({"thingId": world.thing["thingId"]}));
                item
            })
            .collect();
        match &step["response"]["body"] {
            Value::Number(count) => assert_eq!(Some(items.len() as u64), count.as_u64(), "{i} {path}"),
            body => assert_eq!(json!(items), body["items"], "{i} {path}"),
        }
    }
    assert!(checked >= 17, "only {checked} searches were compared");
}
