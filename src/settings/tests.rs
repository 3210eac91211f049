use std::collections::BTreeMap;

use clap::{CommandFactory, Parser};
use secrecy::ExposeSecret;

use super::*;

/// What `check` says to a command line, with these variables and with files that hold their own name.
fn checked(line: &str, variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    let cli = cli::Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|e| panic!("{line}: {e}"));
    let read = |path: &Path| match path.to_str() {
        Some(name) if name.starts_with("no-") => Err(io::Error::from(io::ErrorKind::NotFound)),
        Some(name) if name.starts_with("empty-") => Ok("\n".to_owned()),
        _ => Ok("text\n".to_owned()),
    };
    let variable = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    check(cli, &Surroundings { variable: &variable, read: &read })
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

/// A command line, its variables, and what `check` says.
type Row = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

fn assert_mistakes(rows: &[Row]) {
    for (line, variables, mistakes) in rows {
        assert_eq!(checked(line, variables).err().unwrap_or_default(), *mistakes, "{line}");
    }
}

#[test]
fn mistakes_around_a_folder_say_what_to_write() {
    assert_mistakes(&[
        ("twinops dev", &[], &[]),
        (
            "twinops dev --data d --ephemeral",
            &[],
            &["--data: given together with --ephemeral: keep d, or keep nothing"],
        ),
        (
            "twinops dev --engine-listen 8080",
            &[],
            &[
                "--engine-listen: `8080` is no address to listen on; write IP:PORT, e.g. 127.0.0.1:8080 or [::1]:8080",
            ],
        ),
        (
            "twinops dev --engine-listen 127.0.0.1:9090",
            &[],
            &["--management-listen: 127.0.0.1:9090 is the engine's: give it another port"],
        ),
        ("twinops dev --engine-listen 127.0.0.1:0 --management-listen 127.0.0.1:0", &[], &[]),
        (
            "twinops dev --engine-listen 127.0.0.1:8000",
            &[],
            &["--facade-listen: 127.0.0.1:8000 is taken by another server here: give it another port"],
        ),
        (
            "twinops dev --facade-listen 0.0.0.0:8000",
            &[],
            &[
                "--facade-listen: 0.0.0.0:8000 can be reached from outside, and nobody logs in here: run `twinops facade` for others",
            ],
        ),
        (
            "twinops apply d --prune",
            &[],
            &["--prune: needs --owner NAME: it deletes everything of that name which is not declared here"],
        ),
        ("twinops apply d --prune --owner folder", &[], &[]),
        ("twinops apply d --yes", &[], &["--yes: only means something with --prune"]),
        (
            "twinops apply d --owner a/b",
            &[],
            &["--owner: `a/b` is no owner; write 1 to 64 letters, digits, `.`, `_` or `-`, e.g. plant-7"],
        ),
    ]);
}

#[test]
fn a_ditto_that_cannot_be_reached_that_way_is_a_mistake() {
    assert_mistakes(&[
        (
            "twinops apply d --ditto-url ditto:8080",
            &[],
            &[
                "--ditto-url: `ditto:8080` does not start with http or https; write e.g. http://127.0.0.1:8080",
            ],
        ),
        (
            "twinops apply d --ditto-url 127.0.0.1",
            &[],
            &[
                "--ditto-url: `127.0.0.1` is no URL (relative URL without a base); write e.g. http://127.0.0.1:8080",
            ],
        ),
        (
            "twinops apply d --ditto-url http://ada:pw@127.0.0.1",
            &[],
            &["--ditto-url: a URL holds no user and no password: use --ditto-username and DITTO_PASSWORD"],
        ),
        (
            "twinops apply d --ditto-url http://ditto:8080",
            &[],
            &[
                "--ditto-url: no credentials for it: give --ditto-pre-authenticated, --ditto-username or --ditto-token-file",
            ],
        ),
        (
            "twinops operator",
            &[],
            &[
                "--ditto-url: no credentials for it: give --ditto-pre-authenticated, --ditto-username or --ditto-token-file",
            ],
        ),
    ]);
}

#[test]
fn credentials_are_given_once_and_whole() {
    assert_mistakes(&[
        (
            "twinops apply d --ditto-username ada",
            &[],
            &["--ditto-username: no password: set DITTO_PASSWORD, or DITTO_PASSWORD_FILE to a file"],
        ),
        (
            "twinops apply d",
            &[("DITTO_PASSWORD", "secret")],
            &["DITTO_PASSWORD: a password needs a user: set --ditto-username"],
        ),
        (
            "twinops apply d --ditto-username ada",
            &[("DITTO_PASSWORD", "x"), ("DITTO_PASSWORD_FILE", "f")],
            &["DITTO_PASSWORD: given together with DITTO_PASSWORD_FILE: keep one of them"],
        ),
        (
            "twinops apply d --ditto-username ada",
            &[("DITTO_PASSWORD_FILE", "no-file")],
            &["DITTO_PASSWORD_FILE: cannot read no-file: entity not found"],
        ),
        ("twinops apply d --ditto-token-file empty-file", &[], &["--ditto-token-file: empty-file is empty"]),
        (
            "twinops apply d --ditto-ca-file no-file",
            &[],
            &["--ditto-ca-file: cannot read no-file: entity not found"],
        ),
        (
            "twinops apply d --ditto-token-file t --ditto-pre-authenticated a:b",
            &[],
            &["--ditto-pre-authenticated: given together with --ditto-token-file: keep one of them"],
        ),
    ]);
}

#[test]
fn an_engine_that_can_be_reached_needs_a_way_to_log_in() {
    assert_mistakes(&[
        (
            "twinops engine --listen 0.0.0.0:8080",
            &[],
            &[
                "--listen: 0.0.0.0:8080 can be reached from outside, and nobody could log in: give --basic-auth-file or --pre-authenticated",
            ],
        ),
        (
            "twinops engine --listen 0.0.0.0:8080 --basic-auth-file no-users",
            &[],
            &["--basic-auth-file: cannot read no-users: entity not found"],
        ),
    ]);
}

#[test]
fn all_mistakes_are_named_at_once() {
    assert_mistakes(&[(
        "twinops operator --kubeconfig no-config --management-listen x --resync 0s --ditto-namespaces a/b \
             --bridge-subject bridge --watch-namespace A --breaker-twins many --breaker-percent 101 \
             --lease-namespace A --lease-duration 1500ms --ditto-url x:/ --ditto-ws-url http://a \
             --ditto-username a:b --ditto-timeout 10 --log-level loud",
        &[("DITTO_PASSWORD", "secret")],
        &[
            "--kubeconfig: cannot read no-config: entity not found",
            "--management-listen: `x` is no address to listen on; write IP:PORT, e.g. 127.0.0.1:8080 or [::1]:8080",
            "--resync: `0s` is no duration; write e.g. 500ms, 30s, 10m or 1h30m",
            "--ditto-namespaces: `a/b` matches no namespace; write e.g. com.example, com.example.* or <namespace>",
            "--bridge-subject: `bridge` is no subject; write e.g. nginx:ditto",
            "--breaker-twins: `many` is no number; write e.g. 50, or 0 to switch it off",
            "--breaker-percent: `101` is no number from 0 to 100; write e.g. 20, or 0 to switch it off",
            "--lease-namespace: `A` is no Kubernetes namespace; write e.g. plant-7",
            "--lease-duration: `1500ms` is no lease; write whole seconds, at most 1h, e.g. 15s",
            "--watch-namespace: `A` is no Kubernetes namespace; write e.g. plant-7",
            "--ditto-timeout: `10` is no duration; write e.g. 500ms, 30s, 10m or 1h30m",
            "--ditto-url: `x:/` does not start with http or https; write e.g. http://127.0.0.1:8080",
            "--ditto-ws-url: `http://a` does not start with ws or wss; write e.g. ws://127.0.0.1:8080/ws/2",
            "--ditto-username: a user name holds no colon",
            "--log-level: `loud` is no level; write error, warn, info, debug, trace, off, or a filter such as info,twinops=debug",
        ],
    )]);
}

fn ditto(line: &str, variables: &[(&str, &str)]) -> Ditto {
    match checked(line, variables).map(|settings| settings.role) {
        Ok(Role::Apply(apply)) => apply.ditto,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_ditto_is_named_in_many_ways_and_found_in_one() {
    let cases = [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "ws://127.0.0.1:8080/ws/2"),
        ("http://localhost:8080/api/2/", "http://localhost:8080", "ws://localhost:8080/ws/2"),
        ("https://[::1]/ditto/api/2", "https://[::1]/ditto", "wss://[::1]/ditto/ws/2"),
        ("http://127.0.0.1:80/", "http://127.0.0.1", "ws://127.0.0.1/ws/2"),
    ];
    for (written, url, ws_url) in cases {
        let ditto = ditto(&format!("twinops apply d --ditto-url {written}"), &[]);
        assert_eq!((ditto.url.as_str(), ditto.ws_url.as_str()), (url, ws_url), "{written}");
    }
    let elsewhere = ditto("twinops apply d --ditto-ws-url wss://h/ws/2", &[]);
    assert_eq!(elsewhere.ws_url, "wss://h/ws/2");
    assert_eq!(elsewhere.ca_file, None);
    let private = ditto("twinops apply d --ditto-ca-file ca.pem", &[]);
    assert_eq!(private.ca_file, Some("ca.pem".into()));
}

#[test]
fn credentials_are_what_was_given_and_a_loopback_needs_none() {
    let speaks = |line: &str, variables: &[(&str, &str)]| match ditto(line, variables).credentials {
        Credentials::PreAuthenticated(subject) => format!("pre {subject}"),
        Credentials::Basic { username, password: Secret::Value(password) } => {
            format!("basic {username} {}", password.expose_secret())
        }
        Credentials::Basic { username, password: Secret::File(path) } => {
            format!("basic {username} in {}", path.display())
        }
        Credentials::Bearer(Secret::File(path)) => format!("bearer in {}", path.display()),
        Credentials::Bearer(Secret::Value(_)) => unreachable!("a token has no variable"),
    };
    assert_eq!(speaks("twinops apply d", &[]), "pre nginx:ditto");
    assert_eq!(speaks("twinops apply d --ditto-pre-authenticated a:b", &[]), "pre a:b");
    let user = "twinops apply d --ditto-url http://ditto --ditto-username ada";
    assert_eq!(speaks(user, &[("DITTO_PASSWORD", "pw")]), "basic ada pw");
    assert_eq!(speaks(user, &[("DITTO_PASSWORD_FILE", "pw.txt")]), "basic ada in pw.txt");
    assert_eq!(speaks("twinops apply d --ditto-token-file t", &[]), "bearer in t");
}

#[test]
fn a_secret_in_a_file_is_read_anew_and_without_its_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    let secret = Secret::File(path.clone());
    assert!(secret.read().is_err());
    for text in ["first", "second"] {
        std::fs::write(&path, format!("{text}\n")).unwrap();
        assert_eq!(secret.read().unwrap().expose_secret(), text);
    }
}

#[test]
fn s45_settings_can_be_printed_without_showing_a_secret() {
    let settings = checked("twinops apply d --ditto-username ada", &[("DITTO_PASSWORD", "canary")]).unwrap();
    let shown = format!("{settings:?}");
    assert!(shown.contains("ada") && !shown.contains("canary"), "{shown}");
}

#[test]
fn s45_a_mistake_in_a_url_does_not_show_the_password_in_it() {
    let lines = [
        "apply d --ditto-url http://ada:canary@ditto",
        "apply d --ditto-url http://ada:canary@ditto:99999",
        "apply d --ditto-url http://ditto?token=canary",
        "apply d --ditto-url http://ditto:99999#canary",
        "apply d --ditto-ws-url ws://canary@ditto:99999/ws/2",
        "bridge --mqtt-url mqtt://bridge:canary@broker",
        "bridge --mqtt-url mqtt://bridge:canary@broker:99999",
        "facade --auth none --mqtt-broker-url bridge:canary@broker",
        "facade --auth none --cors-origin http://ada:canary@app",
        "facade --auth oidc --oidc-audience a --oidc-issuer https://ada:canary@login:99999",
        "health http://ada:canary@facade:99999/health",
        "apply d --otlp-endpoint http://ada:canary@collector",
    ];
    for line in lines {
        let mistakes = checked(&format!("twinops {line}"), &[]).unwrap_err();
        let said = format!("{mistakes:?}");
        assert!(!mistakes.is_empty() && !said.contains("canary"), "{line}: {said}");
    }
}

#[test]
fn a_folder_has_an_owner_and_prunes_only_when_told() {
    let cases = [
        ("twinops dev d", "folder", Prune::Never),
        ("twinops dev d --owner a --prune", "a", Prune::Careful),
        ("twinops apply d -R --owner a --prune --yes", "a", Prune::Confirmed),
    ];
    for (line, owner, prune) in cases {
        let folder = match checked(line, &[]).unwrap().role {
            Role::Dev(dev) => dev.folder,
            Role::Apply(apply) => apply.folder,
            other => panic!("{other:?}"),
        };
        let recursive = line.contains("-R");
        assert_eq!(
            folder,
            Folder { paths: vec!["d".into()], recursive, owner: owner.into(), prune },
            "{line}"
        );
    }
}

#[test]
fn dev_has_the_addresses_people_rely_on() {
    let Role::Dev(dev) = checked("twinops dev", &[]).unwrap().role else { panic!("not dev") };
    let listens = [dev.engine_listen, dev.facade_listen, dev.mqtt_listen, dev.management_listen];
    let expected = ["127.0.0.1:8080", "127.0.0.1:8000", "127.0.0.1:1883", "127.0.0.1:9090"];
    assert_eq!(listens.map(|address| address.to_string()), expected);
    assert_eq!(dev.data, Data::Folder(".twinops".into()));
}

#[test]
fn the_operator_has_the_defaults_of_its_help() {
    let line = "twinops operator --ditto-pre-authenticated a:b --watch-namespace x,y --watch-namespace z";
    let Role::Operator(operator) = checked(line, &[]).unwrap().role else { panic!("not operator") };
    assert_eq!(operator.management_listen.to_string(), "0.0.0.0:9090");
    assert_eq!((operator.resync, operator.ditto.timeout), (Duration::from_mins(10), Duration::from_secs(10)));
    assert_eq!(operator.ditto_namespaces, ["*"]);
    assert_eq!((operator.breaker_twins, operator.breaker_percent), (50, 20));
    assert_eq!((operator.lease_namespace, operator.lease_duration), (None, Duration::from_secs(15)));
    assert_eq!(operator.watch_namespaces, ["x", "y", "z"]);
}

#[test]
fn every_flag_has_a_variable_and_every_command_an_example() {
    let cli = cli::Cli::command();
    cli.clone().debug_assert();
    for command in cli.get_subcommands() {
        let name = command.get_name();
        let help = command.clone().render_long_help().to_string();
        assert!(help.contains(&format!("Examples:\n  twinops {name}")), "{help}");
        for flag in command.get_arguments().filter(|flag| flag.get_long().is_some()) {
            let variable = flag.get_env().and_then(|name| name.to_str()).unwrap_or_default();
            let named = ["TWINOPS_", "DITTO_", "MQTT_"].iter().any(|prefix| variable.starts_with(prefix));
            assert!(named, "{name} {flag}: {variable:?}");
        }
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for line in
        ["twinops", "twinops apply", "twinops dev --ditto", "twinops bridges", "twinops apply d -o xml"]
    {
        let error = cli::Cli::try_parse_from(line.split_whitespace()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}
