//! What others look for in charts and workflows. Every exception is written down with its reason, and none stays
//! that is no longer needed.
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::{NAME, render, template, title};
use crate::crds::installed;
use crate::support::process::{Output, run};

/// `tests/checkers/checkers.sh` alone knows how the folder is named.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/checkers/checkers.sh");
    let mut command = Command::new("bash");
    command.args([script, "path"]);
    PathBuf::from(run(command, "").ok().trim_end())
});

fn checker(name: &str, args: &[&str], input: &str) -> Output {
    let path = FOLDER.join(name);
    assert!(path.is_file(), "{name} is not installed: run `make checkers` (looked for {})", path.display());
    let mut command = Command::new(path);
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    run(command, input)
}

const WITH_DITTO: [&str; 1] = ["ditto.ui.enabled=true"];
const WITH_ENGINE: [&str; 1] = ["backend=engine"];

/// Findings of kube-score that stay: a part of the line, the parts it may be about, and why.
const SCORE: [(&str, &[&str], &str); 6] = [
    (
        "ImagePullPolicy is not set to Always",
        &[],
        "tags are exact, and `make kind` loads images that no registry has",
    ),
    ("CPU limit is not set", &[], "a throttled process answers late, and late answers look like faults"),
    ("running with a low group ID", OF_OTHERS, "these images have users of their own"),
    ("running with a low user ID", OF_OTHERS, "these images have users of their own"),
    (
        "same readiness and liveness probe",
        &["mosquitto", "mongodb"],
        "Mosquitto shows in one way only that it works; MongoDB's shell costs 100 MB at every look, so that only its start is judged by it",
    ),
    (
        "StatefulSet does not have a valid serviceName",
        &["mosquitto", "engine"],
        "one pod, found by its Service; the name cannot be changed in an installation",
    ),
];
const OF_OTHERS: &[&str] =
    &["policies", "things", "things-search", "gateway", "connectivity", "mongodb", "ui"];

#[test]
fn kube_score_finds_nothing_critical() {
    let mut used = BTreeSet::new();
    for values in [&WITH_DITTO, &WITH_ENGINE] {
        let output = checker("kube-score", &["score", "--output-format", "ci", "-"], &template(values, &[]));
        for line in output.stdout.lines().filter(|line| line.starts_with("[CRITICAL]")) {
            // `[CRITICAL] shop-twinops-things/shop apps/v1/Deployment: (things) …`
            let part = line.split(['/', ' ']).nth(1).and_then(|name| name.strip_prefix(NAME)).expect(line);
            let part = part.trim_start_matches('-');
            let known = SCORE.iter().find(|(words, parts, _)| {
                line.contains(words) && (parts.is_empty() || parts.contains(&part))
            });
            used.insert(known.unwrap_or_else(|| panic!("{line}")).0);
        }
        assert!(
            output.stdout.lines().filter(|line| line.starts_with("[OK]")).count() > 100,
            "{}",
            output.stderr
        );
    }
    assert_eq!(used.len(), SCORE.len(), "exceptions that nothing needs: only {used:?} do");
}

/// Findings of checkov that stay: the check, the parts it may find, and why.
const CHECKOV: [(&str, &[&str], &str); 6] = [
    ("CKV_K8S_11", &[], "no CPU limits: see above"),
    ("CKV_K8S_15", &[], "tags are exact"),
    ("CKV_K8S_43", &[], "digests are values: an installation names its own"),
    (
        "CKV_K8S_35",
        &["policies", "things", "things-search", "gateway", "connectivity", "bridge"],
        "Ditto reads variables and no files; of the bridge it is the user's name, its password is a file",
    ),
    (
        "CKV_K8S_38",
        &["policies", "things", "things-search", "gateway", "connectivity", "operator"],
        "the operator's work, and how the members of Ditto's cluster find each other",
    ),
    (
        "CKV_K8S_40",
        &["policies", "things", "things-search", "gateway", "connectivity", "mongodb", "ui"],
        "the images have users of their own",
    ),
];

#[test]
fn checkov_finds_nothing_but_the_written_exceptions() {
    let folder = tempfile::tempdir().unwrap();
    let mut used = BTreeSet::new();
    for (name, values) in [("ditto", &WITH_DITTO), ("engine", &WITH_ENGINE)] {
        let file = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&file, template(values, &["--skip-tests"])).unwrap();
        let file = file.display().to_string();
        let args = [
            "-m",
            "checkov.main",
            "-f",
            &file,
            "--framework",
            "kubernetes",
            "--compact",
            "--quiet",
            "-o",
            "json",
        ];
        let output = checker("py/bin/python", &args, "");
        let said: Value = serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", output.stdout, output.stderr));
        assert!(said["summary"]["passed"].as_u64().unwrap_or_default() > 300, "{}", said["summary"]);
        for finding in said["results"]["failed_checks"].as_array().expect("a list") {
            let (check, resource) =
                (finding["check_id"].as_str().unwrap(), finding["resource"].as_str().unwrap());
            let known = CHECKOV.iter().find(|(id, parts, _)| {
                let ours =
                    parts.is_empty() || parts.iter().any(|part| resource.ends_with(&format!("-{part}")));
                *id == check && ours
            });
            used.insert(known.unwrap_or_else(|| panic!("{check} {}: {resource}", finding["check_name"])).0);
        }
    }
    assert_eq!(used.len(), CHECKOV.len(), "exceptions that nothing needs: only {used:?} do");
}

#[test]
fn workflows_lint_clean() {
    let output = checker("py/bin/zizmor", &["--offline", "--no-progress", ".github/workflows"], "");
    assert!(output.success, "{}{}", output.stdout, output.stderr);
    let files: Vec<_> = ["ci.yml", "release.yml"].map(|file| format!(".github/workflows/{file}")).to_vec();
    let args: Vec<_> = files.iter().map(String::as_str).collect();
    let output = checker("actionlint", &args, "");
    assert!(output.success, "{}{}", output.stdout, output.stderr);
    // And it does find what is wrong.
    let wrong = "on: push\njobs:\n  x:\n    runs-on: ubuntu-24.04\n    steps:\n      - uses: actions/checkout@v4\n      - run: echo ${{ github.event.head_commit.message }}\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.yml");
    std::fs::write(&file, wrong).unwrap();
    assert!(!checker("py/bin/zizmor", &["--offline", &file.display().to_string()], "").success);
    assert!(!checker("actionlint", &["-"], wrong).success);
}

/// The schema of one kind, strict, with all it refers to; from the API server's own description.
fn schema(definitions: &Map<String, Value>, root: &str) -> Value {
    let mut needed = Map::new();
    let mut wanted = vec![root.to_owned()];
    while let Some(name) = wanted.pop() {
        if needed.contains_key(&name) {
            continue;
        }
        let mut definition = definitions[&name].clone();
        strict(&mut definition, &mut wanted);
        needed.insert(name, definition);
    }
    json!({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": needed, "$ref": format!("#/definitions/{root}")})
}

fn strict(node: &mut Value, wanted: &mut Vec<String>) {
    if let Some(name) = node["$ref"].as_str().and_then(|path| path.strip_prefix("#/definitions/")) {
        wanted.push(name.to_owned());
        // What stands beside a reference counts for nothing in this draft.
        *node = json!({"$ref": format!("#/definitions/{name}")});
        return;
    }
    if let Value::Array(items) = node {
        for item in items.iter_mut() {
            strict(item, wanted);
        }
    }
    let Some(members) = node.as_object_mut() else { return };
    if members.get("format") == Some(&json!("int-or-string")) {
        members.clear();
        return;
    }
    members.remove("format");
    if members.contains_key("properties") && !members.contains_key("x-kubernetes-preserve-unknown-fields") {
        members.insert("additionalProperties".to_owned(), json!(false));
    }
    for member in members.values_mut() {
        strict(member, wanted);
    }
}

#[test]
fn kubeconform_takes_every_object_strictly() {
    let described = installed().kubectl("admin", &["get", "--raw", "/openapi/v2"]).ok();
    let described: Value = serde_json::from_str(&described).unwrap();
    let definitions = described["definitions"].as_object().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, definition) in definitions {
        for kind in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
            let word = |key: &str| kind[key].as_str().unwrap_or_default().to_lowercase();
            let (group, version) = (word("group"), word("version"));
            let group =
                group.split('.').next().filter(|group| !group.is_empty()).map(|group| format!("{group}-"));
            let file = format!("{}-{}{version}.json", word("kind"), group.unwrap_or_default());
            // Of a kind that many groups know, such as DeleteOptions, only objects are of interest.
            if definition["properties"]["spec"].is_object()
                || definition["properties"]["metadata"].is_object()
            {
                std::fs::write(folder.path().join(file), schema(definitions, name).to_string()).unwrap();
            }
        }
    }
    let place = format!("{}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json", folder.path().display());
    let args = ["-strict", "-summary", "-schema-location", &place, "-"];
    for values in [&WITH_DITTO, &WITH_ENGINE] {
        let count = render(values, &[]).len();
        let output = checker("kubeconform", &args, &template(values, &[]));
        assert!(output.success, "{}{}", output.stdout, output.stderr);
        assert!(output.stdout.contains(&format!("Valid: {count}, Invalid: 0")), "{}", output.stdout);
    }
    let wrong = render(&WITH_ENGINE, &[]).into_iter().find(|object| object["kind"] == "StatefulSet").unwrap();
    let text = wrong.to_string().replace("\"replicas\"", "\"replica\"");
    assert!(!checker("kubeconform", &args, &text).success, "{}", title(&wrong));
}
