//! Events to many sockets.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;

use super::stage::{Peer, Server, Stub};
use super::stub::now;
use crate::sample;

const WARM: Duration = Duration::from_secs(2);
const TURN: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
/// So that an event is about 200 bytes on the wire.
const VALUE: usize = 10;
/// What a client that stalls takes before it does, in bytes.
const STALLED_BUFFER: u32 = 4_096;

/// What all clients have counted.
#[derive(Default)]
struct Counts {
    frames: AtomicU64,
    /// Whether delays are noted.
    noting: AtomicBool,
    stop: AtomicBool,
}

/// Frames a second of CPU, for the same streams to the same clients.
pub fn delivered() {
    let rows: [(usize, u32, &[Peer]); 4] = [
        (1, 1_000, &[Peer::TwinOps, Peer::Node, Peer::FastApi(1)]),
        (100, 100, &[Peer::TwinOps, Peer::Node, Peer::FastApi(1)]),
        (100, 1_000, &[Peer::TwinOps, Peer::Node]),
        (1_000, 100, &[Peer::TwinOps, Peer::Node]),
    ];
    let runtime = super::runtime();
    for (clients, rate, peers) in rows {
        println!("\n{rate} events a second to {clients} clients:");
        let mut figures: Vec<[Vec<f64>; 4]> = vec![Default::default(); peers.len()];
        for _ in 0..ROUNDS {
            for (at, peer) in peers.iter().enumerate() {
                let stub = Stub::start(rate, VALUE);
                let server = stub.before(*peer);
                let run = run(&runtime, &server, clients, 0, TURN);
                let found = [
                    run.frames / run.cpu,
                    run.cpu * 1e6 / run.frames,
                    run.frames / TURN.as_secs_f64(),
                    run.p99,
                ];
                for (kept, figure) in figures[at].iter_mut().zip(found) {
                    kept.push(figure);
                }
            }
        }
        for (peer, figures) in peers.iter().zip(figures) {
            let names = [
                ("frames of a core", "a second"),
                ("CPU a frame", "us"),
                ("frames", "a second"),
                ("p99 of delivery", "ms"),
            ];
            for ((name, unit), values) in names.into_iter().zip(figures) {
                sample::print(&format!("{}, {name}", peer.name()), unit, values);
            }
        }
    }
}

/// Memory of sockets on which nothing happens.
pub fn memory() {
    const CLIENTS: u32 = 1_000;
    let runtime = super::runtime();
    for peer in [Peer::TwinOps, Peer::Node, Peer::FastApi(1)] {
        let stub = Stub::start(0, VALUE);
        let server = stub.before(peer);
        // One that is open already, so that the session with Ditto is not counted.
        let mut open = vec![runtime.block_on(connect(&server.address, None))];
        std::thread::sleep(WARM);
        let before = server.rss();
        for _ in 0..CLIENTS {
            open.push(runtime.block_on(connect(&server.address, None)));
        }
        std::thread::sleep(WARM);
        let after = server.rss();
        println!(
            "{}: {before:.1} MB, with {CLIENTS} idle sockets {after:.1} MB, {:.1} KB each",
            peer.name(),
            (after - before) * 1_024.0 / f64::from(CLIENTS)
        );
    }
}

/// Whether clients that read nothing cost the others time.
pub fn stalled() {
    const CLIENTS: usize = 500;
    const RATE: u32 = 100;
    /// Large enough that the buffers of the kernel are full within seconds.
    const BYTES: usize = 4_096;
    let runtime = super::runtime();
    let mut figures: [Vec<f64>; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (at, stalled) in [0, CLIENTS / 100].into_iter().enumerate() {
            let stub = Stub::start(RATE, BYTES);
            let server = stub.before(Peer::TwinOps);
            let run = run(&runtime, &server, CLIENTS, stalled, TURN * 5);
            figures[at].push(run.p99);
            println!(
                "{CLIENTS} clients, {stalled} stalled: {:.0} frames, p50 {:.2} ms, p99 {:.2} ms, {:.1} MB",
                run.frames, run.p50, run.p99, run.rss
            );
        }
    }
    for (name, values) in ["nobody stalls, p99", "1 % stall, p99 of the others"].into_iter().zip(figures) {
        sample::print(name, "ms", values);
    }
}

struct Run {
    frames: f64,
    cpu: f64,
    p50: f64,
    p99: f64,
    rss: f64,
}

/// So many clients read for a while, beside some that read nothing.
fn run(runtime: &Runtime, server: &Server, clients: usize, stalled: usize, turn: Duration) -> Run {
    let counts = Arc::new(Counts::default());
    let readers: Vec<_> = (0..clients)
        .map(|_| {
            let stream = runtime.block_on(connect(&server.address, None));
            runtime.spawn(read(stream, Arc::clone(&counts)))
        })
        .collect();
    let held: Vec<TcpStream> =
        (0..stalled).map(|_| runtime.block_on(connect(&server.address, Some(STALLED_BUFFER)))).collect();
    std::thread::sleep(WARM);
    let (cpu, frames) = (server.cpu(), counts.frames.load(Ordering::Relaxed));
    counts.noting.store(true, Ordering::Relaxed);
    std::thread::sleep(turn);
    let frames = counts.frames.load(Ordering::Relaxed) - frames;
    let (cpu, rss) = (server.cpu() - cpu, server.rss());
    counts.stop.store(true, Ordering::Relaxed);
    let mut delays: Vec<f64> = vec![];
    for reader in readers {
        delays.extend(runtime.block_on(reader).expect("a client"));
    }
    drop(held);
    delays.sort_by(f64::total_cmp);
    let at =
        |percent: usize| delays.get((delays.len().max(1) - 1) * percent / 100).copied().unwrap_or(f64::NAN);
    let frames = f64::from(u32::try_from(frames).expect("not that many"));
    Run { frames, cpu, p50: at(50), p99: at(99), rss }
}

/// A socket that is open, its answer to the upgrade read.
async fn connect(address: &str, buffer: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes).expect("a small buffer");
    }
    let mut stream = socket.connect(address.parse().expect("an address")).await.expect("the server listens");
    stream.set_nodelay(true).expect("a socket");
    let upgrade = "GET /ws/events HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.expect("the server reads");
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// Counts frames until told to stop; the milliseconds since each was made, of every eighth.
async fn read(mut stream: TcpStream, counts: Arc<Counts>) -> Vec<f64> {
    let (mut buffer, mut delays, mut seen) = (Vec::with_capacity(64 * 1_024), vec![], 0_u64);
    loop {
        let read = tokio::time::timeout(Duration::from_millis(500), stream.read_buf(&mut buffer)).await;
        if counts.stop.load(Ordering::Relaxed) {
            return delays;
        }
        match read {
            Err(_) => continue,
            Ok(read) => assert!(read.is_ok_and(|bytes| bytes > 0), "the server hung up"),
        }
        let (at, mut frames) = (now(), 0);
        let mut taken = 0;
        while let Some(payload) = frame(&buffer[taken..]) {
            frames += 1;
            seen += 1;
            if seen % 8 == 0 && counts.noting.load(Ordering::Relaxed) {
                delays.extend(
                    made(&buffer[taken + payload.0..taken + payload.1])
                        .map(|made| milliseconds(at.saturating_sub(made))),
                );
            }
            taken += payload.1;
        }
        buffer.drain(..taken);
        counts.frames.fetch_add(frames, Ordering::Relaxed);
    }
}

/// Where the payload of the first frame begins and ends, if it is whole. A server masks nothing.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (start, length) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        short => (2, usize::from(short)),
    };
    (bytes.len() >= start + length).then_some((start, start + length))
}

/// The time in the value of an event.
fn made(payload: &[u8]) -> Option<u64> {
    let at = payload.iter().position(|byte| *byte == b'@')? + 1;
    std::str::from_utf8(payload.get(at..at + 20)?).ok()?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "some seconds in nanoseconds")]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}
