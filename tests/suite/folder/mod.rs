//! A folder of YAML as users run it: the binary against an engine.
mod apply;
mod bad_input;
pub mod dev;
mod gateway;
mod policies;
mod prune;
mod vanish;

use std::path::Path;

use serde_json::Value;

use crate::support::ditto::{Ditto, twinops};

const POLICY: &str = "
apiVersion: twinops.dev/v1alpha1
kind: TwinPolicy
metadata: {name: pumps}
spec:
  policyId: org.acme:pumps
  entries:
    people:
      subjects: {'nginx:ditto': {type: user}}
      resources:
        thing:/: {grant: [READ, WRITE]}
        policy:/: {grant: [READ, WRITE]}
    devices:
      subjects: {'nginx:device': {type: device}}
      resources:
        thing:/: {grant: [READ]}
        thing:/features: {grant: [WRITE]}
";

fn twin(name: &str, rest: &str) -> String {
    format!(
        "
apiVersion: twinops.dev/v1alpha1
kind: DigitalTwin
metadata: {{name: {name}}}
spec:
  thingId: org.acme:{name}
  policyRef: {{name: pumps}}
{rest}"
    )
}

/// A policy `org.acme:<name>` with the entries of [`POLICY`].
fn policy(name: &str) -> String {
    POLICY
        .replace("{name: pumps}", &format!("{{name: {name}}}"))
        .replace("org.acme:pumps", &format!("org.acme:{name}"))
}

/// What a run of `apply` said.
struct Applied {
    code: i32,
    /// The JSON on standard output; `Null` when there is none.
    json: Value,
    stderr: String,
}

impl Applied {
    /// `(verdict, reason, message)` of a resource by name.
    #[track_caller]
    fn line(&self, name: &str) -> (&str, &str, &str) {
        let lines = self.json["resources"].as_array().unwrap_or_else(|| panic!("no JSON: {}", self.stderr));
        let line = lines
            .iter()
            .find(|line| line["name"] == name)
            .unwrap_or_else(|| panic!("no line of {name}: {lines:?}"));
        (text(line, "verdict"), text(line, "reason"), text(line, "message"))
    }

    fn verdicts(&self) -> Vec<&str> {
        self.json["resources"].as_array().into_iter().flatten().map(|line| text(line, "verdict")).collect()
    }

    fn messages(&self) -> String {
        let lines = self.json["resources"].as_array().into_iter().flatten();
        lines.map(|line| text(line, "message")).collect::<Vec<_>>().join("\n")
    }

    fn wrote(&self) -> u64 {
        self.json["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|line| line["wrote"].as_u64())
            .sum()
    }
}

fn text<'v>(line: &'v Value, key: &str) -> &'v str {
    line[key].as_str().unwrap_or_default()
}

/// `twinops apply <folder> -o json` as `nginx:operator`.
fn apply(folder: &Path, ditto: &Ditto, more: &[&str]) -> Applied {
    let mut command = twinops();
    command.arg("apply").arg(folder).args(["-o", "json", "--ditto-url", &ditto.url]);
    if !more.contains(&"--ditto-pre-authenticated") {
        command.args(["--ditto-pre-authenticated", "nginx:operator"]);
    }
    command.args(more);
    run(command)
}

fn run(mut command: std::process::Command) -> Applied {
    let output = command.output().expect("twinops runs");
    Applied {
        code: output.status.code().unwrap_or(-1),
        json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
