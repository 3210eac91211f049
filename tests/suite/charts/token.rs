//! A gateway that takes nothing but tokens: the operator is started as its pod would be, by what the chart renders and the
//! token in its Secret. Nobody issues tokens here: before the Ditto stands one who knows which is right.
use super::outside::{Secrets, as_process};
use super::{NAME, pod_of, render, title};
use crate::cluster::{Desk, NO_RESYNC, OPERATOR, Operator, account, ditto};
use crate::support::gateway::Gateway;

#[test]
fn the_operator_of_the_chart_logs_in_with_the_token_of_its_secret() {
    let mut desk = Desk::new(NO_RESYNC);
    // That of the chart takes its place.
    assert!(desk.operator.child.stop().success());
    let gateway = Gateway::start(ditto());
    gateway.take_token("first");
    let subject = format!("ditto.login.subject={OPERATOR}");
    let namespace = format!("operator.watchNamespaces={{{}}}", desk.namespace);
    let values = [
        "ditto.preAuthentication=false",
        "ditto.oidc.issuers.main.issuer=login.example/realms/iot",
        "ditto.oidc.issuers.main.authSubjects[0]=user-{{ jwt:sub }}",
        "ditto.login.secret=ditto-token",
        "facade.auth.mode=passthrough",
        "log.format=text",
        &subject,
        &namespace,
    ];
    let objects = render(&values, &["--namespace", &desk.namespace]);
    let found = objects.iter().find(|one| title(one) == format!("Deployment/{NAME}-operator"));
    let pod = pod_of(found.expect("an operator")).expect("its pod");
    let secrets: Secrets = [("ditto-token", [("token", "first".to_owned())].into())].into();
    let root = desk.folder.path().join("pod");
    let mut command = as_process(&pod, &secrets, &root);
    // What the Service leads to, and what a pod has by itself.
    command.env("DITTO_API_URL", &gateway.ditto.url).arg("--kubeconfig").arg(account(desk.cluster));
    desk.operator = Operator::of(&command, desk.folder.path());
    desk.operator.wait_ready();
    desk.sensor("pump");

    // The provider's next token, as the kubelet writes it.
    gateway.take_token("second");
    std::fs::write(root.join("etc/twinops/ditto-login/token"), "second").expect("the mounted file");
    desk.apply(&desk.twin("fan")).ok();
    desk.wait_ready("dt", "fan");
    assert!(desk.thing("fan").is_some());
}
