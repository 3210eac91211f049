//! Every process at its most talkative, with passwords, tokens and keys that would be found again: right ones, wrong
//! ones, and settings that are broken. They stand in nothing that it prints, answers or publishes.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cluster::{Desk, Operator, SOON, account, ditto};
use crate::crds::installed;
use crate::mqtt::{becomes, create};
use crate::support::ditto::{Ditto, STARTS_WITHIN, get, last_after, twinops, write};
use crate::support::gate::Gate;
use crate::support::gateway::Gateway;
use crate::support::mqtt::{Bridge, Mosquitto, program, publish, subscribe};
use crate::support::process::{Child, run};
use crate::support::{free_port, wait_for};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// In every secret of these tests.
const CANARY: &str = "canary-7f3e9a";
const WRONG: &str = "canary-wrong-11c";
const TOKEN: &str = "canary-token-5e1f0c";

const LISTENING: [&str; 5] = ["facade", "--listen", "127.0.0.1:0", "--management-listen", "127.0.0.1:0"];

/// Neither as it is nor as basic authentication carries it.
#[track_caller]
fn hidden(what: &str, text: &str) {
    assert!(!text.is_empty(), "{what} says nothing");
    let mut forms = vec!["canary".to_owned()];
    for user in ["ada", "bridge", "devops"] {
        for password in [CANARY, WRONG] {
            let pair = STANDARD.encode(format!("{user}:{password}"));
            // Without its last characters, which depend on what follows.
            forms.push(pair[..pair.len() - 4].to_owned());
        }
    }
    for form in forms {
        let line = text.lines().find(|line| line.contains(&form));
        assert!(line.is_none(), "{what} shows {form}: {}", line.unwrap_or_default());
    }
}

/// Everything that the management port answers.
#[track_caller]
fn hidden_by(what: &str, management: &str, paths: &[&str]) {
    for path in paths {
        let (status, text) = get(&format!("{management}{path}"));
        assert!(status != 0, "{what}{path}: {text}");
        hidden(&format!("{what} at {path}"), &text);
    }
}

fn start(
    name: &str,
    folder: &Path,
    args: &[&str],
    variables: &[(&str, &str)],
    label: &str,
) -> (Child, String) {
    let mut command = twinops();
    command.args(args).args(["--log-level", "trace"]).envs(variables.iter().copied());
    let child = Child::start(name, &command, folder).expect("it starts");
    let address = wait_for(name, STARTS_WITHIN, || last_after(&child.log(), label));
    (child, address)
}

/// An engine that knows Ada and the bridge.
fn engine(folder: &Path) -> (Child, String) {
    let users = write(folder, "users", &format!("ada:{CANARY}\nbridge:{CANARY}\n")).display().to_string();
    let args = ["engine", "--ephemeral", "--listen", "127.0.0.1:0", "--pre-authenticated"];
    start(
        "engine",
        folder,
        &[&args[..], &["--basic-auth-file", &users]].concat(),
        &[],
        "engine listening on ",
    )
}

#[test]
fn s45_no_secret_is_seen_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, ditto) = engine(folder.path());
    let users = folder.path().join("users").display().to_string();
    let args = [&LISTENING[..], &["--auth", "basic", "--users-file", &users, "--ditto-url", &ditto]].concat();
    let devops = [("DITTO_DEVOPS_USER", "devops"), ("DITTO_DEVOPS_PASSWORD", WRONG)];
    let (facade, api) = start("facade", folder.path(), &args, &devops, "facade listening on ");
    for password in [CANARY, WRONG] {
        let mut apply = twinops();
        apply.args(["apply", "--log-level", "trace", "--ditto-url", &ditto, "--ditto-username", "ada"]);
        apply.arg(format!("{ROOT}/manifests/samples")).env("DITTO_PASSWORD", password);
        let said = run(apply, "");
        hidden("apply", &format!("{}{}", said.stdout, said.stderr));
        for path in ["things/", "health", "things/a:b?token=x"] {
            let mut curl = Command::new("curl");
            curl.args(["-s", "-i", "-u", &format!("ada:{password}"), &format!("{api}/{path}")]);
            hidden(path, &run(curl, "").ok());
        }
    }
    assert!(facade.log().contains("/things"), "it tells of every request:\n{}", facade.log());
    let management = last_after(&facade.log(), "management ").expect("its address");
    hidden_by("the facade", &management, &["/metrics", "/livez", "/readyz"]);
    hidden_by("the engine", &ditto, &["/health", "/status", "/metrics"]);
    for child in [&engine, &facade] {
        hidden("a log", &child.log());
    }
}

/// Tokens and keys of callers, in headers and in addresses, to a facade that passes them on and to one that knows keys.
#[test]
fn s45_the_facade_does_not_show_what_its_callers_come_with() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, ditto) = engine(folder.path());
    let keys = write(folder.path(), "keys", &format!("ada:{}\n", "a".repeat(64))).display().to_string();
    let base = [&LISTENING[..], &["--ditto-url", &ditto]].concat();
    let modes: [(&str, &[&str]); 2] = [
        ("passthrough", &["--auth", "passthrough"]),
        ("api-key", &["--auth", "api-key", "--api-keys-file", &keys]),
    ];
    for (mode, flags) in modes {
        let args = [&base[..], flags].concat();
        let (facade, api) = start(mode, folder.path(), &args, &[], "facade listening on ");
        for target in ["events", "ws/events", "ws/ditto", "things/", "none"] {
            let target = format!("{api}/{target}?access_token={TOKEN}");
            for header in [format!("authorization: Bearer {TOKEN}"), format!("x-api-key: {TOKEN}")] {
                let mut curl = Command::new("curl");
                curl.args(["-s", "-i", "-m", "10", "-H", &header, &target]);
                hidden(&target, &run(curl, "").stdout);
            }
        }
        let management = last_after(&facade.log(), "management ").expect("its address");
        hidden_by(mode, &management, &["/metrics", "/livez", "/readyz"]);
        hidden(&format!("the log with {mode}"), &facade.log());
    }
    hidden("the log of the engine", &engine.log());
}

/// What somebody between us and Ditto may answer.
const ECHO: &str = r#"{"status": 400, "error": "things:attribute.invalid", "description": "sent with Bearer canary-token-5e1f0c",
    "message": "bad header 'authorization: Bearer canary-token-5e1f0c'"}"#;

/// A kubeconfig with this token, and the token that was in it.
fn with_token(kubeconfig: &Path, token: &str, folder: &Path) -> (PathBuf, String) {
    let mut config: Value = serde_json::from_str(&fs::read_to_string(kubeconfig).unwrap()).unwrap();
    let before = config["users"][0]["user"]["token"].as_str().unwrap().to_owned();
    config["users"][0]["user"]["token"] = json!(token);
    (write(folder, "kubeconfig", &config.to_string()), before)
}

#[test]
fn s45_the_operator_neither_prints_nor_publishes_a_secret() {
    let gateway = Gateway::start(ditto());
    gateway.take_token(TOKEN);
    let gate = Gate::before(&gateway.ditto.url);
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "token", TOKEN);
    let args = ["--ditto-token-file", file.to_str().unwrap(), "--log-level", "trace"];
    let desk = Desk::beside(&Ditto { url: gate.url.clone() }, "1s", &args);
    let mut pump = desk.sensor("pump");

    // An answer that repeats what was sent.
    let content = vec![("content-type", "application/json")];
    gate.refuse(|line| line.starts_with("PATCH "), (400, content, ECHO));
    pump["spec"]["attributes"]["location"] = json!("warehouse-2");
    desk.apply(&pump).ok();
    let message = desk.wait_reason("dt", "pump", "ValidationFailed");
    assert!(message.contains("[redacted]"), "{message}");
    gate.let_through();
    // A token that is over, one that was never good, none at all.
    gateway.take_token("another");
    let away = |words: &str| {
        wait_for(&format!("readiness to say {words}"), SOON, || {
            let (status, text) = desk.operator.get("/readyz");
            (status == 503 && text.contains(words)).then_some(())
        });
        hidden_by("the operator", desk.operator.management(), &["/metrics", "/livez", "/readyz"]);
    };
    away("ditto: ");
    fs::write(&file, WRONG).unwrap();
    pump["spec"]["attributes"]["location"] = json!("warehouse-3");
    desk.apply(&pump).ok();
    desk.wait("dt", "pump", "said that it is not known", |twin| {
        let ready = crate::cluster::condition(twin, "Ready");
        (ready["status"] == "False" && ready["reason"] != "ValidationFailed").then_some(())
    });
    fs::remove_file(&file).unwrap();
    away("--ditto-token-file");
    hidden("the log of the operator", &desk.operator.child.log());
    let kinds = "dt,tp,events,events.events.k8s.io,leases,configmaps";
    let published = desk.kubectl(&["get", kinds, "-o", "yaml", "--show-managed-fields"]).ok();
    assert!(published.contains("ValidationFailed") && published.contains("[redacted]"), "{published}");
    hidden("what is published", &published);
}

#[test]
fn s45_the_token_of_the_pod_is_not_shown_either() {
    let cluster = installed();
    let folder = tempfile::tempdir().unwrap();
    let (wrong, right) = with_token(&account(cluster), TOKEN, folder.path());
    let nowhere = ["--watch-namespace", "nowhere", "--lease-namespace", "nowhere", "--log-level", "trace"];
    let refused = Operator::start_as(&wrong, ditto(), folder.path(), &nowhere);
    wait_for("Kubernetes to refuse it", SOON, || {
        let (status, text) = refused.get("/readyz");
        (status == 503 && text.contains("credentials")).then_some(())
    });
    let (back, _) = with_token(&wrong, &right, folder.path());
    let taken = Operator::start_as(&back, ditto(), folder.path(), &nowhere);
    wait_for("Kubernetes to answer", SOON, || {
        taken.child.log().contains("TwinOps keeps twins and policies").then_some(())
    });
    for operator in [&refused, &taken] {
        hidden_by("the operator", operator.management(), &["/metrics", "/livez", "/readyz"]);
        let log = operator.child.log();
        hidden("the log of the operator", &log);
        // Its last part is the signature.
        assert!(!log.contains(right.rsplit('.').next().expect("a signature")), "{log}");
    }
}

#[test]
fn s45_the_bridge_neither_prints_nor_publishes_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (engine, place) = engine(path);
    let known = Ditto { url: place.clone() };
    let passwords = write(path, "passwd", "");
    let mut command = Command::new(program("mosquitto_passwd"));
    command.arg("-b").arg(&passwords).args(["bridge", CANARY]);
    run(command, "").ok();
    let port = free_port();
    let lines =
        format!("listener {port} 127.0.0.1\nallow_anonymous true\npassword_file {}\n", passwords.display());
    let _mosquitto = Mosquitto::with(path, port, &lines);
    let everything = subscribe(path, "everything", port, "#", &[]);
    let bridge = |name: &str, broker: &str, mqtt: &str, ditto: &str, more: &[&str]| {
        let mut command = twinops();
        command.args(["bridge", "--management-listen", "127.0.0.1:0", "--mqtt-url", broker]);
        command.args(["--mqtt-username", "bridge", "--mqtt-client-id", name, "--ditto-url", &place]);
        command.args(["--ditto-username", "bridge", "--log-level", "trace"]);
        command.args(["--dead-letter-topic", "twinops/dead-letters"]).args(more);
        command.env("MQTT_PASSWORD_FILE", write(path, &format!("{name}.mqtt"), mqtt));
        command.env("DITTO_PASSWORD_FILE", write(path, &format!("{name}.ditto"), ditto));
        Bridge::of(name, path, &command)
    };
    let broker = format!("mqtt://127.0.0.1:{port}");
    let whole = bridge("whole", &broker, CANARY, CANARY, &[]);
    let says = |bridge: &Bridge, words: &str| {
        let what = format!("{words:?} in:\n{}", bridge.child.log());
        wait_for(&what, SOON, || bridge.child.log().contains(words).then_some(()));
    };
    says(&whole, "connected to the broker");
    create(&known, "com.example:lamp");
    let let_in = json!({"subjects": {"nginx:bridge": {"type": "bridge"}}, "resources": {
        "thing:/": {"grant": ["READ", "WRITE"], "revoke": []}, "message:/": {"grant": ["READ", "WRITE"], "revoke": []}}});
    let entry = "/policies/com.example:lamp/entries/bridge";
    assert_eq!(known.call(crate::mqtt::USER, "PUT", entry, Some(&let_in)).0, 201);
    publish(port, "devices/com.example:lamp/telemetry", r#"{"t": 1}"#, &[]);
    becomes(&known, "com.example:lamp", "t", &json!(1));
    publish(port, "devices/com.example:lamp/telemetry", "no JSON", &[]);
    wait_for("the dead letter", SOON, || everything.log().contains("dead-letters").then_some(()));

    let unknown = bridge("unknown", &broker, WRONG, WRONG, &[]);
    says(&unknown, "does not let us in");
    says(&unknown, "no connection to Ditto");
    // A key that is none, shown to a broker that would not ask for it.
    let key = write(path, "key.pem", NO_KEY);
    let certificate = format!("{ROOT}/tests/data/tls/server.pem");
    let shown = ["--mqtt-certificate", &certificate, "--mqtt-key", key.to_str().unwrap()];
    let broken = bridge("broken", &format!("mqtts://127.0.0.1:{port}"), CANARY, CANARY, &shown);
    says(&broken, "no connection to the broker");
    for one in [&whole, &unknown, &broken] {
        hidden_by("the bridge", &one.management, &["/metrics", "/livez", "/readyz", "/health", "/devices"]);
        hidden("the log of a bridge", &one.child.log());
    }
    hidden("what is published", &everything.log());
    hidden("the log of the engine", &engine.log());
}

/// Whoever may scrape reads numbers, and nothing about whom they are.
#[test]
fn metrics_name_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let users = write(path, "users", "zelda:zelda-word\n").display().to_string();
    let args = ["--auth", "basic", "--users-file", &users, "--ditto-url", &ditto().url];
    let args = [&LISTENING[..], &args].concat();
    let (facade, api) = start("facade", path, &args, &[], "facade listening on ");
    let mosquitto = Mosquitto::start(path, "");
    let bridge = Bridge::start(path, mosquitto.port, &ditto().url, &[]);
    create(ditto(), "org.zelda:lamp");
    publish(mosquitto.port, "devices/org.zelda:lamp/telemetry", r#"{"zelda": 1}"#, &[]);
    becomes(ditto(), "org.zelda:lamp", "zelda", &json!(1));
    for target in ["things/org.zelda:lamp", "things/org.zelda:none", "search/things?q=eq(thingId,'zelda')"] {
        let mut curl = Command::new("curl");
        curl.args(["-sg", "-u", "zelda:zelda-word", &format!("{api}/{target}")]);
        run(curl, "").ok();
    }
    let desk = Desk::new("1s");
    desk.sensor("zelda");
    let facade = last_after(&facade.log(), "management ").expect("its address");
    for (what, place) in [
        ("facade", facade.as_str()),
        ("bridge", &bridge.management),
        ("operator", desk.operator.management()),
    ] {
        let (status, text) = get(&format!("{place}/metrics"));
        assert!(status == 200 && text.lines().count() > 20, "{what}: {status} {text}");
        for name in ["zelda", "lamp", "sensors", &desk.namespace, &desk.ditto_namespace] {
            let line = text.lines().find(|line| line.contains(name));
            assert!(line.is_none(), "the {what} names {name}: {}", line.unwrap_or_default());
        }
    }
}

/// Arguments, variables, and what stands in the file that `FILE` is.
type Row = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const BROKEN: &[Row] = &[
    ("facade --auth basic --users-file FILE", &[], "canary without a colon\n"),
    ("facade --auth basic --users-file FILE", &[], "ada:$apr1$canary$x\n"),
    ("facade --auth basic --users-file FILE", &[], "ada:$2y$05$canary\n"),
    ("facade --auth basic --users-file FILE", &[], "ada:$argon2id$canary\n"),
    ("facade --auth api-key --api-keys-file FILE", &[], "ada:canary\n"),
    ("facade --auth none --tls-certificate FILE --tls-key FILE", &[], "canary\n"),
    ("facade --auth none --tls-certificate CERTIFICATE --tls-key FILE", &[], NO_KEY),
    ("facade --auth none", &[("DITTO_DEVOPS_PASSWORD", "canary")], ""),
    ("engine --ephemeral --basic-auth-file FILE", &[], "canary without a colon\n"),
    ("engine --ephemeral --basic-auth-file FILE", &[], "ada:canary\nada:canary\n:canary\n"),
    ("operator --kubeconfig FILE --ditto-pre-authenticated a:b", &[], "users: canary\n"),
    (
        "operator --kubeconfig FILE --ditto-pre-authenticated a:b",
        &[],
        "users: [{name: a, user: {token: [canary]}}]\n",
    ),
    (
        "operator --kubeconfig FILE --ditto-pre-authenticated a:b",
        &[],
        "users:\n- name: a\n  user: {token: \"canary}\n",
    ),
    ("operator --kubeconfig FILE --ditto-pre-authenticated a:b", &[], "users: [{name: a, user: canary}]\n"),
    ("operator --kubeconfig FILE --ditto-pre-authenticated a:b", &[], KEY_IN_KUBECONFIG),
    ("operator --ditto-token-file FILE", &[], "canary one\ncanary two\n"),
    ("operator --ditto-username ada", &[("DITTO_PASSWORD", "canary\u{fc}")], ""),
    ("operator --ditto-username ada", &[("DITTO_PASSWORD_FILE", "FILE")], "canary\u{fc}\n"),
    ("operator", &[("DITTO_PASSWORD", "canary")], ""),
    ("bridge --mqtt-username b", &[("MQTT_PASSWORD", "canary"), ("MQTT_PASSWORD_FILE", "FILE")], "canary"),
    ("bridge", &[("MQTT_BROKER_URL", "mqtt://bridge:canary@127.0.0.1")], ""),
    ("apply . --ditto-username ada", &[("DITTO_PASSWORD", "canary\u{fc}")], ""),
    ("apply .", &[("DITTO_API_URL", "http://ada:canary@127.0.0.1:1")], ""),
    ("health http://ada:canary@127.0.0.1:1/health", &[], ""),
    ("secrets --ensure --facade-users x --kubeconfig FILE", &[], "users: [{name: a, user: canary}]\n"),
];

#[test]
fn s45_settings_that_are_broken_are_told_without_what_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    for (line, variables, text) in BROKEN {
        let file = write(folder.path(), "file", text).display().to_string();
        let certificate = format!("{ROOT}/tests/data/tls/server.pem");
        let filled = |word: &str| match word {
            "FILE" => file.clone(),
            "CERTIFICATE" => certificate.clone(),
            word => word.to_owned(),
        };
        // One that starts all the same would never end.
        let mut command = Command::new("timeout");
        command.arg("20").arg(env!("CARGO_BIN_EXE_twinops")).args(line.split(' ').map(filled));
        command.args(["--log-level", "trace"]);
        let mut words = line.split(' ');
        match words.next() {
            Some("facade") => command.args(["--listen", "127.0.0.1:0", "--management-listen", "127.0.0.1:0"]),
            Some("engine") => command.args(["--listen", "127.0.0.1:0"]),
            Some("operator" | "bridge") => command.args(["--management-listen", "127.0.0.1:0"]),
            _ => &mut command,
        };
        for name in ["DITTO_API_URL", "DITTO_PASSWORD", "KUBECONFIG", "MQTT_BROKER_URL", "LOG_LEVEL"] {
            command.env_remove(name);
        }
        command.env("KUBECONFIG", "/dev/null").current_dir(folder.path());
        for (name, value) in *variables {
            command.env(name, filled(value));
        }
        let said = run(command, "");
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!(!said.success && !all.is_empty(), "{line} {text:?}: {all}");
        assert!(!all.contains("canary"), "{line} {text:?}: {all}");
    }
}

/// In two parts: no file of this repository holds what looks like a key.
const NO_KEY: &str = concat!("-----BEGIN PRIV", "ATE KEY-----\ncanary\n-----END PRIV", "ATE KEY-----\n");

const KEY_IN_KUBECONFIG: &str = "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
    contexts: [{name: c, context: {cluster: c, user: u}}]\n\
    clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n\
    users: [{name: u, user: {client-certificate-data: canary, client-key-data: canary}}]\n";
