//! What a pass hears: its request carried out, or the plan's fault instead.
use std::collections::BTreeMap;

use axum::http::Response;

use super::super::backend::refusal;
use super::super::check::Watchman;
use super::super::cluster::{Kind, status};
use super::super::fault::{Fault, Mutant};
use super::super::operator::Life;
use super::super::step::Step;
use super::super::wire::{Arrived, Asked, Side};
use super::{SEEN_MAX, Seen, World};

impl World {
    pub(super) async fn answer(&mut self, o: usize, p: usize) {
        let pass = &mut self.operators[o].passes[p];
        // One that waits for another pass may go on now.
        let Some(arrived) = pass.waiting.take() else { return self.drive(o, p).await };
        let number = self.asked;
        self.asked += 1;
        let asked = arrived.asked.clone();
        let may_step = !matches!(self.steps.front(), None | Some(Step::Calm));
        let is_last_step = self.steps.iter().all(|step| matches!(step, Step::Calm));
        let is_prelude = self.performed <= 2;
        if number < SEEN_MAX {
            self.seen.push(Seen { asked: asked.clone(), may_step, is_last_step, is_prelude });
        }
        let leads = self.operators[o].life == Life::Leads;
        // A twist before it may have given its number to a request that cannot meet it.
        let fault = self.plan.fault(number).filter(|fault| leads && fault.fits(&asked));
        if fault.is_some() {
            (self.broken, self.quiet.0) = (self.now, 0);
        }
        self.note(|| format!("r{number} {asked} {}", fault.map(|f| f.to_string()).unwrap_or_default()));
        match fault {
            None => self.reply((o, p), arrived, false),
            Some(Fault::Unsent) => arrived.answer(None),
            Some(Fault::Lost) => {
                self.carry((o, p), &asked, false);
                arrived.answer(None);
            }
            Some(Fault::Refused(code)) => arrived.answer(Some(match asked.side {
                Side::Ditto => refusal(code),
                Side::Cluster => status(code, if code == 409 { "Conflict" } else { "InternalError" }),
            })),
            Some(Fault::Stale) => self.reply((o, p), arrived, true),
            Some(Fault::EmptyIndex) => arrived
                .answer(Some(Response::builder().body(br#"{"items":[]}"#.to_vec()).expect("an answer"))),
            Some(Fault::CrashBefore) => return self.crash(o, false),
            Some(fault @ (Fault::CrashAfter | Fault::CrashStale)) => {
                self.carry((o, p), &asked, false);
                return self.crash(o, fault == Fault::CrashStale);
            }
            Some(fault @ (Fault::Deposed | Fault::DeposedLong)) => {
                self.operators[o].passes[p].waiting = Some(arrived);
                self.operators[o].life =
                    if fault == Fault::Deposed { Life::Stalled } else { Life::StalledLong };
                return self.succeed(self.cluster.log.len());
            }
            Some(Fault::StepFirst) => {
                if may_step {
                    self.step();
                }
                self.reply((o, p), arrived, false);
            }
            Some(Fault::DeviceFirst) => {
                self.device();
                self.reply((o, p), arrived, false);
            }
        }
        self.hurry();
        self.drive(o, p).await;
    }

    /// A watch may be faster than the answer to what it shows.
    fn hurry(&mut self) {
        if self.dice.as_mut().is_some_and(|dice| dice.chance(3)) {
            for kind in Kind::ALL {
                self.show(kind);
            }
        }
    }

    fn reply(&mut self, of: (usize, usize), arrived: Arrived, stale: bool) {
        let asked = arrived.asked.clone();
        arrived.answer(Some(self.carry(of, &asked, stale)));
    }

    /// Carries a request of a pass out, and has it watched.
    fn carry(&mut self, (o, p): (usize, usize), asked: &Asked, stale: bool) -> Response<Vec<u8>> {
        let sent = self.plan.mutant.map_or_else(|| Some(asked.clone()), |mutant| mutant.tamper(asked));
        let before = (self.ditto.writes, self.cluster.log.len());
        let victim = sent.as_ref().and_then(|sent| Watchman::victim(sent, &self.ditto));
        let writes = asked.side == Side::Ditto && asked.writes();
        let things = if writes { self.ditto.all_things() } else { BTreeMap::new() };
        let response = match (&sent, asked.side) {
            (None, Side::Cluster) => self.cluster.as_it_is(asked),
            (None, Side::Ditto) => taken_for_written(),
            (Some(sent), Side::Cluster)
                if self.plan.mutant == Some(Mutant::BelievesItsView) && sent.is_of_whole_twin() =>
            {
                self.operators[o].view(&self.cluster).answer(sent, stale)
            }
            (Some(sent), Side::Cluster) => self.cluster.answer(sent, stale),
            (Some(sent), Side::Ditto) => self.ditto.answer(sent, stale),
        };
        let looked = &mut self.operators[o].passes[p].looked;
        self.watchman.looked(asked, looked, &self.ditto);
        if (self.ditto.writes, self.cluster.log.len()) != before {
            self.watchman.wrote(asked, victim, looked.as_ref(), &self.cluster, &mut self.ditto);
            if writes {
                // For other passes this one is somebody else.
                self.watchman.touched(&things, &self.ditto);
            }
            self.change();
        }
        self.note(|| format!("   {}", response.status()));
        response
    }
}

/// What an operator that is broken on purpose takes for the answer to a write that it never sent.
fn taken_for_written() -> Response<Vec<u8>> {
    Response::builder().status(204).header("etag", "\"rev:1\"").body(vec![]).expect("an answer")
}
