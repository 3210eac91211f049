//! The engine: requests and durable writes (P10), start and memory (P11), search (P12), permission checks (P13).
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::Runtime;
use twinops::engine::enforce::{Enforcer, Permission};

use crate::load::{Connection, request, storm};
use crate::sample;
use crate::support::ditto::twinops;

const ROUNDS: usize = 5;
const THINGS: usize = 100_000;
const TURN: Duration = Duration::from_secs(2);
/// In `main`, the word that serves [`hello`].
pub const HELLO: &str = "serve-hello";

/// A server process; killed when dropped.
struct Server {
    child: Child,
    address: String,
    started: f64,
}

impl Server {
    fn start(mut command: std::process::Command) -> Self {
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().rsplit_once("http://").expect("an address").1.to_owned();
        Self { child, address, started: begun.elapsed().as_secs_f64() }
    }

    fn engine(data: &Path, relaxed: bool) -> Self {
        let mut command = twinops();
        command.args(["engine", "--listen", "127.0.0.1:0", "--pre-authenticated", "--data"]).arg(data);
        if relaxed {
            command.args(["--durability", "relaxed"]);
        }
        Self::start(command)
    }

    fn hello() -> Self {
        let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
        command.arg(HELLO);
        Self::start(command)
    }

    fn cpu(&self) -> f64 {
        sample::cpu(self.child.id())
    }

    fn rss(&self) -> f64 {
        sample::rss(self.child.id()).0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// axum's hello world: the least a request can cost.
pub fn hello() {
    runtime().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("http://{}", listener.local_addr().expect("an address"));
        let router = axum::Router::new().route("/", axum::routing::get(|| async { "Hello, World!" }));
        axum::serve(listener, router).await.expect("it serves");
    });
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Permission checks, and the start with nothing.
pub fn checks() {
    permissions();
    starts_empty();
}

/// 0.8 KB of JSON: 12 attributes, 4 features, 25 values.
fn thing(n: usize) -> String {
    let feature = |unit: &str, value: f64| json!({"properties": {"value": value, "unit": unit, "sampledAt": format!("2026-11-{:02}T10:00:00Z", n % 28 + 1)}});
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let degrees = (n * 7919 % THINGS) as f64 / 100.0;
    json!({
        "policyId": "org.bench:policy", "definition": "org.bench:sensor:1.0.0",
        "attributes": {
            "type": "temperature-sensor", "manufacturer": "Sensors and Sons", "serial": format!("SN-{n:08}"),
            "location": {"building": format!("hall-{}", n % 100), "floor": n % 7, "room": format!("{:03}", n % 400)},
            "installed": format!("2024-{:02}-{:02}", n % 12 + 1, n % 28 + 1), "firmware": format!("1.{}.{}", n % 9, n % 17),
            "tags": ["telemetry", format!("line-{}", n % 50), "calibrated"],
            "note": "replaced after the flood, to be looked at again when the line stands still for its yearly service",
        },
        "features": {
            "temperature": feature("celsius", degrees), "humidity": feature("percent", 40.5),
            "battery": feature("volt", 3.3), "signal": feature("dBm", -67.0),
        },
    })
    .to_string()
}

fn id(n: usize) -> String {
    format!("/api/2/things/org.bench:sensor-{n:06}")
}

fn put_policy(runtime: &Runtime, server: &Server) {
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    let policy = json!({"entries": {"owner": {"subjects": {"nginx:ditto": {"type": "bench"}},
        "resources": {"thing:/": all, "policy:/": all}}}});
    let put = request("PUT", "/api/2/policies/org.bench:policy", &policy.to_string());
    runtime.block_on(storm(&server.address, 1, (1, TURN), move |_| put.clone()));
}

fn fill(runtime: &Runtime, server: &Server, things: usize) {
    put_policy(runtime, server);
    let put = |n: usize| request("PUT", &id(n), &thing(n));
    let (answered, seconds) = runtime.block_on(storm(&server.address, 64, (things, TURN * 300), put));
    println!(
        "{answered} things written, 64 connections: {:.0}/s",
        f64::from(u32::try_from(answered).expect("few")) / seconds
    );
}

/// CPU of the server in microseconds a request, and requests a second.
fn turn(
    runtime: &Runtime,
    server: &Server,
    connections: usize,
    make: impl Fn(usize) -> Vec<u8> + Clone + Send + 'static,
) -> (f64, f64) {
    let before = server.cpu();
    let (answered, seconds) = runtime.block_on(storm(&server.address, connections, (usize::MAX, TURN), make));
    let answered = f64::from(u32::try_from(answered).expect("few"));
    ((server.cpu() - before) / answered * 1e6, answered / seconds)
}

/// Appends of 1 KB, each synced, a second.
fn syncs(folder: &Path) -> f64 {
    let mut file = std::fs::File::create(folder.join("syncs")).expect("a file");
    let (started, mut count) = (Instant::now(), 0_u32);
    while started.elapsed() < Duration::from_secs(1) {
        file.write_all(&[7; 1024]).expect("space");
        file.sync_data().expect("a sync");
        count += 1;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

pub fn requests() {
    let runtime = &runtime();
    println!(
        "\n### P10: requests, 10,000 things of {} bytes, {ROUNDS} rounds: median (min to max)",
        thing(9_999).len()
    );
    let folder = tempfile::tempdir().expect("a folder");
    let (durable, relaxed) =
        (Server::engine(&folder.path().join("a"), false), Server::engine(&folder.path().join("b"), true));
    let hello = Server::hello();
    fill(runtime, &durable, 10_000);
    fill(runtime, &relaxed, 10_000);
    let get = |n: usize| request("GET", &id(n % 10_000), "");
    let put = |n: usize| {
        let target = format!("{}/features/temperature/properties/value", id(n % 10_000));
        request("PUT", &target, &format!("{}.5", n % 90))
    };
    let greet = |_| request("GET", "/", "");
    let mut figures: [Vec<f64>; 11] = Default::default();
    for _ in 0..ROUNDS {
        let (greeted, gotten) = (turn(runtime, &hello, 32, greet), turn(runtime, &durable, 32, get));
        let (disk, written) = (syncs(folder.path()), turn(runtime, &durable, 64, put));
        let quick = turn(runtime, &relaxed, 64, put);
        let round = [
            greeted.0,
            greeted.1,
            gotten.0,
            greeted.0 / gotten.0 * 100.0,
            gotten.1,
            written.0,
            disk,
            written.1,
            written.1 / disk,
            quick.0,
            quick.1,
        ];
        figures.iter_mut().zip(round).for_each(|(figure, value)| figure.push(value));
    }
    let names = [
        ("axum hello world, CPU", "us"),
        ("axum hello world, 32 connections", "/s"),
        ("GET of a thing, CPU", "us"),
        ("GET, of hello world's rate per CPU", "%"),
        ("GET, 32 connections", "/s"),
        ("PUT of a property, durable, CPU", "us"),
        ("fdatasync of 1 KB appends", "/s"),
        ("PUT, durable, 64 connections", "/s"),
        ("PUT, durable, of the fdatasync rate", "x"),
        ("PUT of a property, relaxed, CPU", "us"),
        ("PUT, relaxed, 64 connections", "/s"),
    ];
    for ((name, unit), values) in names.into_iter().zip(figures) {
        sample::print(name, unit, values);
    }
}

fn starts_empty() {
    println!("\n### P11: start with an empty folder, 9 rounds");
    let starts = (0..9).map(|_| {
        let folder = tempfile::tempdir().expect("a folder");
        Server::engine(&folder.path().join("data"), false).started * 1_000.0
    });
    sample::print("from exec to the line that says it listens", "ms", starts.collect());
}

pub fn things() {
    let runtime = &runtime();
    println!("\n### P11: {THINGS} things of {} bytes", thing(THINGS - 1).len());
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let writer = Server::engine(&data, true);
    fill(runtime, &writer, THINGS);
    println!("RSS after writing them: {:.0} MB", writer.rss());
    std::thread::sleep(Duration::from_secs(1));
    drop(writer);
    let mut figures: [Vec<f64>; 2] = Default::default();
    for _ in 0..ROUNDS {
        let server = Server::engine(&data, false);
        figures[0].push(server.started);
        figures[1].push(server.rss());
    }
    let [starts, memory] = figures;
    sample::print("start", "s", starts);
    sample::print("RSS after the start", "MB", memory);
    let server = Server::engine(&data, false);
    search(runtime, &server);
    println!("RSS after all searches: {:.0} MB", server.rss());
}

/// What it is called, how often it is asked, and its filter for a number.
type Query = (&'static str, usize, fn(usize) -> String);

fn search(runtime: &Runtime, server: &Server) {
    println!(
        "\n### P12: search, one at a time; the first of each, then 300 (indexed) or 20 with changing values"
    );
    let rows: [Query; 14] = [
        ("eq(thingId)", 300, |n| format!("eq(thingId,\"org.bench:sensor-{n:06}\")")),
        ("eq(attributes/serial)", 300, |n| format!("eq(attributes/serial,\"SN-{n:08}\")")),
        ("eq, 1,000 hits, first page", 300, |n| {
            format!("eq(attributes/location/building,\"hall-{}\")", n % 100)
        }),
        ("range, 100 hits", 300, |n| {
            let low = n % 900;
            format!(
                "and(ge(features/temperature/properties/value,{low}),lt(features/temperature/properties/value,{}))",
                low + 1
            )
        }),
        ("gt, 0 to 1,000 hits, first page", 300, |n| {
            format!("gt(features/temperature/properties/value,{})", 990 + n % 10)
        }),
        ("gt, half of all, first page", 300, |n| {
            format!("gt(features/temperature/properties/value,{})", 450 + n % 100)
        }),
        ("like with a prefix", 300, |n| format!("like(attributes/serial,\"SN-{:06}*\")", n / 100)),
        ("in, 3 values", 300, |n| {
            format!("in(attributes/serial,\"SN-{n:08}\",\"SN-{:08}\",\"none\")", n / 2)
        }),
        ("eq(features/*/...)", 300, |n| {
            format!("eq(features/*/properties/value,{})", f64::from(u32::try_from(n).unwrap_or(0)) / 100.0)
        }),
        ("like in the middle, few hits", 20, |n| format!("like(attributes/serial,\"*{n:06}\")")),
        ("ilike, no hit", 20, |n| format!("ilike(attributes/note,\"*earthquake {n}*\")")),
        ("not(exists), no hit", 20, |n| {
            format!("and(not(exists(attributes/type)),ne(attributes/type,\"{n}\"))")
        }),
        ("or of ne, no hit", 20, |n| {
            format!("not(or(ne(attributes/serial,\"{n}\"),exists(features/battery)))")
        }),
        ("sort by a property, all hit", 20, |n| format!("ne(attributes/type,\"{n}\")")),
    ];
    for (what, times, filter) in rows {
        let sort = if what.starts_with("sort") {
            "&option=sort(-features/temperature/properties/value)"
        } else {
            ""
        };
        let encode = |text: String| text.replace('"', "%22").replace(' ', "%20").replace('*', "%2A");
        let mut took: Vec<f64> = runtime.block_on(async {
            let mut connection = Connection::open(&server.address).await;
            let mut took = vec![];
            for turn in 0..=times {
                let filter = encode(filter(turn * 7919 % THINGS));
                let ask = request("GET", &format!("/api/2/search/things?filter={filter}{sort}"), "");
                let started = Instant::now();
                let (status, body) = connection.ask(&ask).await;
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(body));
                took.push(started.elapsed().as_secs_f64() * 1_000.0);
            }
            took
        });
        let first = took.remove(0);
        took.sort_by(f64::total_cmp);
        println!(
            "{what}: first {first:.2}, then p50 {:.2}, p99 {:.2} ms",
            took[took.len() / 2],
            took[(took.len() * 99).div_ceil(100) - 1]
        );
    }
}

/// A policy of 1,000 entries, a caller with 10 subjects.
fn permissions() {
    println!("\n### P13: permission checks, 1,000 entries, 10 subjects, one thread");
    let entries: serde_json::Map<String, serde_json::Value> = (0..1_000)
        .map(|n| {
            let right = json!({"grant": ["READ"], "revoke": if n % 3 == 0 { json!(["WRITE"]) } else { json!([]) }});
            let entry = json!({"subjects": {format!("nginx:user-{}", n % 200): {"type": "t"}},
                "resources": {format!("thing:/features/f{n}/properties"): right.clone(), format!("thing:/attributes/a{n}"): right}});
            (format!("entry-{n}"), entry)
        })
        .collect();
    let enforcer = Enforcer::new(&entries, 0);
    let subjects: Vec<String> = (0..10).map(|n| format!("nginx:user-{n}")).collect();
    let paths: Vec<[String; 4]> = (0..1_000)
        .map(|n| ["features".into(), format!("f{n}"), "properties".into(), "value".into()])
        .collect();
    let paths: Vec<Vec<&str>> = paths.iter().map(|path| path.iter().map(String::as_str).collect()).collect();
    let mut rates = vec![];
    for _ in 0..ROUNDS {
        let (before, mut granted, mut checks) = (sample::own_cpu(), 0_u32, 0_u32);
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(1) {
            for path in &paths {
                granted += u32::from(enforcer.unrestricted(&subjects, "thing", path, Permission::Read));
                checks += 1;
            }
        }
        assert!(granted > 0);
        rates.push(f64::from(checks) / (sample::own_cpu() - before) / 1e6);
    }
    sample::print("checks a second of CPU", "M", rates);
}
