//! The parts of a thing and of a policy that have a route of their own.
use super::failure::Failure;
use crate::twin::json::Pointer;

/// Which kind of part of a thing; decides error codes and what a body must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThingPart {
    Thing,
    PolicyId,
    Definition,
    Attributes,
    Attribute,
    Features,
    Feature,
    FeatureDefinition,
    Properties,
    Property,
    DesiredProperties,
    DesiredProperty,
}

impl ThingPart {
    /// The word in Ditto's error codes: `things:feature.property.notfound`.
    fn code(self) -> &'static str {
        match self {
            Self::Thing => "thing",
            Self::PolicyId => "policyId",
            Self::Definition => "definition",
            Self::Attributes => "attributes",
            Self::Attribute => "attribute",
            Self::Features => "features",
            Self::Feature => "feature",
            Self::FeatureDefinition => "feature.definition",
            Self::Properties => "feature.properties",
            Self::Property => "feature.property",
            Self::DesiredProperties => "feature.desiredProperties",
            Self::DesiredProperty => "feature.desiredProperty",
        }
    }

    pub fn not_found(self) -> Failure {
        Failure::new(
            404,
            format!("things:{}.notfound", self.code()),
            "it does not exist, or you may not read it",
        )
    }

    pub fn not_modifiable(self) -> Failure {
        Failure::new(403, format!("things:{}.notmodifiable", self.code()), "WRITE is missing here")
    }
}

/// A part of a thing and where it is in the thing's JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThingPlace {
    pub part: ThingPart,
    pub pointer: Pointer,
}

impl ThingPlace {
    pub fn root() -> Self {
        Self { part: ThingPart::Thing, pointer: Pointer::root() }
    }

    pub fn is_root(&self) -> bool {
        self.part == ThingPart::Thing
    }

    /// The part around this one that Ditto names when both are missing.
    pub fn around(&self) -> Option<Self> {
        let part = match self.part {
            ThingPart::Attribute => ThingPart::Attributes,
            ThingPart::Property => ThingPart::Properties,
            ThingPart::DesiredProperty => ThingPart::DesiredProperties,
            ThingPart::FeatureDefinition | ThingPart::Properties | ThingPart::DesiredProperties => {
                ThingPart::Feature
            }
            _ => return None,
        };
        let depth = match part {
            ThingPart::Attributes => 1,
            ThingPart::Feature => 2,
            _ => 3,
        };
        Some(Self { part, pointer: Pointer::of(self.pointer.segments()[..depth].iter().cloned()) })
    }
}

/// A part of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyPlace {
    Policy,
    Entries,
    Entry(String),
    Subjects(String),
    /// Label and subject id.
    Subject(String, String),
    Resources(String),
    /// Label and resource key (`thing:/attributes`).
    Resource(String, String),
    Imports,
    /// The id of the imported policy.
    Import(String),
}

impl PolicyPlace {
    /// Where the part is in the policy's JSON; a subject or resource key is one segment, slashes included.
    pub fn pointer(&self) -> Pointer {
        match self {
            Self::Policy => Pointer::root(),
            Self::Entries => Pointer::of(["entries"]),
            Self::Entry(label) => Pointer::of(["entries", label]),
            Self::Subjects(label) => Pointer::of(["entries", label, "subjects"]),
            Self::Subject(label, id) => Pointer::of(["entries", label, "subjects", id]),
            Self::Resources(label) => Pointer::of(["entries", label, "resources"]),
            Self::Resource(label, key) => Pointer::of(["entries", label, "resources", key]),
            Self::Imports => Pointer::of(["imports"]),
            Self::Import(id) => Pointer::of(["imports", id]),
        }
    }

    /// The path of the part as a `policy:` resource, where slashes separate.
    pub fn resource(&self) -> Vec<String> {
        let pointer = self.pointer();
        pointer
            .segments()
            .iter()
            .flat_map(|s| s.split('/'))
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The entry this part belongs to, when it is below one.
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::Subjects(label)
            | Self::Subject(label, _)
            | Self::Resources(label)
            | Self::Resource(label, _) => Some(label),
            _ => None,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Policy | Self::Entries => "policy",
            Self::Entry(_) => "entry",
            Self::Subjects(_) => "subjects",
            Self::Subject(..) => "subject",
            Self::Resources(_) => "resources",
            Self::Resource(..) => "resource",
            Self::Imports => "imports",
            Self::Import(_) => "import",
        }
    }

    pub fn not_found(&self) -> Failure {
        Failure::new(
            404,
            format!("policies:{}.notfound", self.code()),
            "it does not exist, or you may not read it",
        )
    }

    pub fn not_modifiable(&self) -> Failure {
        Failure::new(403, format!("policies:{}.notmodifiable", self.code()), "WRITE is missing here")
    }

    /// The change would leave nobody who may change the policy.
    pub fn would_lock_out(&self) -> Failure {
        let code = if matches!(self, Self::Policy | Self::Entries) { "policy" } else { "entry" };
        Failure::new(
            403,
            format!("policies:{code}.modificationinvalid"),
            "at least one subject without expiry must keep WRITE on `policy:/`",
        )
    }
}
