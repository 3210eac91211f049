//! Two resources, one id: the oldest wins.
use super::desired::Identity;

/// A resource that names an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// What orders claims: the creation time in a cluster, path and position in a folder. Earlier wins;
    /// on a tie `namespace/name` decides.
    pub since: String,
    pub deleting: bool,
}

/// Who holds an id, seen from one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Ours,
    /// Held by the older resource `namespace/name`.
    Taken {
        by: String,
    },
}

/// Whether `ours` holds the id that all of `claimants` name. A resource that is going yields to any
/// that lives, so that a successor takes over without a delete in between.
pub fn claim(ours: &Identity, claimants: &[Claimant]) -> Claim {
    let order = |c: &Claimant| (c.deleting, c.since.clone(), c.namespace.clone(), c.name.clone());
    match claimants.iter().min_by_key(|c| order(c)) {
        Some(winner) if winner.uid != ours.uid => {
            Claim::Taken { by: format!("{}/{}", winner.namespace, winner.name) }
        }
        _ => Claim::Ours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimant(name: &str, since: &str, deleting: bool) -> Claimant {
        Claimant { namespace: "n".into(), name: name.into(), uid: name.into(), since: since.into(), deleting }
    }

    fn seen_from(name: &str, claimants: &[Claimant]) -> Claim {
        let identity = Identity {
            owner: "o".into(),
            uid: name.into(),
            generation: 1,
            namespace: "n".into(),
            name: name.into(),
        };
        claim(&identity, claimants)
    }

    #[test]
    fn f12_two_claims_oldest_wins() {
        let both = [claimant("b", "2026-01-01", false), claimant("a", "2026-01-02", false)];
        assert_eq!(seen_from("b", &both), Claim::Ours);
        assert_eq!(seen_from("a", &both), Claim::Taken { by: "n/b".into() });
    }

    #[test]
    fn f12_the_next_takes_over_when_the_winner_goes() {
        let both = [claimant("b", "2026-01-01", true), claimant("a", "2026-01-02", false)];
        assert_eq!(seen_from("a", &both), Claim::Ours);
        assert_eq!(seen_from("b", &both), Claim::Taken { by: "n/a".into() });
    }

    #[test]
    fn f12_a_tie_goes_by_name() {
        let both = [claimant("b", "same", false), claimant("a", "same", false)];
        assert_eq!(seen_from("a", &both), Claim::Ours);
    }
}
