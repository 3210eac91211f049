//! `DigitalTwin`: one thing in Ditto, as a team declares it.
// Field comments are what `kubectl explain` prints, so they carry no markup; each column has a type.
#![allow(clippy::doc_markdown, clippy::duplicated_attributes)]
use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::crd::{open_object, rules};
use super::invalid::Problem;
use super::limits;
use super::status::DigitalTwinStatus;
use super::words::{Adoption, Deletion, Drift, Mode};
use crate::twin::json::Object;

/// What the thing in Ditto should be. Only what is declared here is written: attributes, features and
/// properties that others add to the thing stay untouched.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "twinops.dev",
    version = "v1alpha1",
    kind = "DigitalTwin",
    plural = "digitaltwins",
    shortname = "dt",
    category = "twins",
    namespaced,
    status = "DigitalTwinStatus",
    derive = "PartialEq",
    doc = "A digital twin: one thing in Eclipse Ditto, kept as declared here. Deleting the twin deletes the thing, unless spec.management.deletion says otherwise.",
    printcolumn(
        name = "Thing",
        type_ = "string",
        json_path = ".status.thingId",
        description = "The thing's id in Ditto"
    ),
    printcolumn(
        name = "Policy",
        type_ = "string",
        json_path = ".status.policyId",
        description = "The policy's id in Ditto"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the thing is as declared"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why it is ready or not"
    ),
    printcolumn(
        name = "Drift",
        type_ = "integer",
        json_path = ".status.drift.count",
        description = "Owned paths that were found changed"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::rule("has(self.policyRef) != has(self.policyId)", &Problem::PolicyNamedOnce))]
#[x_kube(validation = rules::rule(&rules::unchanged("thingId"), rules::ID_IS_FIXED).field_path(".thingId"))]
pub struct DigitalTwinSpec {
    /// The thing's id in Ditto, as namespace:name, such as com.example:temperature-sensor-01. Default: the
    /// twin's own namespace and name, when that namespace is also one Ditto takes (team-1 is not: each
    /// word must start with a letter). It cannot be changed, set or unset later: delete the twin and create
    /// another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::ID_MAX))]
    #[x_kube(validation = rules::rule(rules::ID, rules::ID_MESSAGE))]
    pub thing_id: Option<String>,

    /// The TwinPolicy that says who may do what to the thing; it lives in the same namespace. Set either
    /// this or policyId. Until the TwinPolicy is there and ready, the thing is not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_ref: Option<PolicyRef>,

    /// The id of a policy in Ditto, such as com.example:sensors. Set either this or policyRef. A policy that
    /// no TwinPolicy manages must already grant TwinOps READ and WRITE on thing:/ and READ on policy:/.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::ID_MAX))]
    #[x_kube(validation = rules::rule(rules::ID, rules::ID_MESSAGE))]
    pub policy_id: Option<String>,

    /// The model the thing follows: namespace:name:version, such as com.example:sensor:1.0.0, or the http(s)
    /// URL of a WoT Thing Model. Enforced. Default: none is written.
    #[serde(default, deserialize_with = "declared", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::TEXT_MAX))]
    #[x_kube(validation = rules::rule(rules::DEFINITION, &Problem::Definition))]
    pub definition: Option<String>,

    /// Facts about the thing, any JSON without null, such as {location: warehouse-1}. Enforced key by
    /// key: keys that others add stay; a key removed here is removed from the thing. Arrays are replaced as
    /// a whole. Quote the keys y, n, yes, no, on and off, or kubectl turns them into true and false.
    #[serde(default, deserialize_with = "declared", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "open_object")]
    pub attributes: Option<Object>,

    /// The thing's features by id, such as temperature; at most 1,000. An id holds neither a slash nor a
    /// star. Features that others add stay; one removed here loses what was declared of it.
    #[serde(default, deserialize_with = "declared", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = limits::FEATURES_MAX))]
    #[x_kube(validation = rules::rule(rules::FEATURE_IDS, &Problem::FeatureId))]
    pub features: Option<BTreeMap<String, Feature>>,

    /// How TwinOps treats the thing: on drift, on taking over, on deletion, and per path.
    #[serde(default)]
    #[schemars(extend("default" = {}))]
    pub management: Management,

    /// Stops TwinOps from writing to the thing while true; the twin reports ReconciliationPaused. Deleting a
    /// suspended twin leaves its thing in Ditto. Default: false.
    #[serde(default)]
    pub suspend: bool,

    /// How the MQTT bridge takes this thing's telemetry. Default: the bridge's own rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
}

/// A TwinPolicy of the same namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    /// The TwinPolicy's metadata.name, such as sensors.
    #[schemars(length(min = 1, max = limits::NAME_MAX))]
    pub name: String,
}

/// One feature of a thing.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Feature {
    /// The models the feature follows, the closest first: namespace:name:version, such as
    /// com.example:temperature:1.0.0, or http(s) URLs of WoT Thing Models. Enforced as a whole. Default:
    /// none is written.
    #[serde(default, deserialize_with = "declared", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::DEFINITIONS_MAX), inner(length(max = limits::TEXT_MAX)))]
    #[x_kube(validation = rules::rule(rules::DEFINITIONS, &Problem::Definition))]
    pub definition: Option<Vec<String>>,

    /// What the device reports, any JSON without null, such as {value: 22.5, unit: celsius}. Seeded: written
    /// once when missing, then the device's, so that telemetry is never overwritten. To enforce one, name
    /// its path in management.fields with mode Enforce.
    #[serde(default, deserialize_with = "declared", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "open_object")]
    pub properties: Option<Object>,

    /// What the device should become, any JSON without null, such as {reportingInterval: 30}. Enforced: the
    /// declarative channel to the device. One that applications steer at run time belongs into
    /// management.fields with mode Seed.
    #[serde(default, deserialize_with = "declared", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "open_object")]
    pub desired_properties: Option<Object>,
}

/// How TwinOps treats the thing.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Management {
    /// What happens when an owned path of the thing was changed by somebody else. Enforce writes it back.
    /// Report leaves it and says so in the condition Drifted and in status.drift. Ignore leaves it and says
    /// nothing. An edit of the twin is written in every case. Default: Enforce.
    #[serde(default)]
    pub drift: Drift,

    /// Whether a thing that exists already may be taken over. IfUnowned takes one that no TwinOps has
    /// marked and that has the declared policy. IfIdentical takes it only when everything declared is
    /// already so. Always takes it from anybody and may change its policy. Never takes none. A thing
    /// that is not taken is left alone, and the twin reports NotAdoptable. Default: IfUnowned.
    #[serde(default)]
    pub adoption: Adoption,

    /// What becomes of the thing when the twin is deleted. Delete removes it, Retain leaves it in Ditto
    /// without our mark. Unset: a thing that TwinOps created is deleted, an adopted one stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,

    /// Modes of single paths, where the defaults do not fit; the longest matching path wins. Defaults:
    /// Enforce, and Seed for /features/…/properties.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::FIELDS_MAX))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["path".into()]))]
    pub fields: Vec<ManagedField>,
}

/// The mode of one path and everything below it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedField {
    /// A JSON pointer into the thing, such as /features/temperature/properties/unit; / is the whole thing.
    /// A slash inside a key is written ~1, a tilde ~0.
    #[schemars(length(max = limits::TEXT_MAX))]
    #[x_kube(validation = rules::rule(rules::FIELD_PATH, &Problem::FieldPath))]
    pub path: String,

    /// Enforce: TwinOps writes the declared value whenever it differs. Seed: TwinOps writes it once when it
    /// is missing; from then on it is the device's. Ignore: TwinOps never writes it.
    pub mode: Mode,
}

/// How the MQTT bridge takes a thing's telemetry.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Telemetry {
    /// Whether the bridge writes what arrives on devices/<thingId>/telemetry. While false it is counted and
    /// dropped. Default: true.
    #[serde(default = "yes")]
    pub enabled: bool,

    /// Where single members of the message go, by name: a JSON pointer to a property, such as temp:
    /// /features/temperature/properties/value; at most 50. A member that is not named here goes to the
    /// feature of its own name: a scalar to properties/value, an object into the properties.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = limits::MAPPINGS_MAX,
        "additionalProperties" = {"type": "string", "maxLength": limits::TEXT_MAX}
    ))]
    #[x_kube(validation = rules::rule(rules::MAPPINGS, &Problem::Mapping))]
    pub mapping: BTreeMap<String, String>,

    /// The most writes per second for this thing, from 1 to 1,000. Between two writes the newest value per
    /// path wins. Unset: the bridge's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::RATE_MAX))]
    pub max_rate: Option<i32>,

    /// How long the device may be silent before its twin counts as stale: a whole number with a unit, such
    /// as 90s, 15m or 1h. Unset: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = rules::rule(rules::DURATION, &Problem::Duration))]
    pub stale_after: Option<String>,
}

fn yes() -> bool {
    true
}

/// Reads a value that may be left out but not be null: a null would look like nothing declared.
pub(super) fn declared<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
