//! Which Secrets are asked for.

/// A Secret that has to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub kind: Kind,
}

/// What a Secret is for; this decides its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A first user of the facade.
    FacadeUsers,
    /// A first user of the engine.
    EngineUsers,
    /// The users of Mosquitto and what each may do: the bridge, and these devices.
    Mosquitto(Vec<Device>),
    /// The passwords of Ditto's realms `devops` and `status`.
    Ditto,
    /// The users of `MongoDB`, and how Ditto's services reach it.
    MongoDb {
        /// `host:port`, one or several with commas.
        hosts: String,
        replica_set: String,
    },
}

/// A device that may log in to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Without a colon: Mosquitto's password file separates with it.
    pub user: String,
    pub thing_id: String,
}

impl Kind {
    /// The keys of such a Secret, in alphabetical order, without those of single devices.
    pub fn keys(&self) -> &'static [&'static str] {
        match self {
            Self::FacadeUsers | Self::EngineUsers => &["password", "username", "users"],
            Self::Mosquitto(_) => &["acl", "bridge-password", "bridge-username", "passwords"],
            Self::Ditto => &["devops-password", "status-password"],
            Self::MongoDb { .. } => &[
                "connectivity-uri",
                "keyfile",
                "password",
                "policies-uri",
                "root-password",
                "root-username",
                "search-uri",
                "things-uri",
                "username",
            ],
        }
    }
}
