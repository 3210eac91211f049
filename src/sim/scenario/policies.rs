//! Policies that change, go, or come late.
#![allow(clippy::wildcard_imports, clippy::too_many_lines)] // tables of one kind
use serde_json::{Value, json};

use super::*;

pub fn policies() -> Vec<Scenario> {
    // Ditto itself wants every list written out.
    let by_hand = json!({
        "subjects": {"sim:guest": {"type": "guest"}},
        "resources": {"thing:/": {"grant": ["READ"], "revoke": []}},
    });
    let with_guest = || Step::Apply(policy("p"), policy_spec("org.acme:p", &guest()));
    let entry = "/policies/org.acme:p/entries/guest";
    let q = Step::Apply(policy("q"), policy_spec("org.acme:q", &json!({})));
    let under_q = |attributes: Value| {
        let mut spec = spec(attributes);
        spec["policyRef"]["name"] = json!("q");
        Step::Apply(twin("t"), spec)
    };
    let mut unmanaged = spec(here());
    unmanaged.as_object_mut().expect("a spec").shift_remove("policyRef");
    unmanaged["policyId"] = json!("org.acme:free");
    let no_policy = ("/policies/org.acme:p", Value::Null);
    let both_gone =
        || gone().into_iter().chain([no_policy.clone(), ("/resources/Policy p", Value::Null)]).collect();
    vec![
        Scenario {
            name: "the_twin_comes_before_its_policy",
            steps: vec![others(), t(here()), p()],
            end: vec![ready("True Applied"), at("hall-1")],
            leaves_marks: false,
        },
        life(
            "policy_change",
            vec![t(here()), with_guest(), t(there()), p()],
            vec![(entry, Value::Null), ready("True Applied"), ("/resources/Policy p/usedBy", json!(1))],
        ),
        life(
            "policy_change_beside_people",
            vec![
                t(here()),
                with_guest(),
                Step::InDitto(
                    "PUT",
                    "/policies/org.acme:p/entries/theirs".into(),
                    Some(by_hand.clone()),
                    None,
                ),
            ],
            vec![
                ("/policies/org.acme:p/entries/theirs/subjects/sim:guest/type", json!("guest")),
                ("/policies/org.acme:p/entries/guest/subjects/sim:guest/type", json!("guest")),
            ],
        ),
        life(
            "policy_drift",
            vec![
                with_guest(),
                t(here()),
                Step::Calm,
                Step::InDitto("DELETE", "/policies/org.acme:p/entries/guest".into(), None, None),
            ],
            vec![("/policies/org.acme:p/entries/guest/subjects/sim:guest/type", json!("guest"))],
        ),
        life(
            "policy_and_twin_go",
            vec![t(here()), Step::Delete(policy("p")), Step::Delete(twin("t"))],
            both_gone(),
        ),
        life(
            "twin_and_policy_go",
            vec![t(here()), Step::Delete(twin("t")), Step::Delete(policy("p"))],
            both_gone(),
        ),
        life(
            "policy_in_use_stays",
            vec![t(here()), Step::Calm, Step::Delete(policy("p")), t(there())],
            vec![at("hall-2"), ("/resources/Policy p/conditions/Synced", json!("False DeletionHeld"))],
        ),
        life(
            "another_policy",
            vec![t(here()), q, under_q(there())],
            vec![at("hall-2"), ("/things/org.acme:t/policyId", json!("org.acme:q")), ready("True Applied")],
        ),
        life(
            "a_policy_nobody_manages",
            vec![Step::Apply(twin("t"), unmanaged)],
            vec![("/things/org.acme:t/policyId", json!("org.acme:free")), ready("True Applied")],
        ),
    ]
}
