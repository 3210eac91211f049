//! From what users wrote to what the core works with.
use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use serde_json::{Value, json};

use super::check::{self, ensure};
use super::digital_twin::{DigitalTwin, DigitalTwinSpec, Feature, ManagedField, Telemetry};
use super::invalid::{InvalidSpec, Problem};
use super::limits;
use super::twin_policy::{PolicyEntry, Subject, TwinPolicy, TwinPolicySpec};
use crate::twin::desired::{Desired, DesiredPolicy, Identity, Mode, PolicyName};
use crate::twin::id::{IdError, PolicyId, ThingId};
use crate::twin::json::{Object, Pointer};
use crate::twin::mark::{TELEMETRY_BYTES_MAX, ascii};

impl DigitalTwin {
    /// What the twin asks for, or the first thing that keeps it from being carried out.
    /// `default_namespace` is the Kubernetes namespace of a twin that names none.
    pub fn desired(&self, default_namespace: &str) -> Result<Desired, InvalidSpec> {
        let (spec, management) = (&self.spec, &self.spec.management);
        Ok(Desired {
            id: self.thing_id(default_namespace)?,
            policy: policy_name(spec)?,
            document: document(spec)?,
            fields: modes(&management.fields)?,
            drift: management.drift.into(),
            adoption: management.adoption.into(),
            deletion: management.deletion.map(Into::into),
            suspend: spec.suspend,
            telemetry: spec.telemetry.as_ref().map(telemetry).transpose()?,
        })
    }

    /// The thing the twin claims, even when the rest of the spec is wrong.
    pub fn thing_id(&self, default_namespace: &str) -> Result<ThingId, InvalidSpec> {
        id("spec.thingId", self.spec.thing_id.as_deref(), self.meta(), default_namespace, ThingId::parse)
    }

    /// Which resource this is. Without a uid it lives in a folder, and the uid follows from its place.
    pub fn identity(&self, owner: &str, default_namespace: &str) -> Identity {
        identity("DigitalTwin", self.meta(), owner, default_namespace)
    }

    /// What is allowed and probably not meant.
    pub fn warnings(&self) -> Vec<String> {
        let spec = &self.spec;
        let mut found = vec![];
        if let Some(attributes) = &spec.attributes {
            warn_of_booleans(attributes, &Pointer::of(["attributes"]), &mut found);
        }
        for (feature_id, feature) in spec.features.iter().flatten() {
            let place = Pointer::of(["features", feature_id]);
            warn_of_boolean(feature_id, &place, &mut found);
            for (part, members) in
                [("properties", &feature.properties), ("desiredProperties", &feature.desired_properties)]
            {
                if let Some(members) = members {
                    warn_of_booleans(members, &place.child(part), &mut found);
                }
            }
        }
        for name in spec.telemetry.iter().flat_map(|telemetry| telemetry.mapping.keys()) {
            warn_of_boolean(name, &Pointer::of(["spec", "telemetry", "mapping", name]), &mut found);
        }
        found
    }
}

impl TwinPolicy {
    /// What the policy should be, or the first thing that keeps it from being carried out.
    /// `default_namespace` is the Kubernetes namespace of a policy that names none.
    pub fn desired(&self, default_namespace: &str) -> Result<DesiredPolicy, InvalidSpec> {
        let (spec, management) = (&self.spec, &self.spec.management);
        let id = self.policy_id(default_namespace)?;
        Ok(DesiredPolicy {
            entries: entries(spec)?,
            imports: imports(spec, &id)?,
            id,
            access: spec.access.into(),
            mode: management.mode.into(),
            drift: management.drift.into(),
            adoption: management.adoption.into(),
            deletion: management.deletion.map(Into::into),
            preserve_runtime_subjects: management.preserve_runtime_subjects,
            allow_lockout: management.allow_lockout,
            suspend: spec.suspend,
        })
    }

    /// The policy the resource claims, even when the rest of the spec is wrong.
    pub fn policy_id(&self, default_namespace: &str) -> Result<PolicyId, InvalidSpec> {
        id("spec.policyId", self.spec.policy_id.as_deref(), self.meta(), default_namespace, PolicyId::parse)
    }

    /// Which resource this is. Without a uid it lives in a folder, and the uid follows from its place.
    pub fn identity(&self, owner: &str, default_namespace: &str) -> Identity {
        identity("TwinPolicy", self.meta(), owner, default_namespace)
    }

    /// What is allowed and probably not meant.
    pub fn warnings(&self) -> Vec<String> {
        let mut found = vec![];
        for label in self.spec.entries.keys() {
            warn_of_boolean(label, &Pointer::of(["spec", "entries", label]), &mut found);
        }
        found
    }
}

fn identity(kind: &str, meta: &ObjectMeta, owner: &str, default_namespace: &str) -> Identity {
    let name = meta.name.clone().unwrap_or_default();
    let namespace = meta.namespace.clone().unwrap_or_else(|| default_namespace.to_owned());
    Identity {
        owner: owner.to_owned(),
        uid: meta.uid.clone().unwrap_or_else(|| Identity::folder_uid(owner, kind, &namespace, &name)),
        generation: meta.generation.unwrap_or_default(),
        namespace,
        name,
    }
}

/// The id that was written, or the resource's own namespace and name when Ditto takes those.
fn id<T>(
    path: &str,
    written: Option<&str>,
    meta: &ObjectMeta,
    default_namespace: &str,
    parse: fn(&str) -> Result<T, IdError>,
) -> Result<T, InvalidSpec> {
    if let Some(text) = written {
        return parse(text).map_err(|error| Problem::Id(error).at(path));
    }
    let namespace = meta.namespace.as_deref().unwrap_or(default_namespace);
    let name = meta.name.as_deref().unwrap_or_default();
    parse(&format!("{namespace}:{name}")).map_err(|why| {
        Problem::NoDefaultId { namespace: namespace.to_owned(), name: name.to_owned(), why }.at(path)
    })
}

fn policy_name(spec: &DigitalTwinSpec) -> Result<PolicyName, InvalidSpec> {
    match (&spec.policy_ref, &spec.policy_id) {
        (Some(reference), None) => {
            ensure(!reference.name.is_empty(), Problem::Empty, "spec.policyRef.name")?;
            check::text(&reference.name, limits::NAME_MAX, "spec.policyRef.name")?;
            Ok(PolicyName::Resource(reference.name.clone()))
        }
        (None, Some(id)) => {
            PolicyId::parse(id).map(PolicyName::Id).map_err(|error| Problem::Id(error).at("spec.policyId"))
        }
        _ => Err(Problem::PolicyNamedOnce.at("spec")),
    }
}

/// The declared part of the thing: what was left out is not there, what was declared empty is.
fn document(spec: &DigitalTwinSpec) -> Result<Value, InvalidSpec> {
    let mut document = Object::new();
    if let Some(definition) = &spec.definition {
        check::definition(definition, "spec.definition")?;
        document.insert("definition".into(), definition.as_str().into());
    }
    if let Some(attributes) = &spec.attributes {
        check::declared(attributes, &Pointer::of(["attributes"]))?;
        document.insert("attributes".into(), attributes.clone().into());
    }
    if let Some(features) = &spec.features {
        check::at_most(features.len(), limits::FEATURES_MAX, "spec.features")?;
        let converted = features.iter().map(|(id, it)| Ok((id.clone(), feature(id, it)?)));
        document.insert("features".into(), Value::Object(converted.collect::<Result<_, InvalidSpec>>()?));
    }
    Ok(Value::Object(document))
}

fn feature(id: &str, feature: &Feature) -> Result<Value, InvalidSpec> {
    check::feature_id(id)?;
    let place = Pointer::of(["features", id]);
    let mut document = Object::new();
    if let Some(definitions) = &feature.definition {
        let path = format!("spec.features[{id}].definition");
        ensure(!definitions.is_empty(), Problem::Empty, &path)?;
        check::at_most(definitions.len(), limits::DEFINITIONS_MAX, &path)?;
        for (index, definition) in definitions.iter().enumerate() {
            check::definition(definition, &format!("{path}[{index}]"))?;
        }
        document.insert("definition".into(), json!(definitions));
    }
    for (part, members) in
        [("properties", &feature.properties), ("desiredProperties", &feature.desired_properties)]
    {
        if let Some(members) = members {
            check::declared(members, &place.child(part))?;
            document.insert(part.into(), members.clone().into());
        }
    }
    Ok(Value::Object(document))
}

fn modes(fields: &[ManagedField]) -> Result<Vec<(Pointer, Mode)>, InvalidSpec> {
    check::at_most(fields.len(), limits::FIELDS_MAX, "spec.management.fields")?;
    let mut seen = BTreeSet::new();
    fields
        .iter()
        .map(|field| {
            let path = format!("spec.management.fields[{}]", field.path);
            check::field_path(&field.path, &path)?;
            let pointer = Pointer::parse(&field.path);
            ensure(seen.insert(pointer.clone()), Problem::Twice, path)?;
            Ok((pointer, field.mode.into()))
        })
        .collect()
}

fn telemetry(telemetry: &Telemetry) -> Result<Value, InvalidSpec> {
    check::telemetry(telemetry)?;
    let value = json!(telemetry);
    let bytes = ascii(&value).len();
    ensure(bytes <= TELEMETRY_BYTES_MAX, Problem::TelemetryTooLarge { bytes }, "spec.telemetry")?;
    Ok(value)
}

fn entries(spec: &TwinPolicySpec) -> Result<Object, InvalidSpec> {
    check::at_most(spec.entries.len(), limits::ENTRIES_MAX, "spec.entries")?;
    let converted = spec.entries.iter().map(|(label, it)| {
        let path = format!("spec.entries[{label}]");
        check::label(label, &path)?;
        Ok((label.clone(), entry(it, &path)?))
    });
    converted.collect()
}

/// One entry in Ditto's own JSON, which knows no defaults.
fn entry(entry: &PolicyEntry, path: &str) -> Result<Value, InvalidSpec> {
    check::at_most(entry.subjects.len(), limits::SUBJECTS_MAX, &format!("{path}.subjects"))?;
    check::at_most(entry.resources.len(), limits::RESOURCES_MAX, &format!("{path}.resources"))?;
    let subjects = entry.subjects.iter().map(|(id, it)| {
        let path = format!("{path}.subjects[{id}]");
        check::subject_id(id, &path)?;
        Ok((id.clone(), subject(it, &path)?))
    });
    let subjects = subjects.collect::<Result<Object, InvalidSpec>>()?;
    let resources = entry.resources.iter().map(|(key, it)| {
        let path = format!("{path}.resources[{key}]");
        check::resource(key, &path)?;
        check::each_once(&it.grant, &format!("{path}.grant"))?;
        check::each_once(&it.revoke, &format!("{path}.revoke"))?;
        Ok((key.clone(), json!({"grant": it.grant, "revoke": it.revoke})))
    });
    let resources = resources.collect::<Result<Object, InvalidSpec>>()?;
    Ok(json!({"subjects": subjects, "resources": resources, "importable": entry.importable}))
}

fn subject(subject: &Subject, path: &str) -> Result<Value, InvalidSpec> {
    ensure(!subject.kind.is_empty(), Problem::Empty, format!("{path}.type"))?;
    check::text(&subject.kind, limits::TEXT_MAX, &format!("{path}.type"))?;
    if let Some(expiry) = &subject.expiry {
        ensure(expiry.parse::<Timestamp>().is_ok(), Problem::Expiry, format!("{path}.expiry"))?;
    }
    if let Some(announcement) = &subject.announcement {
        let place = Pointer::parse(&path.replace('/', "~1")).child("announcement");
        check::declared(announcement, &place)?;
    }
    Ok(json!(subject))
}

fn imports(spec: &TwinPolicySpec, own: &PolicyId) -> Result<Object, InvalidSpec> {
    check::at_most(spec.imports.len(), limits::IMPORTS_MAX, "spec.imports")?;
    let converted = spec.imports.iter().map(|(id, import)| {
        let path = format!("spec.imports[{id}]");
        PolicyId::parse(id).map_err(|error| Problem::Id(error).at(&path))?;
        ensure(id != own.as_str(), Problem::SelfImport, &path)?;
        check::at_most(import.entries.len(), limits::ENTRIES_MAX, &format!("{path}.entries"))?;
        let mut seen = BTreeSet::new();
        for label in &import.entries {
            let path = format!("{path}.entries[{label}]");
            ensure(crate::twin::id::is_key(label), Problem::Key, &path)?;
            ensure(seen.insert(label), Problem::Twice, &path)?;
        }
        Ok((id.clone(), json!({"entries": import.entries})))
    });
    converted.collect()
}

fn warn_of_booleans(members: &Object, at: &Pointer, found: &mut Vec<String>) {
    for (key, value) in members {
        let place = at.child(key);
        warn_of_boolean(key, &place, found);
        if let Value::Object(below) = value {
            warn_of_booleans(below, &place, found);
        }
    }
}

/// kubectl reads YAML 1.1, where an unquoted `y` is `true` and an unquoted `n` is `false`.
fn warn_of_boolean(key: &str, place: &Pointer, found: &mut Vec<String>) {
    if matches!(key, "true" | "false") {
        found.push(format!(
            "{place}: the key `{key}` was probably y, n, yes, no, on or off: put it in quotes"
        ));
    }
}
