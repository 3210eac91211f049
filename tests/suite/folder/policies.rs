//! Policies of a folder: nothing remembers them but their mark.
use serde_json::{Value, json};

use super::{POLICY, apply};
use crate::support::ditto::{Engine, folder, write};

fn policy(engine: &Engine, name: &str) -> Value {
    let (status, policy) =
        engine.ditto.call("nginx:ditto", "GET", &format!("/policies/org.acme:{name}"), None);
    assert_eq!(status, 200, "{policy}");
    policy
}

#[test]
fn imported_policies_come_first_in_a_folder() {
    let imports = POLICY.replace("  entries:\n", "  imports: {'org.acme:base': {}}\n  entries:\n");
    let base = POLICY.replace("name: pumps", "name: base").replace("org.acme:pumps", "org.acme:base");
    let files = folder(&[("a.yaml", &imports), ("z.yaml", &base)]);
    let engine = Engine::start(files.path(), None);
    let run = apply(files.path(), &engine.ditto, &[]);
    assert_eq!((run.code, run.line("pumps").0, run.line("base").0), (0, "applied", "applied"));
    assert_eq!(policy(&engine, "pumps")["imports"], json!({"org.acme:base": {"entries": []}}));

    let back = base.replace("  entries:\n", "  imports: {'org.acme:pumps': {}}\n  entries:\n");
    write(files.path(), "z.yaml", &back);
    let run = apply(files.path(), &engine.ditto, &[]);
    assert_eq!(run.code, 1);
    for name in ["pumps", "base"] {
        assert_eq!((run.line(name).0, run.line(name).1), ("failed", "InvalidSpec"));
    }
    assert_eq!(policy(&engine, "base")["imports"], json!({}), "nothing was sent");
}

#[test]
fn a_subject_with_an_expiry_that_left_the_file_is_revoked() {
    let guest = "{'nginx:ditto': {type: user}, 'nginx:guest': {type: user, expiry: '2099-01-01T00:00:00Z'}}";
    let with = POLICY.replace("{'nginx:ditto': {type: user}}", guest);
    let files = folder(&[("policy.yaml", &with)]);
    let engine = Engine::start(files.path(), None);
    assert_eq!(apply(files.path(), &engine.ditto, &[]).code, 0);
    let guests = || policy(&engine, "pumps")["entries"]["people"]["subjects"]["nginx:guest"].clone();
    assert!(guests().is_object());
    write(files.path(), "policy.yaml", POLICY);
    assert_eq!(apply(files.path(), &engine.ditto, &[]).line("pumps").0, "applied");
    assert!(guests().is_null());
    assert_eq!(apply(files.path(), &engine.ditto, &[]).wrote(), 0);
}

#[test]
fn a_declared_policy_says_what_a_folder_cannot_remember() {
    let own = "{'nginx:ditto': {type: user}, 'nginx:operator': {type: user}}";
    let declared = POLICY.replace("{'nginx:ditto': {type: user}}", own);
    let declared = declared.replace("  entries:\n", "  access: Declared\n  entries:\n");
    let files = folder(&[("policy.yaml", &declared)]);
    let engine = Engine::start(files.path(), None);
    let first = apply(files.path(), &engine.ditto, &[]);
    assert_eq!((first.code, first.line("pumps").0), (0, "applied"), "{:?}", first.line("pumps"));
    assert!(policy(&engine, "pumps")["entries"]["twinops"].is_null());
    let fewer = &declared[..declared.find("    devices:").unwrap()];
    write(files.path(), "policy.yaml", fewer);
    let run = apply(files.path(), &engine.ditto, &[]);
    assert_eq!((run.code, run.line("pumps").0), (0, "in-sync"));
    assert!(run.line("pumps").2.contains("/entries/devices"), "{}", run.line("pumps").2);
    let strict =
        fewer.replace("  access: Declared\n", "  access: Declared\n  management: {adoption: Never}\n");
    write(files.path(), "policy.yaml", &strict);
    let run = apply(files.path(), &engine.ditto, &[]);
    assert_eq!((run.code, run.line("pumps").1), (1, "InvalidSpec"));
}
