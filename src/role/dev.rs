//! `twinops dev`: the engine and a reconciler over a watched folder, in one process.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::NOTHING_TRIED;
use crate::ditto::DittoClient;
use crate::engine::{self, Durability, EngineOptions};
use crate::mqtt::{self, Broker};
use crate::ports::Policies;
use crate::settings::{Data, Dev, LOOPBACK_SUBJECT, Prune};
use crate::source::{
    self, Absences, Gone, Line, Pending, Runner, Snapshot, Summary, Watcher, count, first_of,
};
use crate::telemetry::{self, Readiness, Telemetry};
use crate::twin::reason::Reason;

/// How often everything is compared anew, to repair what was changed behind our back.
const RESYNC: Duration = Duration::from_secs(10);
/// Kinds of lines that are about no resource.
const FILE: &str = "File";
const FOLDER: &str = "Folder";

pub async fn run(dev: Dev) -> anyhow::Result<ExitCode> {
    // Watched before it is read, so that nothing falls in between.
    let watcher = Watcher::start(&dev.folder.paths, dev.folder.recursive, dev.poll);
    let snapshot = match source::read(&dev.folder.paths, dev.folder.recursive) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            eprintln!("twinops dev: {error}");
            return Ok(ExitCode::from(NOTHING_TRIED));
        }
    };
    let stop = super::stop::on_signal()?;
    let options = EngineOptions {
        listen: dev.engine_listen,
        data: super::engine::folder(dev.data.clone()),
        durability: Durability::Durable,
        pre_authenticated: true,
        basic_auth_file: None,
        anonymous: Some(LOOPBACK_SUBJECT.to_owned()),
    };
    let engine =
        engine::start(options, stop.clone()).await.map_err(super::flagged_engine("--engine-listen"))?;
    let telemetry = Telemetry::new();
    let readiness = Readiness::new(["twins"].into_iter().chain(mqtt::CHECKS));
    let broker = Broker::start(dev.mqtt_listen, stop.clone())
        .await
        .context("check --mqtt-listen (TWINOPS_MQTT_LISTEN); port 0 picks a free one")?;
    let bridge = super::bridge::beside_engine(
        broker.address,
        engine.address,
        telemetry.clone(),
        readiness.clone(),
        stop.clone(),
    )?;
    let devices = mqtt::devices::router(bridge.questions.clone());
    let management = telemetry::serve_with(
        dev.management_listen,
        telemetry.clone(),
        readiness.clone(),
        devices,
        stop.clone(),
    )
    .await?;
    let facade =
        super::facade::beside_engine(&dev, [engine.address, broker.address], telemetry, stop.clone())
            .await
            .map_err(super::flagged_facade("--facade-listen"))?;
    let addresses = [engine.address, facade.address, broker.address, management.address];
    println!("{}", greeting(&dev, addresses));

    let ditto = super::ditto::client_of_engine(&format!("http://{}", engine.address), "dev")?;
    let subjects = ditto.whoami().await?;
    let runner = Runner { ditto, owner: dev.folder.owner.clone(), subjects, dry_run: false };
    let mut board = Board::default();
    let mut absences = Absences::default();
    let now = absences.settle(snapshot, Instant::now()).snapshot;
    let pending = Pending::default();
    let mut folder = Folder { dev: &dev, runner, now, absences, pending, leftovers_due: true };
    let first = folder.reconcile(&mut board).await;
    if first.resources > 0 {
        println!("{first}; saved files are followed, Ctrl-C ends it");
    }
    readiness.set("twins", Ok(()));
    folder.leftovers(&mut board).await;
    folder.follow(watcher, &mut board, &stop).await;
    facade.stopped().await;
    bridge.stopped().await;
    broker.stopped().await;
    engine.stopped().await?;
    Ok(ExitCode::SUCCESS)
}

fn greeting(dev: &Dev, [engine, facade, mqtt, management]: [SocketAddr; 4]) -> String {
    let data = match &dev.data {
        Data::Folder(path) => path.display().to_string(),
        Data::Ephemeral => "in memory".to_owned(),
    };
    let folders: Vec<_> = dev.folder.paths.iter().map(|path| path.display().to_string()).collect();
    format!(
        "twinops {}: engine http://{engine}, facade http://{facade}, mqtt mqtt://{mqtt}, management http://{management}; data {data}; watching {}",
        telemetry::VERSION,
        folders.join(" "),
    )
}

/// What was said last of each resource, so that a line appears only when it changes.
#[derive(Default)]
struct Board(BTreeMap<(&'static str, String, String, String), Line>);

impl Board {
    fn say(&mut self, line: Line) {
        // Several problems may be about one file: the message tells them apart.
        let about = match line.kind {
            FILE => line.message.clone(),
            FOLDER => line.reason.clone(),
            _ => String::new(),
        };
        let key = (line.kind, line.namespace.clone(), line.name.clone(), about);
        if self.0.get(&key).is_none_or(|before| !line.says_the_same(before)) {
            println!("{line}");
        }
        self.0.insert(key, line);
    }

    /// Mended problems may be said again when they come back.
    fn forget_problems(&mut self, snapshot: &Snapshot) {
        let standing: Vec<String> = snapshot.problems.iter().map(ToString::to_string).collect();
        self.0.retain(|(kind, .., message), _| *kind != FILE || standing.contains(message));
    }

    /// Nothing waits for a yes any more: when it does again, that is said again.
    fn forget(&mut self, reason: &str) {
        self.0.retain(|(kind, .., about), _| *kind != FOLDER || about != reason);
    }
}

struct Folder<'a> {
    dev: &'a Dev,
    runner: Runner<DittoClient>,
    now: Snapshot,
    absences: Absences,
    pending: Pending,
    /// What vanished while nobody watched was not told yet.
    leftovers_due: bool,
}

impl Folder<'_> {
    async fn reconcile(&self, board: &mut Board) -> Summary {
        board.forget_problems(&self.now);
        let mut lines = vec![];
        let say = |line: Line| {
            lines.push(line.clone());
            board.say(line);
        };
        self.runner.run(&self.now, say).await;
        Summary::of(&lines)
    }

    /// What vanished while nobody watched is reported, and deleted only when asked. As long as a file
    /// cannot be read it may hold what is missing.
    async fn leftovers(&mut self, board: &mut Board) {
        if !self.leftovers_due || self.dev.folder.paths.is_empty() {
            return;
        }
        let obstacle = self.now.obstacle();
        self.leftovers_due = obstacle.is_some();
        if obstacle.is_none() && self.dev.folder.prune != Prune::Never {
            let confirmed = self.dev.folder.prune == Prune::Confirmed;
            return self.runner.prune(&self.now, confirmed, |line| board.say(line)).await;
        }
        let left = match self.runner.leftovers(&self.now).await {
            Ok(left) if left.is_empty() => return,
            Ok(left) => left,
            Err(refused) => {
                let message = format!("could not look for things that no file declares: {refused}");
                return board.say(Line::held(FOLDER, "Leftovers", message));
            }
        };
        let owner = &self.runner.owner;
        let names: Vec<_> = left.things.iter().map(|(id, _)| id).collect();
        let next = match obstacle {
            Some(why) => format!("nothing is deleted {why}"),
            None => format!("start with --owner {owner} --prune to delete what was created here"),
        };
        let (things, are) = (count(names.len(), "thing"), if names.len() == 1 { "is" } else { "are" });
        let message = format!(
            "{things} of owner {owner:?} {are} in Ditto and in no file ({}); {next}",
            first_of(&names)
        );
        board.say(Line::held(FOLDER, "Leftovers", message));
    }

    /// Takes back what no file declares any more, and what could not be taken back before.
    async fn take_back(&mut self, gone: Gone, board: &mut Board) {
        self.pending.add(gone, &self.now);
        if self.pending.is_empty() {
            return board.forget(Reason::DeletionHeld.word());
        }
        if self.dev.folder.prune != Prune::Confirmed
            && let Some(held) = self.pending.held(&self.now, &self.runner.owner)
        {
            return board.say(held);
        }
        let (lines, again) = self.runner.take_back(self.pending.take(), &self.now).await;
        for line in lines {
            board.say(line);
        }
        self.pending.add(again, &self.now);
    }

    async fn follow(&mut self, mut watcher: Watcher, board: &mut Board, stop: &CancellationToken) {
        let mut resync = tokio::time::interval_at(tokio::time::Instant::now() + RESYNC, RESYNC);
        let mut again = None;
        loop {
            let look_again = async {
                match again {
                    Some(at) => tokio::time::sleep_until(tokio::time::Instant::from_std(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = watcher.changed() => again = self.look(board).await,
                () = look_again => again = self.look(board).await,
                _ = resync.tick() => {
                    self.reconcile(board).await;
                    self.take_back(Gone::default(), board).await;
                }
            }
        }
    }

    /// Reads everything anew. Returns when to look again for documents that are missing for the moment.
    async fn look(&mut self, board: &mut Board) -> Option<Instant> {
        let (paths, recursive) = (self.dev.folder.paths.clone(), self.dev.folder.recursive);
        // Large folders take a while, and the engine serves on the same threads.
        let Ok(read) = tokio::task::spawn_blocking(move || source::scan(&paths, recursive)).await else {
            return Some(Instant::now() + source::ABSENCE_MIN);
        };
        let settled = self.absences.settle(read, Instant::now());
        self.now = settled.snapshot;
        self.reconcile(board).await;
        self.take_back(settled.gone, board).await;
        self.leftovers(board).await;
        settled.again
    }
}
