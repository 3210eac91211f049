//! One row per rule. Both doors answer every one of them: the API server and the folder.
use serde_json::{Value, json};

/// A resource that must be refused.
pub struct Row {
    pub name: &'static str,
    pub kind: &'static str,
    pub spec: Value,
    /// What the API server says.
    pub server: &'static str,
    /// What the conversion says.
    pub folder: &'static str,
}

impl Row {
    /// The resource, named after the row: `policy named twice` becomes `policy-named-twice`.
    pub fn resource(&self) -> Value {
        json!({
            "apiVersion": "twinops.dev/v1alpha1",
            "kind": self.kind,
            "metadata": {"name": self.name.replace(' ', "-")},
            "spec": self.spec,
        })
    }
}

const ID: &str = "write namespace:name, such as com.example:pump-7";

fn twin(name: &'static str, spec: Value, says: &'static str) -> Row {
    let mut whole = json!({"thingId": "com.example:pump", "policyRef": {"name": "pumps"}});
    merge(&mut whole, spec);
    Row { name, kind: "DigitalTwin", spec: whole, server: says, folder: says }
}

fn policy(name: &'static str, spec: Value, says: &'static str) -> Row {
    let mut whole = json!({"policyId": "com.example:pumps"});
    merge(&mut whole, spec);
    Row { name, kind: "TwinPolicy", spec: whole, server: says, folder: says }
}

/// The members of `more` replace those of `whole`.
fn merge(whole: &mut Value, more: Value) {
    let (Value::Object(whole), Value::Object(more)) = (whole, more) else { panic!("two objects") };
    whole.extend(more);
}

fn many(count: usize, key: impl Fn(usize) -> String, value: &Value) -> Value {
    (0..count).map(|index| (key(index), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

impl Row {
    /// Where the schema speaks and not a rule of ours, the two doors use different words.
    fn and_folder(mut self, says: &'static str) -> Self {
        self.folder = says;
        self
    }
}

/// Every row there is.
pub fn all() -> Vec<Row> {
    [names(), contents(), fields(), telemetry(), labels(), rights(), imports()]
        .into_iter()
        .flatten()
        .collect()
}

fn names() -> Vec<Row> {
    let thing = |id: &str| json!({"thingId": id});
    let both = "name the policy once: set policyRef (a TwinPolicy of this namespace) or policyId";
    let mut without = twin("policy not named", json!({}), both);
    without.spec = thing("com.example:pump");
    vec![
        without,
        twin("policy named twice", json!({"policyId": "com.example:pumps"}), both),
        twin("policy id without a namespace", json!({"policyRef": null, "policyId": ":p"}), ID),
        twin("policy reference empty", json!({"policyRef": {"name": ""}}), "should be at least 1 chars long")
            .and_folder("spec.policyRef.name: is empty"),
        twin("thing id without a colon", thing("pump"), ID),
        twin("thing id in no ditto namespace", thing("team-1:pump"), ID),
        twin("thing id with a slash", thing("a:../../policies/x"), ID),
        twin("thing id with latin one", thing("com.example:p\u{fc}mp"), ID),
        twin(
            "thing id too long",
            thing(&format!("a:{}", "x".repeat(257))),
            "Too long: may not be more than 256",
        )
        .and_folder("at most 256 characters"),
        policy("policy id without a colon", json!({"policyId": "pumps"}), ID),
    ]
}

fn contents() -> Vec<Row> {
    let modelled = |definitions: Value| json!({"features": {"f": {"definition": definitions}}});
    let feature = |id: &str| json!({"features": {id: {}}});
    let features = |count| json!({"features": many(count, |i| format!("f{i}"), &json!({}))});
    let no_definition = "is no definition: write";
    vec![
        twin("definition of two words", json!({"definition": "com.example:sensor"}), no_definition),
        twin("definition by ftp", json!({"definition": "ftp://example.com/tm"}), no_definition),
        twin("feature definition of one word", modelled(json!(["sensor"])), no_definition),
        twin("feature definition empty", modelled(json!([])), "should have at least 1 items")
            .and_folder("spec.features[f].definition: is empty"),
        twin("feature definitions too many", modelled(json!(vec!["a:b:c"; 11])), "Too many: 11")
            .and_folder("holds 11, and at most 10"),
        twin("feature id with a star", feature("*"), "rename the feature"),
        twin("feature id with a slash", feature("a/b"), "rename the feature"),
        twin("feature id empty", feature(""), "rename the feature"),
        twin("feature id too long", feature(&"x".repeat(257)), "rename the feature"),
        twin("features too many", features(1_001), "Too many: 1001")
            .and_folder("holds 1001, and at most 1000"),
    ]
}

fn fields() -> Vec<Row> {
    let seeded = |paths: &[String]| {
        let fields: Vec<_> = paths.iter().map(|path| json!({"path": path, "mode": "Seed"})).collect();
        json!({"management": {"fields": fields}})
    };
    let seed = |path: &str| seeded(&[path.to_owned()]);
    let twice = ["/attributes/a".to_owned(), "/attributes/a".to_owned()];
    let many: Vec<_> = (0..201).map(|i| format!("/attributes/a{i}")).collect();
    let no_pointer = "write a JSON pointer into the thing";
    vec![
        twin("field path without a slash", seed("attributes/a"), no_pointer),
        twin("field path outside the thing", seed("/policyId"), no_pointer),
        twin("field path twice", seeded(&twice), "Duplicate value")
            .and_folder("spec.management.fields[/attributes/a]: stands there twice"),
        twin("fields too many", seeded(&many), "Too many: 201").and_folder("holds 201, and at most 200"),
        twin(
            "drift of another word",
            json!({"management": {"drift": "Fix"}}),
            "supported values: \"Enforce\"",
        )
        .and_folder("unknown variant `Fix`"),
    ]
}

fn telemetry() -> Vec<Row> {
    let telemetry = |telemetry: Value| json!({"telemetry": telemetry});
    let mapped = |target: &str| json!({"telemetry": {"mapping": {"t": target}}});
    let mappings = many(51, |i| format!("m{i}"), &json!("/features/t/properties/v"));
    vec![
        twin("mapping out of the features", mapped("/attributes/t"), "point to a property"),
        twin("mapping to the whole feature", mapped("/features/t"), "point to a property"),
        twin("mapping of too much", telemetry(json!({"mapping": mappings})), "Too many: 51")
            .and_folder("holds 51, and at most 50"),
        twin("rate of nothing", telemetry(json!({"maxRate": 0})), "greater than or equal to 1")
            .and_folder("write a number from 1 to 1000"),
        twin("stale after a day", telemetry(json!({"staleAfter": "1d"})), "such as 90s, 15m or 1h"),
    ]
}

fn labels() -> Vec<Row> {
    let labelled = |label: &str| json!({"entries": {label: {}}});
    let ours = "belong to the operator: rename the entry";
    let entries = json!({"entries": many(101, |i| format!("e{i}"), &json!({}))});
    vec![
        policy("label of the operator", labelled("twinops"), ours),
        policy("label of the bridge", labelled("twinops-bridge"), ours),
        policy("label of imported entries", labelled("importedX"), "labels that start with `imported`"),
        policy("label with a slash", labelled("a/b"), "is not a key that Ditto takes"),
        policy("entries too many", entries, "Too many: 101").and_folder("holds 101, and at most 100"),
        policy("access of another word", json!({"access": "Open"}), "supported values: \"Managed\"")
            .and_folder("unknown variant `Open`"),
    ]
}

fn rights() -> Vec<Row> {
    let entry = |entry: Value| json!({"entries": {"people": entry}});
    let subject = |id: &str, subject: Value| entry(json!({"subjects": {id: subject}}));
    let resource = |key: &str, permissions: Value| entry(json!({"resources": {key: permissions}}));
    let subjects = entry(json!({"subjects": many(101, |i| format!("nginx:u{i}"), &json!({}))}));
    let resources = entry(json!({"resources": many(201, |i| format!("thing:/a{i}"), &json!({}))}));
    let no_root = "a resource starts with thing:/";
    vec![
        policy("subject without an issuer", subject("ditto", json!({})), "a subject is issuer:name"),
        policy(
            "subject with a placeholder",
            subject("nginx:{{ user }}", json!({})),
            "does not fill placeholders",
        ),
        policy("subjects too many", subjects, "Too many: 101").and_folder("holds 101, and at most 100"),
        policy("subject of no type", subject("a:b", json!({"type": ""})), "should be at least 1 chars long")
            .and_folder("spec.entries[people].subjects[a:b].type: is empty"),
        policy("expiry tomorrow", subject("a:b", json!({"expiry": "tomorrow"})), "must be of type date-time")
            .and_folder("write the moment as in 2030-01-31T12:00:00Z"),
        policy("resource of another type", resource("things:/", json!({})), no_root),
        policy("resource without a slash", resource("thing:", json!({})), no_root),
        policy("resources too many", resources, "Too many: 201").and_folder("holds 201, and at most 200"),
        policy("right of another word", resource("thing:/", json!({"grant": ["read"]})), "values: \"READ\"")
            .and_folder("unknown variant `read`"),
        policy(
            "right named twice",
            resource("thing:/", json!({"revoke": ["READ", "READ"]})),
            "Duplicate value",
        )
        .and_folder("spec.entries[people].resources[thing:/].revoke: stands there twice"),
    ]
}

fn imports() -> Vec<Row> {
    let import = |id: &str, entries: &[&str]| json!({"imports": {id: {"entries": entries}}});
    let imports = json!({"imports": many(11, |i| format!("a:p{i}"), &json!({}))});
    vec![
        policy("import of no id", import("base", &[]), ID),
        policy("import of itself", import("com.example:pumps", &[]), "a policy cannot import itself"),
        policy("imports too many", imports, "Too many: 11").and_folder("holds 11, and at most 10"),
        policy("imported label twice", import("a:b", &["x", "x"]), "Duplicate value: \"x\"")
            .and_folder("spec.imports[a:b].entries[x]: stands there twice"),
    ]
}
