//! Fault rows by name: each plays the runs that are about it.
use super::fault::{Fault, Plan, Twist};
use super::plans::singles;
use super::play::play;
use super::scenario::{Scenario, all};
use super::tests::plain;
use super::wire::{Asked, Side};

/// Plays the single faults of some scenarios that are `wanted`, and fails when there are none.
fn row(what: &str, names: &[&str], wanted: impl Fn(Option<(&Asked, Fault)>, Option<Twist>) -> bool) {
    let scenarios: Vec<Scenario> = all().into_iter().filter(|s| names.contains(&s.name)).collect();
    assert_eq!(scenarios.len(), names.len(), "a scenario of {names:?} is unknown");
    let runs = plain(&scenarios);
    let mut plans = vec![];
    for (scenario, run) in scenarios.iter().zip(&runs) {
        let is_wanted = |plan: &Plan| {
            let fault = plan.faults.first().map(|(at, fault)| (&run.seen[*at].asked, *fault));
            wanted(fault, plan.twists.first().map(|(_, twist)| *twist))
        };
        let some = singles(scenario, run, false, true).into_iter().filter(is_wanted);
        plans.extend(some.map(|plan| (scenario, run, plan)));
    }
    assert!(!plans.is_empty(), "no run is about it");
    play(what, &plans);
}

fn of(fault: Option<(&Asked, Fault)>, fits: impl Fn(&Asked, Fault) -> bool) -> bool {
    fault.is_some_and(|(asked, fault)| fits(asked, fault))
}

fn in_ditto(asked: &Asked) -> bool {
    asked.side == Side::Ditto
}

fn is_status(asked: &Asked) -> bool {
    asked.path().ends_with("/status")
}

fn is_finalizer(asked: &Asked) -> bool {
    asked.side == Side::Cluster && asked.method() == "PATCH" && !is_status(asked)
}

#[test]
fn f1_a_crash_after_the_write_and_before_status_changes_nothing() {
    row("f1", &["create", "spec_change", "removal"], |fault, _| {
        of(fault, |asked, fault| {
            fault == Fault::CrashAfter && in_ditto(asked) || fault == Fault::CrashBefore && is_status(asked)
        })
    });
}

#[test]
fn f2_a_crash_after_the_finalizer_holds_no_deletion_up() {
    row("f2", &["delete", "delete_at_once"], |fault, _| {
        of(fault, |asked, fault| matches!(fault, Fault::CrashAfter | Fault::StepFirst) && is_finalizer(asked))
    });
}

#[test]
fn f3_a_crash_after_the_create_leaves_no_orphan_when_the_twin_goes() {
    row("f3", &["delete", "delete_at_once", "policy_and_twin_go"], |fault, _| {
        of(fault, |asked, fault| {
            matches!(fault, Fault::CrashAfter | Fault::CrashStale) && asked.method() == "PUT"
        })
    });
}

#[test]
fn f4_a_crash_between_the_delete_and_the_finalizer_ends_well() {
    row("f4", &["delete", "policy_and_twin_go"], |fault, _| {
        of(fault, |asked, fault| {
            fault == Fault::CrashAfter && asked.method() == "DELETE"
                || fault == Fault::CrashBefore && is_finalizer(asked)
        })
    });
}

#[test]
fn f5_a_view_that_is_old_takes_nothing_back() {
    row("f5", &["spec_change", "there_and_back", "removal"], |fault, twist| {
        twist == Some(Twist::Late) || of(fault, |_, fault| fault == Fault::CrashStale)
    });
}

#[test]
fn f6_events_that_are_lost_late_or_doubled_change_no_end() {
    row("f6", &["spec_change", "rename", "policy_and_twin_go"], |_, twist| twist.is_some());
}

#[test]
fn f10_a_conflict_in_kubernetes_loses_nothing() {
    row("f10", &["create", "seeds", "removal", "delete"], |fault, _| {
        of(fault, |asked, fault| asked.side == Side::Cluster && fault == Fault::Refused(409))
    });
}

#[test]
fn f11_the_late_end_of_a_twin_spares_its_successor() {
    row("f11", &["recreated", "rename_in_one_go"], |fault, _| {
        of(fault, |_, fault| matches!(fault, Fault::Deposed | Fault::DeposedLong | Fault::StepFirst))
    });
}

#[test]
fn f13_an_old_leader_that_goes_on_takes_nothing_back() {
    row("f13", &["spec_change", "device_writes"], |fault, _| {
        of(fault, |_, fault| matches!(fault, Fault::Deposed | Fault::DeposedLong))
    });
}

#[test]
fn f22_refusals_of_ditto_are_tried_again() {
    row("f22", &["create", "delete"], |fault, _| {
        of(fault, |asked, fault| {
            in_ditto(asked) && matches!(fault, Fault::Refused(500 | 503) | Fault::Unsent)
        })
    });
}

#[test]
fn f23_a_write_that_was_taken_without_an_answer_is_found_again() {
    row("f23", &["create", "spec_change", "delete", "policy_change"], |fault, _| {
        of(fault, |asked, fault| in_ditto(asked) && fault == Fault::Lost)
    });
}

#[test]
fn f24_patience_that_ditto_asks_for_is_had() {
    row("f24", &["create", "delete"], |fault, _| {
        of(fault, |asked, fault| in_ditto(asked) && fault == Fault::Refused(429))
    });
}

#[test]
fn f27_an_empty_index_deletes_nothing_that_is_used() {
    row("f27", &["policy_and_twin_go"], |fault, _| of(fault, |_, fault| fault == Fault::EmptyIndex));
}

#[test]
fn f33_what_is_anothers_stays_as_it_is_whatever_fails() {
    row("f33", &["a_foreign_thing_is_left_alone"], |fault, twist| fault.is_some() || twist.is_some());
}

#[test]
fn f34_a_device_that_is_faster_keeps_its_value() {
    row("f34", &["late_seeds", "adoption", "device_writes"], |fault, _| {
        of(fault, |_, fault| fault == Fault::DeviceFirst)
    });
}
