//! The end of a policy that was made with a thing: when nothing uses it any more, and not before.
//!
//! Who uses a policy only Ditto's search index tells, which is a second or two behind. So it is believed at once only where
//! it shows that it is not: it knew the thing that went, and knows it no longer. Otherwise the policy waits until the
//! index has caught up, while the events of who deleted the thing tell of any that begins to use it. Whatever is not
//! certain leaves the policy, as Ditto always does: the next thing of that id takes it, and takes it away again.
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Facade;
use super::ask::{Ask, Correlation};
use super::auth::Caller;
use super::live::{Heard, Listener};
use super::made::is_made_here;
use super::problem::Problem;
use super::upstream::Call;
use crate::twin::id::{PolicyId, ThingId};
use crate::twin::rql_text;

/// Longer than the index is behind. Source: Ditto 3.8 writes it once a second.
const SETTLE: Duration = Duration::from_secs(5);
/// How often an index that still shows the thing is asked.
const TRIES_MAX: u32 = 6;
/// Policies of one caller that wait, and callers. What is more stays.
const WAITING_MAX: usize = 1_000;
const CALLERS_MAX: usize = 1_000;

/// Who uses a policy, as the index says.
#[derive(Debug, PartialEq, Eq)]
enum Users {
    Nobody,
    /// The thing that went: the index is behind.
    OnlyTheGone,
    Others,
}

struct Ending {
    policy: PolicyId,
    gone: ThingId,
    due: Instant,
    tries: u32,
}

/// Policies that wait for their end, by who may delete them.
#[derive(Default)]
pub struct Endings(Mutex<HashMap<(HeaderName, HeaderValue), mpsc::Sender<Ending>>>);

/// Whether the index knows the thing: asked before it is deleted.
pub async fn is_indexed(facade: &Facade, ask: &Ask, id: &ThingId) -> bool {
    let filter = format!("eq(thingId,{})", rql_text::literal(id.as_str()));
    let count = Call::get(&["search", "things", "count"]).query("filter", &filter);
    let Ok(answer) = facade.upstream.ask(&ask.caller, &ask.id, count).await else { return false };
    answer.text().await.is_ok_and(|count| count.trim() == "1")
}

/// A thing with this policy is gone.
pub async fn thing_gone(facade: &Arc<Facade>, ask: &Ask, policy: PolicyId, gone: ThingId, was_indexed: bool) {
    let end = End { facade, caller: &ask.caller, id: &ask.id };
    match end.now_or_later(&policy, &gone, was_indexed).await {
        Ok(true) => {}
        Ok(false) => later(facade, ask, policy, gone),
        Err(problem) => tracing::debug!(%policy, code = %problem.code, "the policy of a deleted thing stays"),
    }
}

fn later(facade: &Arc<Facade>, ask: &Ask, policy: PolicyId, gone: ThingId) {
    let ending = Ending { policy, gone, due: Instant::now(), tries: 0 };
    let mut open = facade.endings.0.lock();
    let callers = open.len();
    let sent = match open.entry(ask.caller.identity()) {
        Entry::Occupied(known) if !known.get().is_closed() => known.get().try_send(ending).is_ok(),
        Entry::Vacant(_) if callers >= CALLERS_MAX => false,
        entry => {
            let (sender, endings) = mpsc::channel(WAITING_MAX);
            let sent = sender.try_send(ending).is_ok();
            entry.insert_entry(sender);
            let id = Correlation { id: ask.id.id.clone(), trace: None };
            let watch = Watch { facade: Arc::clone(facade), caller: ask.caller.clone(), id };
            tokio::spawn(facade.stop.clone().run_until_cancelled_owned(watch.run(endings)));
            sent
        }
    };
    if !sent {
        facade.telemetry.dropped("policy_endings");
    }
}

/// Who asks for the end of a policy.
struct End<'a> {
    facade: &'a Facade,
    caller: &'a Caller,
    id: &'a Correlation,
}

impl End<'_> {
    /// Whether there is nothing left to do.
    async fn now_or_later(&self, policy: &PolicyId, gone: &ThingId, known: bool) -> Result<bool, Problem> {
        let Some(etag) = self.made_here(policy).await? else { return Ok(true) };
        if known && self.users(policy, gone).await? == Users::Nobody {
            self.delete(policy, etag).await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The tag of a policy that was made here.
    async fn made_here(&self, policy: &PolicyId) -> Result<Option<HeaderValue>, Problem> {
        let call = Call::get(&["policies", policy.as_str()]);
        let answer = self.facade.upstream.ask(self.caller, self.id, call).await?;
        let etag = answer.etag().cloned();
        let body: Value = serde_json::from_str(&answer.text().await?).unwrap_or_default();
        Ok(etag.filter(|_| is_made_here(&body)))
    }

    async fn users(&self, policy: &PolicyId, gone: &ThingId) -> Result<Users, Problem> {
        let call = Call::get(&["search", "things"])
            .query("filter", &rql_text::under_policy(policy.as_str()))
            .query("fields", "thingId")
            .query("option", "size(2)");
        let body = self.facade.upstream.ask(self.caller, self.id, call).await?.text().await?;
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        let things = body["items"].as_array().map(Vec::as_slice);
        Ok(match things {
            Some([]) => Users::Nobody,
            Some([one]) if one["thingId"] == gone.as_str() => Users::OnlyTheGone,
            _ => Users::Others,
        })
    }

    /// Unless somebody has changed it since.
    async fn delete(&self, policy: &PolicyId, etag: HeaderValue) -> Result<(), Problem> {
        let call = Call::new(Method::DELETE, &["policies", policy.as_str()]).header(header::IF_MATCH, etag);
        self.facade.upstream.ask(self.caller, self.id, call).await.map(drop)
    }
}

/// Waits with the policies of one caller, and hears meanwhile what he hears.
struct Watch {
    facade: Arc<Facade>,
    caller: Caller,
    id: Correlation,
}

impl Watch {
    async fn run(self, mut endings: mpsc::Receiver<Ending>) {
        let Ok(mut listener) = self.facade.live.feeds.join(&self.caller, &self.id).await else {
            return self.facade.telemetry.dropped("policy_endings");
        };
        let mut waiting: Vec<Ending> = vec![];
        loop {
            let next = waiting.iter().map(|ending| ending.due).min();
            tokio::select! {
                biased;
                heard = listener.next() => if !self.hear(heard, &mut waiting) { return },
                ending = endings.recv(), if waiting.len() < WAITING_MAX => match ending {
                    // From now on whoever begins to use it is heard.
                    Some(ending) => {
                        waiting.retain(|known| known.policy != ending.policy);
                        waiting.push(Ending { due: Instant::now() + SETTLE, ..ending });
                    }
                    None => return,
                },
                () = tokio::time::sleep_until(next.unwrap_or_else(|| Instant::now() + SETTLE)) => {
                    if waiting.is_empty() {
                        return;
                    }
                    if !self.look(&mut waiting, &mut listener).await {
                        return;
                    }
                }
            }
        }
    }

    /// Forgets what is used again, and everything where something may have been missed. False when nothing more is heard.
    fn hear(&self, heard: Heard, waiting: &mut Vec<Ending>) -> bool {
        match heard {
            Heard::Event(event) => {
                if let Some(policy) = event.policy() {
                    waiting.retain(|ending| ending.policy.as_str() != policy);
                }
                return true;
            }
            Heard::Gap | Heard::Missed(_) => {}
            Heard::Over => return false,
        }
        waiting.drain(..).for_each(|_| self.facade.telemetry.dropped("policy_endings"));
        true
    }

    /// Deletes what is due and used by nobody.
    async fn look(&self, waiting: &mut Vec<Ending>, listener: &mut Listener) -> bool {
        let end = End { facade: &self.facade, caller: &self.caller, id: &self.id };
        while let Some(at) = waiting.iter().position(|ending| ending.due <= Instant::now()) {
            let (policy, gone) = (waiting[at].policy.clone(), waiting[at].gone.clone());
            let found = match end.made_here(&policy).await {
                Ok(Some(etag)) => end.users(&policy, &gone).await.map(|users| (users, Some(etag))),
                Ok(None) => Ok((Users::Others, None)),
                Err(problem) => Err(problem),
            };
            // What happened while the index was asked may not be in its answer.
            while let Some(heard) = listener.ready() {
                if !self.hear(heard, waiting) {
                    return false;
                }
            }
            let Some(at) = waiting.iter().position(|ending| ending.policy == policy) else { continue };
            match found {
                Ok((Users::Nobody, Some(etag))) => {
                    waiting.swap_remove(at);
                    if let Err(problem) = end.delete(&policy, etag).await {
                        tracing::debug!(%policy, code = %problem.code, "the policy of a deleted thing stays");
                    }
                }
                Ok((Users::OnlyTheGone, _)) if waiting[at].tries < TRIES_MAX => {
                    waiting[at].tries += 1;
                    waiting[at].due = Instant::now() + SETTLE;
                }
                _ => drop(waiting.swap_remove(at)),
            }
        }
        true
    }
}
