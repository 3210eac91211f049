//! Whose is a thing that exists already?
use std::collections::BTreeSet;

use serde_json::Value;

use super::desired::{Adoption, Identity};
use super::mark::{Mark, Origin};
use super::reason::{Held, Reason};
use super::rql_text;

/// The Kubernetes namespaces whose resources are known. In any other a resource may live unseen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Watched {
    #[default]
    All,
    Only(BTreeSet<String>),
}

impl Watched {
    fn shows(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(namespaces) => namespaces.contains(namespace),
        }
    }
}

/// What the judgement rests on.
#[expect(clippy::struct_excessive_bools, reason = "four independent facts, each a column of the table")]
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub identity: &'a Identity,
    pub adoption: Adoption,
    /// What stands where the mark would.
    pub note: Option<&'a Value>,
    /// Every enforced path and the policy are equal already.
    pub identical: bool,
    pub same_policy: bool,
    /// Status says that this very id was ours before.
    pub known_ours: bool,
    /// `twinops.dev/takeover: <generation>`
    pub takeover: Option<i64>,
    /// Uids of all living resources that claim this id.
    pub living: &'a BTreeSet<String>,
    pub watched: &'a Watched,
    /// Folders count generations in the mark itself: they are never behind it.
    pub folder: bool,
}

/// The thing may be written, under `fence`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ours {
    pub origin: Origin,
    /// RQL that holds as long as nobody else has taken the thing since.
    pub fence: String,
    /// The mark that stands there now, when it is ours already.
    pub mark: Option<Mark>,
}

/// The adoption table, row by row.
pub fn judge(case: &Case<'_>) -> Result<Ours, Held> {
    let Some(note) = case.note else { return judge_unmarked(case) };
    let Some(mark) = Mark::from_json(note) else {
        let fence = uid_of(note).map(|uid| rql_text::marked(&uid));
        return judge_foreign(case, "somebody unknown", fence);
    };
    if mark.owner != case.identity.owner {
        let who = format!("owner {:?} ({})", mark.owner, mark.place());
        return judge_foreign(case, &who, Some(rql_text::marked_as(&mark)));
    }
    if mark.place() != case.identity.place() {
        return judge_moved(case, mark);
    }
    if mark.uid != case.identity.uid {
        // The resource was deleted and made again while its thing stayed.
        return Ok(ours(mark));
    }
    let is_ahead = !case.folder && mark.generation > case.identity.generation;
    if is_ahead && case.takeover != Some(mark.generation) {
        return Err(Held::new(
            Reason::StaleResource,
            format!(
                "the thing carries generation {} of this resource, which is at {}: the cluster was restored from \
                 an older state; to go on from here, annotate it with twinops.dev/takeover: \"{}\"",
                mark.generation, case.identity.generation, mark.generation
            ),
        ));
    }
    Ok(ours(mark))
}

/// Fenced with the very mark, and not up to our own generation: an old leader that stood still would repeat what was
/// written for it since.
fn ours(mark: Mark) -> Ours {
    Ours { origin: mark.origin, fence: rql_text::marked_as(&mark), mark: Some(mark) }
}

fn judge_unmarked(case: &Case<'_>) -> Result<Ours, Held> {
    if case.known_ours {
        return Err(Held::new(
            Reason::MarkChanged,
            "the mark of TwinOps vanished from it: somebody took it over or restored an older state. To adopt it \
             again, delete this resource (what is in Ditto stays, as its mark is gone) and apply it anew",
        ));
    }
    if !case.same_policy && case.adoption != Adoption::Always {
        return Err(Held::new(
            Reason::NotAdoptable,
            "it exists without a mark and under another policy; name that policy, or set \
             spec.management.adoption: Always to move it",
        ));
    }
    let allowed = match case.adoption {
        Adoption::Always | Adoption::IfUnowned => true,
        Adoption::IfIdentical => case.identical,
        Adoption::Never => false,
    };
    if !allowed {
        let message = match case.adoption {
            Adoption::IfIdentical => {
                "it exists and differs from what is declared, and spec.management.adoption is IfIdentical"
            }
            _ => "it exists already, and spec.management.adoption is Never",
        };
        return Err(Held::new(Reason::NotAdoptable, message));
    }
    Ok(Ours { origin: Origin::Adopted, fence: rql_text::unmarked(), mark: None })
}

fn judge_foreign(case: &Case<'_>, who: &str, fence: Option<String>) -> Result<Ours, Held> {
    if case.known_ours {
        return Err(Held::new(
            Reason::MarkChanged,
            format!(
                "it was ours and now carries the mark of {who}; delete this resource to give it up, it stays in Ditto"
            ),
        ));
    }
    match (case.adoption, fence) {
        (Adoption::Always, Some(fence)) => Ok(Ours { origin: Origin::Adopted, fence, mark: None }),
        (Adoption::Always, None) => Err(Held::new(
            Reason::NotAdoptable,
            "its metadata `twinops` is not a mark and has no uid to fence with; remove that metadata first",
        )),
        _ => Err(Held::new(
            Reason::NotAdoptable,
            format!("it is managed by {who}; release it there, or set spec.management.adoption: Always"),
        )),
    }
}

/// Same owner, other namespace or name: ours when that resource is gone. One that nobody here can look
/// for is treated like another owner's.
fn judge_moved(case: &Case<'_>, mark: Mark) -> Result<Ours, Held> {
    if case.living.contains(&mark.uid) {
        return Err(Held::new(Reason::ResourceConflict, format!("managed by {}", mark.place())));
    }
    if !case.watched.shows(&mark.namespace) {
        if case.adoption == Adoption::Always && !case.known_ours {
            return Ok(Ours { mark: None, origin: Origin::Adopted, ..ours(mark) });
        }
        let message = format!(
            "managed by {}, in a namespace that this operator does not watch; if that resource is gone, set \
             spec.management.adoption: Always",
            mark.place()
        );
        return Err(Held::new(Reason::ResourceConflict, message));
    }
    Ok(ours(mark))
}

fn uid_of(note: &Value) -> Option<String> {
    note.get("uid")?.as_str().map(str::to_owned)
}
