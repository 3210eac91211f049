//! `twinops operator`: the controllers over the Kubernetes API, with health and metrics beside them.
use std::process::ExitCode;

use crate::controller::{self, CHECKS, ControllerOptions};
use crate::settings::Operator;
use crate::telemetry::{self, Readiness, Telemetry};

pub async fn run(operator: Operator) -> anyhow::Result<ExitCode> {
    let stop = super::stop::on_signal()?;
    let (telemetry, readiness) = (Telemetry::new(), Readiness::new(CHECKS));
    let management =
        telemetry::serve(operator.management_listen, telemetry.clone(), readiness.clone(), stop.clone())
            .await?;
    println!("operator: management http://{}", management.address);
    let identity = format!("{}_{}", operator.host, uuid::Uuid::new_v4());
    let options = ControllerOptions::new(&operator, identity);
    let client = controller::connect(operator.kubeconfig.as_deref()).await?;
    let ditto = super::ditto::client(&operator.ditto, "operator")?;
    ditto.report_to(telemetry.clone());
    controller::run(client, ditto, options, (telemetry, readiness), stop.clone()).await?;
    stop.cancel();
    management.task.await?;
    Ok(ExitCode::SUCCESS)
}
