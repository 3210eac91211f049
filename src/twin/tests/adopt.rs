use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::adopt::{Case, Ours, Watched, judge};
use super::super::desired::{Adoption, Identity};
use super::super::mark::{Mark, Origin};
use super::super::reason::Reason;
use super::identity;

fn note(change: impl Fn(&mut Identity)) -> Value {
    let mut identity = identity();
    change(&mut identity);
    Mark::of(&identity, Origin::Created, "h".into()).to_json()
}

struct Row {
    name: &'static str,
    adoption: Adoption,
    note: Option<Value>,
    identical: bool,
    same_policy: bool,
    known_ours: bool,
    takeover: Option<i64>,
    living: &'static [&'static str],
    watched: &'static [&'static str],
    expect: Result<(Origin, &'static str), Reason>,
}

const PLAIN: Row = Row {
    name: "",
    adoption: Adoption::IfUnowned,
    note: None,
    identical: false,
    same_policy: true,
    known_ours: false,
    takeover: None,
    living: &[],
    watched: &[],
    expect: Err(Reason::NotAdoptable),
};

const UNMARKED: &str = "not(exists(_metadata/twinops))";

/// Design's adoption table, row by row.
#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn f33_the_adoption_table() {
    use Adoption::{Always, IfIdentical, Never};
    let adopted = Ok((Origin::Adopted, UNMARKED));
    let foreign = || Some(note(|id| id.owner = "other".into()));
    let elsewhere = || {
        Some(note(|id| {
            id.uid = "uid-0".into();
            id.namespace = "other".into();
        }))
    };
    let rows = [
        Row { name: "unmarked, IfUnowned", expect: adopted, ..PLAIN },
        Row { name: "unmarked, Always", adoption: Always, expect: adopted, ..PLAIN },
        Row { name: "unmarked, Never", adoption: Never, ..PLAIN },
        Row {
            name: "unmarked and equal, IfIdentical",
            adoption: IfIdentical,
            identical: true,
            expect: adopted,
            ..PLAIN
        },
        Row { name: "unmarked and different, IfIdentical", adoption: IfIdentical, ..PLAIN },
        Row { name: "unmarked under another policy, IfUnowned", same_policy: false, ..PLAIN },
        Row {
            name: "unmarked under another policy, Always",
            same_policy: false,
            adoption: Always,
            expect: adopted,
            ..PLAIN
        },
        Row {
            name: "the mark vanished from ours",
            known_ours: true,
            expect: Err(Reason::MarkChanged),
            ..PLAIN
        },
        Row { name: "foreign, IfUnowned", note: foreign(), ..PLAIN },
        Row {
            name: "foreign, Always",
            note: foreign(),
            adoption: Always,
            expect: Ok((
                Origin::Adopted,
                "and(eq(_metadata/twinops/uid,\"uid-1\"),eq(_metadata/twinops/generation,3),eq(_metadata/twinops/hash,\"h\"))",
            )),
            ..PLAIN
        },
        Row {
            name: "ours turned foreign",
            note: foreign(),
            adoption: Always,
            known_ours: true,
            expect: Err(Reason::MarkChanged),
            ..PLAIN
        },
        Row { name: "not a mark at all", note: Some(json!("scribble")), adoption: Always, ..PLAIN },
        Row {
            name: "ours",
            note: Some(note(|_| {})),
            known_ours: true,
            expect: Ok((
                Origin::Created,
                "and(eq(_metadata/twinops/uid,\"uid-1\"),eq(_metadata/twinops/generation,3),eq(_metadata/twinops/hash,\"h\"))",
            )),
            ..PLAIN
        },
        Row {
            name: "ours and behind",
            note: Some(note(|id| id.generation = 1)),
            expect: Ok((
                Origin::Created,
                "and(eq(_metadata/twinops/uid,\"uid-1\"),eq(_metadata/twinops/generation,1),eq(_metadata/twinops/hash,\"h\"))",
            )),
            ..PLAIN
        },
        Row {
            name: "ours and ahead: restored etcd",
            note: Some(note(|id| id.generation = 9)),
            expect: Err(Reason::StaleResource),
            ..PLAIN
        },
        Row {
            name: "ours and ahead, taken over",
            note: Some(note(|id| id.generation = 9)),
            takeover: Some(9),
            expect: Ok((
                Origin::Created,
                "and(eq(_metadata/twinops/uid,\"uid-1\"),eq(_metadata/twinops/generation,9),eq(_metadata/twinops/hash,\"h\"))",
            )),
            ..PLAIN
        },
        Row {
            name: "ours and ahead, taken over at another",
            note: Some(note(|id| id.generation = 9)),
            takeover: Some(8),
            expect: Err(Reason::StaleResource),
            ..PLAIN
        },
        Row {
            name: "the resource was made anew",
            note: Some(note(|id| {
                id.uid = "uid-0".into();
                id.generation = 9;
            })),
            expect: Ok((
                Origin::Created,
                "and(eq(_metadata/twinops/uid,\"uid-0\"),eq(_metadata/twinops/generation,9),eq(_metadata/twinops/hash,\"h\"))",
            )),
            ..PLAIN
        },
        Row {
            name: "renamed, the old one is gone",
            note: Some(note(|id| {
                id.uid = "uid-0".into();
                id.name = "old".into();
            })),
            expect: Ok((
                Origin::Created,
                "and(eq(_metadata/twinops/uid,\"uid-0\"),eq(_metadata/twinops/generation,3),eq(_metadata/twinops/hash,\"h\"))",
            )),
            ..PLAIN
        },
        Row {
            name: "renamed, the old one lives",
            note: Some(note(|id| {
                id.uid = "uid-0".into();
                id.name = "old".into();
            })),
            living: &["uid-0"],
            expect: Err(Reason::ResourceConflict),
            ..PLAIN
        },
        Row {
            name: "marked from a namespace that is watched too, where it is gone",
            note: elsewhere(),
            watched: &["plant", "other"],
            expect: Ok((
                Origin::Created,
                "and(eq(_metadata/twinops/uid,\"uid-0\"),eq(_metadata/twinops/generation,3),eq(_metadata/twinops/hash,\"h\"))",
            )),
            ..PLAIN
        },
        Row {
            name: "marked from a namespace that is not watched: it may live",
            note: elsewhere(),
            watched: &["plant"],
            expect: Err(Reason::ResourceConflict),
            ..PLAIN
        },
        Row {
            name: "marked from a namespace that is not watched, Always",
            note: elsewhere(),
            watched: &["plant"],
            adoption: Always,
            expect: Ok((
                Origin::Adopted,
                "and(eq(_metadata/twinops/uid,\"uid-0\"),eq(_metadata/twinops/generation,3),eq(_metadata/twinops/hash,\"h\"))",
            )),
            ..PLAIN
        },
        Row {
            name: "ours until somebody took it from a namespace that is not watched, Always",
            note: elsewhere(),
            watched: &["plant"],
            adoption: Always,
            known_ours: true,
            expect: Err(Reason::ResourceConflict),
            ..PLAIN
        },
    ];
    for row in rows {
        let identity = identity();
        let living: BTreeSet<String> = row.living.iter().map(|uid| (*uid).to_owned()).collect();
        let watched = match row.watched {
            [] => Watched::All,
            names => Watched::Only(names.iter().map(|name| (*name).to_owned()).collect()),
        };
        let case = Case {
            identity: &identity,
            adoption: row.adoption,
            note: row.note.as_ref(),
            identical: row.identical,
            same_policy: row.same_policy,
            known_ours: row.known_ours,
            takeover: row.takeover,
            living: &living,
            watched: &watched,
            folder: false,
        };
        let judged = judge(&case);
        let found = judged
            .as_ref()
            .map(|Ours { origin, fence, .. }| (*origin, fence.as_str()))
            .map_err(|held| held.reason);
        assert_eq!(found, row.expect, "{}: {judged:?}", row.name);
    }
}

#[test]
fn a_refusal_names_the_owner() {
    let foreign = note(|id| id.owner = "other".into());
    let identity = identity();
    let case = Case {
        identity: &identity,
        adoption: Adoption::IfUnowned,
        note: Some(&foreign),
        identical: true,
        same_policy: true,
        known_ours: false,
        takeover: None,
        living: &BTreeSet::new(),
        watched: &Watched::All,
        folder: false,
    };
    let held = judge(&case).unwrap_err();
    assert!(held.message.contains("\"other\" (plant/pump)"), "{}", held.message);
}
