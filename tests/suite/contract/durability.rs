//! What is acknowledged is on disk, and what is on disk is never silently lost.
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use twinops::engine::EngineError;

use super::engine::Engine;
use super::wire::{self, Reply};

const WRITERS: u64 = 64;
/// How often the count of acknowledged writes is looked at; short beside a round, and the cores are the engine's.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

fn rounds() -> u64 {
    std::env::var("TWINOPS_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5)
}

/// `twinops engine` as a process of its own; killed when dropped.
struct Process {
    child: Child,
    base: String,
}

impl Process {
    fn command(folder: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinops"));
        command.args(["engine", "--listen", "127.0.0.1:0", "--pre-authenticated", "--data"]).arg(folder);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(folder: &Path) -> Self {
        let mut child = Self::command(folder).spawn().expect("the twinops binary starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line on stdout");
        let base = line.trim().strip_prefix("engine listening on ");
        let base = base.unwrap_or_else(|| panic!("not the line of a start: {line:?}")).to_owned();
        Self { child, base }
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    /// Kills it; what it logged.
    fn said(mut self) -> String {
        self.kill();
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().expect("stderr is piped");
        stderr.read_to_string(&mut said).expect("UTF-8");
        said
    }

    /// `kill -9`
    fn kill(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn ask(base: &str, method: &str, target: &str, body: Option<&str>) -> Reply {
    try_ask(base, method, target, body).unwrap_or_else(|error| panic!("{base}: {error}"))
}

/// An error when nobody listens; an empty reply when the answer breaks off.
fn try_ask(base: &str, method: &str, target: &str, body: Option<&str>) -> std::io::Result<Reply> {
    let mut headers = vec![("x-ditto-pre-authenticated".to_owned(), "nginx:ditto".to_owned())];
    if body.is_some() {
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    wire::try_send(base, method, target, &headers, body.map(str::as_bytes))
}

/// The attribute `n` and the revision of every writer's thing; the index and the things say the same.
fn found(base: &str) -> Vec<(u64, u64)> {
    let ids: Vec<String> = (0..WRITERS).map(|writer| format!("f42:w{writer:02}")).collect();
    let fields = "fields=attributes/n,_revision";
    let targets = [
        format!("/api/2/things?ids={}&{fields}", ids.join(",")),
        format!(
            "/api/2/search/things?filter=ge(attributes/n,0)&namespaces=f42&option=size({WRITERS})&{fields}"
        ),
    ];
    let [things, hits] = targets.map(|target| {
        let reply = ask(base, "GET", &target, None);
        assert_eq!(reply.status, 200, "{target}: {}", reply.text);
        let body: Value = serde_json::from_str(&reply.text).expect("JSON");
        body.get("items").cloned().unwrap_or(body)
    });
    assert_eq!(things, hits, "the index has what the things have");
    let numbers = |thing: &Value| Some((thing["attributes"]["n"].as_u64()?, thing["_revision"].as_u64()?));
    let numbers: Option<Vec<_>> = things.as_array().expect("an array").iter().map(numbers).collect();
    numbers.filter(|all| all.len() as u64 == WRITERS).expect("a number and a revision of every thing")
}

/// Writes one number after the other until the engine is gone; tells of each once it is acknowledged.
fn write_on(base: &str, writer: usize, last: &AtomicU64, total: &AtomicU64) {
    loop {
        let next = last.load(Ordering::SeqCst) + 1;
        let target = format!("/api/2/things/f42:w{writer:02}/attributes/n");
        match try_ask(base, "PUT", &target, Some(&next.to_string())) {
            Ok(reply) if reply.status == 204 => last.store(next, Ordering::SeqCst),
            Ok(reply) => {
                assert_eq!(reply.text, "", "it is gone, or it writes");
                return;
            }
            Err(_) => return,
        }
        total.fetch_add(1, Ordering::SeqCst);
    }
}

/// Each round starts what the former killed, so that every start is one after `kill -9`.
#[test]
fn f42_kill_9_loses_no_acknowledged_write() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut engine = Process::start(folder.path());
    for writer in 0..WRITERS {
        let thing = Some(r#"{"attributes":{"n":0}}"#);
        let reply = ask(&engine.base, "PUT", &format!("/api/2/things/f42:w{writer:02}"), thing);
        assert_eq!(reply.status, 201, "{}", reply.text);
    }
    let mut before = found(&engine.base);
    for round in 0..rounds() {
        let acknowledged: Vec<AtomicU64> = before.iter().map(|(n, _)| AtomicU64::new(*n)).collect();
        let (total, until) = (AtomicU64::new(0), 100 + round * 17 % 500);
        let base = engine.base.clone();
        std::thread::scope(|scope| {
            for (writer, last) in acknowledged.iter().enumerate() {
                let (base, total) = (&base, &total);
                scope.spawn(move || write_on(base, writer, last, total));
            }
            while total.load(Ordering::SeqCst) < until && engine.runs() {
                std::thread::sleep(BETWEEN_LOOKS);
            }
            assert!(engine.runs(), "round {round}: it ended by itself");
            engine.kill();
        });
        let next = Process::start(folder.path());
        let after = found(&next.base);
        for (writer, (last, (before, after))) in
            acknowledged.iter().zip(before.iter().zip(&after)).enumerate()
        {
            let last = last.load(Ordering::SeqCst);
            let what = format!(
                "round {round}, writer {writer}: acknowledged {last}, found {after:?} after {before:?}"
            );
            assert!(after.0 == last || after.0 == last + 1, "{what}");
            assert_eq!(after.1 - before.1, after.0 - before.0, "a revision for every write; {what}");
        }
        (engine, before) = (next, after);
    }
    let written: u64 = before.iter().map(|(n, _)| n).sum();
    println!("{} rounds, {written} writes kept, none lost", rounds());
}

#[test]
fn f44_two_processes_on_one_folder_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = Process::start(folder.path());
    let second = Process::command(folder.path()).output().expect("the twinops binary starts");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("used by another engine"), "{said}");
    assert!(said.contains(&folder.path().display().to_string()), "{said}");
    assert_eq!(ask(&first.base, "GET", "/api/2/whoami", None).status, 200);
}

/// A folder with twenty things, its engine stopped, and the journal that holds them.
fn written() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = Engine::on_disk(folder.path());
    for i in 0..20 {
        let body = format!(r#"{{"attributes":{{"needle":"needle-{i:02}"}}}}"#);
        assert_eq!(ask(&engine.base, "PUT", &format!("/api/2/things/f44:t{i:02}"), Some(&body)).status, 201);
    }
    drop(engine);
    let journal = journal(folder.path());
    (folder, journal)
}

/// So few writes have one journal.
fn journal(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder.join("store")).expect("the store");
    let mut files = files.map(|file| file.expect("a file").path());
    files.find(|path| path.extension().is_some_and(|e| e == "jnl")).expect("a journal")
}

/// What is written of a journal; zeros are kept behind for what comes.
fn end(journal: &Path) -> usize {
    let bytes = std::fs::read(journal).expect("the journal");
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Twenty things were acknowledged, and the engine was killed in the middle of the next write.
#[test]
fn f44_a_torn_end_of_the_journal_takes_nothing_that_was_acknowledged() {
    const TORN: &str = "the end of the journal was torn";
    let put =
        |base: &str, name: &str| ask(base, "PUT", &format!("/api/2/things/f44:{name}"), Some("{}")).status;
    let get = |base: &str, name: &str| ask(base, "GET", &format!("/api/2/things/f44:{name}"), None).status;
    let names: Vec<String> = (0..20).map(|n| format!("t{n:02}")).collect();
    let killed = tempfile::tempdir().expect("a temporary folder");
    let mut engine = Process::start(killed.path());
    for name in &names {
        assert_eq!(put(&engine.base, name), 201);
    }
    let watermark = std::fs::read(killed.path().join("watermark")).expect("the watermark");
    let kept = end(&journal(killed.path()));
    assert_eq!(put(&engine.base, "last"), 201);
    engine.kill();
    let written = end(&journal(killed.path()));
    let last = written - kept;
    assert!(last > 100, "the last write is in the journal, in {last} bytes");
    let tear = |torn: &Path, cut: usize, zeros: bool| {
        copy(killed.path(), torn);
        let path = journal(torn);
        let mut bytes = std::fs::read(&path).expect("the journal");
        if zeros {
            bytes[written - cut..].fill(0);
        } else {
            bytes.truncate(written - cut);
        }
        std::fs::write(&path, bytes).expect("the journal");
    };
    let cuts = [1, 2, 4, 5, 12, 13, 14, last / 3, last / 2, last * 2 / 3, last - 2, last - 1];
    for (cut, zeros) in cuts.into_iter().flat_map(|cut| [(cut, false), (cut, true)]) {
        let what = format!("{cut} of {last} bytes are missing, zeros in their place: {zeros}");
        let torn = tempfile::tempdir().expect("a temporary folder");
        tear(torn.path(), cut, zeros);
        // it says that the last write was acknowledged too
        let lost = Process::command(torn.path()).output().expect("the twinops binary starts");
        let said = String::from_utf8_lossy(&lost.stderr).into_owned();
        assert!(
            !lost.status.success() && said.contains("the last 1 of 21 commits are missing"),
            "{what}: {said}"
        );
        tear(torn.path(), cut, zeros);
        std::fs::write(torn.path().join("watermark"), &watermark).expect("the watermark");
        let engine = Process::start(torn.path());
        for name in &names {
            assert_eq!(get(&engine.base, name), 200, "{what}: {name}");
        }
        assert_eq!(get(&engine.base, "last"), 404, "{what}");
        assert_eq!(put(&engine.base, "next"), 201, "{what}");
        let said = engine.said();
        assert!(said.contains(TORN), "{what}: {said}");
        let engine = Process::start(torn.path());
        for name in &names {
            assert_eq!(get(&engine.base, name), 200, "{what}, again: {name}");
        }
        assert_eq!(get(&engine.base, "next"), 200, "{what}, again");
        let said = engine.said();
        assert!(!said.contains(TORN), "{what}, again: {said}");
    }
}

#[test]
fn f44_damage_is_refused_with_what_to_do() {
    type Harm = fn(&mut Vec<u8>, usize);
    let rows: [(&str, Harm); 4] = [
        ("a flipped bit", |bytes, at| bytes[at] ^= 1),
        ("a journal cut in the middle", |bytes, at| bytes.truncate(at)),
        ("lost pages", |bytes, at| bytes[at..].fill(0)),
        ("a page of something else", |bytes, at| bytes[at - 100..at + 100].fill(0xee)),
    ];
    for (what, harm) in rows {
        let (folder, journal) = written();
        let mut bytes = std::fs::read(&journal).expect("the journal");
        let at =
            bytes.windows(9).position(|window| window == b"needle-11").expect("the thing is in the journal");
        harm(&mut bytes, at);
        std::fs::write(&journal, bytes).expect("the journal");
        for attempt in ["first", "second"] {
            match Engine::try_start(Some(folder.path())) {
                Err(error @ EngineError::Damaged { .. }) => {
                    assert!(error.to_string().contains("restore it from a backup"), "{what}: {error}");
                }
                Err(other) => panic!("{what}, {attempt} start: {other}"),
                Ok(_) => panic!("{what}, {attempt} start: it starts and has lost things"),
            }
        }
    }
}

/// A folder of a format nobody knows yet.
fn of_a_newer_engine() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    drop(Engine::on_disk(folder.path()));
    let db = fjall::Database::builder(folder.path().join("store")).open().expect("the store");
    let rows = db.keyspace("engine", fjall::KeyspaceCreateOptions::default).expect("a keyspace");
    rows.insert("format", "1000").expect("a write");
    db.persist(fjall::PersistMode::SyncAll).expect("a sync");
    folder
}

#[test]
fn a_newer_folder_is_left_to_the_newer_version() {
    let error = Engine::try_start(Some(of_a_newer_engine().path())).err();
    let error = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("has format 1000, this engine knows "), "{error}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("a file")) {
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

/// The folder of an engine of an earlier time, a copy that may be written to; `tests/data/stores/README.md` says what is in it.
fn of_format(format: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let stores = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stores");
    copy(&stores.join(format!("format-{format}")), folder.path());
    folder
}

/// All that every folder in `tests/data/stores` holds, as its engine showed it when it was killed.
const OLD: [(&str, &str); 7] = [
    (
        "things/old:t1?fields=definition,attributes,features,_revision",
        r#"{"definition":"org.acme:pump:1.0.0","attributes":{"n":1,"text":"ä \"q\" \u0001","list":[1,2.5,-0.0,1e+300,18446744073709551615,null,true,{"a":{}}]},"features":{"f":{"properties":{"value":1.5},"desiredProperties":{"value":0}}},"_revision":1}"#,
    ),
    (
        "things/old:t2?fields=attributes/n,_revision,_metadata",
        r#"{"attributes":{"n":20},"_revision":3,"_metadata":{"attributes":{"noted":{"note":{"by":"ada"}}}}}"#,
    ),
    (
        "things/old:imports?fields=policyId,attributes,_revision",
        r#"{"policyId":"old:importing","attributes":{"n":4},"_revision":1}"#,
    ),
    (
        "things?ids=old:t1,old:gone,old:t2&fields=attributes/n",
        r#"[{"attributes":{"n":1}},{"attributes":{"n":20}}]"#,
    ),
    (
        "search/things?filter=ge(attributes/n,4)&fields=thingId",
        r#"{"items":[{"thingId":"old:imports"},{"thingId":"old:t2"}],"nextPageOffset":-1}"#,
    ),
    ("search/things/count", "3"),
    (
        "policies/old:importing",
        r#"{"policyId":"old:importing","imports":{"old:base":{}},"entries":{"owner":{"subjects":{"nginx:ditto":{"type":"user"}},"resources":{"thing:/":{"grant":["READ","WRITE"],"revoke":[]},"policy:/":{"grant":["READ","WRITE"],"revoke":[]}},"importable":"implicit"}}}"#,
    ),
];

/// A row for each format there ever was, the present one last: whoever raises it commits a folder of the one before.
#[test]
fn a_folder_of_every_format_is_brought_to_this_one_with_everything_in_it() {
    const FORMATS: [u64; 2] = [1, 2];
    for format in FORMATS {
        let folder = of_format(format);
        for start in ["upgraded", "and again"] {
            let engine = Engine::on_disk(folder.path());
            for (target, expected) in OLD {
                let reply = ask(&engine.base, "GET", &format!("/api/2/{target}"), None);
                assert_eq!(reply.text, expected, "format {format}, {start}: {target}");
            }
            for gone in ["things/old:gone", "policies/old:gone"] {
                let reply = ask(&engine.base, "GET", &format!("/api/2/{gone}"), None);
                assert_eq!(reply.status, 404, "format {format}, {start}: {gone}");
            }
        }
        let engine = Engine::on_disk(folder.path());
        let again = ask(&engine.base, "PUT", "/api/2/things/old:gone", Some(r#"{"policyId":"old:base"}"#));
        assert_eq!(again.status, 201, "{}", again.text);
        let reply = ask(&engine.base, "GET", "/api/2/things/old:gone?fields=_revision", None);
        assert_eq!(reply.text, r#"{"_revision":4}"#, "format {format}: a deleted thing kept its revision");
    }
    let newest = FORMATS.iter().max().expect("there are some");
    assert_eq!(FORMATS.len() as u64, *newest, "no format is left out");
    // an engine that knew a newer format would have no row here
    let error = Engine::try_start(Some(of_a_newer_engine().path())).err();
    let error = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains(&format!("this engine knows {newest}:")), "{error}");
}

#[test]
fn a_second_write_of_the_same_is_counted_and_a_read_is_not() {
    let engine = Engine::in_memory();
    let stats = &engine.running().stats;
    assert_eq!(ask(&engine.base, "PUT", "/api/2/things/stats:t", Some("{}")).status, 201);
    assert_eq!(ask(&engine.base, "PUT", "/api/2/things/stats:t/attributes/a", Some("1")).status, 201);
    assert_eq!(ask(&engine.base, "GET", "/api/2/things/stats:t", None).status, 200);
    assert_eq!(ask(&engine.base, "DELETE", "/api/2/things/stats:none", None).status, 404);
    let counted =
        [&stats.requests, &stats.writes, &stats.revisions].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counted, [4, 2, 3], "the first write makes a thing and its policy");
}
