//! What earlier runs of the same owner put into Ditto and no file declares any more.
//!
//! Search only suggests; each thing is confirmed by reading its mark before anything happens to it.
use std::collections::{BTreeMap, BTreeSet};

use super::line::Line;
use super::run::Runner;
use super::{DEFAULT_NAMESPACE, Snapshot};
use crate::ports::{Policies, Refused, Search, Things};
use crate::reconcile::Breaker;
use crate::twin::desired::Identity;
use crate::twin::id::{PolicyId, ThingId};
use crate::twin::mark::Mark;
use crate::twin::policy::mark_of;
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

    /// Whether so much goes at once that somebody must say yes.
    pub fn is_unusual(&self) -> bool {
        Breaker::USUAL.trips(self.things.len(), self.of_owner)
    }
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

    /// Things before the policies they use.
    pub async fn prune(&self, left: Leftovers, mut say: impl FnMut(Line)) {
        for (id, mark) in left.things {
            let place = (mark.namespace.clone(), mark.name.clone());
            let report = self.take_back_thing(id, identity_of(mark)).await;
            say(Line::of("DigitalTwin", &place, &report));
        }
        for (id, mark) in left.policies {
            let place = (mark.namespace.clone(), mark.name.clone());
            let report = self.take_back_policy(id, identity_of(mark)).await;
            say(Line::of("TwinPolicy", &place, &report));
        }
    }
}

fn identity_of(mark: Mark) -> Identity {
    Identity {
        owner: mark.owner,
        uid: mark.uid,
        generation: mark.generation,
        namespace: mark.namespace,
        name: mark.name,
    }
}
