//! One pass over all that a folder declares: policies first, then twins.
use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::time::Instant;

use super::line::{Line, Verdict};
use super::{DEFAULT_NAMESPACE, Declared, Gone, Snapshot};
use crate::api::annotation::is_paused;
use crate::api::{DigitalTwin, TwinPolicy};
use crate::ports::{Policies, Things};
use crate::reconcile::{self, Catalog, NoFinalizer, Place, PolicyCard, Report, Standing, TwinCard};
use crate::twin::adopt::Watched;
use crate::twin::claim::{Claim, Claimant};
use crate::twin::desired::Identity;
use crate::twin::facts::{Going, Imports, Known, KnownPolicy, PolicyFact, PolicyFacts, TwinFacts};
use crate::twin::id::{PolicyId, ThingId};
use crate::twin::mark::Mark;
use crate::twin::reason::{Again, Reason};

/// Passes under way at once. Enough to keep a Ditto on the same machine busy, few enough not to
/// crowd out its other callers.
const AT_ONCE: usize = 16;
/// How long passes are repeated that ask for it: a search that shows what is gone, or a Ditto that asks to
/// slow down. Ditto's index lags by seconds, not by minutes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a folder is carried out.
#[derive(Clone, Debug)]
pub struct Runner<D> {
    pub ditto: D,
    pub owner: String,
    /// The subjects Ditto sees in our credentials.
    pub subjects: Vec<String>,
    pub dry_run: bool,
}

impl<D: Things + Policies> Runner<D> {
    /// Says a line for each mistake in the files and for each resource, as soon as it is known.
    pub async fn run(&self, snapshot: &Snapshot, mut say: impl FnMut(Line)) {
        let mut catalog = self.catalog(snapshot);
        let until = patience();
        snapshot.problems.iter().map(problem).for_each(&mut say);
        for wave in waves(&snapshot.policies) {
            let mut standings = vec![];
            {
                let passes = stream::iter(wave)
                    .map(async |policy| (policy, self.policy(&catalog, policy, None, until).await));
                let mut passes = std::pin::pin!(passes.buffered(AT_ONCE));
                while let Some((declared, report)) = passes.next().await {
                    let place = place_of(&*declared.resource);
                    say(with_notes(Line::of("TwinPolicy", &place, &report), declared.resource.warnings()));
                    standings.push((place, policy_card(declared, &self.owner, standing(&report))));
                }
            }
            for (place, card) in standings {
                catalog.set_policy(&place, Some(card));
            }
        }
        let passes = stream::iter(&snapshot.twins)
            .map(async |declared| (declared, self.twin(&catalog, declared, None, until).await));
        let mut passes = std::pin::pin!(passes.buffered(AT_ONCE));
        while let Some((declared, report)) = passes.next().await {
            let line = Line::of("DigitalTwin", &place_of(&*declared.resource), &report);
            say(with_notes(line, declared.resource.warnings()));
        }
    }

    /// Takes back what `gone` declared, twins before the policies they use. `left` is what is still there.
    /// Returns what must be tried again, too.
    pub async fn take_back(&self, gone: Gone, left: &Snapshot) -> (Vec<Line>, Gone) {
        let catalog = self.catalog(left);
        let mut lines = vec![];
        let mut again = Gone::default();
        for declared in gone.twins {
            let report = self.twin(&catalog, &declared, Some(Going::default()), Instant::now()).await;
            lines.push(Line::of("DigitalTwin", &place_of(&*declared.resource), &report));
            if !report.outcome.finished {
                again.twins.push(declared);
            }
        }
        for declared in gone.policies {
            let report = self.policy(&catalog, &declared, Some(Going::default()), Instant::now()).await;
            lines.push(Line::of("TwinPolicy", &place_of(&*declared.resource), &report));
            if !report.outcome.finished {
                again.policies.push(declared);
            }
        }
        (lines, again)
    }

    /// Takes back a thing whose document nobody has any more: its mark decides what becomes of it.
    pub(super) async fn take_back_thing(&self, id: ThingId, mark: &Mark) -> Report {
        let facts = TwinFacts {
            identity: identity_of(mark),
            id: Some(id.clone()),
            desired: Err("no file declares it".into()),
            claim: Claim::Ours,
            policy: PolicyFact::NotFound(String::new()),
            tenancy: Ok(()),
            paused: false,
            going: Some(Going::default()),
            has_finalizer: true,
            known: Known { origin: Some(mark.origin), ..Known::default() },
            takeover: None,
            living: BTreeSet::new(),
            watched: Watched::All,
            originator: None,
            subjects: self.subjects.clone(),
            folder: true,
        };
        let report = reconcile::twin(&self.ditto, &NoFinalizer, facts, self.dry_run).await;
        named(report, Some(&id))
    }

    /// As [`Runner::take_back_thing`], for a policy. Things that still use it hold it; while only search
    /// says so, it is asked again until `until`.
    pub(super) async fn take_back_policy(&self, id: &PolicyId, mark: &Mark, until: Instant) -> Report {
        let facts = PolicyFacts {
            identity: identity_of(mark),
            id: Some(id.clone()),
            desired: Err("no file declares it".into()),
            claim: Claim::Ours,
            tenancy: Ok(()),
            paused: false,
            going: Some(Going::default()),
            has_finalizer: true,
            known: KnownPolicy::default(),
            takeover: None,
            living: BTreeSet::new(),
            watched: Watched::All,
            subjects: self.subjects.clone(),
            bridge: None,
            imports: Imports::default(),
            used_by: 0,
            held_before: 0,
            now_epoch_seconds: Timestamp::now().as_second(),
            folder: true,
        };
        repeated(until, async |held_before| {
            let facts = PolicyFacts { held_before, ..facts.clone() };
            let mut report = reconcile::policy(&self.ditto, &NoFinalizer, facts, self.dry_run).await.0;
            if let Err(held) = &mut report.outcome.synced
                && held.reason == Reason::DeletionHeld
                && self.is_used(id, &BTreeSet::new()).await == Ok(true)
            {
                held.again = Again::Slowly;
            }
            report
        })
        .await
    }

    fn catalog(&self, snapshot: &Snapshot) -> Catalog {
        let mut catalog = Catalog::default();
        for declared in &snapshot.policies {
            let waiting = Standing::NotReady("not looked at yet".into());
            catalog.set_policy(
                &place_of(&*declared.resource),
                Some(policy_card(declared, &self.owner, waiting)),
            );
        }
        for declared in &snapshot.twins {
            let twin = &declared.resource;
            let card = TwinCard {
                claimant: claimant(&twin.identity(&self.owner, DEFAULT_NAMESPACE), &declared.place),
                thing_id: twin.thing_id(DEFAULT_NAMESPACE).ok().map(|id| id.to_string()),
                policy: twin.desired(DEFAULT_NAMESPACE).ok().map(|desired| desired.policy),
            };
            catalog.set_twin(&place_of(&**twin), Some(card));
        }
        catalog
    }

    async fn twin(
        &self,
        catalog: &Catalog,
        declared: &Declared<DigitalTwin>,
        going: Option<Going>,
        until: Instant,
    ) -> Report {
        let twin = &declared.resource;
        let identity = twin.identity(&self.owner, DEFAULT_NAMESPACE);
        let desired = twin.desired(DEFAULT_NAMESPACE);
        let id = twin.thing_id(DEFAULT_NAMESPACE).ok();
        let (claim, living) = match &id {
            Some(id) => catalog.thing_claim(&identity, id.as_str()),
            None => (Claim::Ours, BTreeSet::new()),
        };
        let policy = match &desired {
            Ok(desired) => catalog.policy_fact(&identity.namespace, &desired.policy),
            Err(_) => PolicyFact::NotFound(String::new()),
        };
        let facts = TwinFacts {
            id,
            paused: desired.as_ref().is_ok_and(|desired| desired.suspend) || is_paused(&twin.metadata),
            desired: desired.map_err(|error| error.to_string()),
            claim,
            policy,
            tenancy: Ok(()),
            going,
            has_finalizer: true,
            known: Known::default(),
            takeover: None,
            living,
            watched: Watched::All,
            originator: None,
            subjects: self.subjects.clone(),
            folder: true,
            identity: Identity { generation: 0, ..identity },
        };
        let id = facts.id.clone();
        let pass = async |_| reconcile::twin(&self.ditto, &NoFinalizer, facts.clone(), self.dry_run).await;
        named(repeated(until, pass).await, id.as_ref())
    }

    async fn policy(
        &self,
        catalog: &Catalog,
        declared: &Declared<TwinPolicy>,
        going: Option<Going>,
        until: Instant,
    ) -> Report {
        let policy = &declared.resource;
        let identity = policy.identity(&self.owner, DEFAULT_NAMESPACE);
        let desired = policy.desired(DEFAULT_NAMESPACE);
        let id = policy.policy_id(DEFAULT_NAMESPACE).ok();
        let (claim, living) = match &id {
            Some(id) => catalog.policy_claim(&identity, id.as_str()),
            None => (Claim::Ours, BTreeSet::new()),
        };
        let place = place_of(&**policy);
        let facts = PolicyFacts {
            imports: id.as_ref().map(|id| catalog.imports(&place, id.as_str())).unwrap_or_default(),
            id,
            paused: desired.as_ref().is_ok_and(|desired| desired.suspend) || is_paused(&policy.metadata),
            desired: desired.map_err(|error| error.to_string()),
            claim,
            tenancy: Ok(()),
            going,
            has_finalizer: true,
            known: KnownPolicy::default(),
            takeover: None,
            living,
            watched: Watched::All,
            subjects: self.subjects.clone(),
            bridge: None,
            used_by: catalog.used_by(&place),
            held_before: 0,
            now_epoch_seconds: Timestamp::now().as_second(),
            folder: true,
            identity: Identity { generation: 0, ..identity },
        };
        repeated(until, async |held_before| {
            let facts = PolicyFacts { held_before, ..facts.clone() };
            reconcile::policy(&self.ditto, &NoFinalizer, facts, self.dry_run).await.0
        })
        .await
    }
}

/// Until when passes are repeated that begin now.
pub(super) fn patience() -> Instant {
    Instant::now() + PATIENCE
}

/// Carries a pass out, and again as often as it asks for that before `until`. It learns how often it was
/// carried out before.
async fn repeated(until: Instant, mut pass: impl AsyncFnMut(u32) -> Report) -> Report {
    let mut before = 0;
    loop {
        let report = pass(before).await;
        let Again::AfterMs(wait) = report.outcome.again() else { return report };
        let next = Instant::now() + Duration::from_millis(wait);
        if report.outcome.finished || report.would.is_some() || next > until {
            return report;
        }
        tokio::time::sleep_until(next).await;
        before += 1;
    }
}

/// The id stands in the line also when nothing could be made of the rest of the document.
fn named(mut report: Report, id: Option<&ThingId>) -> Report {
    if report.outcome.id.is_none() {
        report.outcome.id = id.map(ToString::to_string);
    }
    report
}

fn identity_of(mark: &Mark) -> Identity {
    Identity {
        owner: mark.owner.clone(),
        uid: mark.uid.clone(),
        generation: mark.generation,
        namespace: mark.namespace.clone(),
        name: mark.name.clone(),
    }
}

/// A policy that a dry run would create counts as ready: its twins say what they would do.
fn standing(report: &Report) -> Standing {
    match (&report.would, report.outcome.held()) {
        (Some(_), _) | (None, None) => Standing::Ready,
        (None, Some(held)) => Standing::NotReady(held.message.clone()),
    }
}

fn policy_card(declared: &Declared<TwinPolicy>, owner: &str, standing: Standing) -> PolicyCard {
    PolicyCard {
        claimant: claimant(&declared.resource.identity(owner, DEFAULT_NAMESPACE), &declared.place),
        policy_id: policy_id(declared),
        imports: declared.resource.spec.imports.keys().cloned().collect(),
        standing,
    }
}

fn policy_id(declared: &Declared<TwinPolicy>) -> Option<String> {
    declared.resource.policy_id(DEFAULT_NAMESPACE).ok().map(|id| id.to_string())
}

/// Policies in an order in which none comes before one that it imports; those of a circle come last.
fn waves(policies: &[Declared<TwinPolicy>]) -> Vec<Vec<&Declared<TwinPolicy>>> {
    let mut rest: Vec<_> = policies.iter().collect();
    let mut waves = vec![];
    while !rest.is_empty() {
        let waiting: BTreeSet<String> = rest.iter().filter_map(|policy| policy_id(policy)).collect();
        let waits = |policy: &&Declared<TwinPolicy>| {
            policy.resource.spec.imports.keys().any(|id| waiting.contains(id))
        };
        let (later, now): (Vec<_>, Vec<_>) = rest.into_iter().partition(waits);
        let is_circle = now.is_empty();
        let (wave, left) = if is_circle { (later, now) } else { (now, later) };
        waves.push(wave);
        rest = left;
    }
    waves
}

/// In a folder the first in order of path, then position, holds an id.
fn claimant(identity: &Identity, at: &super::Place) -> Claimant {
    Claimant {
        namespace: identity.namespace.clone(),
        name: identity.name.clone(),
        uid: identity.uid.clone(),
        since: format!("{:08}/{}/{:08}", at.root, at.file.display(), at.document),
        deleting: false,
    }
}

/// `(namespace, name)`, as lines and catalog name a resource.
pub fn place_of<K: kube::Resource>(resource: &K) -> Place {
    let meta = resource.meta();
    let namespace = meta.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    (namespace, meta.name.clone().unwrap_or_default())
}

fn with_notes(mut line: Line, notes: Vec<String>) -> Line {
    let said = std::mem::take(&mut line.message);
    line.message =
        std::iter::once(said).chain(notes).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
    line
}

fn problem(problem: &super::Note) -> Line {
    Line {
        message: problem.to_string(),
        ..Line::about("File", &(String::new(), String::new()), Verdict::Failed, "InvalidFile")
    }
}
