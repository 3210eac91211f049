//! What a Secret is made with.
use std::collections::BTreeMap;
use std::fmt::Write as _;

use secrecy::{ExposeSecret, SecretString};

use super::password::{RandomError, argon2_hash, keyfile, mosquitto_hash, password};
use super::wanted::{Device, Kind};

/// The users that come with an installation.
const FACADE_USER: &str = "twinops";
const ENGINE_USER: &str = "ditto";
const BRIDGE_USER: &str = "twinops-bridge";
const MONGODB_ROOT: &str = "root";
const MONGODB_USER: &str = "ditto";
/// Ditto's services that keep something, with the key that holds the way to it, and their database.
/// Source: Ditto 3.8, `<service>.conf`, `ditto.mongodb.database`.
pub const DATABASES: [(&str, &str); 4] = [
    ("connectivity-uri", "connectivity"),
    ("policies-uri", "policies"),
    ("search-uri", "search"),
    ("things-uri", "things"),
];

/// What the bridge hears and says. `get` is how a device asks for its commands.
const BRIDGE_TOPICS: &str = "topic read devices/+/telemetry
topic read devices/+/responses/#
topic read devices/+/commands/get
topic write devices/+/commands/#
topic write twinops/dead-letters/#
";
/// What a device says and hears.
const DEVICE_TOPICS: &str = "topic write devices/{thingId}/telemetry
topic write devices/{thingId}/responses/#
topic write devices/{thingId}/commands/get
topic read devices/{thingId}/commands/#
";

type Values = BTreeMap<String, String>;

/// Fresh values for a Secret of this kind.
pub fn of(kind: &Kind) -> Result<Values, RandomError> {
    let mut values = Values::new();
    match kind {
        Kind::FacadeUsers => user(&mut values, FACADE_USER, argon2_hash)?,
        // The engine compares passwords as they stand.
        Kind::EngineUsers => user(&mut values, ENGINE_USER, |secret| Ok(secret.expose_secret().to_owned()))?,
        Kind::Mosquitto(devices) => mosquitto(&mut values, devices)?,
        Kind::Ditto => {
            put(&mut values, "devops-password", password()?.expose_secret());
            put(&mut values, "status-password", password()?.expose_secret());
        }
        Kind::MongoDb { hosts, replica_set } => mongodb(&mut values, hosts, replica_set)?,
    }
    Ok(values)
}

fn put(values: &mut Values, key: &str, value: &str) {
    values.insert(key.to_owned(), value.to_owned());
}

/// One user, as a file of lines and as whoever installs it reads it.
fn user(
    values: &mut Values,
    name: &str,
    kept: fn(&SecretString) -> Result<String, RandomError>,
) -> Result<(), RandomError> {
    let secret = password()?;
    put(values, "username", name);
    put(values, "password", secret.expose_secret());
    put(values, "users", &format!("{name}:{}\n", kept(&secret)?));
    Ok(())
}

/// The bridge may hear what devices say and talk to them; a device may do so for its own thing alone.
fn mosquitto(values: &mut Values, devices: &[Device]) -> Result<(), RandomError> {
    let bridge = password()?;
    put(values, "bridge-username", BRIDGE_USER);
    put(values, "bridge-password", bridge.expose_secret());
    let mut passwords = line(BRIDGE_USER, &bridge)?;
    let mut acl = format!("user {BRIDGE_USER}\n{BRIDGE_TOPICS}");
    for Device { user, thing_id } in devices {
        let secret = password()?;
        put(values, &format!("device-{user}"), secret.expose_secret());
        passwords.push_str(&line(user, &secret)?);
        // Writing to a text never fails.
        let _ = write!(acl, "\nuser {user}\n{}", DEVICE_TOPICS.replace("{thingId}", thing_id));
    }
    put(values, "passwords", &passwords);
    put(values, "acl", &acl);
    Ok(())
}

fn line(user: &str, secret: &SecretString) -> Result<String, RandomError> {
    Ok(format!("{user}:{}\n", mosquitto_hash(secret)?))
}

fn mongodb(values: &mut Values, hosts: &str, replica_set: &str) -> Result<(), RandomError> {
    let secret = password()?;
    put(values, "root-username", MONGODB_ROOT);
    put(values, "root-password", password()?.expose_secret());
    put(values, "username", MONGODB_USER);
    put(values, "password", secret.expose_secret());
    put(values, "keyfile", keyfile()?.expose_secret());
    for (key, database) in DATABASES {
        let uri = format!(
            "mongodb://{MONGODB_USER}:{}@{hosts}/{database}?authSource=admin&replicaSet={replica_set}",
            secret.expose_secret()
        );
        put(values, key, &uri);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> [Kind; 5] {
        let device = Device { user: "lamp".into(), thing_id: "com.example:lamp".into() };
        [
            Kind::FacadeUsers,
            Kind::EngineUsers,
            Kind::Mosquitto(vec![device]),
            Kind::Ditto,
            Kind::MongoDb { hosts: "db-0.db:27017".into(), replica_set: "rs0".into() },
        ]
    }

    #[test]
    fn a_secret_holds_the_keys_its_kind_names() {
        for kind in every_kind() {
            let values = of(&kind).unwrap();
            let keys: Vec<_> = values.keys().filter(|key| !key.starts_with("device-")).collect();
            assert_eq!(keys, kind.keys(), "{kind:?}");
        }
    }

    #[test]
    fn nothing_is_the_same_twice() {
        for kind in every_kind() {
            let (one, other) = (of(&kind).unwrap(), of(&kind).unwrap());
            for key in kind.keys().iter().filter(|key| !key.contains("username") && **key != "acl") {
                assert_ne!(one[*key], other[*key], "{kind:?} {key}");
            }
        }
    }

    #[test]
    fn a_device_may_do_nothing_beyond_its_thing() {
        let values = of(&every_kind()[2]).unwrap();
        let own = values["acl"].split("user lamp\n").nth(1).unwrap();
        for line in own.lines() {
            assert!(line.split(' ').nth(2).unwrap().starts_with("devices/com.example:lamp/"), "{line}");
        }
        assert_eq!(own.lines().count(), 4);
        assert!(values["passwords"].contains("\nlamp:$7$101$"));
        assert!(!values["passwords"].contains(&values["device-lamp"]), "hashed");
        assert!(!values["acl"].contains(" #"), "nobody hears everything");
    }

    #[test]
    fn every_service_has_a_database_of_its_own() {
        let values = of(&every_kind()[4]).unwrap();
        for (key, database) in DATABASES {
            let expected = format!(
                "mongodb://ditto:{}@db-0.db:27017/{database}?authSource=admin&replicaSet=rs0",
                values["password"]
            );
            assert_eq!(values[key], expected);
        }
    }
}
