//! Who claims what, kept up to date as resources come and go. Holds names only, never documents.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::twin::claim::{Claim, Claimant, claim};
use crate::twin::desired::{Identity, PolicyName};
use crate::twin::facts::{Imports, PolicyFact};
use crate::twin::id::PolicyId;

/// `(namespace, name)` of a resource.
pub type Place = (String, String);

/// What the catalog keeps of a twin.
#[derive(Clone, Debug, PartialEq)]
pub struct TwinCard {
    pub claimant: Claimant,
    pub thing_id: Option<String>,
    pub policy: Option<PolicyName>,
}

/// Where a policy resource stands, as its twins need to know it.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It is in Ditto and lets us in.
    Ready,
    /// It is not, in its own words.
    NotReady(String),
}

/// What the catalog keeps of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyCard {
    pub claimant: Claimant,
    pub policy_id: Option<String>,
    /// Ids of the policies it imports.
    pub imports: BTreeSet<String>,
    pub standing: Standing,
}

/// The index of all resources.
#[derive(Debug, Default)]
pub struct Catalog {
    twins: HashMap<Place, TwinCard>,
    policies: HashMap<Place, PolicyCard>,
    going: BTreeSet<Place>,
    by_thing: HashMap<String, Places>,
    by_policy: HashMap<String, Places>,
    /// Policies by the id of a policy that they import.
    importers: HashMap<String, Places>,
    /// Twins by the policy they name: a resource, or an id.
    users: BTreeMap<Named, BTreeSet<Place>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Resource(Place),
    Id(String),
}

impl Catalog {
    /// Puts a twin in, changes it, or takes it out with `None`. Returns the twins whose claim may have
    /// changed, and the policies it used or uses.
    pub fn set_twin(&mut self, place: &Place, card: Option<TwinCard>) -> (BTreeSet<Place>, BTreeSet<Place>) {
        let mut twins = BTreeSet::new();
        let mut policies = BTreeSet::new();
        if self.twins.get(place) == card.as_ref() {
            return (twins, policies);
        }
        self.going.remove(place);
        if let Some(old) = self.twins.remove(place) {
            twins.extend(old.thing_id.iter().flat_map(|id| take(&mut self.by_thing, id, place)));
            if let Some(named) = named(place, old.policy.as_ref()) {
                policies.extend(self.policies_named(&named));
                if let Some(users) = self.users.get_mut(&named) {
                    users.remove(place);
                    if users.is_empty() {
                        self.users.remove(&named);
                    }
                }
            }
        }
        if let Some(card) = card {
            if let Some(id) = &card.thing_id {
                let claims = self.by_thing.entry(id.clone()).or_default();
                claims.insert(place);
                twins.extend(claims.0.iter().cloned());
            }
            if let Some(named) = named(place, card.policy.as_ref()) {
                policies.extend(self.policies_named(&named));
                self.users.entry(named).or_default().insert(place.clone());
            }
            if card.claimant.deleting {
                self.going.insert(place.clone());
            }
            self.twins.insert(place.clone(), card);
        }
        twins.remove(place);
        (twins, policies)
    }

    /// As [`Catalog::set_twin`], for a policy. Returns the twins that use it, and the policies whose claim may
    /// have changed, that import it, or that it imported or imports.
    pub fn set_policy(
        &mut self,
        place: &Place,
        card: Option<PolicyCard>,
    ) -> (BTreeSet<Place>, BTreeSet<Place>) {
        let mut twins = BTreeSet::new();
        let mut policies = BTreeSet::new();
        if self.policies.get(place) == card.as_ref() {
            return (twins, policies);
        }
        twins.extend(self.users_of(place));
        if let Some(old) = self.policies.remove(place) {
            policies.extend(old.policy_id.iter().flat_map(|id| take(&mut self.by_policy, id, place)));
            policies.extend(self.connected(&old));
            for id in &old.imports {
                take(&mut self.importers, id, place);
            }
        }
        if let Some(card) = card {
            if let Some(id) = &card.policy_id {
                let claims = self.by_policy.entry(id.clone()).or_default();
                claims.insert(place);
                policies.extend(claims.0.iter().cloned());
            }
            for id in &card.imports {
                self.importers.entry(id.clone()).or_default().insert(place);
            }
            policies.extend(self.connected(&card));
            self.policies.insert(place.clone(), card);
            twins.extend(self.users_of(place));
        }
        policies.remove(place);
        (twins, policies)
    }

    /// Policies that import this one or that it imports.
    fn connected(&self, card: &PolicyCard) -> BTreeSet<Place> {
        let importers = card.policy_id.iter().filter_map(|id| self.importers.get(id));
        let imported = card.imports.iter().filter_map(|id| self.by_policy.get(id));
        importers.chain(imported).flatten().cloned().collect()
    }

    /// What the policy of a resource imports, and who imports `policy_id`.
    pub fn imports(&self, place: &Place, policy_id: &str) -> Imports {
        let card = self.policies.get(place);
        let ids = card.map(|card| &card.imports).into_iter().flatten();
        let fact = |id: &String| Some((id.clone(), self.fact_of(&PolicyId::parse(id).ok()?)));
        let circle = card.and_then(|_| self.circle(policy_id));
        let by = self.importers.get(policy_id).into_iter().flatten().filter(|by| *by != place);
        // In a circle nobody would go first.
        let by = by.filter(|_| circle.is_none()).map(|by| format!("{}/{}", by.0, by.1)).collect();
        Imports { named: ids.filter_map(fact).collect(), circle, by }
    }

    /// The way along imports from a policy back to itself.
    fn circle(&self, policy_id: &str) -> Option<Vec<String>> {
        let imports = |id: &str| {
            let places = self.by_policy.get(id).into_iter().flatten();
            places.filter_map(|place| self.policies.get(place)).flat_map(|card| card.imports.iter().cloned())
        };
        let mut seen = BTreeSet::new();
        let mut ways = vec![vec![policy_id.to_owned()]];
        while let Some(way) = ways.pop() {
            for next in way.last().into_iter().flat_map(|id| imports(id)) {
                let longer: Vec<_> = way.iter().cloned().chain([next.clone()]).collect();
                if next == policy_id {
                    return Some(longer);
                }
                if seen.insert(next) {
                    ways.push(longer);
                }
            }
        }
        None
    }

    /// Who holds a thing id, and the uids of all living resources that claim it.
    pub fn thing_claim(&self, identity: &Identity, thing_id: &str) -> (Claim, BTreeSet<String>) {
        let places = self.by_thing.get(thing_id).into_iter().flatten();
        judge(
            identity,
            places
                .filter_map(|place| Some(self.twins.get(place)?.claimant.clone()))
                .collect::<Vec<_>>()
                .as_slice(),
        )
    }

    /// All resources that claim a thing id.
    pub fn claimants(&self, thing_id: &str) -> BTreeSet<Place> {
        self.by_thing.get(thing_id).into_iter().flatten().cloned().collect()
    }

    /// Who holds a policy id, and the uids of all living resources that claim it.
    pub fn policy_claim(&self, identity: &Identity, policy_id: &str) -> (Claim, BTreeSet<String>) {
        let places = self.by_policy.get(policy_id).into_iter().flatten();
        judge(
            identity,
            places
                .filter_map(|place| Some(self.policies.get(place)?.claimant.clone()))
                .collect::<Vec<_>>()
                .as_slice(),
        )
    }

    /// Where the policy stands that a twin in `namespace` names.
    pub fn policy_fact(&self, namespace: &str, policy: &PolicyName) -> PolicyFact {
        match policy {
            PolicyName::Resource(name) => match self.policies.get(&(namespace.to_owned(), name.clone())) {
                None => PolicyFact::NotFound(name.clone()),
                Some(card) => managed(card, name),
            },
            PolicyName::Id(id) => self.fact_of(id),
        }
    }

    fn fact_of(&self, id: &PolicyId) -> PolicyFact {
        let holder = self.by_policy.get(id.as_str()).into_iter().flatten();
        let cards = holder.filter_map(|place| Some((place, self.policies.get(place)?)));
        match cards.min_by_key(|(_, card)| (card.claimant.deleting, card.claimant.since.clone())) {
            Some((place, card)) => managed(card, &place.1),
            None => PolicyFact::Unmanaged(id.clone()),
        }
    }

    /// How many twins use a policy, by resource name or by id.
    pub fn used_by(&self, place: &Place) -> usize {
        self.users_of(place).len()
    }

    pub fn twins(&self) -> usize {
        self.twins.len()
    }

    /// Twins that are going.
    pub fn going(&self) -> &BTreeSet<Place> {
        &self.going
    }

    /// The policy resources that a twin names, by name or by id.
    pub fn policies_of(&self, twin: &Place) -> BTreeSet<Place> {
        let named = self.twins.get(twin).and_then(|card| named(twin, card.policy.as_ref()));
        named.map(|named| self.policies_named(&named)).unwrap_or_default()
    }

    /// Twins that use a policy, by resource name or by id.
    pub fn users_of(&self, place: &Place) -> BTreeSet<Place> {
        let by_id = self.policies.get(place).and_then(|card| card.policy_id.clone()).map(Named::Id);
        let names = [Some(Named::Resource(place.clone())), by_id];
        names.into_iter().flatten().filter_map(|named| self.users.get(&named)).flatten().cloned().collect()
    }

    fn policies_named(&self, named: &Named) -> BTreeSet<Place> {
        match named {
            Named::Resource(place) => [place.clone()].into(),
            Named::Id(id) => self.by_policy.get(id).into_iter().flatten().cloned().collect(),
        }
    }
}

fn managed(card: &PolicyCard, name: &str) -> PolicyFact {
    match (&card.standing, card.policy_id.as_deref().map(PolicyId::parse)) {
        (Standing::Ready, Some(Ok(id))) => PolicyFact::Managed(id),
        (Standing::NotReady(why), _) => {
            PolicyFact::NotReady(format!("TwinPolicy {name:?} is not ready: {why}"))
        }
        (Standing::Ready, _) => PolicyFact::NotReady(format!("TwinPolicy {name:?} has no valid policyId")),
    }
}

fn named(twin: &Place, policy: Option<&PolicyName>) -> Option<Named> {
    Some(match policy? {
        PolicyName::Resource(name) => Named::Resource((twin.0.clone(), name.clone())),
        PolicyName::Id(id) => Named::Id(id.to_string()),
    })
}

/// Takes `place` out of the claims on `id` and returns the others.
fn take(claims: &mut HashMap<String, Places>, id: &str, place: &Place) -> BTreeSet<Place> {
    let Some(places) = claims.get_mut(id) else { return BTreeSet::new() };
    places.remove(place);
    let left: BTreeSet<Place> = places.into_iter().cloned().collect();
    if left.is_empty() {
        claims.remove(id);
    }
    left
}

/// Resources in order. Mostly it is one, for which a set would take ten times the memory.
#[derive(Debug, Default)]
struct Places(Vec<Place>);

impl Places {
    fn insert(&mut self, place: &Place) {
        if self.0.is_empty() {
            self.0.reserve_exact(1);
        }
        if let Err(at) = self.0.binary_search(place) {
            self.0.insert(at, place.clone());
        }
    }

    fn remove(&mut self, place: &Place) {
        if let Ok(at) = self.0.binary_search(place) {
            self.0.remove(at);
        }
    }
}

impl<'a> IntoIterator for &'a Places {
    type Item = &'a Place;
    type IntoIter = std::slice::Iter<'a, Place>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

fn judge(identity: &Identity, claimants: &[Claimant]) -> (Claim, BTreeSet<String>) {
    let living = claimants.iter().filter(|c| !c.deleting).map(|c| c.uid.clone()).collect();
    (claim(identity, claimants), living)
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
