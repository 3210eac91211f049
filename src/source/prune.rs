//! What earlier runs of the same owner put into Ditto and no file declares any more.
//!
//! Search only suggests; each thing is confirmed by reading its mark before anything happens to it.
use std::collections::{BTreeMap, BTreeSet};

use super::line::{Line, Verdict, count};
use super::run::{Runner, patience};
use super::{DEFAULT_NAMESPACE, Snapshot};
use crate::ports::{Policies, Refused, Search, Things};
use crate::reconcile::Breaker;
use crate::twin::id::{PolicyId, ThingId};
use crate::twin::mark::{Mark, Origin};
use crate::twin::policy::mark_of;
use crate::twin::reason::Reason;
use crate::twin::rql_text;

/// Things on one page of the search.
const PAGE: u32 = 200;

/// Left over from earlier runs.
#[derive(Clone, Debug, Default)]
pub struct Leftovers {
    pub things: Vec<(ThingId, Mark)>,
    pub policies: Vec<(PolicyId, Mark)>,
    /// All marked things of this owner, declared or not.
    pub of_owner: usize,
}

impl Leftovers {
    pub fn is_empty(&self) -> bool {
        self.things.is_empty() && self.policies.is_empty()
    }

    pub fn is_unusual(&self) -> bool {
        is_unusual(self.things.len(), self.of_owner)
    }
}

/// Whether so much goes at once that somebody must say yes.
pub fn is_unusual(going: usize, of_all: usize) -> bool {
    Breaker::USUAL.trips(going, of_all)
}

impl<D: Things + Policies> Runner<D> {
    /// Things of this owner that `snapshot` does not declare, and the policies that only they name.
    /// A policy without any thing cannot be found: Ditto has no search over policies.
    pub async fn leftovers(&self, snapshot: &Snapshot) -> Result<Leftovers, Refused> {
        let twins: BTreeSet<String> =
            snapshot.twins.iter().map(|t| t.resource.identity(&self.owner, DEFAULT_NAMESPACE).uid).collect();
        let policies: BTreeSet<String> = snapshot
            .policies
            .iter()
            .map(|p| p.resource.identity(&self.owner, DEFAULT_NAMESPACE).uid)
            .collect();
        let declared: BTreeSet<String> = snapshot
            .twins
            .iter()
            .filter_map(|t| Some(t.resource.thing_id(DEFAULT_NAMESPACE).ok()?.to_string()))
            .collect();
        let named_policies: BTreeSet<String> = snapshot
            .policies
            .iter()
            .filter_map(|p| Some(p.resource.policy_id(DEFAULT_NAMESPACE).ok()?.to_string()))
            .collect();
        let mut left = Leftovers::default();
        let mut named: BTreeMap<String, PolicyId> = BTreeMap::new();
        for id in self.marked_things(&mut left.of_owner).await? {
            let Some(found) = self.ditto.find_thing(&id, &[]).await? else { continue };
            let Some(mark) = found.mark.as_ref().and_then(Mark::from_json) else { continue };
            if mark.owner != self.owner || twins.contains(&mark.uid) || declared.contains(id.as_str()) {
                continue;
            }
            if let Some(policy) = found.policy_id.and_then(|id| PolicyId::parse(&id).ok()) {
                named.insert(policy.to_string(), policy);
            }
            left.things.push((id, mark));
        }
        for id in named.into_values().filter(|id| !named_policies.contains(id.as_str())) {
            let Some(found) = self.ditto.find_policy(&id).await? else { continue };
            let mark = mark_of(&found.body, &self.subjects).and_then(|note| Mark::from_json(&note));
            if let Some(mark) = mark.filter(|mark| mark.owner == self.owner && !policies.contains(&mark.uid))
            {
                left.policies.push((id, mark));
            }
        }
        Ok(left)
    }

    async fn marked_things(&self, counted: &mut usize) -> Result<Vec<ThingId>, Refused> {
        let mut search = Search { filter: rql_text::owned_by(&self.owner), size: PAGE, ..Search::default() };
        let mut ids = vec![];
        loop {
            let hits = self.ditto.search_things(&search).await?;
            *counted += hits.items.len();
            ids.extend(hits.items.iter().filter_map(|hit| ThingId::parse(&hit.id).ok()));
            match hits.cursor {
                Some(cursor) => search.cursor = Some(cursor),
                None => return Ok(ids),
            }
        }
    }

    /// Deletes what earlier runs left, once it is clear that the files say so. An unusual number is only
    /// named unless it is `confirmed`.
    pub async fn prune(&self, snapshot: &Snapshot, confirmed: bool, mut say: impl FnMut(Line))
    where
        D: Clone,
    {
        let held = |message: String| Line::held("Folder", "PruneHeld", message);
        if let Some(why) = snapshot.obstacle() {
            return say(held(format!("nothing is pruned {why}")));
        }
        let left = match self.leftovers(snapshot).await {
            Ok(left) => left,
            Err(refused) => return say(held(format!("nothing is pruned: {refused}"))),
        };
        if !left.is_unusual() || confirmed {
            return self.take_back_all(left, say).await;
        }
        let why = format!(
            "{} of {} of owner {:?} would go: run again with --yes to delete them",
            left.things.len(),
            count(left.of_owner, "thing"),
            self.owner
        );
        let only_named = Self { dry_run: true, ..self.clone() };
        only_named.take_back_all(left, &mut say).await;
        say(held(why));
    }

    /// Things before the policies they use.
    async fn take_back_all(&self, left: Leftovers, mut say: impl FnMut(Line)) {
        let mut going = BTreeSet::new();
        for (id, mark) in left.things {
            let report = self.take_back_thing(id.clone(), &mark).await;
            let line = Line::of("DigitalTwin", &place(&mark), &report);
            if matches!(line.verdict, Verdict::Deleted | Verdict::WouldDelete) {
                going.insert(id.to_string());
            }
            say(line);
        }
        let until = patience();
        for (id, mark) in left.policies {
            say(if self.dry_run {
                self.would_take_back(&id, &mark, &going).await
            } else {
                let report = self.take_back_policy(&id, &mark, until).await;
                Line::of("TwinPolicy", &place(&mark), &report)
            });
        }
    }

    /// A pass would find the things that a dry run leaves, and call the policy used.
    async fn would_take_back(&self, id: &PolicyId, mark: &Mark, going: &BTreeSet<String>) -> Line {
        let (verdict, reason, message) = match self.is_used(id, going).await {
            Err(refused) => (Verdict::Failed, Reason::DeletionFailed.word(), refused.to_string()),
            Ok(true) => (Verdict::Held, Reason::DeletionHeld.word(), "other things use this policy".into()),
            Ok(false) if mark.origin == Origin::Created => (Verdict::WouldDelete, "DryRun", String::new()),
            Ok(false) => (Verdict::WouldRelease, "DryRun", String::new()),
        };
        Line { id: id.to_string(), message, ..Line::about("TwinPolicy", &place(mark), verdict, reason) }
    }

    /// Whether a thing that is not `going` uses the policy. Search may still show what is gone, so each
    /// hit is confirmed.
    pub(super) async fn is_used(&self, policy: &PolicyId, going: &BTreeSet<String>) -> Result<bool, Refused> {
        let filter = rql_text::under_policy(policy.as_str());
        let mut search = Search { filter, size: PAGE, ..Search::default() };
        loop {
            let hits = self.ditto.search_things(&search).await?;
            for hit in hits.items.iter().filter(|hit| !going.contains(&hit.id)) {
                let Ok(id) = ThingId::parse(&hit.id) else { continue };
                let found = self.ditto.find_thing(&id, &[]).await?;
                if found.is_some_and(|found| found.policy_id.as_deref() == Some(policy.as_str())) {
                    return Ok(true);
                }
            }
            match hits.cursor {
                Some(cursor) => search.cursor = Some(cursor),
                None => return Ok(false),
            }
        }
    }
}

fn place(mark: &Mark) -> (String, String) {
    (mark.namespace.clone(), mark.name.clone())
}
