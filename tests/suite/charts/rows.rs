//! Faults and attacks of an installation, each by its row.
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Desk, NO_RESYNC, Operator, SOON, account};
use crate::mqtt::rounds;
use crate::support::ditto::{Ditto, Engine, STARTS_WITHIN, get, last_after, twinops};
use crate::support::process::{Child, run};
use crate::support::wait_for;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// What the operator of the chart may use at most.
const OPERATOR_KIB_MAX: u64 = 256 * 1_024;

/// Packages with their licences, as cargo knows them.
fn packages() -> Vec<Value> {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    // What other systems need was not downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    command
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &platform])
        .current_dir(ROOT);
    let metadata: Value = serde_json::from_str(&run(command, "").ok()).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn s52_dependencies_come_from_one_place_with_licences_that_are_allowed() {
    let deny = fs::read_to_string(format!("{ROOT}/deny.toml")).unwrap();
    // The quoted words of a list.
    let words = |list: &str| -> Vec<&str> {
        let (_, rest) = deny.split_once(&format!("{list} = [")).expect(list);
        let (words, _) = rest.split_once(']').expect("its end");
        words.split('"').skip(1).step_by(2).collect()
    };
    let (allowed, banned) = (words("allow"), words("deny"));
    assert!(allowed.contains(&"MIT") && banned.contains(&"openssl-sys"));
    let packages = packages();
    assert!(packages.len() > 200);
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        if name == "twinops" {
            continue;
        }
        let source = package["source"].as_str().unwrap_or_default();
        assert_eq!(source, "registry+https://github.com/rust-lang/crates.io-index", "{name}");
        assert!(!banned.contains(&name), "{name}");
        let licence = package["license"].as_str().unwrap_or_else(|| panic!("{name} has no licence"));
        let licence = licence.replace(['(', ')'], "").replace('/', " OR ");
        // One of the choices, with all of its parts.
        let fits = licence
            .split(" OR ")
            .any(|choice| choice.split(" AND ").all(|part| allowed.contains(&part.trim())));
        assert!(fits, "{name}: {licence}");
    }
}

/// Keys of tests are for loopback, and lie in one folder.
#[test]
fn s52_no_key_stands_in_the_repository() {
    let mut command = Command::new("git");
    command.args(["-C", ROOT, "ls-files", "-z"]);
    let files = run(command, "").ok();
    let signs = [
        ["BEGIN ", "PRIVATE KEY"],
        ["BEGIN RSA", " PRIVATE KEY"],
        ["BEGIN EC", " PRIVATE KEY"],
        ["AKIA", "IOSFODNN"],
        ["ghp", "_"],
    ];
    let mut seen = 0;
    for file in files.split('\0').filter(|file| !file.is_empty() && !file.starts_with("tests/data/tls/")) {
        let Ok(text) = fs::read_to_string(Path::new(ROOT).join(file)) else { continue };
        for sign in signs {
            assert!(!text.contains(&sign.concat()), "{file} holds {}", sign.concat());
        }
        seen += 1;
    }
    assert!(seen > 200, "only {seen} files were looked at");
}

#[test]
fn f51_a_name_that_does_not_resolve_is_told() {
    let desk = Desk::new(NO_RESYNC);
    let nowhere = Ditto { url: "http://nowhere.invalid:8080".to_owned() };
    let namespace = desk.cluster.namespace();
    let args = ["--watch-namespace", &namespace, "--lease-namespace", &namespace];
    let operator = Operator::start_as(&account(desk.cluster), &nowhere, desk.folder.path(), &args);
    wait_for("the name in readiness", SOON, || {
        let (status, text) = operator.get("/readyz");
        (status == 503 && text.contains("ditto: ") && text.contains("nowhere.invalid")).then_some(())
    });
    assert_eq!(operator.get("/livez").0, 200, "a restart would help nobody");
}

#[test]
fn f51_ipv6_alone_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = twinops();
    command.args(["engine", "--ephemeral", "--pre-authenticated", "--listen", "[::1]:0"]);
    let child = Child::start("engine-v6", &command, folder.path()).expect("it starts");
    let url = wait_for("the engine", STARTS_WITHIN, || last_after(&child.log(), "engine listening on "));
    assert!(url.starts_with("http://[::1]:"), "{url}");
    let mut health = twinops();
    health.args(["health", &format!("{url}/health")]);
    assert!(run(health, "").ok().starts_with("200 OK"));
    let text = super::template(&["listenAddress=[::]"], &[]);
    assert!(
        text.contains("--listen=[::]:8000")
            && text.contains("preferIPv4Stack=false")
            && text.contains("- --ipv6")
    );
    assert!(!text.contains("0.0.0.0:"));
}

/// A certificate whose time is over, made by openssl.
fn expired(folder: &Path) -> (String, String) {
    let path = |name: &str| folder.join(name).display().to_string();
    fs::write(folder.join("index"), "").unwrap();
    let configuration = format!(
        "[ca]\ndefault_ca=own\n[own]\ndatabase={}\nnew_certs_dir={}\nrand_serial=yes\ndefault_md=sha256\npolicy=any\nx509_extensions=leaf\n[any]\ncommonName=supplied\n[leaf]\nbasicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:localhost\n",
        path("index"),
        folder.display()
    );
    fs::write(folder.join("ca.cnf"), configuration).unwrap();
    let openssl = |args: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(args);
        run(command, "").ok();
    };
    let (key, request, certificate) = (path("key.pem"), path("request.pem"), path("certificate.pem"));
    let new = [
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=localhost",
    ];
    openssl(&[&new[..], &["-keyout", &key, "-out", &request]].concat());
    let dates = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"];
    let sign = [
        "ca",
        "-batch",
        "-selfsign",
        "-notext",
        "-config",
        &path("ca.cnf"),
        "-keyfile",
        &key,
        "-in",
        &request,
        "-out",
        &certificate,
    ];
    openssl(&[&sign[..], &dates].concat());
    (certificate, key)
}

#[test]
fn f51_a_certificate_whose_time_is_over_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path(), None);
    let (certificate, key) = expired(folder.path());
    // One that ends later comes with it.
    let later = fs::read_to_string(format!("{ROOT}/tests/data/tls/ca.pem")).unwrap();
    let chain = fs::read_to_string(&certificate).unwrap() + &later;
    fs::write(folder.path().join("chain.pem"), chain).unwrap();
    let shown = folder.path().join("chain.pem").display().to_string();
    let mut command = twinops();
    command.args([
        "facade",
        "--listen",
        "127.0.0.1:0",
        "--management-listen",
        "127.0.0.1:0",
        "--ditto-url",
        &engine.ditto.url,
    ]);
    command.args(["--tls-certificate", &shown, "--tls-key", &key]);
    let child = Child::start("facade-expired", &command, folder.path()).expect("it starts");
    let url = wait_for("the facade", STARTS_WITHIN, || last_after(&child.log(), "facade listening on "));
    let url = url.replace("127.0.0.1", "localhost");
    let mut health = twinops();
    health.args(["health", "--ca-file", &certificate, &format!("{url}/health")]);
    let said = run(health, "");
    assert!(!said.success && said.stdout.contains("xpired"), "{}{}", said.stdout, said.stderr);
    // In the log, and before it happens in a metric: when the first of the chain is over, 2020-01-02.
    assert!(child.log().contains("the certificate's time is over"), "{}", child.log());
    let management = last_after(&child.log(), "management ").expect("its address");
    let (_, metrics) = get(&format!("{management}/metrics"));
    let line = "twinops_tls_not_after_timestamp_seconds{what=\"facade\"} 1577923200";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

/// The most memory a process has had, in KiB. Source: proc(5), `VmHWM`.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// `make soak` asks for 1,000 rounds of ten twins each.
#[test]
fn f52_a_list_of_many_twins_stays_within_the_memory_of_the_chart() {
    let twins = 10 * rounds(40, 1_000);
    let mut desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.policy("sensors")).ok();
    desk.wait_ready("tp", "sensors");
    assert!(desk.operator.child.stop().success());
    let documents: Vec<_> = (0..twins)
        .map(|number| {
            let mut twin = desk.twin(&format!("pump-{number}"));
            twin["metadata"]["namespace"] = Value::from(desk.namespace.clone());
            twin["spec"]["attributes"]["text"] = Value::from("x".repeat(1_000));
            twin
        })
        .collect();
    for some in documents.chunks(1_000) {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": some}).to_string();
        desk.cluster.kubectl_stdin("admin", &["apply", "--server-side", "-f", "-"], &list).ok();
    }
    desk.operator = desk.another(&["--resync", NO_RESYNC]);
    desk.operator.wait_ready();
    let within = Duration::from_mins(3) + Duration::from_millis(100) * u32::try_from(twins).unwrap();
    wait_for("every twin to be Ready", within, || {
        (desk.operator.metric("twinops_twins{state=\"ready\"}") >= twins as u64).then_some(())
    });
    let first = peak(desk.operator.child.id());
    // Another finds them all there: it lists, and writes nothing.
    assert!(desk.operator.child.stop().success());
    desk.operator = desk.another(&["--resync", NO_RESYNC]);
    desk.operator.wait_ready();
    wait_for("every twin to be Ready again", within, || {
        (desk.operator.metric("twinops_twins{state=\"ready\"}") >= twins as u64).then_some(())
    });
    let second = peak(desk.operator.child.id());
    println!("{twins} twins: {first} KiB at most when all were new, {second} KiB when all were there");
    assert!(first.max(second) < OPERATOR_KIB_MAX, "{first} KiB, {second} KiB");
}
