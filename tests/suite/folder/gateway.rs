//! Against a Ditto behind TLS and tokens.
use super::{POLICY, apply, run, twin};
use crate::support::ditto::{Engine, folder, twinops};
use crate::support::gateway::{Gateway, TLS};

const GOOD: &str = "  attributes: {kw: 3}\n";

/// The certificate of a private CA is trusted when its file is named, and only then.
#[test]
fn https_with_a_private_ca() {
    let files = folder(&[("policy.yaml", POLICY), ("pump.yaml", &twin("pump", GOOD))]);
    let engine = Engine::start(files.path(), None);
    let gateway = Gateway::encrypted(&engine.ditto);
    let ca = format!("{TLS}/ca.pem");
    let trusted = apply(files.path(), &gateway.ditto, &["--ditto-ca-file", &ca]);
    assert_eq!((trusted.code, trusted.line("pump").0), (0, "applied"), "{} {}", trusted.stderr, trusted.json);
    let mut by_variable = twinops();
    by_variable.arg("apply").arg(files.path()).args(["-o", "json", "--ditto-url", &gateway.ditto.url]);
    by_variable.args(["--ditto-pre-authenticated", "nginx:operator"]).env("DITTO_CA_FILE", &ca);
    assert_eq!(run(by_variable).code, 0);

    let stranger = apply(files.path(), &gateway.ditto, &[]);
    assert_eq!(stranger.code, 2);
    assert!(stranger.stderr.contains("--ditto-ca-file"), "{}", stranger.stderr);
    let other = format!("{TLS}/server.key");
    let wrong = apply(files.path(), &gateway.ditto, &["--ditto-ca-file", &other]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("--ditto-ca-file") && wrong.stderr.contains(&other), "{}", wrong.stderr);
}

#[test]
fn a_token_in_a_file_lets_in() {
    let files = folder(&[("policy.yaml", POLICY), ("pump.yaml", &twin("pump", GOOD)), ("token", "first\n")]);
    let engine = Engine::start(files.path(), None);
    let gateway = Gateway::start(&engine.ditto);
    gateway.take_token("first");
    let with_token = || {
        let mut command = twinops();
        command.arg("apply").arg(files.path()).args(["-o", "json", "--ditto-url", &gateway.ditto.url]);
        command.arg("--ditto-token-file").arg(files.path().join("token"));
        run(command)
    };
    let first = with_token();
    assert_eq!((first.code, first.line("pump").0), (0, "applied"), "{} {}", first.stderr, first.json);
    gateway.take_token("second");
    let expired = with_token();
    assert_eq!(expired.code, 2);
    assert!(
        expired.stderr.contains("DITTO_TOKEN_FILE") && !expired.stderr.contains("first"),
        "{}",
        expired.stderr
    );
}
