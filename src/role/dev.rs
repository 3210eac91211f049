//! `twinops dev`: the engine and a reconciler over a watched folder, in one process.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::NOTHING_TRIED;
use crate::ditto::DittoClient;
use crate::engine::{self, Durability, EngineOptions};
use crate::ports::Policies;
use crate::settings::{Data, Dev, LOOPBACK_SUBJECT, Prune};
use crate::source::{self, Absences, Line, Runner, Snapshot, Watcher};
use crate::telemetry::{self, Readiness, Telemetry};

/// How often everything is compared anew, to repair what was changed behind our back.
const RESYNC: Duration = Duration::from_secs(10);

pub async fn run(dev: Dev) -> anyhow::Result<ExitCode> {
    // Watched before it is read, so that nothing falls in between.
    let watcher = Watcher::start(&dev.folder.paths, dev.folder.recursive)?;
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
    let engine = engine::start(options, stop.clone()).await?;
    let telemetry = Telemetry::new();
    let readiness = Readiness::new(["twins"]);
    let management =
        telemetry::serve(dev.management_listen, telemetry.clone(), readiness.clone(), stop.clone()).await?;
    let facade = super::facade::beside_engine(&dev, engine.address, telemetry, stop.clone()).await?;
    println!("{}", greeting(&dev, [engine.address, facade.address, management.address]));

    let ditto = super::ditto::client_of_engine(&format!("http://{}", engine.address), "dev")?;
    let subjects = ditto.whoami().await?;
    let runner = Runner { ditto, owner: dev.folder.owner.clone(), subjects, dry_run: false };
    let mut board = Board::default();
    let mut absences = Absences::default();
    let now = absences.settle(snapshot, Instant::now()).snapshot;
    let mut folder = Folder { dev: &dev, runner, now, absences };
    folder.reconcile(&mut board).await;
    readiness.set("twins", Ok(()));
    folder.leftovers(&mut board).await;
    folder.follow(watcher, &mut board, &stop).await;
    facade.stopped().await;
    engine.stopped().await?;
    Ok(ExitCode::SUCCESS)
}

fn greeting(dev: &Dev, [engine, facade, management]: [SocketAddr; 3]) -> String {
    let later: Vec<_> =
        dev.not_in_this_version().iter().map(|(name, _)| format!("{name} not in this version")).collect();
    let data = match &dev.data {
        Data::Folder(path) => path.display().to_string(),
        Data::Ephemeral => "in memory".to_owned(),
    };
    let folders: Vec<_> = dev.folder.paths.iter().map(|path| path.display().to_string()).collect();
    format!(
        "twinops {}: engine http://{engine}, facade http://{facade}, management http://{management}, {}; data {data}; watching {}",
        telemetry::VERSION,
        later.join(", "),
        folders.join(" "),
    )
}

/// What was said last of each resource, so that a line appears only when it changes.
#[derive(Default)]
struct Board(BTreeMap<(&'static str, String, String, String), Line>);

impl Board {
    fn say(&mut self, line: Line) {
        // Several problems may be about one file: the message tells them apart.
        let about = if line.name.is_empty() { line.message.clone() } else { String::new() };
        let key = (line.kind, line.namespace.clone(), line.name.clone(), about);
        if self.0.get(&key).is_none_or(|before| !line.says_the_same(before)) {
            println!("{line}");
        }
        self.0.insert(key, line);
    }

    /// Mended problems may be said again when they come back.
    fn forget_problems(&mut self, snapshot: &Snapshot) {
        let standing: Vec<String> = snapshot.problems.iter().map(ToString::to_string).collect();
        self.0.retain(|(_, _, name, message), _| !name.is_empty() || standing.contains(message));
    }
}

struct Folder<'a> {
    dev: &'a Dev,
    runner: Runner<DittoClient>,
    now: Snapshot,
    absences: Absences,
}

impl Folder<'_> {
    async fn reconcile(&mut self, board: &mut Board) {
        board.forget_problems(&self.now);
        self.runner.run(&self.now, |line| board.say(line)).await;
    }

    /// What vanished while nobody watched is reported, and deleted only when asked.
    async fn leftovers(&self, board: &mut Board) {
        let held = |message: String| Line::held("Folder", "Leftovers", message);
        if !self.now.problems.is_empty() || self.now.is_empty() {
            return;
        }
        match self.runner.leftovers(&self.now).await {
            Ok(left) if left.is_empty() => {}
            Ok(left) if self.dev.folder.prune == Prune::Never => {
                let names: Vec<_> = left.things.iter().take(5).map(|(id, _)| id.to_string()).collect();
                board.say(held(format!(
                    "{} things of owner {:?} are in Ditto and in no file ({}, ...); start with --owner {} --prune to delete them",
                    left.things.len(), self.runner.owner, names.join(", "), self.runner.owner
                )));
            }
            Ok(left) if left.is_unusual() && self.dev.folder.prune != Prune::Confirmed => {
                board.say(held(format!(
                    "{} of {} things would go: start with --prune --yes to delete them",
                    left.things.len(),
                    left.of_owner
                )));
            }
            Ok(left) => self.runner.prune(left, |line| board.say(line)).await,
            Err(refused) => {
                board.say(held(format!("could not look for things that no file declares: {refused}")));
            }
        }
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
                _ = resync.tick() => self.reconcile(board).await,
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
        for line in self.runner.take_back(&settled.gone, &self.now).await {
            board.say(line);
        }
        settled.again
    }
}
