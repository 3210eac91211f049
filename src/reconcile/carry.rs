//! Carries the requests of a pass out, one after the other, and feeds the answers back.
use std::future::Future;

use super::would::{Seen, Would};
use crate::ports::{Policies, Search, Things};
use crate::twin::facts::{PolicyFacts, Told, TwinFacts};
use crate::twin::pass::TwinPass;
use crate::twin::policy_pass::{PolicyExtras, PolicyPass};
use crate::twin::reason::Outcome;
use crate::twin::request::{Answer, Next, Request};
use crate::twin::rql_text;

/// Puts our finalizer on a resource and takes it off.
pub trait Finalizer: Send + Sync {
    /// `Err` is the cluster's own words. Putting on what is on, or taking off what is off, is fine.
    fn add(&self) -> impl Future<Output = Result<(), String>> + Send;
    fn remove(&self) -> impl Future<Output = Result<(), String>> + Send;
}

/// What the status of one twin says.
pub trait Reported: Send + Sync {
    /// Asks the API server. `Err` is the cluster's own words.
    fn told(&self) -> impl Future<Output = Result<Told, String>> + Send;
}

/// Resources outside a cluster have no finalizer and no status.
pub struct NoFinalizer;

impl Finalizer for NoFinalizer {
    async fn add(&self) -> Result<(), String> {
        Ok(())
    }

    async fn remove(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Reported for NoFinalizer {
    async fn told(&self) -> Result<Told, String> {
        Ok(Told::AsKnown)
    }
}

/// What one pass came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub outcome: Outcome,
    /// A dry run stopped before this write.
    pub would: Option<Would>,
}

/// One pass over one twin.
pub async fn twin<D, F>(ditto: &D, resource: &F, facts: TwinFacts, dry_run: bool) -> Report
where
    D: Things + Policies,
    F: Finalizer + Reported,
{
    let (mut pass, mut next) = TwinPass::start(facts, ditto.header_room());
    let mut seen = Seen::default();
    loop {
        match next {
            Next::Done(outcome) => return Report { outcome: *outcome, would: None },
            Next::Ask(request) if dry_run && writes_to_ditto(&request) => {
                return Report { outcome: pass.so_far(), would: Some(seen.would(&request)) };
            }
            Next::Ask(request) => {
                let answer = match request {
                    Request::ReadStatus => Answer::Status(resource.told().await),
                    request => ask(ditto, resource, request).await,
                };
                if dry_run {
                    seen.note(&answer);
                }
                (pass, next) = pass.step(answer);
            }
        }
    }
}

/// One pass over one policy.
pub async fn policy<D, F>(
    ditto: &D,
    finalizer: &F,
    facts: PolicyFacts,
    dry_run: bool,
) -> (Report, PolicyExtras)
where
    D: Things + Policies,
    F: Finalizer,
{
    let (mut pass, mut next) = PolicyPass::start(facts);
    let mut seen = Seen::default();
    loop {
        match next {
            Next::Done(outcome) => return (Report { outcome: *outcome, would: None }, pass.extras),
            Next::Ask(request) if dry_run && writes_to_ditto(&request) => {
                return (Report { outcome: pass.so_far(), would: Some(seen.would(&request)) }, pass.extras);
            }
            Next::Ask(request) => {
                let answer = ask(ditto, finalizer, request).await;
                if dry_run {
                    seen.note(&answer);
                }
                (pass, next) = pass.step(answer);
            }
        }
    }
}

/// A dry run has no cluster: finalizers are nobody's there.
fn writes_to_ditto(request: &Request) -> bool {
    request.writes() && !matches!(request, Request::AddFinalizer | Request::RemoveFinalizer)
}

async fn ask<D, F>(ditto: &D, finalizer: &F, request: Request) -> Answer
where
    D: Things + Policies,
    F: Finalizer,
{
    match request {
        Request::AddFinalizer => Answer::Finalizer(finalizer.add().await),
        Request::RemoveFinalizer => Answer::Finalizer(finalizer.remove().await),
        Request::ReadStatus => Answer::Status(Err("only a twin's is asked for".to_owned())),
        Request::FindThing { id, fields } => Answer::Thing(ditto.find_thing(&id, &fields).await),
        Request::CreateThing { id, body, mark } => {
            Answer::Written(ditto.create_thing(&id, &body, &mark).await)
        }
        Request::PatchThing { id, patch } => Answer::Written(ditto.patch_thing(&id, &patch).await),
        Request::DeleteThing { id, condition } => Answer::Deleted(ditto.delete_thing(&id, &condition).await),
        Request::FindPolicy { id } => Answer::Policy(ditto.find_policy(&id).await),
        Request::PutPolicy { id, body, expect } => {
            Answer::Written(ditto.put_policy(&id, &body, expect).await)
        }
        Request::DeletePolicy { id, expect } => Answer::Deleted(ditto.delete_policy(&id, expect).await),
        Request::CountUsers { id } => {
            // One hit is enough to know; the exact number is not needed.
            let search = Search { filter: rql_text::under_policy(id.as_str()), size: 1, ..Search::default() };
            Answer::Users(ditto.search_things(&search).await.map(|hits| hits.items.len() as u64))
        }
    }
}
