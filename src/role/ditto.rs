//! From settings to a client of Ditto.
use anyhow::Context;

use crate::ditto::{Connection, Credentials, DittoClient};
use crate::settings;

/// A client that calls itself `role` and a random name in correlation ids.
pub fn client(ditto: &settings::Ditto, role: &str) -> anyhow::Result<DittoClient> {
    let credentials = match &ditto.credentials {
        settings::Credentials::PreAuthenticated(subject) => Credentials::PreAuthenticated(subject.clone()),
        settings::Credentials::Basic { username, password: settings::Secret::File(path) } => {
            Credentials::PasswordFile { username: username.clone(), path: path.clone() }
        }
        settings::Credentials::Basic { username, password } => Credentials::Basic {
            username: username.clone(),
            password: password.read().context("cannot read the password of Ditto")?,
        },
        settings::Credentials::Bearer(settings::Secret::File(path)) => Credentials::TokenFile(path.clone()),
        settings::Credentials::Bearer(settings::Secret::Value(_)) => {
            anyhow::bail!("a token comes from a file: set --ditto-token-file")
        }
    };
    let connection = Connection {
        credentials,
        ca_file: ditto.ca_file.clone(),
        deadline: ditto.timeout,
        ..Connection::new(&ditto.url, instance(role))
    };
    Ok(DittoClient::new(connection)?)
}

/// As the engine of this very process knows us.
pub fn client_of_engine(url: &str, role: &str) -> anyhow::Result<DittoClient> {
    let credentials = Credentials::PreAuthenticated(settings::LOOPBACK_SUBJECT.to_owned());
    Ok(DittoClient::new(Connection { credentials, ..Connection::new(url, instance(role)) })?)
}

fn instance(role: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{role}-{}", &random[..8])
}
