//! What each server adds to the time of an answer, at half of what the facade can do.
//!
//! The load is spread evenly: the clocks of an async runtime tick once in a millisecond, and what they send together
//! waits for each other. So each connection has a thread, and sleeps until its turn.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::stage::{Peer, Server, Stub};
use super::{ENDLESS, ROUNDS, THING, TURN, ask, runtime};
use crate::load::{length, storm};
use crate::sample;

const CONNECTIONS: u32 = 64;
/// How late a thread of the load may wake, in nanoseconds; Linux takes 50,000 unless told, and threads have what the one
/// that started them had.
const TIMER_SLACK: &str = "1000";

/// The load and Ditto share the first core and the servers have the second, so that nobody waits for a core that another
/// process uses.
pub fn run() {
    let peers = [Peer::Direct, Peer::TwinOps, Peer::Nginx];
    run_on("0");
    let (runtime, stub) = (runtime(), Stub::start(0, 0).with_servers_on(1));
    let servers: Vec<Option<Server>> =
        peers.iter().map(|peer| (*peer != Peer::Direct).then(|| stub.before(*peer))).collect();
    let get = ask("GET", THING, "");
    let most = storm(stub.address(servers[1].as_ref()), 32, (ENDLESS, TURN * 2), move |_| get.clone());
    let (answered, seconds) = runtime.block_on(most);
    let half = f64::from(u32::try_from(answered).expect("few")) / seconds / 2.0;
    let period = Duration::from_secs_f64(f64::from(CONNECTIONS) / half);
    println!("half load: {half:.0} requests a second over {CONNECTIONS} connections");
    let mut times: Vec<Vec<f64>> = vec![vec![]; peers.len()];
    let mut p99: Vec<Vec<f64>> = vec![vec![]; peers.len()];
    wake_within(TIMER_SLACK);
    for _ in 0..ROUNDS {
        for (at, (peer, server)) in peers.iter().zip(&servers).enumerate() {
            let request = ask("GET", &peer.path(THING), "");
            let mut some = paced(stub.address(server.as_ref()), period, &request);
            some.sort_by(f64::total_cmp);
            p99[at].push(some[(some.len() - 1) * 99 / 100]);
            times[at].extend(some);
        }
    }
    let direct = p99[0].clone();
    for ((peer, times), p99) in peers.iter().zip(times).zip(p99) {
        println!("{}: {} answers", peer.name(), times.len());
        sample::print_microseconds(&peer.name(), times);
        let added = p99.iter().zip(&direct).map(|(p99, direct)| p99 - direct).collect();
        sample::print(&format!("{}, p99 by round", peer.name()), "ms", p99);
        sample::print(&format!("{}, added to the p99 of the same round", peer.name()), "ms", added);
    }
    wake_within("0");
    run_on("0,1");
}

/// Threads that this one starts; 0 is what the process began with.
fn wake_within(nanoseconds: &str) {
    std::fs::write("/proc/self/timerslack_ns", nanoseconds).expect("Linux 4.6");
}

/// This process, and what it starts, on these cores.
fn run_on(cores: &str) {
    let moved = Command::new("taskset").args(["-acp", cores, &std::process::id().to_string()]).output();
    assert!(moved.expect("util-linux has taskset").status.success(), "this machine has no cores {cores}");
}

/// Each connection asks once in a period, on its own clock; the milliseconds that answers took.
fn paced(address: &str, period: Duration, request: &[u8]) -> Vec<f64> {
    let start = Instant::now() + Duration::from_millis(100);
    thread::scope(|scope| {
        let connection = |n| move || one(address, (start + period * n / CONNECTIONS, period), request);
        let connections: Vec<_> = (0..CONNECTIONS).map(|n| scope.spawn(connection(n))).collect();
        connections.into_iter().flat_map(|one| one.join().expect("a connection")).collect()
    })
}

fn one(address: &str, (mut due, period): (Instant, Duration), request: &[u8]) -> Vec<f64> {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("a socket");
    let (until, mut read, mut took) = (due + TURN * 2, vec![0; 64 * 1024], vec![]);
    while due < until {
        let early = due.saturating_duration_since(Instant::now());
        thread::sleep(early);
        // Who was held up by the answer before waits since his turn came; who woke late, since he woke.
        let asked = if early.is_zero() { due } else { Instant::now() };
        stream.write_all(request).expect("the server reads");
        answer(&mut stream, &mut read);
        took.push(asked.elapsed().as_secs_f64() * 1e3);
        due += period;
    }
    took
}

/// One whole answer.
fn answer(stream: &mut TcpStream, read: &mut [u8]) {
    let (mut filled, mut whole) = (0, usize::MAX);
    while filled < whole {
        let more = stream.read(&mut read[filled..]).expect("the server answers");
        assert!(more > 0, "the server hung up");
        filled += more;
        if whole == usize::MAX
            && let Some(end) = read[..filled].windows(4).position(|four| four == b"\r\n\r\n")
        {
            assert_eq!(&read[9..12], b"200");
            whole = end + 4 + length(&read[..end]);
        }
    }
}
