//! Argo CD: its health checks run in the language it runs them in, and it sees no difference.
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::objects;
use crate::cluster::{Desk, NO_RESYNC};
use crate::support::process::run;

const ARGOCD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/argocd");
const KINDS: [&str; 2] = ["DigitalTwin", "TwinPolicy"];

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The value as Lua writes it; Argo CD hands an object over as tables, too.
fn lua(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("nil"),
        Value::Bool(_) | Value::Number(_) => write!(text, "{value}").unwrap(),
        Value::String(word) => {
            text.push('"');
            for byte in word.bytes() {
                write!(text, "\\{byte:03}").unwrap();
            }
            text.push('"');
        }
        Value::Array(list) => {
            text.push('{');
            for item in list {
                lua(item, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Object(members) => {
            text.push('{');
            for (key, value) in members {
                text.push('[');
                lua(&Value::String(key.clone()), text);
                text.push_str("]=");
                lua(value, text);
                text.push(',');
            }
            text.push('}');
        }
    }
}

/// Status and message, as `health.lua` of the kind gives them.
fn health(kind: &str, object: &Value) -> (String, String) {
    judge(&read(&format!("{ARGOCD}/resource_customizations/twinops.dev/{kind}/health.lua")), object)
}

/// Status and message, as a check gives them. Argo CD runs Lua 5.1.
fn judge(check: &str, object: &Value) -> (String, String) {
    let mut text = "obj = ".to_owned();
    lua(object, &mut text);
    write!(
        text,
        "\nlocal health = (function()\n{check}\nend)()\nprint(health.status)\nprint(health.message)\n"
    )
    .unwrap();
    let interpreter = ["lua5.1", "luajit"]
        .into_iter()
        .find(|name| Command::new(name).arg("-v").output().is_ok())
        .expect("Lua 5.1 is not installed: run `apt-get install lua5.1`");
    let mut command = Command::new(interpreter);
    command.arg("-");
    let said = run(command, &text).ok();
    let (status, message) = said.split_once('\n').expect("two lines");
    (status.to_owned(), message.trim_end().to_owned())
}

#[test]
fn health_checks_say_what_their_test_cases_expect() {
    for kind in KINDS {
        let folder = format!("{ARGOCD}/resource_customizations/twinops.dev/{kind}");
        let cases = yaml(&format!("{folder}/health_test.yaml"));
        let cases = cases["tests"].as_array().expect("tests");
        for case in cases {
            let file = case["inputPath"].as_str().expect("inputPath");
            let expected = &case["healthStatus"];
            let (status, message) = health(kind, &yaml(&format!("{folder}/{file}")));
            assert_eq!(
                (expected["status"].as_str(), expected["message"].as_str()),
                (Some(&*status), Some(&*message)),
                "{kind} {file}"
            );
        }
        let files = std::fs::read_dir(format!("{folder}/testdata")).unwrap().count();
        assert_eq!(files, cases.len(), "{kind}: every file is a case");
    }
}

#[test]
fn the_configuration_holds_the_checks() {
    let configuration = yaml(&format!("{ARGOCD}/argocd-cm.yaml"));
    for kind in KINDS {
        let check = read(&format!("{ARGOCD}/resource_customizations/twinops.dev/{kind}/health.lua"));
        let key = format!("resource.customizations.health.twinops.dev_{kind}");
        assert_eq!(configuration["data"][key].as_str(), Some(check.as_str()), "{kind}");
    }
}

/// What a parent of the two Applications waits for.
#[test]
fn an_application_is_as_healthy_as_it_says() {
    let configuration = yaml(&format!("{ARGOCD}/argocd-cm.yaml"));
    let check = configuration["data"]["resource.customizations.health.argoproj.io_Application"].as_str();
    let said = |status: &Value| judge(check.expect("the check"), &json!({"status": status}));
    let progressing = ("Progressing".to_owned(), String::new());
    for nothing in [json!(null), json!({}), json!({"health": {}})] {
        assert_eq!(said(&nothing), progressing, "{nothing}");
    }
    assert_eq!(said(&json!({"health": {"status": "Healthy"}})).0, "Healthy");
    let degraded = json!({"health": {"status": "Degraded", "message": "no definitions"}});
    assert_eq!(said(&degraded), ("Degraded".to_owned(), "no definitions".to_owned()));
}

#[test]
fn applications_and_policies_go_before_what_needs_them() {
    let wave = |object: &Value| -> i32 {
        object["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]
            .as_str()
            .expect("a wave")
            .parse()
            .unwrap()
    };
    let applications = objects(&read(&format!("{ARGOCD}/applications.yaml")));
    assert_eq!(applications.iter().map(wave).collect::<Vec<_>>(), [0, 1]);
    for application in &applications {
        let path = application["spec"]["source"]["path"].as_str().unwrap();
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).is_dir(), "{path}");
        for file in application["spec"]["source"]["helm"]["valueFiles"].as_array().into_iter().flatten() {
            assert!(Path::new(super::CHART).join(file.as_str().unwrap()).is_file(), "{file}");
        }
        let options = application["spec"]["syncPolicy"]["syncOptions"].to_string();
        assert!(options.contains("ServerSideApply=true"), "{options}");
    }
    let (policy, twin) =
        (yaml(&format!("{ARGOCD}/twins/policy.yaml")), yaml(&format!("{ARGOCD}/twins/twin.yaml")));
    assert!(wave(&policy) < wave(&twin));
}

/// The live objects are healthy, and what Git says differs from them in nothing.
#[test]
fn argo_cd_sees_healthy_objects_and_no_difference() {
    let desk = Desk::new(NO_RESYNC);
    let text = ["policy", "twin"].map(|file| read(&format!("{ARGOCD}/twins/{file}.yaml"))).join("\n---\n");
    let text = text.replace("com.example", &desk.ditto_namespace);
    let apply =
        ["-n", &desk.namespace, "apply", "--server-side", "--field-manager=argocd-controller", "-f", "-"];
    desk.cluster.kubectl_stdin("admin", &apply, &text).ok();
    for (kind, short, name) in [("TwinPolicy", "tp", "pumps"), ("DigitalTwin", "dt", "pump-7")] {
        let object = desk.wait_ready(short, name);
        let (status, message) = health(kind, &object);
        assert_eq!(status, "Healthy", "{kind}: {message}");
        let managed = desk.kubectl(&["get", short, name, "-o", "json", "--show-managed-fields"]).ok();
        let object: Value = serde_json::from_str(&managed).unwrap();
        let ours = object["metadata"]["managedFields"].as_array().unwrap().iter();
        for entry in
            ours.filter(|entry| entry["manager"].as_str().is_some_and(|name| name.contains("twinops")))
        {
            for (part, fields) in entry["fieldsV1"].as_object().unwrap() {
                let metadata = fields.as_object().unwrap().keys().all(|key| key == "f:finalizers");
                assert!(part == "f:status" || (part == "f:metadata" && metadata), "{kind}: {part} {fields}");
            }
        }
    }
    let diff =
        ["-n", &desk.namespace, "diff", "--server-side", "--field-manager=argocd-controller", "-f", "-"];
    let output = desk.cluster.kubectl_stdin("admin", &diff, &text);
    assert!(output.success && output.stdout.is_empty(), "{}{}", output.stdout, output.stderr);
}
