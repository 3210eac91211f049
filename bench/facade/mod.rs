//! The facade beside its peers: requests (P1), pages (P2), added latency and idle connections (P1), fan-out of events (P3).
pub mod fanout;
pub mod latency;
pub mod stage;
pub mod stub;

use std::time::Duration;

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
