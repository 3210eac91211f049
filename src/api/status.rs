//! What TwinOps reports back. Empty parts are left out, so that a status says only what is known.
// Field comments are what `kubectl explain` prints, so they carry no markup.
#![allow(clippy::doc_markdown)]
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::words::Origin;

/// What TwinOps last knew of the thing. Written by TwinOps only, and only when something changed;
/// telemetry never shows here.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DigitalTwinStatus {
    /// The verdicts, one per type. Ready sums up: the thing is as declared and its policy is there.
    /// Synced tells whether the last pass reached Ditto, ReferencesResolved whether the policy was found,
    /// Drifted whether an owned path was changed behind our back, and ReconciliationPaused whether the
    /// twin is suspended. When one is not True, its reason and message say what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The metadata.generation this status is about. When it is behind, TwinOps has not looked at the
    /// last edit yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The thing's id in Ditto, also when spec.thingId left it to the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thing_id: Option<String>,

    /// The policy's id in Ditto, also when spec.policyRef named a TwinPolicy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_id: Option<String>,

    /// Created when TwinOps made the thing, Adopted when it found it. While spec.management.deletion is
    /// unset this decides: a created thing is deleted with the twin, an adopted one stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,

    /// The thing's revision after our last write, or at the first observation. It does not follow
    /// telemetry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,

    /// What the last write left in Ditto. From it TwinOps knows which paths to remove when the spec no
    /// longer names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied: Option<AppliedThing>,

    /// When TwinOps last wrote to the thing or first found it as declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,

    /// The last drift that was seen, also after its repair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftSeen>,

    /// The last refusal by Ditto; gone after the next success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

/// What TwinOps last knew of the policy. Written by TwinOps only, and only when something changed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TwinPolicyStatus {
    /// The verdicts, one per type. Ready sums up: the policy is as declared. Synced tells whether the
    /// last pass reached Ditto, ReferencesResolved whether the imports were found, Drifted whether an
    /// owned entry was changed behind our back, ReconciliationPaused whether the policy is suspended, and
    /// InUse whether twins or things need it (it cannot be deleted then). When Ready is not True, its
    /// reason and message say what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The metadata.generation this status is about. When it is behind, TwinOps has not looked at the
    /// last edit yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The policy's id in Ditto, also when spec.policyId left it to the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_id: Option<String>,

    /// Created when TwinOps made the policy, Adopted when it found it. While spec.management.deletion is
    /// unset this decides: a created policy is deleted with the resource, an adopted one stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,

    /// The policy's revision after our last write, or at the first observation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,

    /// What the last write left in Ditto. From it TwinOps knows which entries to remove when the spec no
    /// longer names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied: Option<AppliedPolicy>,

    /// When TwinOps last wrote to the policy or first found it as declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,

    /// The last drift that was seen, also after its repair; its paths are /entries/<label>.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftSeen>,

    /// The last refusal by Ditto; gone after the next success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,

    /// How many twins of this cluster use the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<i64>,

    /// Names the policy as it stands in Ditto, with the operator's own entry and everything kept. Two
    /// policies with the same hash grant the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_hash: Option<String>,
}

/// What the last write to a thing left there.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedThing {
    /// Names the declared document, its modes and its policy. It changes when one of them does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,

    /// The enforced paths, as JSON pointers. One that the spec no longer declares is removed from the
    /// thing by the next write. In a long list an entry may start with a number and a colon: so
    /// many characters it shares with the entry before. Empty when there were too many to remember; an
    /// Event says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,

    /// The seeded paths, written as the paths above. They are the device's now, and TwinOps does not
    /// write them again. A lone / stands for all of them, when there were too many to remember.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeded: Vec<String>,
}

/// What the last write to a policy left there.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedPolicy {
    /// Names the declared entries and imports. It changes when one of them does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,

    /// What was declared: labels, imports as imports/<policyId>, and subjects that expire as
    /// subjects/<label>/<subjectId>. What the spec no longer declares is removed from the policy by the next
    /// write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// Owned paths that somebody else changed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftSeen {
    /// How many owned paths differed.
    #[serde(default)]
    pub count: i64,

    /// The first 20 of them, as JSON pointers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub paths: Vec<String>,

    /// The revision that showed the drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,

    /// The subject that made the change, as far as Ditto's change stream named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub originator: Option<String>,

    /// When TwinOps saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected_at: Option<Time>,
}

/// A refusal by Ditto, to be found again in its logs.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// Ditto's error code, such as things:thing.notmodifiable.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,

    /// The HTTP status, unset when there was no answer at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<i32>,

    /// The correlation id of the request; search Ditto's logs for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub correlation_id: String,

    /// When Ditto answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}
