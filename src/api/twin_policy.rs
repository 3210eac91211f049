//! `TwinPolicy`: one policy in Ditto, as a team declares it.
// Field comments are what `kubectl explain` prints, so they carry no markup; each column has a type.
#![allow(clippy::doc_markdown, clippy::duplicated_attributes)]
use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::crd::{open_object, rules};
use super::digital_twin::declared;
use super::invalid::Problem;
use super::limits;
use super::status::TwinPolicyStatus;
use super::words::{Access, Adoption, Deletion, Drift, Importable, Permission, PolicyMode};
use crate::twin::json::Object;

/// What the policy in Ditto should be.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "twinops.dev",
    version = "v1alpha1",
    kind = "TwinPolicy",
    plural = "twinpolicies",
    shortname = "tp",
    category = "twins",
    namespaced,
    status = "TwinPolicyStatus",
    derive = "PartialEq",
    doc = "Who may do what to things: one policy in Eclipse Ditto, kept as declared here. Many twins may share it. It is not deleted while a twin or thing uses it.",
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
        description = "Whether the policy is as declared"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why it is ready or not"
    ),
    printcolumn(
        name = "Used-By",
        type_ = "integer",
        json_path = ".status.usedBy",
        description = "Twins that use it"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::rule(&rules::unchanged("policyId"), rules::ID_IS_FIXED).field_path(".policyId"))]
#[x_kube(validation = rules::rule(rules::NO_SELF_IMPORT, &Problem::SelfImport).field_path(".imports"))]
pub struct TwinPolicySpec {
    /// The policy's id in Ditto, as namespace:name, such as com.example:sensors. Default: the resource's own
    /// namespace and name, when that namespace is also one Ditto takes (team-1 is not: each word must
    /// start with a letter). It cannot be changed, set or unset later: delete the resource and create
    /// another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::ID_MAX))]
    #[x_kube(validation = rules::rule(rules::ID, rules::ID_MESSAGE))]
    pub policy_id: Option<String>,

    /// Who gets which rights, by label, such as owner; at most 100. The labels twinops and twinops-bridge
    /// are the operator's own, and Ditto keeps labels that start with imported. A label removed here is
    /// removed from the policy, and its rights end.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = limits::ENTRIES_MAX))]
    #[x_kube(validation = rules::rule(rules::LABELS, &Problem::Key))]
    #[x_kube(validation = rules::rule(rules::RESERVED_LABELS, &Problem::ReservedLabel))]
    #[x_kube(validation = rules::rule(rules::IMPORTED_LABELS, &Problem::ImportedLabel))]
    pub entries: BTreeMap<String, PolicyEntry>,

    /// Other policies whose entries count here too, by policy id, such as com.example:base; at most 10. Ditto
    /// follows one level only. A policy that does not exist cannot be imported.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = limits::IMPORTS_MAX))]
    #[x_kube(validation = rules::rule(rules::IDS, rules::ID_MESSAGE))]
    pub imports: BTreeMap<String, PolicyImport>,

    /// Whether the operator adds its own access. Managed adds the entry twinops, which grants the operator
    /// what it needs to keep the policy and its things. Declared adds nothing: the declared entries must
    /// then grant the operator READ and WRITE on thing:/ and policy:/, or nothing is written. Default:
    /// Managed.
    #[serde(default)]
    pub access: Access,

    /// How TwinOps treats the policy: how much of it, on drift, on taking over, and on deletion.
    #[serde(default)]
    #[schemars(extend("default" = {}))]
    pub management: PolicyManagement,

    /// Stops TwinOps from writing to the policy while true. Deleting a suspended TwinPolicy leaves its policy
    /// in Ditto. Default: false.
    #[serde(default)]
    pub suspend: bool,
}

/// One entry of a policy: these subjects have these rights on these resources.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyEntry {
    /// Who, by subject id, as issuer:name, such as nginx:ditto; at most 100. The issuer is how Ditto learned
    /// who somebody is: nginx for a user of the reverse proxy, connection for a connection, otherwise an
    /// OpenID issuer. Placeholders are not filled.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = limits::SUBJECTS_MAX))]
    #[x_kube(validation = rules::rule(rules::SUBJECTS, &Problem::Subject))]
    #[x_kube(validation = rules::rule(rules::NO_PLACEHOLDERS, &Problem::Placeholder))]
    pub subjects: BTreeMap<String, Subject>,

    /// On what, by resource, such as thing:/, thing:/features/temperature, policy:/ or message:/; at most
    /// 200. A resource includes everything below it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = limits::RESOURCES_MAX))]
    #[x_kube(validation = rules::rule(rules::RESOURCES, &Problem::Resource))]
    pub resources: BTreeMap<String, Permissions>,

    /// Whether other policies may import the entry: implicit with every import, explicit when the import
    /// names its label, never not at all. Default: implicit.
    #[serde(default)]
    pub importable: Importable,
}

/// Somebody who has the rights of an entry.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// A word about the subject for those who read the policy, such as user or device; Ditto attaches no
    /// meaning to it. Default: twinops.
    #[serde(default = "subject_type", rename = "type")]
    #[schemars(length(min = 1, max = limits::TEXT_MAX))]
    pub kind: String,

    /// When the subject loses its rights, as in 2030-01-31T12:00:00Z. Ditto rounds it up to the full hour and
    /// then removes the subject. Unset: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub expiry: Option<String>,

    /// How Ditto tells the subject before its rights end, in Ditto's own words, such as {beforeExpiry: 1h,
    /// whenDeleted: true}. Unset: not at all.
    #[serde(default, deserialize_with = "declared", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "open_object")]
    pub announcement: Option<Object>,
}

/// What the subjects of an entry may do to one resource.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permissions {
    /// What they may do, each word once: READ, WRITE, and EXECUTE for actions of a policy. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub grant: Vec<Permission>,

    /// What they may not do, whatever was granted above or elsewhere, each word once. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub revoke: Vec<Permission>,
}

/// What counts of an imported policy.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyImport {
    /// Labels of entries to import beside the implicit ones; at most 100. Entries that are never importable
    /// stay out. Default: the implicit ones alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::ENTRIES_MAX), inner(length(min = 1, max = limits::ID_MAX)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub entries: Vec<String>,
}

/// How TwinOps treats the policy.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyManagement {
    /// How much of the policy is ours. Entries: the declared labels only; others stay as they are.
    /// Authoritative: the whole policy; entries and imports that nobody declared are removed. Default:
    /// Entries.
    #[serde(default)]
    pub mode: PolicyMode,

    /// What happens when an owned entry was changed by somebody else. Enforce writes it back. Report leaves
    /// it and says so in the condition Drifted and in status.drift. Ignore leaves it and says nothing. An
    /// edit of the resource is written in every case. Default: Enforce.
    #[serde(default)]
    pub drift: Drift,

    /// Whether a policy that exists already may be taken over. IfUnowned takes one that no TwinOps has
    /// marked. IfIdentical takes it only when everything declared is already so. Always takes it from
    /// anybody. Never takes none. A policy that is not taken is left alone, and the resource reports
    /// NotAdoptable. Default: IfUnowned.
    #[serde(default)]
    pub adoption: Adoption,

    /// What becomes of the policy when the resource is deleted. Delete removes it once nothing uses it, Retain
    /// leaves it in Ditto without our mark. Unset: a policy that TwinOps created is deleted, an adopted one
    /// stays, and so does every policy with access Declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,

    /// Whether subjects that Ditto added to a declared entry at run time, by token integration, are kept.
    /// While false they are removed. Default: true.
    #[serde(default = "yes")]
    pub preserve_runtime_subjects: bool,

    /// Whether TwinOps may write a policy that shuts it out. While false such a policy is refused before it is
    /// sent, and the message says what to add. Default: false.
    #[serde(default)]
    pub allow_lockout: bool,
}

impl Default for PolicyManagement {
    fn default() -> Self {
        Self {
            mode: PolicyMode::default(),
            drift: Drift::default(),
            adoption: Adoption::default(),
            deletion: None,
            preserve_runtime_subjects: true,
            allow_lockout: false,
        }
    }
}

fn yes() -> bool {
    true
}

/// Ditto takes no subject without a type (400 `json.field.missing`).
fn subject_type() -> String {
    "twinops".to_owned()
}
