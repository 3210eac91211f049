//! `twinops bridge`: the command line as a user meets it, and what it means.
#![allow(clippy::doc_markdown)] // the comments of the arguments are the help text, which people read as it stands
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};

use super::cli::DittoArgs;
use super::ditto::{self, Ditto, Secret};
use super::{Mistakes, Surroundings, facade, value};
use crate::twin::id::PolicyId;
use crate::twin::topics::{Topics, TopicsError};

/// The most writes per second and thing that may be asked for, as in `spec.telemetry.maxRate`.
const RATE_MAX: usize = 1_000;
/// The largest payload that may be allowed, in bytes: Ditto takes no larger thing unless it is told to.
const PAYLOAD_MAX: usize = 1_024 * 1_024;
/// The largest packet of MQTT, in bytes. Source: MQTT 5, 2.1.4.
const PACKET_MAX: usize = 268_435_460;
/// The most writes that may be on their way to Ditto.
const WRITES_MAX: usize = 4_096;
/// More replicas than this are a slip.
const REPLICAS_MAX: usize = 1_000;
/// The longest client id every broker takes. Source: MQTT 5, 3.1.3.1.
const CLIENT_ID_MAX: usize = 64;

/// Bring what devices say over MQTT into their twins, and what twins want to the devices.
///
/// Telemetry arrives on `devices/{thingId}/telemetry`, commands leave on `devices/{thingId}/commands`. See
/// docs/mqtt.md.
#[derive(Args, Debug)]
#[command(after_long_help = concat!("Examples:
  twinops bridge --mqtt-url mqtt://127.0.0.1:1883
  twinops bridge --mqtt-url mqtts://mosquitto:8883 --mqtt-ca-file ca.pem --replicas 2 \\
      --ditto-url http://ditto-gateway:8080 --ditto-pre-authenticated nginx:twinops-bridge
  mosquitto_pub -t devices/com.example:lamp/telemetry -m '{\"temperature\": 25.5}'

", "Variables without a flag:
  MQTT_PASSWORD, MQTT_PASSWORD_FILE     the password for --mqtt-username, or the file that holds it
  DITTO_PASSWORD, DITTO_PASSWORD_FILE   the password for --ditto-username, or the file that holds it"))]
pub struct BridgeArgs {
    /// Where the MQTT broker is: `mqtt://HOST:1883`, or `mqtts://HOST:8883` for TLS.
    #[arg(long, env = "MQTT_BROKER_URL", value_name = "URL", default_value = "mqtt://127.0.0.1:1883")]
    #[arg(help_heading = "MQTT")]
    pub mqtt_url: String,

    /// The version of MQTT to speak.
    #[arg(long, env = "TWINOPS_MQTT_VERSION", value_name = "VERSION", default_value = "5")]
    #[arg(help_heading = "MQTT")]
    pub mqtt_version: MqttVersion,

    /// The client id, under which the broker keeps the session; with several replicas `-<ordinal>` is added.
    #[arg(long, env = "TWINOPS_MQTT_CLIENT_ID", value_name = "NAME", default_value = "twinops-bridge")]
    #[arg(help_heading = "MQTT")]
    pub mqtt_client_id: String,

    /// Log in as this user, with the password in MQTT_PASSWORD or in the file MQTT_PASSWORD_FILE names.
    #[arg(long, env = "MQTT_USERNAME", value_name = "NAME", hide_env_values = true)]
    #[arg(help_heading = "MQTT")]
    pub mqtt_username: Option<String>,

    /// Trust the CA certificates in this PEM file, and no others. Unset: those of the system.
    #[arg(long, env = "MQTT_CA_FILE", value_name = "FILE", help_heading = "MQTT")]
    pub mqtt_ca_file: Option<PathBuf>,

    /// Show this client certificate, PEM; read again at every connection.
    #[arg(long, env = "MQTT_CERTIFICATE_FILE", value_name = "FILE", help_heading = "MQTT")]
    pub mqtt_certificate: Option<PathBuf>,

    /// The private key of the client certificate, PEM.
    #[arg(long, env = "MQTT_KEY_FILE", value_name = "FILE", help_heading = "MQTT")]
    pub mqtt_key: Option<PathBuf>,

    /// How telemetry is subscribed to: with 1 nothing is lost, with 0 what is on its way may be.
    #[arg(long, env = "TWINOPS_MQTT_QOS", value_name = "QOS", default_value = "1", help_heading = "MQTT")]
    pub mqtt_qos: Qos,

    /// How long the broker keeps messages for a bridge that is away.
    #[arg(long, env = "TWINOPS_MQTT_SESSION_EXPIRY", value_name = "DURATION", default_value = "24h")]
    #[arg(help_heading = "MQTT")]
    pub mqtt_session_expiry: String,

    /// The largest packet, in bytes, that a broker takes which does not say so, as with MQTT 3.1.1: its own limit, e.g. Mosquitto's max_packet_size.
    #[arg(long, env = "TWINOPS_MQTT_PACKET_MAX", value_name = "BYTES", default_value = "262144")]
    #[arg(help_heading = "MQTT")]
    pub mqtt_packet_max: String,

    /// Where telemetry arrives; may be given several times. `{thingId}` is one level; `{feature}`, if there, too.
    #[arg(long = "telemetry-topic", env = "TWINOPS_TELEMETRY_TOPIC", value_name = "TOPIC")]
    #[arg(value_delimiter = ',', default_value = "devices/{thingId}/telemetry", help_heading = "Topics")]
    pub telemetry_topics: Vec<String>,

    /// Where commands leave; devices ask for them on the level `get` below it.
    #[arg(long, env = "TWINOPS_COMMANDS_TOPIC", value_name = "TOPIC")]
    #[arg(default_value = "devices/{thingId}/commands", help_heading = "Topics")]
    pub commands_topic: String,

    /// Where devices answer a message.
    #[arg(long, env = "TWINOPS_RESPONSES_TOPIC", value_name = "TOPIC")]
    #[arg(default_value = "devices/{thingId}/responses/{correlationId}", help_heading = "Topics")]
    pub responses_topic: String,

    /// Publish the bare payload of a message on the level of its subject too, below the commands topic.
    #[arg(long, env = "TWINOPS_COMMAND_SUBTOPICS", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = "Topics")]
    pub command_subtopics: bool,

    /// Where messages that are refused go, with the reason. Unset: nowhere.
    #[arg(long, env = "TWINOPS_DEAD_LETTER_TOPIC", value_name = "TOPIC", help_heading = "Topics")]
    pub dead_letter_topic: Option<String>,

    /// Create twins that Ditto does not know, with the policy of --auto-create-policy.
    #[arg(long, env = "TWINOPS_AUTO_CREATE", value_parser = BoolishValueParser::new())]
    pub auto_create: bool,

    /// The policy of twins that are created.
    #[arg(long, env = "TWINOPS_AUTO_CREATE_POLICY", value_name = "POLICY")]
    pub auto_create_policy: Option<String>,

    /// The most writes per second for a thing whose `spec.telemetry.maxRate` says nothing. 0: as many as Ditto takes.
    #[arg(long, env = "TWINOPS_MAX_RATE", value_name = "NUMBER", default_value = "0")]
    pub max_rate: String,

    /// The largest payload of a device, in bytes.
    #[arg(long, env = "TWINOPS_PAYLOAD_MAX", value_name = "BYTES", default_value = "65536")]
    pub payload_max: String,

    /// The most writes that are on their way to Ditto at the same time; never more than one for each thing.
    #[arg(long, env = "TWINOPS_DITTO_WRITES", value_name = "NUMBER", default_value = "256")]
    pub ditto_writes: String,

    /// Which of several bridges this is, as `I/N` from `0/N`: each takes its part of the things.
    #[arg(long, env = "TWINOPS_REPLICA", value_name = "I/N")]
    pub replica: Option<String>,

    /// How many bridges there are, each with its ordinal at the end of HOSTNAME, as in a StatefulSet.
    #[arg(long, env = "TWINOPS_REPLICAS", value_name = "N")]
    pub replicas: Option<String>,

    /// Where health, metrics and devices are served. Port 0 picks a free one.
    #[arg(long, env = "TWINOPS_MANAGEMENT_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9090")]
    pub management_listen: String,

    #[command(flatten)]
    pub ditto: DittoArgs,
}

/// The versions of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MqttVersion {
    #[value(name = "5")]
    V5,
    #[value(name = "3.1.1")]
    V311,
}

/// How sure the delivery of telemetry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Qos {
    #[value(name = "0")]
    AtMostOnce,
    #[value(name = "1")]
    AtLeastOnce,
}

/// `twinops bridge`
#[derive(Clone, Debug)]
pub struct Bridge {
    pub mqtt: Mqtt,
    pub topics: Topics,
    /// Whether the payload of a message goes to a topic of its subject, too.
    pub command_subtopics: bool,
    pub dead_letter_topic: Option<String>,
    /// The policy of twins that are created; unset: none is.
    pub auto_create: Option<PolicyId>,
    /// Writes per second and thing; unset: no limit.
    pub max_rate: Option<u32>,
    /// In bytes.
    pub payload_max: usize,
    /// At the same time.
    pub ditto_writes: usize,
    pub replica: Replica,
    pub management_listen: SocketAddr,
    pub ditto: Ditto,
}

/// A broker, and as whom it is met.
#[derive(Clone, Debug)]
pub struct Mqtt {
    pub host: String,
    pub port: u16,
    pub tls: Option<MqttTls>,
    pub version: MqttVersion,
    pub client_id: String,
    pub login: Option<(String, Secret)>,
    pub qos: Qos,
    /// Whole seconds.
    pub session_expiry: Duration,
    /// The largest packet it takes when it does not say, in bytes.
    pub packet_max: usize,
}

/// What is believed and shown to a broker.
#[derive(Clone, Debug, Default)]
pub struct MqttTls {
    /// The CAs that are believed, PEM; unset: those of the system.
    pub ca_file: Option<PathBuf>,
    /// A certificate and its key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Which part of the things this bridge takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    pub index: u64,
    /// At least one.
    pub count: u64,
}

impl Replica {
    pub const ALONE: Self = Self { index: 0, count: 1 };
}

pub(super) fn check(args: &BridgeArgs, around: &Surroundings, mistakes: &mut Mistakes) -> Bridge {
    let replica = replica(args, around, mistakes);
    let topics = mistakes.or("--telemetry-topic", topics(args), Topics::default());
    let dead_letter = args.dead_letter_topic.clone().filter(|topic| !topic.is_empty());
    if dead_letter.as_ref().is_some_and(|topic| topic.contains(['+', '#', '\0', '{'])) {
        mistakes.add("--dead-letter-topic", "one topic without `+`, `#` or `{`, e.g. twinops/dead-letters");
    } else if let Some(topic) = dead_letter.as_ref().filter(|topic| topics.is_taken(topic)) {
        let why = format!(
            "`{topic}` is a topic of devices: letters would be taken for theirs; write e.g. twinops/dead-letters"
        );
        mistakes.add("--dead-letter-topic", why);
    }
    let rate = mistakes.or("--max-rate", value::number(&args.max_rate, RATE_MAX), 0);
    Bridge {
        mqtt: mqtt(args, replica, around, mistakes),
        topics,
        command_subtopics: args.command_subtopics,
        dead_letter_topic: dead_letter,
        auto_create: auto_create(args, mistakes),
        max_rate: u32::try_from(rate).ok().filter(|rate| *rate > 0),
        payload_max: positive("--payload-max", &args.payload_max, PAYLOAD_MAX, mistakes),
        ditto_writes: positive("--ditto-writes", &args.ditto_writes, WRITES_MAX, mistakes),
        replica,
        management_listen: mistakes.address("--management-listen", &args.management_listen),
        ditto: ditto::check(&args.ditto, around, true, mistakes),
    }
}

/// A number from 1 to `max`.
fn positive(flag: &'static str, text: &str, max: usize, mistakes: &mut Mistakes) -> usize {
    match value::number(text, max) {
        Ok(0) | Err(_) => {
            mistakes.add(flag, format!("`{text}` is no number from 1 to {max}"));
            1
        }
        Ok(number) => number,
    }
}

fn topics(args: &BridgeArgs) -> Result<Topics, String> {
    let telemetry: Vec<&str> = args.telemetry_topics.iter().map(String::as_str).collect();
    Topics::parse(&telemetry, &args.commands_topic, &args.responses_topic)
        .map_err(|error: TopicsError| error.to_string())
}

fn mqtt(args: &BridgeArgs, replica: Replica, around: &Surroundings, mistakes: &mut Mistakes) -> Mqtt {
    let (host, port) = mistakes.or("--mqtt-url", facade::broker(&args.mqtt_url), (String::new(), 0));
    let encrypted = ["mqtts://", "ssl://"].iter().any(|scheme| args.mqtt_url.starts_with(scheme));
    let files = [
        ("--mqtt-ca-file", &args.mqtt_ca_file),
        ("--mqtt-certificate", &args.mqtt_certificate),
        ("--mqtt-key", &args.mqtt_key),
    ];
    for (flag, path) in files {
        let Some(path) = path else { continue };
        ditto::readable(flag, path, around, mistakes);
        if !encrypted {
            mistakes.add(flag, "only means something with TLS: write --mqtt-url mqtts://…");
        }
    }
    let identity = match (&args.mqtt_certificate, &args.mqtt_key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) => {
            mistakes.add("--mqtt-key", "is needed by --mqtt-certificate");
            None
        }
        (None, Some(_)) => {
            mistakes.add("--mqtt-certificate", "is needed by --mqtt-key");
            None
        }
    };
    let client_id = match replica.count {
        1 => args.mqtt_client_id.clone(),
        _ => format!("{}-{}", args.mqtt_client_id, replica.index),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !(1..=CLIENT_ID_MAX).contains(&client_id.len()) || !client_id.chars().all(plain) {
        mistakes.add(
            "--mqtt-client-id",
            format!(
                "`{client_id}` is no client id; write 1 to {CLIENT_ID_MAX} letters, digits, `.`, `_` or `-`"
            ),
        );
    }
    let expiry = &args.mqtt_session_expiry;
    Mqtt {
        host,
        port,
        tls: encrypted.then(|| MqttTls { ca_file: args.mqtt_ca_file.clone(), identity }),
        version: args.mqtt_version,
        client_id,
        login: login(args, around, mistakes),
        qos: args.mqtt_qos,
        session_expiry: mistakes.or("--mqtt-session-expiry", value::duration(expiry), Duration::ZERO),
        packet_max: positive("--mqtt-packet-max", &args.mqtt_packet_max, PACKET_MAX, mistakes),
    }
}

fn login(args: &BridgeArgs, around: &Surroundings, mistakes: &mut Mistakes) -> Option<(String, Secret)> {
    let given = |name| (around.variable)(name).filter(|text| !text.is_empty());
    let (value, file) = (given("MQTT_PASSWORD"), given("MQTT_PASSWORD_FILE"));
    if value.is_some() && file.is_some() {
        mistakes.add("MQTT_PASSWORD", "given together with MQTT_PASSWORD_FILE: keep one of them");
    }
    let secret = match file {
        Some(path) => {
            let path = PathBuf::from(path);
            ditto::readable("MQTT_PASSWORD_FILE", &path, around, mistakes);
            Some(Secret::File(path))
        }
        None => value.map(|text| Secret::Value(text.into())),
    };
    match (args.mqtt_username.clone().filter(|name| !name.is_empty()), secret) {
        (Some(name), Some(secret)) => Some((name, secret)),
        (None, None) => None,
        (Some(_), None) => {
            mistakes
                .add("--mqtt-username", "no password: set MQTT_PASSWORD, or MQTT_PASSWORD_FILE to a file");
            None
        }
        (None, Some(_)) => {
            mistakes.add("MQTT_PASSWORD", "a password needs a user: set --mqtt-username");
            None
        }
    }
}

fn auto_create(args: &BridgeArgs, mistakes: &mut Mistakes) -> Option<PolicyId> {
    let policy = args.auto_create_policy.as_deref().filter(|text| !text.is_empty());
    match (args.auto_create, policy) {
        (false, None) => None,
        (true, Some(text)) => {
            let read = PolicyId::parse(text).map(Some).map_err(|error| format!("`{text}`: {error}"));
            mistakes.or("--auto-create-policy", read, None)
        }
        (true, None) => {
            mistakes.add("--auto-create-policy", "is needed by --auto-create, e.g. com.example:sensors");
            None
        }
        (false, Some(_)) => {
            mistakes.add("--auto-create-policy", "only means something with --auto-create");
            None
        }
    }
}

fn replica(args: &BridgeArgs, around: &Surroundings, mistakes: &mut Mistakes) -> Replica {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (given(&args.replica), given(&args.replicas)) {
        (None, None) => Replica::ALONE,
        (Some(_), Some(_)) => {
            mistakes.add("--replica", "given together with --replicas: keep one of them");
            Replica::ALONE
        }
        (Some(text), None) => mistakes.or("--replica", one_of(&text), Replica::ALONE),
        (None, Some(text)) => {
            let host = (around.variable)("HOSTNAME").unwrap_or_default();
            mistakes.or("--replicas", ordinal(&text, &host), Replica::ALONE)
        }
    }
}

fn one_of(text: &str) -> Result<Replica, String> {
    let wrong = || format!("`{text}` is no replica; write e.g. 0/2 and 1/2 for the first and second of two");
    let (index, count) = text.split_once('/').ok_or_else(wrong)?;
    let (index, count) = (index.parse().map_err(|_| wrong())?, count.parse().map_err(|_| wrong())?);
    if index < count && count <= REPLICAS_MAX as u64 { Ok(Replica { index, count }) } else { Err(wrong()) }
}

/// The number after the last `-` of the host name, as a StatefulSet gives it.
fn ordinal(text: &str, host: &str) -> Result<Replica, String> {
    let count = value::number(text, REPLICAS_MAX)
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| format!("`{text}` is no number from 1 to {REPLICAS_MAX}"))?;
    if count == 1 {
        return Ok(Replica::ALONE);
    }
    let index = host.rsplit_once('-').and_then(|(_, number)| number.parse::<u64>().ok());
    match index {
        Some(index) if index < count as u64 => Ok(Replica { index, count: count as u64 }),
        Some(index) => Err(format!("HOSTNAME `{host}` is number {index}, and there are {count}")),
        None => Err(format!("HOSTNAME `{host}` ends in no number: write --replica 0/{count}")),
    }
}

#[cfg(test)]
#[path = "bridge_tests.rs"]
mod tests;
