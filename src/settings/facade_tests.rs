use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use secrecy::ExposeSecret;

use super::facade::broker;
use super::*;

fn checked(line: &str, variables: &[(&str, &str)]) -> Result<Facade, Vec<String>> {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    let cli = cli::Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|e| panic!("{line}: {e}"));
    let read = |path: &Path| match path.to_str() {
        Some(name) if name.starts_with("no-") => Err(io::Error::from(io::ErrorKind::NotFound)),
        _ => Ok("text\n".to_owned()),
    };
    let variable = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    match check(cli, &Surroundings { variable: &variable, read: &read }) {
        Ok(Settings { role: Role::Facade(facade), .. }) => Ok(*facade),
        Ok(other) => panic!("{other:?}"),
        Err(mistakes) => Err(mistakes.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn all_mistakes_of_a_facade_are_named_at_once() {
    let line = "twinops facade --auth oidc --listen x --oidc-issuer http://login.example --oidc-algorithms HS256,ES256 --oidc-name a:b \
                --cors-origin * --tls-key k --mqtt-broker-url http://x --operator-subject a,b --bridge-subject c --ditto-pre-authenticated a:b";
    let mistakes = checked(line, &[("DITTO_DEVOPS_PASSWORD", "x")]).unwrap_err();
    let flags: Vec<&str> =
        mistakes.iter().map(|mistake| mistake.split(':').next().unwrap_or_default()).collect();
    assert_eq!(
        flags,
        [
            "--listen",
            "--auth",
            "--oidc-audience",
            "--oidc-issuer",
            "--oidc-name",
            "--oidc-algorithms",
            "--cors-origin",
            "--operator-subject",
            "--bridge-subject",
            "DITTO_DEVOPS_PASSWORD",
            "--mqtt-broker-url",
            "--tls-certificate",
        ],
        "{mistakes:#?}"
    );
}

#[test]
fn a_mode_names_what_it_needs() {
    let rows: &[(&str, &[&str])] = &[
        ("twinops facade", &[]),
        ("twinops facade --auth none", &[]),
        ("twinops facade --auth none --listen 0.0.0.0:8000", &["--auth"]),
        ("twinops facade --auth none --ditto-url http://ditto:8080", &["--ditto-url"]),
        ("twinops facade --auth none --ditto-url http://ditto:8080 --ditto-pre-authenticated a:b", &[]),
        ("twinops facade --auth basic", &["--users-file"]),
        ("twinops facade --auth basic --users-file no-file", &["--users-file"]),
        ("twinops facade --auth basic --users-file users --listen 0.0.0.0:8000", &[]),
        ("twinops facade --auth api-key", &["--api-keys-file"]),
        ("twinops facade --auth oidc", &["--oidc-issuer", "--oidc-audience"]),
        (
            "twinops facade --auth oidc --oidc-issuer https://login.example/realms/iot --oidc-audience twins",
            &[],
        ),
        ("twinops facade --listen 127.0.0.1:9090", &["--management-listen"]),
    ];
    for (line, expected) in rows {
        let mistakes = checked(line, &[]).err().unwrap_or_default();
        let flags: Vec<&str> =
            mistakes.iter().map(|mistake| mistake.split(':').next().unwrap_or_default()).collect();
        assert_eq!(flags, *expected, "{line} {mistakes:?}");
    }
}

#[test]
fn the_variables_of_earlier_programs_keep_their_meaning() {
    let rows = [
        ("http://ditto:8080", "", "ws://ditto:8080/ws/2"),
        ("http://ditto:8080/api/2", "ws://ditto:8081", "ws://ditto:8081/ws/2"),
        ("http://ditto:8080/", "ws://ditto:8081/", "ws://ditto:8081/ws/2"),
        ("https://ditto/x", "wss://other/ditto/ws/2", "wss://other/ditto/ws/2"),
    ];
    for (url, ws, expected) in rows {
        let facade = checked(&format!("twinops facade --ditto-url {url} --ditto-ws-url={ws}"), &[]).unwrap();
        assert_eq!(facade.ditto_ws_url, expected, "{url} {ws}");
        assert!(
            !facade.ditto_url.ends_with('/') && !facade.ditto_url.contains("api"),
            "{}",
            facade.ditto_url
        );
    }
    let devops = [("DITTO_DEVOPS_USER", "devops"), ("DITTO_DEVOPS_PASSWORD", "s3cret")];
    let facade =
        checked("twinops facade --mqtt-broker-url mqtt://mosquitto:1884 --drain-delay 0", &devops).unwrap();
    let (user, password) = facade.devops.as_ref().unwrap();
    assert_eq!((user.as_str(), password.read().unwrap().expose_secret()), ("devops", "s3cret"));
    assert_eq!(
        (facade.mqtt.clone(), facade.drain_delay),
        (Some(("mosquitto".to_owned(), 1884)), Duration::ZERO)
    );
    assert!(!format!("{facade:?}").contains("s3cret"));
}

#[test]
fn a_broker_is_named_in_many_ways() {
    let rows = [
        ("mqtt://m", Some(("m", 1883))),
        ("mqtts://m", Some(("m", 8883))),
        ("tcp://10.0.0.1:99", Some(("10.0.0.1", 99))),
        ("m:1884", Some(("m", 1884))),
        ("mosquitto", Some(("mosquitto", 1883))),
        ("http://m", None),
        ("", None),
        // Nobody would use them: they have flags of their own.
        ("mqtt://user:word@m", None),
    ];
    for (text, expected) in rows {
        let read = broker(text).ok();
        assert_eq!(read.as_ref().map(|(host, port)| (host.as_str(), *port)), expected, "{text}");
    }
}

#[test]
fn the_table_in_docs_is_what_make_generate_writes() {
    let kept = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md"))
        .expect("docs/settings.md");
    assert_eq!(kept, table(), "run `make generate`");
}
