//! Looks at many twins with few calls, to find those whose pass would do more than look.
//!
//! A twin's pass is started, its first question is put together with those of others, and the answer is
//! given to it. One that is then done has nothing to do. The others are dropped where they stand: a pass of
//! their own sees to them, with an observation of its own.
use std::collections::{BTreeSet, HashMap};

use crate::ports::{FoundThing, Refused, Things};
use crate::twin::facts::TwinFacts;
use crate::twin::id::ThingId;
use crate::twin::json::Pointer;
use crate::twin::pass::TwinPass;
use crate::twin::reason::Outcome;
use crate::twin::request::{Answer, Next, Request};

/// A pass that waits for the answer to its first question.
pub struct Look<K> {
    key: K,
    pass: TwinPass,
    id: ThingId,
    fields: Vec<Pointer>,
}

/// What a look came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Nothing is to be written; this is what a pass would report.
    Quiet(Box<Outcome>),
    /// Only a pass of its own can tell: it differs, or it was not in the answer.
    NeedsPass,
}

/// Starts to look. `Err`: there is nothing to ask Ditto for.
pub fn look<K>(key: K, facts: TwinFacts, header_room: usize) -> Result<Look<K>, (K, Seen)> {
    match TwinPass::start(facts, header_room) {
        (pass, Next::Ask(Request::FindThing { id, fields })) => Ok(Look { key, pass, id, fields }),
        (_, Next::Done(outcome)) => Err((key, judge(*outcome))),
        (_, Next::Ask(_)) => Err((key, Seen::NeedsPass)),
    }
}

/// Answers as many of the first of `looks` as one call can, and takes them out. At least one.
pub async fn look_at<D: Things, K>(ditto: &D, looks: &mut Vec<Look<K>>) -> Result<Vec<(K, Seen)>, Refused> {
    let ids: Vec<ThingId> = looks.iter().map(|look| look.id.clone()).collect();
    let fields: BTreeSet<Pointer> = looks.iter().flat_map(|look| look.fields.iter().cloned()).collect();
    let fields: Vec<Pointer> = fields.into_iter().collect();
    let count = ditto.batch(&ids, &fields).clamp(1, ids.len().max(1));
    let Some(ids) = ids.get(..count) else { return Ok(vec![]) };
    let found = ditto.find_things(ids, &fields).await?;
    let mut found: HashMap<String, FoundThing> =
        found.into_iter().map(|thing| (thing.id.clone(), thing)).collect();
    let answered = looks.drain(..count).map(|look| {
        let seen = match found.remove(look.id.as_str()) {
            // Absence from a batch proves nothing.
            None => Seen::NeedsPass,
            Some(thing) => match look.pass.step(Answer::Thing(Ok(Some(thing)))) {
                (_, Next::Done(outcome)) => judge(*outcome),
                (_, Next::Ask(_)) => Seen::NeedsPass,
            },
        };
        (look.key, seen)
    });
    Ok(answered.collect())
}

fn judge(outcome: Outcome) -> Seen {
    let is_quiet = outcome.held().is_none() && outcome.notes.is_empty() && !outcome.finished;
    if is_quiet { Seen::Quiet(Box::new(outcome)) } else { Seen::NeedsPass }
}
