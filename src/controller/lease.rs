//! Leader election: whoever holds the Lease `twinops` leads.
//!
//! Only our own clock counts. A lease is over when nobody renewed it for as long as it says, measured
//! from when *we* saw it change; the times that stand in it are for people. It is a hint and no lock:
//! the mark fences every write to Ditto as well.
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Error, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::client::in_time;
use super::context::Shared;
use super::error::ControllerError;
use super::health::Patience;

/// The name of the Lease, and of what readiness says about it.
const NAME: &str = "twinops";
const CHECK: &str = "the lease";
/// Renewals within one lease: one that fails leaves time for others.
const RENEWALS: u32 = 5;
/// The longest a renewal is waited for, however long the lease is.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long the release at the end may take: the process ends anyway, and then the lease runs out.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);

/// Under which name, and for how long.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// `None`: the one the client is at home in.
    pub namespace: Option<String>,
    /// A name that no other process has, nor this one in another life.
    pub identity: String,
    /// Whole seconds.
    pub duration: Duration,
}

/// What we know of the Lease.
struct Election {
    options: LeaseOptions,
    seen: Option<Seen>,
    /// When our last renewal was sent.
    renewed: Option<Instant>,
    /// After a failure: not before then.
    not_before: Option<Instant>,
}

struct Seen {
    lease: Lease,
    /// When it last changed.
    since: Instant,
}

impl Seen {
    fn holder(&self) -> Option<&str> {
        self.lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// As its holder promised; a Lease that does not say counts as ours would.
    fn lasts(&self, ours: Duration) -> Duration {
        let seconds = self.lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(ours, Duration::from_secs)
    }
}

impl Election {
    fn new(options: LeaseOptions) -> Self {
        Self { options, seen: None, renewed: None, not_before: None }
    }

    /// The watch or an answer showed this. A watch may be behind our own writes.
    fn saw(&mut self, lease: Option<Lease>, now: Instant) {
        let Some(lease) = lease else {
            self.seen = None;
            return;
        };
        let version =
            |lease: &Lease| lease.resource_version().and_then(|version| version.parse::<u64>().ok());
        let is_new = self.seen.as_ref().is_none_or(|seen| {
            seen.lease.metadata.uid != lease.metadata.uid || version(&lease) > version(&seen.lease)
        });
        if is_new {
            self.seen = Some(Seen { lease, since: now });
        }
    }

    fn is_ours(&self) -> bool {
        self.seen.as_ref().and_then(Seen::holder) == Some(&self.options.identity)
    }

    /// How long there is nothing to do.
    fn pause(&self, now: Instant) -> Duration {
        let left = |since: Option<Instant>, lasts: Duration| {
            since.map_or(Duration::ZERO, |since| (since + lasts).saturating_duration_since(now))
        };
        let due = match &self.seen {
            _ if self.is_ours() => left(self.renewed, self.options.duration / RENEWALS),
            Some(seen) if seen.holder().is_some() => {
                left(Some(seen.since), seen.lasts(self.options.duration))
            }
            _ => Duration::ZERO,
        };
        due.max(self.not_before.map_or(Duration::ZERO, |time| time.saturating_duration_since(now)))
    }

    /// How long we may write after a renewal was sent: well before others may take the lease over.
    fn holds(&self) -> Duration {
        self.options.duration * 2 / 3
    }

    /// The Lease as it stands after we took or renewed it.
    fn claim(&self, now: Timestamp) -> Lease {
        let spec = self.seen.as_ref().and_then(|seen| seen.lease.spec.clone()).unwrap_or_default();
        let now = Some(MicroTime(now));
        let taken = if self.is_ours() {
            LeaseSpec { renew_time: now, ..spec }
        } else {
            LeaseSpec {
                acquire_time: now.clone(),
                renew_time: now,
                holder_identity: Some(self.options.identity.clone()),
                lease_duration_seconds: i32::try_from(self.options.duration.as_secs()).ok(),
                lease_transitions: Some(spec.lease_transitions.map_or(0, |times| times.saturating_add(1))),
                ..LeaseSpec::default()
            }
        };
        self.with(taken)
    }

    /// The Lease as we leave it: free at once.
    fn released(&self) -> Lease {
        let spec = self.seen.as_ref().and_then(|seen| seen.lease.spec.clone()).unwrap_or_default();
        self.with(LeaseSpec { holder_identity: None, lease_duration_seconds: Some(1), ..spec })
    }

    /// The version that comes along is the fence: of two who take it, one is refused.
    fn with(&self, spec: LeaseSpec) -> Lease {
        let fresh = || ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
        let metadata = self.seen.as_ref().map_or_else(fresh, |seen| seen.lease.metadata.clone());
        Lease { metadata: ObjectMeta { managed_fields: None, ..metadata }, spec: Some(spec) }
    }
}

/// Takes part in the election until `done`, then lets the lease go. Returns only then.
pub async fn run(shared: &Shared, done: CancellationToken) {
    let options = shared.options.lease.clone();
    let namespace = options.namespace.clone().unwrap_or_else(|| shared.client.default_namespace().to_owned());
    let api: Api<Lease> = Api::namespaced(shared.client.clone(), &namespace);
    let mut events = watch_object(api.clone(), NAME).backoff(Patience::default()).boxed();
    let mut candidate = Candidate { shared, api, namespace, election: Election::new(options), led: false };
    shared.telemetry.leads(false);
    loop {
        let now = Instant::now();
        let ends = shared.lead.until().map(|until| until.saturating_duration_since(now));
        let pause = candidate.election.pause(now);
        tokio::select! {
            biased;
            () = done.cancelled() => break,
            event = events.next() => match event {
                Some(Ok(Some(lease))) => candidate.election.saw(Some(lease), Instant::now()),
                // A first list may be older than the Lease that we made meanwhile: nothing says which.
                Some(Ok(None)) => candidate.look().await,
                Some(Err(error)) => shared.health.watch_failed(CHECK, &error),
                None => break,
            },
            () = tokio::time::sleep(ends.map_or(pause, |ends| ends.min(pause))) => {}
        }
        candidate.step_down_if_lost();
        if candidate.election.pause(Instant::now()).is_zero() {
            candidate.attempt().await;
            candidate.step_down_if_lost();
        }
    }
    candidate.release().await;
}

/// Passes until `done` without an election: a dry run writes nothing, so it is in nobody's way.
pub async fn stand_beside(shared: &Shared, done: CancellationToken) {
    const LONGER_THAN_ANY_PROCESS: Duration = Duration::from_hours(24 * 365 * 10);
    shared.telemetry.leads(false);
    shared.lead.set(Instant::now().checked_add(LONGER_THAN_ANY_PROCESS));
    done.cancelled().await;
    shared.lead.set(None);
}

struct Candidate<'a> {
    shared: &'a Shared,
    api: Api<Lease>,
    namespace: String,
    election: Election,
    led: bool,
}

impl Candidate<'_> {
    async fn attempt(&mut self) {
        let sent = Instant::now();
        let claim = self.election.claim(Timestamp::now());
        let within = (self.election.options.duration / RENEWALS).min(ANSWER_WITHIN);
        let params = PostParams { field_manager: Some(super::MANAGER.to_owned()), ..PostParams::default() };
        let call = async {
            match claim.metadata.resource_version {
                None => self.api.create(&params, &claim).await,
                Some(_) => self.api.replace(NAME, &params, &claim).await,
            }
        };
        let answer = tokio::time::timeout(within, call)
            .await
            .unwrap_or_else(|_| Err(Error::Service(format!("no answer within {within:?}").into())));
        match answer {
            Ok(lease) => {
                self.election.saw(Some(lease), sent);
                self.election.renewed = Some(sent);
                self.election.not_before = None;
                self.shared.health.fine(CHECK);
                self.lead(sent + self.election.holds());
            }
            // Somebody else changed it, or made it, or removed it: look, and decide anew.
            Err(Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                self.look().await;
            }
            Err(Error::Api(status)) if status.is_not_found() && claim.metadata.resource_version.is_some() => {
                self.election.saw(None, Instant::now());
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn look(&mut self) {
        match in_time(self.api.get_opt(NAME)).await {
            Ok(lease) => {
                self.election.saw(lease, Instant::now());
                self.shared.health.fine(CHECK);
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &Error) {
        let pause = self.election.options.duration / RENEWALS;
        self.election.not_before = Some(Instant::now() + pause);
        let error = match error {
            Error::Api(status) if status.is_not_found() => {
                ControllerError::NoLeaseNamespace(self.namespace.clone())
            }
            error => error.into(),
        };
        self.shared.health.failed(CHECK, &error);
    }

    fn lead(&mut self, until: Instant) {
        let is_news = !self.shared.lead.holds();
        self.shared.lead.set(Some(until));
        if is_news {
            tracing::info!(namespace = self.namespace, identity = self.election.options.identity, "leading");
            self.shared.telemetry.leads(true);
            // What another leader left undone, or did, has not been seen here.
            if std::mem::replace(&mut self.led, true) {
                self.shared.resync_now.notify_one();
            }
        }
    }

    fn step_down_if_lost(&mut self) {
        let lead = &self.shared.lead;
        if lead.until().is_some() && !(lead.holds() && self.election.is_ours()) {
            lead.set(None);
            // Should it still be ours, it is taken up again at once and not at the next renewal.
            self.election.renewed = None;
            self.shared.leads_no_more();
            tracing::warn!(
                "not leading any more: the lease was not renewed in time, or somebody else holds it"
            );
        }
    }

    async fn release(self) {
        self.shared.lead.set(None);
        self.shared.telemetry.leads(false);
        if !self.election.is_ours() {
            return;
        }
        let released = self.election.released();
        let params = PostParams::default();
        let call = self.api.replace(NAME, &params, &released);
        match tokio::time::timeout(RELEASE_WITHIN, call).await {
            Ok(Ok(_)) => tracing::info!("the lease is free"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease was not released; it runs out by itself"),
            Err(_) => tracing::warn!("the lease was not released in time; it runs out by itself"),
        }
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
