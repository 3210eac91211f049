//! Who claims what, kept up to date as resources come and go. Holds names only, never documents.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::twin::claim::{Claim, Claimant, claim};
use crate::twin::desired::{Identity, PolicyName};
use crate::twin::facts::PolicyFact;
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
    pub standing: Standing,
}

/// The index of all resources.
#[derive(Debug, Default)]
pub struct Catalog {
    twins: HashMap<Place, TwinCard>,
    policies: HashMap<Place, PolicyCard>,
    going: BTreeSet<Place>,
    by_thing: HashMap<String, BTreeSet<Place>>,
    by_policy: HashMap<String, BTreeSet<Place>>,
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
                claims.insert(place.clone());
                twins.extend(claims.iter().cloned());
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

    /// As [`Catalog::set_twin`], for a policy. Returns the twins that use it and the policies whose claim
    /// may have changed.
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
        }
        if let Some(card) = card {
            if let Some(id) = &card.policy_id {
                let claims = self.by_policy.entry(id.clone()).or_default();
                claims.insert(place.clone());
                policies.extend(claims.iter().cloned());
            }
            self.policies.insert(place.clone(), card);
            twins.extend(self.users_of(place));
        }
        policies.remove(place);
        (twins, policies)
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
        self.by_thing.get(thing_id).cloned().unwrap_or_default()
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
            PolicyName::Id(id) => {
                let holder = self.by_policy.get(id.as_str()).into_iter().flatten();
                let cards = holder.filter_map(|place| Some((place, self.policies.get(place)?)));
                match cards.min_by_key(|(_, card)| (card.claimant.deleting, card.claimant.since.clone())) {
                    Some((place, card)) => managed(card, &place.1),
                    None => PolicyFact::Unmanaged(id.clone()),
                }
            }
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

    fn users_of(&self, place: &Place) -> BTreeSet<Place> {
        let by_id = self.policies.get(place).and_then(|card| card.policy_id.clone()).map(Named::Id);
        let names = [Some(Named::Resource(place.clone())), by_id];
        names.into_iter().flatten().filter_map(|named| self.users.get(&named)).flatten().cloned().collect()
    }

    fn policies_named(&self, named: &Named) -> BTreeSet<Place> {
        match named {
            Named::Resource(place) => [place.clone()].into(),
            Named::Id(id) => self.by_policy.get(id).cloned().unwrap_or_default(),
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
fn take(claims: &mut HashMap<String, BTreeSet<Place>>, id: &str, place: &Place) -> BTreeSet<Place> {
    let Some(places) = claims.get_mut(id) else { return BTreeSet::new() };
    places.remove(place);
    let left = places.clone();
    if left.is_empty() {
        claims.remove(id);
    }
    left
}

fn judge(identity: &Identity, claimants: &[Claimant]) -> (Claim, BTreeSet<String>) {
    let living = claimants.iter().filter(|c| !c.deleting).map(|c| c.uid.clone()).collect();
    (claim(identity, claimants), living)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> Place {
        ("n".into(), name.into())
    }

    fn claimant(name: &str, since: &str) -> Claimant {
        Claimant {
            namespace: "n".into(),
            name: name.into(),
            uid: name.into(),
            since: since.into(),
            deleting: false,
        }
    }

    fn twin(name: &str, since: &str, thing: &str, policy: PolicyName) -> TwinCard {
        TwinCard { claimant: claimant(name, since), thing_id: Some(thing.into()), policy: Some(policy) }
    }

    fn policy(standing: Standing) -> PolicyCard {
        PolicyCard { claimant: claimant("p", "1"), policy_id: Some("a:p".into()), standing }
    }

    #[test]
    fn f30_a_policy_wakes_the_twins_that_wait_for_it() {
        let mut catalog = Catalog::default();
        let by_name = PolicyName::Resource("p".into());
        catalog.set_twin(&place("t"), Some(twin("t", "1", "a:t", by_name.clone())));
        assert_eq!(catalog.policy_fact("n", &by_name), PolicyFact::NotFound("p".into()));
        let (woken, _) = catalog.set_policy(&place("p"), Some(policy(Standing::NotReady("new".into()))));
        assert_eq!(woken, [place("t")].into());
        assert!(matches!(catalog.policy_fact("n", &by_name), PolicyFact::NotReady(_)));
        let (woken, _) = catalog.set_policy(&place("p"), Some(policy(Standing::Ready)));
        assert_eq!(woken, [place("t")].into());
        let id = PolicyId::parse("a:p").unwrap();
        assert_eq!(catalog.policy_fact("n", &by_name), PolicyFact::Managed(id.clone()));
        assert_eq!(catalog.policy_fact("m", &PolicyName::Id(id.clone())), PolicyFact::Managed(id));
        let again = catalog.set_policy(&place("p"), Some(policy(Standing::Ready)));
        assert_eq!(again, Default::default(), "nothing changed, nobody is woken");
    }

    #[test]
    fn f12_the_other_claimant_is_woken_when_one_goes() {
        let mut catalog = Catalog::default();
        let by_id = PolicyName::Id(PolicyId::parse("x:y").unwrap());
        catalog.set_twin(&place("old"), Some(twin("old", "1", "a:t", by_id.clone())));
        let (woken, _) = catalog.set_twin(&place("new"), Some(twin("new", "2", "a:t", by_id.clone())));
        assert_eq!(woken, [place("old")].into());
        let (woken, _) = catalog.set_twin(&place("old"), None);
        assert_eq!(woken, [place("new")].into());
        assert_eq!(catalog.policy_fact("n", &by_id), PolicyFact::Unmanaged(PolicyId::parse("x:y").unwrap()));
    }

    #[test]
    fn users_are_counted_by_name_and_by_id() {
        let mut catalog = Catalog::default();
        catalog.set_policy(&place("p"), Some(policy(Standing::Ready)));
        catalog.set_twin(&place("t"), Some(twin("t", "1", "a:t", PolicyName::Resource("p".into()))));
        let by_id = PolicyName::Id(PolicyId::parse("a:p").unwrap());
        let (_, policies) = catalog.set_twin(&place("u"), Some(twin("u", "1", "a:u", by_id)));
        assert_eq!(policies, [place("p")].into());
        assert_eq!(catalog.used_by(&place("p")), 2);
        catalog.set_twin(&place("u"), None);
        assert_eq!((catalog.used_by(&place("p")), catalog.twins()), (1, 1));
    }

    #[test]
    fn twins_that_are_going_are_known_until_they_went() {
        let mut catalog = Catalog::default();
        let mut card = twin("t", "1", "a:t", PolicyName::Resource("p".into()));
        catalog.set_twin(&place("t"), Some(card.clone()));
        assert!(catalog.going().is_empty());
        card.claimant.deleting = true;
        catalog.set_twin(&place("t"), Some(card));
        assert_eq!(*catalog.going(), [place("t")].into());
        catalog.set_twin(&place("t"), None);
        assert!(catalog.going().is_empty());
    }
}
