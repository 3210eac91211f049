//! The closed lists of words in the schema, each with its counterpart in the core.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::twin::{desired, mark};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident => $core:ty { $($(#[$attribute:meta])* $word:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$attribute])* $word),+
        }

        impl From<$name> for $core {
            fn from(word: $name) -> Self {
                match word {
                    $($name::$word => Self::$word),+
                }
            }
        }

        impl From<$core> for $name {
            fn from(word: $core) -> Self {
                match word {
                    $(<$core>::$word => Self::$word),+
                }
            }
        }
    };
}

words! {
    /// What happens when an owned path was changed behind our back.
    #[derive(Default)]
    Drift => desired::Drift { #[default] Enforce, Report, Ignore }
}

words! {
    /// Which things and policies that exist already may be taken over.
    #[derive(Default)]
    Adoption => desired::Adoption { #[default] IfUnowned, IfIdentical, Always, Never }
}

words! {
    /// What becomes of the outside when the resource goes.
    Deletion => desired::Deletion { Delete, Retain }
}

words! {
    /// Who keeps a declared path true.
    Mode => desired::Mode { Enforce, Seed, Ignore }
}

words! {
    /// Whether the operator puts its own access into a policy.
    #[derive(Default)]
    Access => desired::Access { #[default] Managed, Declared }
}

words! {
    /// How much of a policy the resource owns.
    #[derive(Default)]
    PolicyMode => desired::PolicyMode { #[default] Entries, Authoritative }
}

words! {
    /// Where a thing or policy came from.
    Origin => mark::Origin { Created, Adopted }
}

/// What a subject may do to a resource, as Ditto spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Permission {
    Read,
    Write,
    Execute,
}

/// Whether other policies may import an entry, as Ditto spells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Importable {
    #[default]
    Implicit,
    Explicit,
    Never,
}
