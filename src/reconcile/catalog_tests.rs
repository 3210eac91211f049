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
    importing("p", &[], standing)
}

fn importing(name: &str, imports: &[&str], standing: Standing) -> PolicyCard {
    PolicyCard {
        claimant: claimant(name, "1"),
        policy_id: Some(format!("a:{name}")),
        imports: imports.iter().map(|name| format!("a:{name}")).collect(),
        standing,
    }
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

#[test]
fn f30_a_policy_wakes_those_that_import_it_and_those_it_imports() {
    let mut catalog = Catalog::default();
    let waiting = || Standing::NotReady("new".into());
    let ready = || Standing::Ready;
    catalog.set_policy(&place("user"), Some(importing("user", &["base", "theirs"], waiting())));
    let named = catalog.imports(&place("user"), "a:user").named;
    assert!(named.iter().all(|(_, fact)| matches!(fact, PolicyFact::Unmanaged(_))), "{named:?}");
    let (_, woken) = catalog.set_policy(&place("base"), Some(importing("base", &[], waiting())));
    assert_eq!(woken, [place("user")].into());
    let fact = |catalog: &Catalog| catalog.imports(&place("user"), "a:user").named[0].1.clone();
    assert!(matches!(fact(&catalog), PolicyFact::NotReady(_)));
    let (_, woken) = catalog.set_policy(&place("base"), Some(importing("base", &[], ready())));
    assert_eq!(woken, [place("user")].into(), "who waited is woken");
    assert_eq!(fact(&catalog), PolicyFact::Managed(PolicyId::parse("a:base").unwrap()));
    assert_eq!(catalog.imports(&place("base"), "a:base").by, ["n/user"]);
    let (_, woken) = catalog.set_policy(&place("user"), None);
    assert_eq!(woken, [place("base")].into(), "its end may wait for this");
    assert_eq!(catalog.imports(&place("base"), "a:base"), Imports::default());
}

#[test]
fn s40_a_circle_of_imports_is_seen_from_each_of_its_policies() {
    let mut catalog = Catalog::default();
    let put = |catalog: &mut Catalog, name: &str, imports: &[&str]| {
        catalog.set_policy(&place(name), Some(importing(name, imports, Standing::Ready)))
    };
    put(&mut catalog, "a", &["b", "d"]);
    put(&mut catalog, "b", &["c"]);
    put(&mut catalog, "c", &["a"]);
    put(&mut catalog, "d", &["b"]);
    let circle = |catalog: &Catalog, name: &str| catalog.imports(&place(name), &format!("a:{name}")).circle;
    assert_eq!(circle(&catalog, "b"), Some(["a:b", "a:c", "a:a", "a:b"].map(str::to_owned).to_vec()));
    assert!(["a", "c", "d"].iter().all(|name| circle(&catalog, name).is_some()));
    assert_eq!(catalog.imports(&place("a"), "a:a").by, Vec::<String>::new(), "nobody waits in a circle");
    put(&mut catalog, "c", &[]);
    assert!(["a", "b", "c", "d"].iter().all(|name| circle(&catalog, name).is_none()), "a diamond is none");
    assert_eq!(catalog.imports(&place("b"), "a:b").by, ["n/a", "n/d"]);
}
