//! `twinops secrets`: the passwords an installation lacks, made in its cluster.
use std::process::ExitCode;

use crate::controller;
use crate::secrets::{self, Device, Kind, Outcome, Wanted};
use crate::settings::Secrets;

pub async fn run(settings: Secrets) -> anyhow::Result<ExitCode> {
    let client = controller::connect(settings.kubeconfig.as_deref()).await?;
    let namespace = settings.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let wanted = wanted(&settings);
    let told = |name: &str, outcome: &Outcome| match outcome {
        Outcome::Made => println!("made {namespace}/{name}"),
        Outcome::Kept { lacks } if lacks.is_empty() => println!("kept {namespace}/{name}"),
        Outcome::Kept { lacks } => println!(
            "kept {namespace}/{name}, which lacks {}: add them, or delete it to have it made anew",
            lacks.join(", ")
        ),
    };
    secrets::ensure(&client, &namespace, &settings.release, &wanted, told).await?;
    Ok(ExitCode::SUCCESS)
}

fn wanted(settings: &Secrets) -> Vec<Wanted> {
    let devices = settings.mqtt_devices.iter();
    let devices =
        devices.map(|(user, thing_id)| Device { user: user.clone(), thing_id: thing_id.clone() }).collect();
    let mongodb = settings.mongodb.as_ref();
    let each = [
        (settings.facade_users.clone(), Kind::FacadeUsers),
        (settings.engine_users.clone(), Kind::EngineUsers),
        (settings.mqtt_users.clone(), Kind::Mosquitto(devices)),
        (settings.ditto_passwords.clone(), Kind::Ditto),
    ];
    let each = each.into_iter().filter_map(|(name, kind)| Some(Wanted { name: name?, kind }));
    let mongodb = mongodb.map(|one| Wanted {
        name: one.secret.clone(),
        kind: Kind::MongoDb { hosts: one.hosts.clone(), replica_set: one.replica_set.clone() },
    });
    each.chain(mongodb).collect()
}
