//! Requests that schemathesis makes up from `/openapi.json`, right ones and wrong ones: no 5xx, and no answer that the document
//! does not have.
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::Facade;
use crate::engine::clients::installed;

/// Cases of `make test`. `TWINOPS_ROUNDS` counts tens of them: 1,000 rounds are 10,000 cases.
const CASES: usize = 1_000;
/// What an answer is held to.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance";
/// Messages wait for no device: nobody would answer.
const CONFIG: &str = "[parameters]\n\"query.timeout\" = 0\n";

/// One run; how many cases it was.
fn run(facade: &Facade, folder: &Path, seed: usize, examples: usize) -> usize {
    std::fs::write(folder.join("schemathesis.toml"), CONFIG).expect("a temporary folder");
    let report = folder.join("report.json");
    let mut command = Command::new(installed().join("py/bin/schemathesis"));
    command.current_dir(folder).args(["run", &format!("{}/openapi.json", facade.base)]);
    // An event stream has no end.
    command.args(["--exclude-path", "/events", "--exclude-path-regex", "^/ws/"]);
    command.args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing,stateful"]);
    command.args(["--seed", &seed.to_string(), "--max-examples", &examples.to_string()]);
    command.args(["--suppress-health-check", "all", "--warnings", "off", "--continue-on-failure"]);
    command.args(["--report", "json", "--report-json-path"]).arg(&report);
    let ended = command.output().unwrap_or_else(|error| panic!("schemathesis: {error}"));
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    let report: Value = std::fs::read_to_string(&report)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_else(|| panic!("{told}{}", String::from_utf8_lossy(&ended.stderr)));
    let cases = &report["test_cases"];
    assert!(ended.status.success(), "seed {seed}: {cases}\n{told}");
    assert_eq!(report["operations"]["errored"], 0, "seed {seed}: {told}");
    println!("seed {seed}: {} cases of {} operations", cases["generated"], report["operations"]["tested"]);
    usize::try_from(cases["generated"].as_u64().expect("a number")).expect("not that many")
}

#[test]
fn no_request_of_schemathesis_is_answered_in_a_way_that_the_document_does_not_have() {
    let facade = Facade::before_engine(super::anybody());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let wanted = super::live::rounds(CASES / 10) * 10;
    let (mut cases, mut seed) = (0, 0);
    while cases < wanted {
        seed += 1;
        cases += run(&facade, folder.path(), seed, 40);
    }
    assert_eq!(facade.get("/health").status, 200);
}
