//! Who may say what, and what nobody may.
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Site, USER, becomes, create, value};
use crate::support::ditto::{Engine, folder, twinops, write};
use crate::support::mqtt::{
    Bridge, Device, Mosquitto, SOON, certificate, certificates, program, publish, self_signed, subscribe,
};
use crate::support::process::run;
use crate::support::{free_port, wait_for};

/// The ACL that the repository shows, with these users; each password is the name.
fn guarded(folder: &Path, port: u16, users: &[&str], listener: &str) -> Mosquitto {
    let passwords = write(folder, "passwd", "");
    for user in users {
        let mut command = Command::new(program("mosquitto_passwd"));
        command.arg("-b").arg(&passwords).args([user, user]);
        run(command, "").ok();
    }
    let acl = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/mosquitto/acl");
    let lines = format!(
        "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nacl_file {acl}\n{listener}",
        passwords.display()
    );
    Mosquitto::with(folder, port, &lines)
}

/// The bridge, with its password from a file.
fn bridge(folder: &Path, broker: &str, ditto: &str, password: &Path, more: &[&str]) -> Bridge {
    let mut command = twinops();
    command.args([
        "bridge",
        "--management-listen",
        "127.0.0.1:0",
        "--mqtt-url",
        broker,
        "--ditto-url",
        ditto,
    ]);
    command.args(["--mqtt-username", "twinops-bridge"]).args(more).env("MQTT_PASSWORD_FILE", password);
    Bridge::of("bridge", folder, &command)
}

#[test]
fn s46_with_the_sample_acl_a_device_speaks_for_itself_alone() {
    let folder = folder(&[]);
    let engine = Engine::start(folder.path(), None);
    let mosquitto = guarded(folder.path(), free_port(), &["twinops-bridge", "a", "b"], "");
    let password = write(folder.path(), "password", "twinops-bridge\n");
    let place = format!("mqtt://127.0.0.1:{}", mosquitto.port);
    let bridge = bridge(folder.path(), &place, &engine.ditto.url, &password, &[]);
    for id in ["com.example:a", "com.example:b"] {
        create(&engine.ditto, id);
    }
    let [a, b] = [["-u", "a", "-P", "a"], ["-u", "b", "-P", "b"]];
    publish(mosquitto.port, "devices/com.example:a/telemetry", r#"{"t": "a"}"#, &a);
    publish(mosquitto.port, "devices/com.example:b/telemetry", r#"{"t": "b"}"#, &b);
    becomes(&engine.ditto, "com.example:a", "t", &json!("a"));
    becomes(&engine.ditto, "com.example:b", "t", &json!("b"));

    // A says that it is B. MQTT 3.1.1 does not tell it that nobody listens.
    publish(mosquitto.port, "devices/com.example:b/telemetry", r#"{"t": "forged"}"#, &a);
    publish(mosquitto.port, "devices/com.example:b/responses/x", r#"{"t": "forged"}"#, &a);
    publish(mosquitto.port, "devices/com.example:a/commands", r#"{"type": "desired"}"#, &a);
    publish(mosquitto.port, "devices/com.example:a/telemetry", r#"{"t": "still a"}"#, &a);
    becomes(&engine.ditto, "com.example:a", "t", &json!("still a"));
    assert_eq!(value(&engine.ditto, "com.example:b", "t"), json!("b"));
    assert_eq!(bridge.metric(r#"mqtt_commands_total{kind="response_unknown"}"#), 0);

    // A wants to hear what B is told, by name and by wildcard.
    let ears = subscribe(folder.path(), "ears", mosquitto.port, "devices/com.example:b/commands", &a);
    let wide = subscribe(folder.path(), "wide", mosquitto.port, "devices/#", &a);
    let own = subscribe(folder.path(), "own", mosquitto.port, "devices/com.example:b/commands", &b);
    wait_for("B to hear its commands", SOON, || {
        publish(mosquitto.port, "devices/com.example:b/commands/get", "", &b);
        publish(mosquitto.port, "devices/com.example:a/commands/get", "", &a);
        (own.log().contains("desired") && wide.log().contains("com.example:a/commands ")).then_some(())
    });
    assert!(!ears.log().contains("desired"), "{}", ears.log());
    assert!(!wide.log().contains("com.example:b"), "{}", wide.log());
}

#[test]
fn s46_whoever_the_broker_lets_in_is_not_believed_in_the_payload() {
    let site = Site::start(&[]);
    for id in ["org.t:a", "org.t:b"] {
        create(site.ditto(), id);
    }
    publish(site.mosquitto.port, "devices/org.t:a/telemetry", r#"{"thingId": "org.t:b", "t": 1}"#, &[]);
    becomes(site.ditto(), "org.t:a", "t", &json!(1));
    assert_eq!(site.ditto().thing(USER, "org.t:b").unwrap().get("features"), None);
}

#[test]
fn s47_s48_nothing_a_device_can_send_stops_the_others() {
    let site = Site::start(&[]);
    create(site.ditto(), "org.t:a");
    let long = format!("devices/org.t:{}/telemetry", "x".repeat(60_000));
    let deep = format!("{{\"a\": {}1{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let names = format!("{{\"{}\": 1}}", "k".repeat(300));
    let huge = format!("{{\"a\": \"{}\"}}", "x".repeat(10_000_000));
    let rows: [(&str, &[u8]); 14] = [
        ("devices//telemetry", b"{}"),
        ("devices/org.t:a%2f/telemetry", b"{}"),
        ("devices/org.t%3Aa/telemetry", b"{\"t\": 9}"),
        (&long, b"{}"),
        ("devices/org.t:a/telemetry", b"\xff\xfe"),
        ("devices/org.t:a/telemetry", b"NaN"),
        ("devices/org.t:a/telemetry", b"{\"a\": Infinity}"),
        ("devices/org.t:a/telemetry", b"[1]"),
        ("devices/org.t:a/telemetry", b"{\"a\": null}"),
        ("devices/org.t:a/telemetry", b"{\"a/b\": 1}"),
        ("devices/org.t:a/telemetry", deep.as_bytes()),
        ("devices/org.t:a/telemetry", names.as_bytes()),
        ("devices/org.t:a/telemetry", b""),
        ("devices/org.t:a/telemetry", huge.as_bytes()),
    ];
    let mut device = Device::connect(site.mosquitto.port, "bad").expect("a broker");
    for (topic, payload) in rows {
        device.send(topic, payload).expect("the broker takes it");
    }
    // Names of other languages are names.
    device.send("devices/org.t:a/telemetry", br#"{"__proto__": 1, "$x": 2, "t~": 3}"#).unwrap();
    device.settle().expect("the broker takes everything");
    becomes(site.ditto(), "org.t:a", "$x", &json!(2));
    becomes(site.ditto(), "org.t:a", "__proto__", &json!(1));
    let rejected = |reason: &str| site.bridge.metric(&format!("mqtt_rejected_total{{reason=\"{reason}\"}}"));
    let all = || ["bad_topic", "bad_json", "bad_value", "too_large"].map(rejected);
    wait_for("all to be counted", SOON, || (all().iter().sum::<u64>() >= 14).then_some(()));
    assert_eq!(all(), [4, 5, 3, 2]);
    wait_for("all to be acknowledged", SOON, || {
        (site.bridge.metric(r#"mqtt_waiting{what="unacknowledged"}"#) == 0).then_some(())
    });
    assert_eq!(
        site.bridge.metric(r#"mqtt_connections_total{result="connected"}"#),
        1,
        "{}",
        site.bridge.child.log()
    );
}

#[test]
fn s49_a_device_that_makes_new_names_fills_its_own_twin_and_no_other() {
    let site = Site::start(&[]);
    for id in ["org.t:a", "org.t:b"] {
        create(site.ditto(), id);
    }
    let mut device = Device::connect(site.mosquitto.port, "bad").expect("a broker");
    for round in 0..300 {
        let payload = json!({format!("f{round}"): "x".repeat(2_000), "steady": round});
        device.send("devices/org.t:a/telemetry", payload.to_string().as_bytes()).unwrap();
        device.send("devices/org.t:b/telemetry", json!({"t": round}).to_string().as_bytes()).unwrap();
    }
    device.settle().expect("the broker takes everything");
    becomes(site.ditto(), "org.t:b", "t", &json!(299));
    site.bridge.reaches(r#"mqtt_rejected_total{reason="too_large"}"#, 1);
    becomes(site.ditto(), "org.t:a", "steady", &json!(299));
    let size = site.ditto().thing(USER, "org.t:a").map_or(0, |thing| thing.to_string().len());
    assert!(size < 110_000, "{size}");
}

#[test]
fn s50_a_message_that_is_retained_is_handled_once_in_each_session() {
    let site = Site::start(&[]);
    create(site.ditto(), "org.t:a");
    publish(site.mosquitto.port, "devices/org.t:a/telemetry", "poison", &["-r"]);
    publish(site.mosquitto.port, "devices/org.t:b/telemetry", "poison", &["-r", "-q", "2"]);
    site.bridge.reaches(r#"mqtt_rejected_total{reason="bad_json"}"#, 2);
    let Site { bridge, mut mosquitto, engine, folder } = site;
    for _ in 0..3 {
        mosquitto.child.stop();
        mosquitto.again();
        let connected = bridge.metric(r#"mqtt_connections_total{result="connected"}"#);
        bridge.reaches(r#"mqtt_connections_total{result="connected"}"#, connected.max(2));
        publish(mosquitto.port, "devices/org.t:a/telemetry", r#"{"t": 1}"#, &[]);
        becomes(&engine.ditto, "org.t:a", "t", &json!(1));
    }
    assert_eq!(bridge.metric(r#"mqtt_rejected_total{reason="bad_json"}"#), 2, "not again");
    // A will that says nonsense, of clients that die one after the other.
    for round in 0..5 {
        let will = ["--will-topic", "devices/org.t:a/telemetry", "--will-payload", "poison"];
        let mut dying = subscribe(
            folder.path(),
            &format!("will-{round}"),
            mosquitto.port,
            "devices/org.t:a/commands",
            &will,
        );
        wait_for("the client to hear", SOON, || {
            publish(mosquitto.port, "devices/org.t:a/commands/get", "", &[]);
            dying.log().contains("desired").then_some(())
        });
        dying.kill();
    }
    bridge.reaches(r#"mqtt_rejected_total{reason="bad_json"}"#, 7);
    publish(mosquitto.port, "devices/org.t:a/telemetry", r#"{"t": 2}"#, &[]);
    becomes(&engine.ditto, "org.t:a", "t", &json!(2));
    drop((bridge, folder));
}

/// A Mosquitto that lets in who shows a certificate of the CA in the folder, as the name in it. The sample ACL, with one
/// more name for the bridge.
fn certified(folder: &Path) -> Mosquitto {
    let acl = include_str!("../../../manifests/mosquitto/acl");
    let (_, of_bridge) = acl.split_once("user twinops-bridge\n").expect("the bridge's lines");
    let acl = write(folder, "acl", &format!("{acl}\nuser {NEXT}\n{of_bridge}"));
    let port = free_port();
    let lines = format!(
        "listener {port} 127.0.0.1\ncafile {0}/ca.pem\ncertfile {0}/broker.pem\nkeyfile {0}/broker.key\n\
         require_certificate true\nuse_identity_as_username true\nacl_file {1}\nlog_type notice\n",
        folder.display(),
        acl.display(),
    );
    Mosquitto::with(folder, port, &lines)
}

/// The name in the second certificate of the bridge.
const NEXT: &str = "twinops-bridge-next";

#[test]
fn a_client_certificate_opens_the_broker_and_a_new_one_is_taken_without_a_restart() {
    let folder = folder(&[]);
    let path = folder.path();
    certificates(path);
    certificate(path, NEXT);
    let engine = Engine::start(path, None);
    let mosquitto = certified(path);
    let file = |name: &str| path.join(name).display().to_string();
    let flags = [
        "--mqtt-ca-file",
        &file("ca.pem"),
        "--mqtt-certificate",
        &file("shown.pem"),
        "--mqtt-key",
        &file("shown.key"),
    ];
    let show = |name: &str| {
        for kind in ["pem", "key"] {
            std::fs::copy(path.join(format!("{name}.{kind}")), path.join(format!("shown.{kind}")))
                .expect("a file");
        }
    };
    let as_whom = |name: &str| mosquitto.child.log().matches(&format!("u'{name}'")).count();
    // First a certificate that nobody signed.
    self_signed(path, "shown", "twinops-bridge");
    let place = format!("mqtts://127.0.0.1:{}", mosquitto.port);
    let bridge = Bridge::starting("bridge", path, &place, &engine.ditto.url, &flags);
    wait_for("the broker to refuse it", SOON, || {
        bridge.child.log().contains("no connection to the broker").then_some(())
    });
    let end = bridge.metric(r#"tls_not_after_timestamp_seconds{what="bridge"}"#);
    assert!(end > 1_700_000_000, "the end of what was refused is told, too: {end}");
    let connected = || bridge.metric(r#"mqtt_connections_total{result="connected"}"#);
    show("twinops-bridge");
    wait_for("the broker to let it in", SOON, || (connected() > 0).then_some(()));
    // What it was let in with is not taken for new when the files are looked at, every 5 s.
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!((connected(), as_whom("twinops-bridge")), (1, 1), "{}", bridge.child.log());
    // And another one while it is connected: the broker is shown that one.
    show(NEXT);
    wait_for("the broker to let the next one in", SOON, || (connected() > 1).then_some(()));
    assert_eq!(
        (connected(), as_whom("twinops-bridge"), as_whom(NEXT)),
        (2, 1, 1),
        "{}",
        mosquitto.child.log()
    );
    create(&engine.ditto, "com.example:twinops-bridge");
    let mut command = Command::new(program("mosquitto_pub"));
    command.args(["-h", "127.0.0.1", "-p", &mosquitto.port.to_string(), "-q", "1"]);
    command.args(["--cafile", &file("ca.pem")]);
    command.args(["--cert", &file("twinops-bridge.pem"), "--key", &file("twinops-bridge.key")]);
    command.args(["-t", "devices/com.example:twinops-bridge/telemetry", "-m", r#"{"t": 1}"#]);
    run(command, "").ok();
    becomes(&engine.ditto, "com.example:twinops-bridge", "t", &json!(1));
}

#[test]
fn a_password_that_changes_in_its_file_is_taken_without_a_restart() {
    let folder = folder(&[]);
    let engine = Engine::start(folder.path(), None);
    let mosquitto = guarded(folder.path(), free_port(), &["twinops-bridge", "a"], "");
    create(&engine.ditto, "com.example:a");
    let password = write(folder.path(), "password", "wrong\n");
    let place = format!("mqtt://127.0.0.1:{}", mosquitto.port);
    let bridge = bridge(folder.path(), &place, &engine.ditto.url, &password, &[]);
    wait_for("the broker to refuse it", SOON, || {
        bridge.child.log().contains("does not let us in").then_some(())
    });
    let log = bridge.child.log();
    assert!(!log.contains("wrong") && log.contains("MQTT_PASSWORD_FILE"), "{log}");
    write(folder.path(), "password", "twinops-bridge\n");
    wait_for("the broker to let it in", SOON, || {
        bridge.child.log().contains("connected to the broker").then_some(())
    });
    publish(mosquitto.port, "devices/com.example:a/telemetry", r#"{"t": 1}"#, &["-u", "a", "-P", "a"]);
    becomes(&engine.ditto, "com.example:a", "t", &json!(1));
    let readiness: Value =
        serde_json::from_str(&crate::support::ditto::get(&format!("{}/health", bridge.management)).1)
            .unwrap();
    assert_eq!(readiness["broker"]["status"], "UP");
}
