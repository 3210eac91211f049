//! A broker outside, with TLS and client certificates: the bridge is started as its pod would be, by the arguments, the
//! variables and the mounted Secrets that the chart renders, against a real Mosquitto.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{NAME, pod_of, render, title};
use crate::mqtt::{becomes, create};
use crate::support::ditto::{Engine, folder, twinops, write};
use crate::support::free_port;
use crate::support::mqtt::{Bridge, Mosquitto, SOON, certificates, program};
use crate::support::process::run;
use crate::support::wait_for;

/// Secrets of a namespace, by name and key.
pub type Secrets = BTreeMap<&'static str, BTreeMap<&'static str, String>>;

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// The first container of a pod as a process: mounted Secrets become files below `root`.
pub fn as_process(pod: &Value, secrets: &Secrets, root: &Path) -> Command {
    let container = &pod["spec"]["containers"][0];
    let volumes = pod["spec"]["volumes"].as_array().expect("volumes");
    let mut places = vec![];
    for mount in container["volumeMounts"].as_array().expect("mounts") {
        let volume = volumes.iter().find(|one| one["name"] == mount["name"]).expect("its volume");
        let place = mount["mountPath"].as_str().expect("a path");
        let real = root.join(place.trim_start_matches('/'));
        fs::create_dir_all(&real).expect("a folder");
        let secret = &secrets[volume["secret"]["secretName"].as_str().expect("a Secret")];
        // Only what is named is mounted, and everything where nothing is.
        let items: Vec<(&str, &str)> = match volume["secret"]["items"].as_array() {
            Some(items) => items.iter().map(|item| (text(&item["key"]), text(&item["path"]))).collect(),
            None => secret.keys().map(|key| (*key, *key)).collect(),
        };
        for (key, path) in items {
            fs::write(real.join(path), &secret[key]).expect("a file");
        }
        places.push((place.to_owned(), real.display().to_string()));
    }
    let mapped = |text: &str| {
        let found = places.iter().find(|(place, _)| text.starts_with(&format!("{place}/")));
        found.map_or_else(|| text.to_owned(), |(place, real)| text.replacen(place, real, 1))
    };
    let mut command = twinops();
    for arg in container["args"].as_array().expect("arguments") {
        // On loopback, at any free port: nothing else of it changes.
        command.arg(arg.as_str().expect("a text").replace("0.0.0.0:9090", "127.0.0.1:0"));
    }
    for variable in container["env"].as_array().expect("variables") {
        let from = &variable["valueFrom"]["secretKeyRef"];
        let value = match variable["value"].as_str() {
            Some(value) => mapped(value),
            None => secrets[from["name"].as_str().expect("a Secret")][from["key"].as_str().expect("a key")]
                .clone(),
        };
        command.env(variable["name"].as_str().expect("a name"), value);
    }
    command
}

/// What an administrator of that broker handed out.
fn handed_out(folder: &Path) -> Secrets {
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a file");
    let login = [("bridge-username", "bridge".to_owned()), ("bridge-password", "b-word".to_owned())];
    let shown = [("tls.crt", read("twinops-bridge.pem")), ("tls.key", read("twinops-bridge.key"))];
    [
        ("broker-login", login.into()),
        ("broker-ca", [("ca.crt", read("ca.pem"))].into()),
        ("broker-client", shown.into()),
    ]
    .into()
}

/// Wants a certificate of its CA and a password.
fn guarded(folder: &Path) -> Mosquitto {
    let passwords = write(folder, "passwd", "");
    for (user, password) in [("bridge", "b-word"), ("lamp", "l-word")] {
        let mut command = Command::new(program("mosquitto_passwd"));
        command.arg("-b").arg(&passwords).args([user, password]);
        run(command, "").ok();
    }
    let acl = "user bridge\ntopic read devices/+/telemetry\ntopic readwrite devices/#\n\
               user lamp\ntopic write devices/com.example:lamp/telemetry\n";
    let acl = write(folder, "acl", acl);
    let port = free_port();
    let lines = format!(
        "listener {port} 127.0.0.1\ncafile {0}/ca.pem\ncertfile {0}/broker.pem\nkeyfile {0}/broker.key\n\
         require_certificate true\nallow_anonymous false\npassword_file {1}\nacl_file {2}\n",
        folder.display(),
        passwords.display(),
        acl.display(),
    );
    Mosquitto::with(folder, port, &lines)
}

/// The bridge's pod of an installation with this broker and this Ditto.
fn pod(broker: &str, ditto: &str, more: &[&str]) -> Value {
    let (broker, ditto) = (format!("externalBroker.url={broker}"), format!("externalDitto.url={ditto}"));
    let values = [
        "mosquitto.enabled=false",
        "backend=external",
        "externalDitto.login.mode=pre-authenticated",
        "bridge.subject=nginx:ditto",
        "log.format=text",
        &broker,
        &ditto,
    ];
    let objects = render(&[&values[..], more].concat(), &[]);
    let found = objects.iter().find(|one| title(one) == format!("StatefulSet/{NAME}-bridge"));
    pod_of(found.expect("a bridge")).expect("its pod")
}

#[test]
fn the_bridge_of_the_chart_reaches_a_broker_that_asks_for_its_certificate() {
    let home = folder(&[]);
    let path = home.path();
    certificates(path);
    let engine = Engine::start(path, None);
    let mosquitto = guarded(path);
    let (secrets, broker) = (handed_out(path), format!("mqtts://127.0.0.1:{}", mosquitto.port));
    let all = [
        "externalBroker.secret=broker-login",
        "externalBroker.caSecret=broker-ca",
        "externalBroker.clientSecret=broker-client",
    ];
    // Each of the three is needed.
    for (number, left_out) in all.iter().enumerate() {
        let values: Vec<_> = all.iter().copied().filter(|value| value != left_out).collect();
        let root = path.join(format!("without-{number}"));
        let command = as_process(&pod(&broker, &engine.ditto.url, &values), &secrets, &root);
        let bridge = Bridge::of(&format!("without-{number}"), path, &command);
        wait_for(&format!("the broker to refuse it without {left_out}"), SOON, || {
            let log = bridge.child.log();
            let refused = ["no connection to the broker", "does not let us in"];
            refused.iter().any(|words| log.contains(words)).then_some(())
        });
        assert!(
            !bridge.child.log().contains("connected to the broker"),
            "{left_out}: {}",
            bridge.child.log()
        );
    }
    let command = as_process(&pod(&broker, &engine.ditto.url, &all), &secrets, &path.join("whole"));
    let bridge = Bridge::of("bridge", path, &command);
    wait_for(&format!("the bridge to be ready, in:\n{}", bridge.child.log()), SOON, || {
        bridge.child.log().contains("connected to the broker").then_some(())
    });
    create(&engine.ditto, "com.example:lamp");
    let file = |name: &str| path.join(name).display().to_string();
    let mut command = Command::new(program("mosquitto_pub"));
    command.args(["-h", "127.0.0.1", "-p", &mosquitto.port.to_string(), "-q", "1"]);
    command.args(["-u", "lamp", "-P", "l-word", "--cafile", &file("ca.pem")]);
    command.args(["--cert", &file("twinops-bridge.pem"), "--key", &file("twinops-bridge.key")]);
    command.args(["-t", "devices/com.example:lamp/telemetry", "-m", r#"{"t": 21.5}"#]);
    run(command, "").ok();
    becomes(&engine.ditto, "com.example:lamp", "t", &json!(21.5));
}
