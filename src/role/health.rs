//! `twinops health`: one question to one server.
use std::process::ExitCode;

use anyhow::Context;
use reqwest::{Certificate, Client};

use crate::settings::Health;

/// It answered, and is not well; or it did not answer.
const NOT_WELL: u8 = 1;

pub async fn run(settings: Health) -> anyhow::Result<ExitCode> {
    let mut client = Client::builder().no_proxy().timeout(settings.timeout);
    if !settings.url.starts_with("https:") {
        // An image may have no certificates to look through.
        client = client.tls_certs_only([]);
    }
    if let Some(path) = &settings.ca_file {
        let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let trusted = Certificate::from_pem_bundle(&pem)
            .with_context(|| format!("{} holds no certificates", path.display()))?;
        client = client.tls_certs_only(trusted);
    }
    match client.build()?.get(&settings.url).send().await {
        Ok(answer) => {
            let status = answer.status();
            println!("{status} {}", answer.text().await.unwrap_or_default());
            Ok(if status == reqwest::StatusCode::OK { ExitCode::SUCCESS } else { ExitCode::from(NOT_WELL) })
        }
        Err(error) => {
            println!("{:#}", anyhow::Error::from(error));
            Ok(ExitCode::from(NOT_WELL))
        }
    }
}
