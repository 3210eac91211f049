//! What every pass has in common: when it may start, and what is done with what it came to.
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource as _;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;

use super::FINALIZER;
use super::client::in_time;
use super::context::{Context, Ditto, Managed, Shared, place};
use super::error::with_causes;
use super::events::Announcement;
use super::finalizer::has_ours;
use super::lacks::Lacks;
use super::latest::Before;
use super::packed::Packed;
use super::status::{self, Basis, Saved};
use crate::api::annotation::{self, is_set};
use crate::reconcile::{Place, Report, Would};
use crate::twin::facts::Going;
use crate::twin::reason::{Outcome, Reason};
use crate::twin::status::READY;

/// One pass over one resource, once all lists are there and a place is free.
pub async fn reconcile<K: Managed, D: Ditto>(
    object: Arc<Packed<K>>,
    context: Arc<Context<D>>,
) -> Result<Action, Infallible> {
    let shared = &context.shared;
    let may_start = async {
        shared.filling.done().await;
        shared.lead.begins().await;
        shared.running.acquire().await
    };
    let _place = tokio::select! {
        place = may_start => place,
        () = shared.stop.cancelled() => return Ok(Action::await_change()),
    };
    let place = place(object.meta());
    K::desk(shared).due.started(&place);
    shared.tell_due::<K>();
    // It may have changed or gone while it waited for its turn, or for us to lead.
    let Some(object) = K::desk(shared).find(&place) else {
        K::desk(shared).forget(&place);
        return Ok(Action::await_change());
    };
    let object = match &object.0 {
        Ok(object) => object,
        Err(invalid) => return Ok(unreadable::<K>(shared, invalid)),
    };
    match shared.lead.during(AssertUnwindSafe(object.pass(&context)).catch_unwind()).await {
        Some(Ok(action)) => return Ok(action),
        // It waits for us to lead again; until then it is another's.
        None => return Ok(Action::requeue(Duration::ZERO)),
        Some(Err(_)) => {}
    }
    // The panic itself stands in the log already. One resource must not end the process.
    tracing::error!(kind = K::KIND, resource = %show(&place), "a pass broke off; please report this");
    shared.telemetry.dropped("passes_that_panicked");
    Ok(K::desk(shared).tries.failed(&place))
}

/// Nothing is known of it but its metadata, and its status may hold what must not be lost.
fn unreadable<K: Managed>(shared: &Shared, invalid: &InvalidObject) -> Action {
    let place = place(&invalid.metadata);
    let is_stuck = invalid.metadata.deletion_timestamp.is_some()
        && has_ours(invalid.metadata.finalizers.as_deref().unwrap_or_default());
    let hint = if is_stuck {
        format!(
            "; it waits for its end: repair it, or take the finalizer {FINALIZER} off and clean up Ditto by hand"
        )
    } else {
        "; edit it, or bring operator and definitions to the same version".to_owned()
    };
    let error = &invalid.error;
    tracing::warn!(kind = K::KIND, resource = %show(&place), %error, "a resource cannot be read; all others go on");
    shared.telemetry.dropped("unreadable_resources");
    let mut about = k8s_openapi::api::core::v1::ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::KIND.to_owned()),
        ..Default::default()
    };
    about.namespace.clone_from(&invalid.metadata.namespace);
    about.name.clone_from(&invalid.metadata.name);
    about.uid.clone_from(&invalid.metadata.uid);
    let note = format!("TwinOps cannot read it: {error}{hint}");
    shared.events.announce(Announcement { about, reason: "Unreadable", note, is_warning: true });
    Action::await_change()
}

/// Asks what the namespace may name, unless that is known. Returns when to pass again where nobody can tell.
pub async fn unknown_grants<K: Managed>(shared: &Shared, place: &Place) -> Option<Action> {
    match shared.namespaces.ensure(&shared.client, &place.0).await {
        Ok(false) => None,
        Ok(true) => {
            shared.grants_changed(&place.0);
            None
        }
        Err(error) => {
            let error = with_causes(&error);
            tracing::warn!(namespace = place.0, %error, "what the namespace may name is not known");
            Some(K::desk(shared).tries.failed(place))
        }
    }
}

/// Why the end of a resource is not that of its thing, as far as annotations, its definition and the
/// number of others that go can tell.
pub async fn going<K: Managed>(shared: &Shared, object: &K) -> Option<Going> {
    let meta = object.meta();
    meta.deletion_timestamp.as_ref()?;
    let mut going = Going { release: is_set(meta, annotation::RELEASE), ..Going::default() };
    match K::desk(shared).definition.is_going(&shared.client, K::DEFINITION).await {
        Ok(false) => {}
        Ok(true) => going.hands_off = Some("the definition of its kind is being removed"),
        Err(error) => {
            let why = with_causes(&error);
            going.held = Some(format!("nobody can tell whether {} is being removed: {why}", K::DEFINITION));
        }
    }
    Some(going)
}

/// The resource is not what this pass was about any more. Returns when to pass again in that case; what was done is told.
pub fn overtaken<K: Managed>(
    shared: &Shared,
    object: &K,
    outcome: &Outcome,
    started: Instant,
) -> Option<Action> {
    let place = place(object.meta());
    outcome.overtaken.then(|| {
        tracing::debug!(kind = K::KIND, resource = %show(&place), "the watch is behind; looking again");
        shared.telemetry.pass(K::KIND, "overtaken", outcome.reason().word(), started.elapsed());
        tell_notes(shared, object, outcome);
        K::desk(shared).tries.failed(&place)
    })
}

/// A mark ahead of its resource means a restored cluster, unless only our view of the resource is old.
/// Returns when to pass again in that case, or when nobody can tell.
pub async fn confirm_stale<K: Managed>(shared: &Shared, object: &K, outcome: &Outcome) -> Option<Action> {
    if outcome.reason() != Reason::StaleResource {
        return None;
    }
    let (place, meta) = (place(object.meta()), object.meta());
    // Without a resource version the API server answers from a quorum and not from its cache.
    let found = match in_time(shared.api::<K>(&place.0).get_metadata_opt(&place.1)).await {
        Ok(Some(found)) => found.metadata,
        Ok(None) => return Some(Action::await_change()),
        Err(error) => {
            let error = with_causes(&error);
            tracing::warn!(kind = K::KIND, resource = %show(&place), %error, "nobody can tell whether it is stale");
            return Some(K::desk(shared).tries.failed(&place));
        }
    };
    let is_current = found.uid == meta.uid && found.generation == meta.generation;
    if is_current {
        return None;
    }
    // The watch will show it; if it does not, the wait is over soon.
    tracing::debug!(kind = K::KIND, resource = %show(&place), "the watch is behind");
    Some(K::desk(shared).tries.failed(&place))
}

/// A pass at its end.
pub struct Passed<'a, K: Managed> {
    pub object: &'a K,
    pub place: &'a Place,
    pub started: Instant,
    pub before: Before<K::Status>,
    /// The version that our own finalizer left.
    pub moved: Option<String>,
    pub after: K::Status,
    pub outcome: &'a Outcome,
}

/// Reports a pass, and says when the next is due.
pub async fn finish<K: Managed>(shared: &Shared, passed: Passed<'_, K>) -> Action {
    let Passed { object, place, started, before, moved, after, outcome } = passed;
    let desk = K::desk(shared);
    count::<K>(shared, outcome, started);
    let is_news = !desk.lacks.same(&before.status, &after);
    if let Some(drift) = outcome.drift.as_ref().filter(|drift| drift.repaired || is_news) {
        shared.telemetry.drift(K::KIND, if drift.repaired { "repaired" } else { "reported" });
    }
    if !outcome.finished
        && ready(K::conditions(&after)).is_some_and(|c| c.status == "True")
        && let Some(took) = desk.due.ready(place, Instant::now())
    {
        shared.telemetry.time_to_ready(K::KIND, took);
    }
    if outcome.finished {
        announce(shared, object, (&before.status, &after), outcome);
        desk.forget(place);
        return Action::await_change();
    }
    if outcome.held().is_some_and(|held| {
        matches!(held.reason, Reason::Forbidden | Reason::BackendUnavailable) && held.said.is_some()
    }) {
        shared.ask_subjects.notify_one();
    }
    if is_news || !before.is_saved {
        // Our finalizer on it proves nothing about what stood there when an unsaved status was made.
        let version = moved.filter(|_| before.is_saved).or_else(|| before.version.clone());
        let basis = Basis { version: version.clone(), shown: before.shown.as_ref(), known: &before.status };
        let saved = status::write(shared, object, basis, &after).await;
        match saved {
            // What somebody else has reported better is not announced either; what was done is.
            Ok(Saved::Overtaken) => tell_notes(shared, object, outcome),
            _ if is_news => announce(shared, object, (&before.status, &after), outcome),
            _ => {}
        }
        match saved {
            Ok(Saved::At(version)) => {
                desk.latest.keep(place, object.meta(), version.as_deref(), after);
                // The watch may have shown it, or its end, before the answer came.
                match desk.kept(place) {
                    Some(kept) => desk.latest.seen(place, kept.meta()),
                    None => desk.latest.forget(place),
                }
            }
            Ok(Saved::Gone) => desk.latest.forget(place),
            Ok(Saved::Overtaken) => {
                tracing::debug!(kind = K::KIND, resource = %show(place), "somebody else wrote its status; looking again");
                desk.latest.forget(place);
                return desk.tries.failed(place);
            }
            Err(refused) => {
                let error = with_causes(&refused);
                tracing::warn!(kind = K::KIND, resource = %show(place), %error, "status was not written");
                desk.latest.keep_unsaved(place, object.meta(), (version, before.shown), after);
                return desk.tries.refused(place, &refused);
            }
        }
    }
    let next = desk.tries.next(place, outcome, shared.options.resync);
    if !is_news && before.is_saved && is_overwritten(desk.kept(place), object, &before, &desk.lacks) {
        shared.look_later::<K>(place.clone());
    }
    next
}

/// While a pass ran that had nothing to write the watch showed a status that the pass does not know: neither what it had
/// shown before, nor our own, which may have come only now.
fn is_overwritten<K: Managed>(
    kept: Option<Arc<Packed<K>>>,
    object: &K,
    before: &Before<K::Status>,
    lacks: &Lacks,
) -> bool {
    let is_known = |stands: Option<&K::Status>| lacks.is_known(stands, before.shown.as_ref(), &before.status);
    let newer = kept.filter(|kept| kept.meta().resource_version != object.meta().resource_version);
    newer.is_some_and(|newer| newer.read().0.is_ok_and(|newer| !is_known(newer.reported())))
}

/// The end of a pass of a dry run: what it would do is told, and what would be done before it; nothing is done or
/// reported.
pub fn told<K: Managed>(
    shared: &Shared,
    place: &Place,
    started: Instant,
    report: &Report,
    after: Option<&str>,
) -> Action {
    const PATHS_MAX: usize = 20;
    let (outcome, resource) = (&report.outcome, show(place));
    if outcome.overtaken {
        return K::desk(shared).tries.failed(place);
    }
    let id = outcome.id.as_deref().unwrap_or_default();
    if let Some(Would { verb, paths, adopts }) = &report.would {
        let paths: Vec<_> = paths.iter().take(PATHS_MAX).map(ToString::to_string).collect();
        let paths = paths.join(", ");
        tracing::info!(kind = K::KIND, %resource, id, would = verb, paths, adopts, after, "dry run: not done");
        shared.telemetry.pass(K::KIND, "would", verb, started.elapsed());
    } else {
        let reason = outcome.reason().word();
        let message = outcome.held().map(|held| held.message.as_str()).unwrap_or_default();
        tracing::info!(kind = K::KIND, %resource, id, reason, message, "dry run: nothing to do");
        count::<K>(shared, outcome, started);
    }
    if outcome.finished {
        K::desk(shared).forget(place);
        return Action::await_change();
    }
    K::desk(shared).tries.next(place, outcome, shared.options.resync)
}

fn count<K: Managed>(shared: &Shared, outcome: &Outcome, started: Instant) {
    let result = match (outcome.finished, outcome.paused, outcome.held()) {
        (true, ..) => "finished",
        (_, true, _) => "paused",
        (_, _, Some(_)) => "held",
        (_, _, None) => "ready",
    };
    shared.telemetry.pass(K::KIND, result, outcome.reason().word(), started.elapsed());
}

/// One line and one Event when the verdict changed, one for new drift, and one for each note.
fn announce<K: Managed>(
    shared: &Shared,
    object: &K,
    (before, after): (&K::Status, &K::Status),
    outcome: &Outcome,
) {
    let tell = |reason, note, is_warning| tell(shared, object, reason, note, is_warning);
    let place = place(object.meta());
    let (was, is) = (ready(K::conditions(before)), ready(K::conditions(after)));
    let verdict = |condition: Option<&Condition>| condition.map(|c| (c.status.clone(), c.reason.clone()));
    if !outcome.paused && !outcome.finished && verdict(was) != verdict(is) {
        let message = is.map(|condition| condition.message.as_str()).unwrap_or_default();
        let id = outcome.id.as_deref().unwrap_or_default();
        let note =
            if message.is_empty() { format!("{id} in Ditto is as declared") } else { message.to_owned() };
        let reason = outcome.reason().word();
        tracing::info!(kind = K::KIND, resource = %show(&place), reason, message, "verdict");
        tell(reason, note, outcome.held().is_some());
    }
    if let Some(drift) =
        K::drift(after).filter(|_| outcome.drift.is_some() && K::drift(before) != K::drift(after))
    {
        let is_repaired = outcome.drift.as_ref().is_some_and(|drift| drift.repaired);
        let reason = if is_repaired { "DriftRepaired" } else { "DriftReported" };
        let note = format!("{} owned paths differed: {}", drift.count, drift.paths.join(", "));
        tracing::info!(kind = K::KIND, resource = %show(&place), reason, note, "drift");
        tell(reason, note, !is_repaired);
    }
    tell_notes(shared, object, outcome);
}

fn tell_notes<K: Managed>(shared: &Shared, object: &K, outcome: &Outcome) {
    let resource = show(&place(object.meta()));
    for note in &outcome.notes {
        tracing::info!(kind = K::KIND, resource, reason = note.reason, message = note.message, "note");
        tell(shared, object, note.reason, note.message.clone(), note.warning);
    }
}

fn tell<K: Managed>(shared: &Shared, object: &K, reason: &'static str, note: String, is_warning: bool) {
    let about = object.object_ref(&());
    shared.events.announce(Announcement { about, reason, note, is_warning });
}

pub fn ready(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == READY)
}

pub fn show(place: &Place) -> String {
    format!("{}/{}", place.0, place.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DigitalTwin, DigitalTwinStatus};
    use kube::core::DeserializeGuard;
    use serde_json::{Value, json};

    fn twin(version: &str, status: &Value) -> DeserializeGuard<DigitalTwin> {
        let twin = json!({
            "apiVersion": "twinops.dev/v1alpha1", "kind": "DigitalTwin",
            "metadata": {"name": "t", "namespace": "n", "uid": "u", "resourceVersion": version},
            "spec": {"thingId": "a:t", "policyRef": {"name": "p"}}, "status": status,
        });
        serde_json::from_value(twin).unwrap()
    }

    /// Its own status may be shown only while the next pass runs: nobody needs to look again for that.
    #[test]
    fn a_status_is_overwritten_when_it_is_neither_what_was_shown_nor_our_own() {
        let status = |generation: i64| json!({"observedGeneration": generation});
        let seen = twin("5", &status(1)).0.unwrap();
        let before = Before::<DigitalTwinStatus> {
            status: serde_json::from_value(status(2)).unwrap(),
            is_saved: true,
            version: None,
            shown: seen.status.clone(),
        };
        let lacks = Lacks::default();
        let rows = [
            ("nothing new", "5", status(3), false),
            ("as shown", "6", status(1), false),
            ("our own", "6", status(2), false),
            ("somebody else's", "6", status(3), true),
            ("cleared", "6", Value::Null, true),
        ];
        for (name, version, stands, expected) in rows {
            let kept = Arc::new(Packed::new(&mut twin(version, &stands)));
            assert_eq!(is_overwritten(Some(kept), &seen, &before, &lacks), expected, "{name}");
        }
        assert!(!is_overwritten(None, &seen, &before, &lacks), "it is gone");
    }
}
