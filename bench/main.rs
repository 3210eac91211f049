//! Benchmarks of whole processes on loopback: `bench/run [NAME…]`, each a name or its beginning. Prints figures and asserts nothing.
//!
//! CPU is user and system time as the kernel counts it, which is what stays comparable on a busy
//! machine; wall time is printed beside it.
#[path = "../tests/suite/support/mod.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod support;

mod apply;
mod dev;
mod engine;
mod facade;
mod load;
mod mqtt;
mod operator;
mod sample;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if wanted == [engine::HELLO] {
        return engine::hello();
    }
    if let [word, rate, bytes] = wanted.as_slice()
        && word == facade::STUB
    {
        return facade::stub::serve(rate.parse().expect("a rate"), bytes.parse().expect("a size"));
    }
    let all: [(&str, fn()); 20] = [
        ("apply", apply::run),
        ("dev", dev::run),
        ("engine-checks", engine::checks),
        ("engine-requests", engine::requests),
        ("engine-things", engine::things),
        ("facade-requests", facade::requests),
        ("facade-latency", facade::latency::run),
        ("facade-idle", facade::idle),
        ("facade-fanout", facade::fanout::delivered),
        ("facade-sockets", facade::fanout::memory),
        ("facade-stalled", facade::fanout::stalled),
        ("mqtt-throughput", mqtt::throughput),
        ("mqtt-latency", mqtt::latency),
        ("mqtt-overload", mqtt::overload),
        ("operator-storm", operator::storm::run),
        ("operator-latency", operator::latency::run),
        ("operator-fleet", operator::fleet::run),
        ("operator-peers-fleet", operator::fleet::peer),
        ("operator-drift", operator::drift::run),
        ("operator-failover", operator::failover::run),
    ];
    println!("load average before: {}", sample::load());
    for (name, run) in all {
        if wanted.is_empty() || wanted.iter().any(|word| name.starts_with(word.as_str())) {
            println!("\n## {name}");
            run();
        }
    }
    println!("\nload average after: {}", sample::load());
}
