//! The facade beside its peers: requests (P1), pages (P2), added latency and idle connections (P1), fan-out of events (P3).
pub mod fanout;
pub mod stage;
pub mod stub;

use std::process::Command;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::load::{Connection, storm};
use crate::sample;
use stage::{Peer, Server, Stub};

/// In `main`, the word that serves [`stub::serve`].
pub const STUB: &str = "serve-stub";
const ROUNDS: usize = 9;
const TURN: Duration = Duration::from_secs(1);
/// More than are answered in one turn.
const ENDLESS: usize = 10_000_000;
const THING: &str = "/things/org.bench:sensor-000001";

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// To `localhost`: without credentials the facade answers no other name.
fn ask(method: &str, target: &str, body: &str) -> Vec<u8> {
    let about = if body.is_empty() {
        String::new()
    } else {
        format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
    };
    format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n{about}\r\n{body}").into_bytes()
}

/// One kind of request.
struct Workload {
    name: &'static str,
    connections: usize,
    method: &'static str,
    path: &'static str,
    body: &'static str,
    peers: &'static [Peer],
}

const WORKLOADS: [Workload; 4] = [
    Workload {
        name: "GET of a thing of 1 KB, 32 connections",
        connections: 32,
        method: "GET",
        path: THING,
        body: "",
        peers: &[Peer::Direct, Peer::TwinOps, Peer::Nginx, Peer::FastApi(1), Peer::FastApi(2)],
    },
    Workload {
        name: "GET of a thing of 1 KB, 1 connection",
        connections: 1,
        method: "GET",
        path: THING,
        body: "",
        peers: &[Peer::Direct, Peer::TwinOps, Peer::Nginx, Peer::FastApi(1)],
    },
    Workload {
        name: "PUT of a feature's properties of 100 B, 32 connections",
        connections: 32,
        method: "PUT",
        path: "/things/org.bench:sensor-000001/features/temperature",
        body: r#"{"properties":{"value":24.0,"unit":"celsius","sampledAt":"2026-11-20T10:00:00Z","quality":"good","n":1234567}}"#,
        peers: &[Peer::TwinOps, Peer::Nginx, Peer::FastApi(1)],
    },
    Workload {
        name: "page of 200 things of 1 KB, 8 connections",
        connections: 8,
        method: "GET",
        path: "/search/things?limit=200",
        body: "",
        peers: &[Peer::Direct, Peer::TwinOps, Peer::Nginx, Peer::FastApi(1)],
    },
];

/// CPU of each server a request, and requests a second, in rounds that take turns.
pub fn requests() {
    let (runtime, stub) = (runtime(), Stub::start(0, 0));
    for workload in WORKLOADS {
        println!("\n{}:", workload.name);
        let servers: Vec<Option<Server>> =
            workload.peers.iter().map(|peer| (*peer != Peer::Direct).then(|| stub.before(*peer))).collect();
        let mut figures: Vec<(Vec<f64>, Vec<f64>)> = vec![(vec![], vec![]); servers.len()];
        // One round more: the first warms everything up.
        for round in 0..=ROUNDS {
            for (at, (peer, server)) in workload.peers.iter().zip(&servers).enumerate() {
                let request = ask(workload.method, &peer.path(workload.path), workload.body);
                let before = server.as_ref().map_or(0.0, Server::cpu);
                let address = stub.address(server.as_ref());
                let load = storm(address, workload.connections, (ENDLESS, TURN), move |_| request.clone());
                let (answered, seconds) = runtime.block_on(load);
                let cpu = server.as_ref().map_or(0.0, Server::cpu) - before;
                if round > 0 {
                    let answered = f64::from(u32::try_from(answered).expect("not that many"));
                    figures[at].0.push(cpu * 1e6 / answered);
                    figures[at].1.push(answered / seconds);
                }
            }
        }
        let cpu_of = |peer| workload.peers.iter().position(|one| *one == peer).map(|at| &figures[at].0);
        if let (Some(ours), Some(theirs)) = (cpu_of(Peer::TwinOps), cpu_of(Peer::Nginx)) {
            // Turns that follow each other: the machine is as fast in both.
            let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
            sample::print("CPU of the facade for that of nginx", "times", ratios);
        }
        for (peer, (cpu, rate)) in workload.peers.iter().zip(figures) {
            if *peer != Peer::Direct {
                sample::print(&format!("{}, CPU a request", peer.name()), "us", cpu);
            }
            sample::print(&format!("{}, requests", peer.name()), "a second", rate);
        }
    }
}

/// What each server adds to the time of an answer, at half of what the facade can do. The load and Ditto share the first
/// core and the servers have the second, so that nobody waits for a core that another process uses.
pub fn latency() {
    const CONNECTIONS: u32 = 64;
    let peers = [Peer::Direct, Peer::TwinOps, Peer::Nginx];
    run_on("0");
    let (runtime, stub) = (runtime(), Stub::start(0, 0).with_servers_on(1));
    let servers: Vec<Option<Server>> =
        peers.iter().map(|peer| (*peer != Peer::Direct).then(|| stub.before(*peer))).collect();
    let get = ask("GET", THING, "");
    let most = storm(stub.address(servers[1].as_ref()), 32, (ENDLESS, TURN * 2), move |_| get.clone());
    let (answered, seconds) = runtime.block_on(most);
    let half = f64::from(u32::try_from(answered).expect("few")) / seconds / 2.0;
    println!("half load: {half:.0} requests a second over {CONNECTIONS} connections");
    let mut times: Vec<Vec<f64>> = vec![vec![]; peers.len()];
    let mut p99: Vec<Vec<f64>> = vec![vec![]; peers.len()];
    for _ in 0..ROUNDS {
        for (at, (peer, server)) in peers.iter().zip(&servers).enumerate() {
            let request = ask("GET", &peer.path(THING), "");
            let period = Duration::from_secs_f64(f64::from(CONNECTIONS) / half);
            let address = stub.address(server.as_ref());
            let mut some = runtime.block_on(paced(address, CONNECTIONS, period, request));
            some.sort_by(f64::total_cmp);
            p99[at].push(some[(some.len() - 1) * 99 / 100]);
            times[at].extend(some);
        }
    }
    let direct = p99[0].clone();
    for ((peer, times), p99) in peers.iter().zip(times).zip(p99) {
        sample::print_microseconds(&peer.name(), times);
        let added = p99.iter().zip(&direct).map(|(p99, direct)| p99 - direct).collect();
        sample::print(&format!("{}, p99 by round", peer.name()), "ms", p99);
        sample::print(&format!("{}, added to the p99 of the same round", peer.name()), "ms", added);
    }
    run_on("0,1");
}

/// This process, and what it starts, on these cores.
fn run_on(cores: &str) {
    let moved = Command::new("taskset").args(["-acp", cores, &std::process::id().to_string()]).output();
    assert!(moved.expect("util-linux has taskset").status.success(), "this machine has no cores {cores}");
}

/// Each connection asks once in a period, on its own clock; the milliseconds that answers took.
async fn paced(address: &str, connections: u32, period: Duration, request: Vec<u8>) -> Vec<f64> {
    let started = Instant::now();
    let workers: Vec<_> = (0..connections)
        .map(|n| {
            let (address, request) = (address.to_owned(), request.clone());
            tokio::spawn(async move {
                let mut connection = Connection::open(&address).await;
                let first = tokio::time::Instant::now() + period * n / connections;
                let mut clock = tokio::time::interval_at(first, period);
                let mut took = vec![];
                while started.elapsed() < TURN * 2 {
                    clock.tick().await;
                    let asked = Instant::now();
                    let (status, _) = connection.ask(&request).await;
                    assert_eq!(status, 200);
                    took.push(asked.elapsed().as_secs_f64() * 1e3);
                }
                took
            })
        })
        .collect();
    let mut all = vec![];
    for worker in workers {
        all.extend(worker.await.expect("a connection"));
    }
    all
}

/// Memory with 1,000 connections that have asked once and wait.
pub fn idle() {
    const CONNECTIONS: usize = 1_000;
    let (runtime, stub) = (runtime(), Stub::start(0, 0));
    for peer in [Peer::TwinOps, Peer::Nginx, Peer::FastApi(1)] {
        let server = stub.before(peer);
        let before = server.rss();
        let request = ask("GET", THING, "");
        let open = runtime.block_on(async {
            let mut open = vec![];
            for _ in 0..CONNECTIONS {
                let mut connection = Connection::open(&server.address).await;
                assert_eq!(connection.ask(&request).await.0, 200);
                open.push(connection);
            }
            open
        });
        std::thread::sleep(Duration::from_secs(2));
        println!(
            "{}: {before:.1} MB at the start, {:.1} MB with {} idle connections",
            peer.name(),
            server.rss(),
            open.len()
        );
    }
}
