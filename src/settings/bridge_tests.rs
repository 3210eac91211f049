use std::io;
use std::path::Path;

use clap::Parser;

use super::super::{Role, Settings, cli};
use super::*;

fn checked(line: &str, variables: &[(&str, &str)]) -> Result<Bridge, Vec<String>> {
    let cli = cli::Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|e| panic!("{line}: {e}"));
    let read = |path: &Path| match path.to_str() {
        Some(name) if name.starts_with("no-") => Err(io::Error::from(io::ErrorKind::NotFound)),
        _ => Ok("text\n".to_owned()),
    };
    let variable =
        |name: &str| variables.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned());
    let checked = super::super::check(cli, &Surroundings { variable: &variable, read: &read });
    match checked {
        Ok(Settings { role: Role::Bridge(bridge), .. }) => Ok(*bridge),
        Ok(settings) => panic!("{line}: {settings:?}"),
        Err(mistakes) => Err(mistakes.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn a_bridge_needs_no_flag_on_a_laptop() {
    let bridge = checked("twinops bridge", &[]).unwrap();
    assert_eq!((bridge.mqtt.host.as_str(), bridge.mqtt.port), ("127.0.0.1", 1883));
    assert_eq!(bridge.mqtt.client_id, "twinops-bridge");
    assert!(bridge.mqtt.tls.is_none() && bridge.mqtt.login.is_none() && bridge.auto_create.is_none());
    assert_eq!((bridge.max_rate, bridge.payload_max, bridge.ditto_writes), (None, 65_536, 256));
    assert_eq!(bridge.mqtt.packet_max, 262_144);
    assert_eq!(bridge.replica, Replica::ALONE);
}

#[test]
fn a_replica_is_named_or_counted() {
    let host = [("HOSTNAME", "twinops-bridge-1")];
    let rows = [
        ("--replica 1/3", Ok((1, 3, "twinops-bridge-1"))),
        ("--replica 0/1", Ok((0, 1, "twinops-bridge"))),
        ("--replicas 2", Ok((1, 2, "twinops-bridge-1"))),
        ("--replicas 1", Ok((0, 1, "twinops-bridge"))),
        ("--replica 3/3", Err("`3/3` is no replica")),
        ("--replica 1", Err("`1` is no replica")),
        ("--replicas 0", Err("`0` is no number from 1")),
        ("--replicas x", Err("`x` is no number from 1")),
        ("--replica 0/2 --replicas 2", Err("given together with --replicas")),
    ];
    for (flags, expected) in rows {
        match (checked(&format!("twinops bridge {flags}"), &host), expected) {
            (Ok(bridge), Ok((index, count, id))) => {
                assert_eq!(bridge.replica, Replica { index, count }, "{flags}");
                assert_eq!(bridge.mqtt.client_id, id, "{flags}");
            }
            (Err(mistakes), Err(part)) => {
                assert!(mistakes.join("\n").contains(part), "{flags}: {mistakes:?}");
            }
            (got, _) => panic!("{flags}: {got:?}"),
        }
    }
    let far = checked("twinops bridge --replicas 2", &[("HOSTNAME", "bridge-2")]).unwrap_err();
    assert_eq!(far, ["--replicas: HOSTNAME `bridge-2` is number 2, and there are 2"]);
    let none = checked("twinops bridge --replicas 2", &[("HOSTNAME", "laptop")]).unwrap_err();
    assert_eq!(none, ["--replicas: HOSTNAME `laptop` ends in no number: write --replica 0/2"]);
}

/// Flags, variables, and what is wrong.
type Row = (&'static str, &'static [(&'static str, &'static str)], &'static str);

#[test]
fn mistakes_of_a_bridge_say_what_to_write() {
    let rows: [Row; 16] = [
        ("--mqtt-url http://x", &[], "--mqtt-url: `http://x` is no broker; write e.g. mqtt://mosquitto:1883"),
        (
            "--mqtt-ca-file ca",
            &[],
            "--mqtt-ca-file: only means something with TLS: write --mqtt-url mqtts://…",
        ),
        ("--mqtt-url mqtts://b --mqtt-certificate c", &[], "--mqtt-key: is needed by --mqtt-certificate"),
        ("--mqtt-url mqtts://b --mqtt-key k", &[], "--mqtt-certificate: is needed by --mqtt-key"),
        (
            "--mqtt-username u",
            &[],
            "--mqtt-username: no password: set MQTT_PASSWORD, or MQTT_PASSWORD_FILE to a file",
        ),
        ("", &[("MQTT_PASSWORD", "x")], "MQTT_PASSWORD: a password needs a user: set --mqtt-username"),
        ("--auto-create", &[], "--auto-create-policy: is needed by --auto-create, e.g. com.example:sensors"),
        ("--auto-create-policy a:b", &[], "--auto-create-policy: only means something with --auto-create"),
        (
            "--telemetry-topic devices/telemetry",
            &[],
            "--telemetry-topic: `devices/telemetry` names no `{thingId}`",
        ),
        (
            "--dead-letter-topic a/#",
            &[],
            "--dead-letter-topic: one topic without `+`, `#` or `{`, e.g. twinops/dead-letters",
        ),
        (
            "--dead-letter-topic devices/a:b/telemetry",
            &[],
            "--dead-letter-topic: `devices/a:b/telemetry` is a topic of devices: letters would be taken for theirs; write e.g. twinops/dead-letters",
        ),
        (
            "--dead-letter-topic plant/dead/responses/x --responses-topic plant/{thingId}/responses/{correlationId}",
            &[],
            "--dead-letter-topic: `plant/dead/responses/x` is a topic of devices: letters would be taken for theirs; write e.g. twinops/dead-letters",
        ),
        (
            "--dead-letter-topic devices/dead/commands",
            &[],
            "--dead-letter-topic: `devices/dead/commands` is a topic of devices: letters would be taken for theirs; write e.g. twinops/dead-letters",
        ),
        (
            "--max-rate 1001",
            &[],
            "--max-rate: `1001` is no number from 0 to 1000; write e.g. 20, or 0 to switch it off",
        ),
        ("--ditto-writes 0", &[], "--ditto-writes: `0` is no number from 1 to 4096"),
        ("--mqtt-packet-max 0", &[], "--mqtt-packet-max: `0` is no number from 1 to 268435460"),
    ];
    for (flags, variables, mistake) in rows {
        let mistakes = checked(&format!("twinops bridge {flags}"), variables).unwrap_err();
        assert_eq!(mistakes, [mistake], "{flags}");
    }
}
