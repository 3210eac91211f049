//! `twinops secrets`: the command line as a user meets it, and what it means.
#![allow(clippy::doc_markdown)] // the comments of the arguments are the help text, which people read as it stands
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::{Mistakes, Surroundings, ditto, value};

/// Make the passwords an installation needs, as Secrets of its own namespace.
///
/// What is missing is made, what exists is never changed. The operator's pod runs it before the operator
/// starts; other pods wait for their Secret.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  twinops secrets --ensure --facade-users twinops-facade --ditto-passwords twinops-ditto
  twinops secrets --ensure --mqtt-users twinops-mosquitto --mqtt-device lamp=com.example:lamp")]
pub struct SecretsArgs {
    /// Make what is missing.
    #[arg(long, env = "TWINOPS_SECRETS_ENSURE", required = true, value_parser = BoolishValueParser::new())]
    pub ensure: bool,

    /// The kubeconfig to use. Unset: the one kubectl uses, or the pod's service account.
    #[arg(long, env = "TWINOPS_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The namespace of the Secrets. Unset: the one of the pod, or of the kubeconfig's context.
    #[arg(long, env = "TWINOPS_SECRETS_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,

    /// What the label `twinops.dev/release` of new Secrets says.
    #[arg(long, env = "TWINOPS_SECRETS_RELEASE", value_name = "NAME", default_value = "twinops")]
    pub release: String,

    /// The Secret with a first user of the facade: `username`, `password`, and `users` for --users-file.
    #[arg(long, env = "TWINOPS_SECRETS_FACADE_USERS", value_name = "SECRET")]
    pub facade_users: Option<String>,

    /// The Secret with a first user of the engine: `username`, `password`, and `users` for --basic-auth-file.
    #[arg(long, env = "TWINOPS_SECRETS_ENGINE_USERS", value_name = "SECRET")]
    pub engine_users: Option<String>,

    /// The Secret of Mosquitto: `passwords` and `acl` for its files, `bridge-username`, `bridge-password`.
    #[arg(long, env = "TWINOPS_SECRETS_MQTT_USERS", value_name = "SECRET")]
    pub mqtt_users: Option<String>,

    /// A device that --mqtt-users is made with, such as `lamp=com.example:lamp`; may be given several times.
    ///
    /// Its password is in the Secret as `device-<user>`; it may use the topics of its thing and no others.
    #[arg(long = "mqtt-device", env = "TWINOPS_SECRETS_MQTT_DEVICES", value_name = "USER=THING")]
    #[arg(value_delimiter = ',')]
    pub mqtt_devices: Vec<String>,

    /// The Secret of Ditto: `devops-password` and `status-password`.
    #[arg(long, env = "TWINOPS_SECRETS_DITTO_PASSWORDS", value_name = "SECRET")]
    pub ditto_passwords: Option<String>,

    /// The Secret of MongoDB: users, `keyfile`, and `policies-uri`, `things-uri`, `search-uri`, `connectivity-uri`.
    #[arg(long, env = "TWINOPS_SECRETS_MONGODB", value_name = "SECRET")]
    pub mongodb: Option<String>,

    /// With --mongodb: where it is, `host:port`, several with commas.
    #[arg(long, env = "TWINOPS_SECRETS_MONGODB_HOSTS", value_name = "HOSTS")]
    pub mongodb_hosts: Option<String>,

    /// With --mongodb: the name of its replica set.
    #[arg(long, env = "TWINOPS_SECRETS_MONGODB_REPLICA_SET", value_name = "NAME", default_value = "rs0")]
    pub mongodb_replica_set: String,
}

/// `twinops secrets`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// Unset: as kubectl finds it, or the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Unset: the one the process is at home in.
    pub namespace: Option<String>,
    pub release: String,
    /// The names of Secrets; unset: not asked for.
    pub facade_users: Option<String>,
    pub engine_users: Option<String>,
    pub mqtt_users: Option<String>,
    /// User and thing id.
    pub mqtt_devices: Vec<(String, String)>,
    pub ditto_passwords: Option<String>,
    pub mongodb: Option<MongoDb>,
}

/// Where MongoDB is, and the Secret that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MongoDb {
    pub secret: String,
    pub hosts: String,
    pub replica_set: String,
}

pub(super) fn check(args: SecretsArgs, around: &Surroundings, mistakes: &mut Mistakes) -> Secrets {
    if let Some(path) = &args.kubeconfig {
        ditto::readable("--kubeconfig", path, around, mistakes);
    }
    let mut name = |flag, given: Option<String>| {
        let given = given.filter(|text| !text.is_empty())?;
        Some(mistakes.or(flag, value::kubernetes_name(&given), given))
    };
    let facade_users = name("--facade-users", args.facade_users);
    let engine_users = name("--engine-users", args.engine_users);
    let mqtt_users = name("--mqtt-users", args.mqtt_users);
    let ditto_passwords = name("--ditto-passwords", args.ditto_passwords);
    let mongodb = name("--mongodb", args.mongodb);
    let hosts = args.mongodb_hosts.filter(|text| !text.is_empty());
    if mongodb.is_some() && hosts.is_none() {
        mistakes.add("--mongodb", "needs --mongodb-hosts, e.g. mongodb-0.mongodb:27017");
    }
    if !args.mqtt_devices.is_empty() && mqtt_users.is_none() {
        mistakes.add("--mqtt-device", "needs --mqtt-users SECRET, where its password goes");
    }
    let devices = args.mqtt_devices.iter().map(|text| {
        let stand_in = (String::new(), String::new());
        mistakes.or("--mqtt-device", value::mqtt_device(text), stand_in)
    });
    let mqtt_devices = devices.collect();
    let namespace = args.namespace.filter(|name| !name.is_empty());
    Secrets {
        kubeconfig: args.kubeconfig,
        namespace: namespace
            .map(|name| mistakes.or("--namespace", value::kubernetes_namespace(&name), String::new())),
        release: mistakes.or("--release", value::kubernetes_namespace(&args.release), String::new()),
        facade_users,
        engine_users,
        mqtt_users,
        mqtt_devices,
        ditto_passwords,
        mongodb: mongodb.map(|secret| MongoDb {
            secret,
            hosts: hosts.unwrap_or_default(),
            replica_set: args.mongodb_replica_set,
        }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Role, Settings, check as check_all, cli::Cli};
    use super::*;

    fn settings(args: &str) -> Result<Settings, Vec<String>> {
        let cli =
            Cli::parse_from(["twinops", "secrets", "--ensure"].into_iter().chain(args.split_whitespace()));
        let around = Surroundings { variable: &|_| None, read: &|_| Ok("text".into()) };
        check_all(cli, &around).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_not_asked_for_is_not_made() {
        let Role::Secrets(secrets) = settings("--mqtt-users m --mqtt-device a=x:a,b=x:b").unwrap().role
        else {
            panic!("another role")
        };
        assert_eq!(secrets.mqtt_devices, [("a".into(), "x:a".into()), ("b".into(), "x:b".into())]);
        assert_eq!((secrets.facade_users, secrets.mongodb), (None, None));
    }

    #[test]
    fn every_mistake_is_named() {
        let rows = [
            ("--facade-users UPPER", "--facade-users: "),
            ("--mongodb db", "--mongodb: needs --mongodb-hosts"),
            ("--mqtt-device a=x:a", "--mqtt-device: needs --mqtt-users"),
            ("--mqtt-users m --mqtt-device a:b=x:a", "--mqtt-device: "),
            ("--mqtt-users m --mqtt-device a=x:+", "--mqtt-device: "),
            ("--mqtt-users m --mqtt-device a", "--mqtt-device: "),
        ];
        for (args, expected) in rows {
            let mistakes = settings(args).unwrap_err();
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(expected), "{args}: {mistakes:?}");
        }
    }
}
