//! Benchmarks of whole processes on loopback: `bench/run [NAME…]`. Prints figures and asserts nothing.
//!
//! CPU is user and system time as the kernel counts it, which is what stays comparable on a busy
//! machine; wall time is printed beside it.
#[path = "../tests/suite/support/mod.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod support;

mod apply;
mod dev;
mod engine;
mod load;
mod operator;
mod sample;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if wanted == [engine::HELLO] {
        return engine::hello();
    }
    let all: [(&str, fn()); 6] = [
        ("apply", apply::run),
        ("dev", dev::run),
        ("engine", engine::run),
        ("operator", operator::run),
        ("engine-requests", engine::run_requests),
        ("engine-things", engine::run_things),
    ];
    let is_part = |name: &str| name.starts_with("engine-");
    println!("load average before: {}", sample::load());
    for (name, run) in all {
        if wanted.is_empty() && !is_part(name) || wanted.iter().any(|word| word == name) {
            println!("\n## {name}");
            run();
        }
    }
    println!("\nload average after: {}", sample::load());
}
