use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn election(identity: &str) -> Election {
    let options = LeaseOptions { namespace: None, identity: identity.into(), duration: 15 * SECOND };
    Election::new(options)
}

/// What the API server keeps of a claim.
fn stored(mut lease: Lease, version: u64) -> Lease {
    lease.metadata.resource_version = Some(version.to_string());
    lease.metadata.uid = Some("u".into());
    lease
}

fn spec(lease: &Lease) -> &LeaseSpec {
    lease.spec.as_ref().unwrap()
}

/// `a` took the lease at `now`, and `b` has seen it.
fn taken(now: Instant) -> (Election, Election, Lease) {
    let (mut a, mut b) = (election("a"), election("b"));
    let lease = stored(a.claim(Timestamp::UNIX_EPOCH), 1);
    a.saw(Some(lease.clone()), now);
    a.renewed = Some(now);
    b.saw(Some(lease.clone()), now);
    (a, b, lease)
}

#[test]
fn a_lease_that_nobody_holds_is_taken_at_once() {
    let now = Instant::now();
    let mut fresh = election("a");
    assert_eq!(fresh.pause(now), Duration::ZERO, "there is none");
    let claim = fresh.claim(Timestamp::UNIX_EPOCH);
    assert_eq!(claim.metadata.resource_version, None, "so it is created, and one of two creates fails");
    assert_eq!(spec(&claim).holder_identity.as_deref(), Some("a"));
    assert_eq!((spec(&claim).lease_duration_seconds, spec(&claim).lease_transitions), (Some(15), Some(0)));
    fresh.saw(Some(stored(claim, 1)), now);
    fresh.renewed = Some(now);
    assert!(fresh.is_ours());
    assert_eq!(fresh.pause(now), 3 * SECOND, "renewed five times within a lease");
    assert_eq!(fresh.holds(), 10 * SECOND, "and left alone well before it ends");
}

#[test]
fn f14_a_released_lease_is_taken_at_once() {
    let now = Instant::now();
    let (a, mut b, _) = taken(now);
    b.saw(Some(stored(a.released(), 2)), now);
    assert_eq!(b.pause(now), Duration::ZERO);
    let claim = b.claim(Timestamp::UNIX_EPOCH);
    assert_eq!(claim.metadata.resource_version.as_deref(), Some("2"), "fenced by what was seen");
    assert_eq!(
        (spec(&claim).holder_identity.as_deref(), spec(&claim).lease_transitions),
        (Some("b"), Some(1))
    );
}

#[test]
fn f41_only_our_own_clock_says_when_a_lease_is_over() {
    let now = Instant::now();
    let (_, mut b, mut lease) = taken(now);
    assert_eq!(b.pause(now), 15 * SECOND);
    assert_eq!(b.pause(now + 14 * SECOND), SECOND);
    // Its holder's clock is an hour ahead, or behind: it renewed, and that is all we read in it.
    for (version, clock) in [(2, 3_600), (3, -3_600)] {
        lease.spec.as_mut().unwrap().renew_time = Some(MicroTime(Timestamp::from_second(clock).unwrap()));
        b.saw(Some(stored(lease.clone(), version)), now + 10 * SECOND);
        assert_eq!(b.pause(now + 10 * SECOND), 15 * SECOND, "{clock}");
    }
    b.saw(Some(stored(lease, 3)), now + 20 * SECOND);
    assert_eq!(b.pause(now + 24 * SECOND), SECOND, "seen again is not renewed");
    assert_eq!(b.pause(now + 25 * SECOND), Duration::ZERO);
}

#[test]
fn a_watch_that_is_behind_takes_nothing_back() {
    let now = Instant::now();
    let (mut a, b, first) = taken(now);
    a.saw(Some(stored(a.claim(Timestamp::UNIX_EPOCH), 9)), now);
    a.saw(Some(first), now);
    let claim = a.claim(Timestamp::UNIX_EPOCH);
    assert_eq!(claim.metadata.resource_version.as_deref(), Some("9"));
    a.saw(Some(stored(b.claim(Timestamp::UNIX_EPOCH), 10)), now);
    assert!(!a.is_ours(), "somebody else holds it now");
    a.saw(None, now);
    assert_eq!(a.pause(now), Duration::ZERO, "somebody removed it: whoever is first makes it anew");
}

#[test]
fn after_a_failure_it_is_tried_again_and_not_at_once() {
    let now = Instant::now();
    let mut a = election("a");
    a.not_before = Some(now + 3 * SECOND);
    assert_eq!(a.pause(now), 3 * SECOND);
    assert_eq!(a.pause(now + 3 * SECOND), Duration::ZERO);
}
