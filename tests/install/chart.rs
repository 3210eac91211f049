//! The life of an installation: the chart on a real node, with the engine instead of Ditto.
use std::{path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    node::{
        SOON, curl, get, kill_containers, kubectl, on_a_node, pods_ready, restricted_namespace,
        service_address, step,
    },
    support::{
        process::{Output, run},
        tools, wait_for,
    },
};

/// Where the chart is, and where its twins are.
const HOME: &str = "twinops";
const PLANT: &str = "plant";
const THING: &str = "com.example:temperature-sensor-01";
/// Made through the facade, declared nowhere.
const BY_HAND: &str = "com.example:by-hand";
/// Each part with the number of its pods, as `values.yaml` asks for them.
const PARTS: [(&str, usize); 5] =
    [("engine", 1), ("operator", 2), ("facade", 1), ("mosquitto", 1), ("bridge", 2)];

#[test]
fn the_chart_lives_on_a_real_node() {
    on_a_node(|| {
        step("install", || {
            restricted_namespace(HOME);
            helm(&["install", "twinops", &chart(), "-f", &values()]).ok();
            all_ready();
        });
        step("the samples become Ready", || {
            kubectl(&["create", "namespace", PLANT]).ok();
            kubectl(&["-n", PLANT, "apply", "--server-side", "-f", &in_repository("manifests/samples")]).ok();
            samples_ready();
        });
        step("the facade answers through its Service", facade_answers);
        step("helm test", || helm(&["test", "twinops"]).ok());
        step("telemetry goes in with a device's credentials", telemetry_goes_in);
        step("upgrade", upgrade);
        step("rollback", || {
            helm(&["rollback", "twinops", "1"]).ok();
            all_ready();
            assert!(!engine_logs_debug(), "the first release's value is back");
        });
        step("a killed operator hands over", leader_hands_over);
        step("a killed engine keeps its data", engine_keeps_its_data);
        step("killed bridges find what was said meanwhile", || {
            kill_containers(HOME, "twinops-bridge-0");
            kill_containers(HOME, "twinops-bridge-1");
            telemetry(36.5);
            all_ready();
        });
        step("uninstall", uninstall);
    });
}

fn in_repository(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

fn chart() -> String {
    in_repository("charts/twinops")
}

fn values() -> String {
    in_repository("tests/install/values.yaml")
}

fn helm(args: &[&str]) -> Output {
    let mut command = Command::new(tools::bin("helm"));
    command.args(["--namespace", HOME]).args(args);
    run(command, "")
}

fn selector(part: &str) -> String {
    format!("app.kubernetes.io/instance=twinops,app.kubernetes.io/component={part}")
}

fn all_ready() {
    for (part, count) in PARTS {
        pods_ready(HOME, &selector(part), count);
    }
}

fn samples_ready() {
    kubectl(&["-n", PLANT, "wait", "--for=condition=Ready", "--timeout=120s", "dt,tp", "--all"]).ok();
}

/// A value of one of the Secrets that the operator's pod made.
fn secret(name: &str, key: &str) -> String {
    let template = format!("{{{{index .data \"{key}\" | base64decode}}}}");
    kubectl(&["-n", HOME, "get", "secret", name, "-o", &format!("go-template={template}")]).ok()
}

/// `user:password` of the first user that a Secret holds.
fn user(of: &str) -> String {
    format!("{}:{}", secret(of, "username"), secret(of, "password"))
}

/// Asks Ditto's API of the engine.
fn engine(path: &str) -> Option<Value> {
    let url = format!("http://{}:8080/api/2{path}", service_address(HOME, "twinops-engine"));
    let answer = curl(&["-u", &user("twinops-engine"), &url]);
    answer.success.then(|| serde_json::from_str(&answer.stdout).expect("the engine answers JSON"))
}

fn wait_value(path: &str, expected: &Value) {
    wait_for(&format!("{path} to be {expected}"), SOON, || {
        (engine(path).as_ref() == Some(expected)).then_some(())
    });
}

/// Where the facade is, as a pod would find it.
fn facade_url() -> String {
    format!("http://{}:8000", service_address(HOME, "twinops-facade"))
}

/// Asks the facade as its first user.
fn facade(path: &str) -> Option<Value> {
    let answer = curl(&["-u", &user("twinops-facade"), &format!("{}{path}", facade_url())]);
    answer.success.then(|| serde_json::from_str(&answer.stdout).expect("the facade answers JSON"))
}

fn facade_answers() {
    let url = facade_url();
    let health: Value = serde_json::from_str(&curl(&[&format!("{url}/health")]).ok()).expect("JSON");
    let up = [&health["status"], &health["ditto"]["status"], &health["mqtt"]["status"]];
    assert!(up.iter().all(|status| **status == "UP"), "{health}");
    let things = format!("{url}/things/");
    let refused = curl(&[&things]).refused();
    assert!(refused.contains("401"), "nobody without a password: {refused}");
    let login = user("twinops-facade");
    let body = json!({"thing_id": BY_HAND, "attributes": {"made": "by hand"}}).to_string();
    let json = "content-type: application/json";
    curl(&["-u", &login, "-H", json, "-d", &body, &things]).ok();
    let read = facade(&format!("/things/{BY_HAND}")).expect("what was made is there");
    assert_eq!(read["attributes"]["made"], "by hand", "{read}");
}

fn publish(user: &str, password: &str, thing: &str, payload: &str) -> Output {
    let mut command = Command::new("mosquitto_pub");
    command
        .args(["-V", "5", "-q", "1", "-h", &service_address(HOME, "twinops-mosquitto")])
        .args(["-u", user, "-P", password])
        .args(["-t", &format!("devices/{thing}/telemetry"), "-m", payload]);
    run(command, "")
}

/// What a device is told apart by.
fn password_of(device: &str) -> String {
    secret("twinops-mosquitto", &format!("device-{device}"))
}

/// Waits until the facade shows this value of the feature `temperature`.
fn wait_temperature(thing: &str, value: f64) {
    wait_for(&format!("{thing} to show {value}"), SOON, || {
        let feature = facade(&format!("/things/{thing}/features/temperature"))?;
        (feature["properties"]["value"] == value).then_some(())
    });
}

/// A device says it with its own credentials; a person reads it through the facade.
fn telemetry(value: f64) {
    let payload = json!({"temperature": value}).to_string();
    publish("sensor-01", &password_of("sensor-01"), THING, &payload).ok();
    wait_temperature(THING, value);
}

fn telemetry_goes_in() {
    publish("sensor-01", "wrong", THING, r#"{"temperature":1}"#).refused();
    telemetry(31.5);
    // The broker takes a message for another's thing and passes it on to nobody.
    let password = password_of("sensor-01");
    let _taken_or_not = publish("sensor-01", &password, BY_HAND, r#"{"forged":1}"#);
    publish("by-hand", &password_of("by-hand"), BY_HAND, r#"{"temperature":7.5}"#).ok();
    wait_temperature(BY_HAND, 7.5);
    let features = facade(&format!("/things/{BY_HAND}/features")).expect("it has features");
    assert!(features.get("forged").is_none(), "{features}");
}

fn engine_logs_debug() -> bool {
    let pod = get(&["statefulset", "-n", HOME, "twinops-engine"]);
    pod["spec"]["template"]["spec"]["containers"][0]["env"].to_string().contains("debug")
}

fn upgrade() {
    let before = user("twinops-facade");
    helm(&["upgrade", "twinops", &chart(), "-f", &values(), "--set", "log.level=debug"]).ok();
    for (part, _) in PARTS {
        let kind = if ["facade", "operator"].contains(&part) { "deployment" } else { "statefulset" };
        let name = format!("{kind}/twinops-{part}");
        kubectl(&["-n", HOME, "rollout", "status", &name, "--timeout=180s"]).ok();
    }
    all_ready();
    assert!(engine_logs_debug(), "the new value is in the pods");
    assert_eq!(user("twinops-facade"), before, "a Secret that exists is never changed");
    samples_ready();
    telemetry(32.5);
}

/// The holder's name begins with its host's, which is the pod's; what follows is new in every life of the process.
fn leading_pod() -> Option<String> {
    let lease = get(&["lease", "-n", HOME, "twinops"]);
    let (pod, _) = lease["spec"]["holderIdentity"].as_str()?.split_once('_')?;
    Some(pod.to_owned())
}

/// Declares another value for an attribute, and waits until it is in the engine.
fn declare(location: &str) {
    let patch = json!({"spec": {"attributes": {"location": location}}}).to_string();
    kubectl(&["-n", PLANT, "patch", "dt", "temperature-sensor-01", "--type=merge", "-p", &patch]).ok();
    wait_value(&format!("/things/{THING}/attributes/location"), &json!(location));
}

fn leader_hands_over() {
    declare("hall-1");
    let before = leading_pod().expect("an operator leads");
    kill_containers(HOME, &before);
    declare("hall-2");
    let after = leading_pod().expect("another leads");
    assert_ne!(before, after, "the pod whose process was killed leads again");
    all_ready();
}

fn engine_keeps_its_data() {
    let things = "/search/things/count";
    let before = engine(things).expect("the engine counts");
    kill_containers(HOME, "twinops-engine-0");
    wait_value(things, &before);
    // Another pod finds the same volume.
    kubectl(&["-n", HOME, "delete", "pod", "twinops-engine-0", "--grace-period=0", "--force"]).ok();
    wait_value(things, &before);
    all_ready();
    declare("hall-3");
    telemetry(35.5);
}

fn uninstall() {
    helm(&["uninstall", "twinops", "--wait", "--timeout", "3m"]).ok();
    for (part, _) in PARTS {
        pods_ready(HOME, &selector(part), 0);
    }
    let claims = get(&["pvc", "-n", HOME]);
    assert_eq!(
        claims["items"].as_array().map(Vec::len),
        Some(2),
        "the volumes of engine and broker are kept"
    );
    let twins = get(&["dt", "-n", PLANT]);
    assert!(twins["items"].as_array().is_some_and(|all| !all.is_empty()), "twins and their kind are kept");
}
