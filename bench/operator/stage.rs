//! An API server with our resources, an engine, and one operator between them.
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use twinops::api::DigitalTwin;

use crate::sample;
use crate::support::apiserver::Cluster;
use crate::support::ditto::{Engine, twinops};
use crate::support::gate::Gate;
use crate::support::process::Child;

/// Creates under way at once.
const AT_ONCE: usize = 16;
const WITHIN: Duration = Duration::from_mins(10);
/// The policy of every thing, whoever makes it.
pub const POLICY: &str = "org.bench:policy";
pub const MANAGEMENT: &str = "operator: management ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    TwinOps,
    ControllerRuntime,
    Kopf,
}

impl Operator {
    pub const ALL: [Self; 3] = [Self::TwinOps, Self::ControllerRuntime, Self::Kopf];

    pub fn name(self) -> &'static str {
        match self {
            Self::TwinOps => "twinops",
            Self::ControllerRuntime => "controller-runtime",
            Self::Kopf => "kopf",
        }
    }
}

pub struct Stage {
    pub runtime: Runtime,
    pub client: Client,
    pub engine: Engine,
    pub namespace: String,
    cluster: Cluster,
    work: tempfile::TempDir,
}

impl Stage {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let cluster = Cluster::start().expect("an API server");
        for manifest in ["crds/digitaltwins.yaml", "crds/twinpolicies.yaml"] {
            cluster.kubectl("admin", &["apply", "--server-side", "-f", manifest]).ok();
        }
        cluster.kubectl("admin", &["wait", "--for=condition=Established", "crd", "--all"]).ok();
        let work = tempfile::tempdir().expect("a folder");
        let engine = Engine::start(work.path(), Some(&work.path().join("data")));
        let client = runtime.block_on(client(&cluster.kubeconfig("admin")));
        let namespace = cluster.namespace();
        Self { runtime, client, engine, namespace, cluster, work }
    }

    /// Starts an operator that manages every namespace, and the policy its twins name.
    pub fn start(&self, operator: Operator, flags: &[&str]) -> Child {
        if operator == Operator::TwinOps {
            self.runtime.block_on(self.declare_policy());
        } else {
            let body = json!({"entries": {"people": people()}});
            let path = format!("/policies/{POLICY}");
            let (status, answer) = self.engine.ditto.call("nginx:ditto", "PUT", &path, Some(&body));
            assert!(status < 300, "{status} {answer}");
        }
        let command = self.command(operator, &self.cluster.kubeconfig("admin"), flags);
        Child::start(operator.name(), &command, self.work.path()).expect("the operator starts")
    }

    /// Starts ours once more, with a gate on its way to the API server.
    pub fn start_behind_gate(&self, flags: &[&str]) -> (Child, Gate) {
        let gate = Gate::before(self.cluster.url());
        let kubeconfig = self.cluster.kubeconfig_through(&self.cluster.kubeconfig("admin"), &gate.url);
        let command = self.command(Operator::TwinOps, &kubeconfig, flags);
        let child = Child::start("twinops-behind-gate", &command, self.work.path());
        (child.expect("the operator starts"), gate)
    }

    fn command(&self, operator: Operator, kubeconfig: &Path, flags: &[&str]) -> Command {
        let ditto = &self.engine.ditto.url;
        let peers = std::env::var("TWINOPS_PEERS").expect("run this as `bench/run`, which builds the peers");
        let peers = Path::new(&peers);
        match operator {
            Operator::TwinOps => {
                let mut command = twinops();
                command.args([
                    "operator",
                    "--management-listen",
                    "127.0.0.1:0",
                    "--ditto-pre-authenticated",
                    "nginx:operator",
                ]);
                command.arg("--ditto-url").arg(ditto).arg("--kubeconfig").arg(kubeconfig).args(flags);
                command
            }
            Operator::ControllerRuntime => {
                let mut command = Command::new(peers.join("controller-runtime"));
                command.arg("--operator-kubeconfig").arg(kubeconfig).args([
                    "--ditto-url",
                    ditto,
                    "--policy",
                    POLICY,
                ]);
                command
            }
            Operator::Kopf => {
                let mut command = Command::new(peers.join("kopf/bin/python"));
                command.arg("bench/peers/kopf/twins.py").arg(kubeconfig).args([ditto, POLICY]);
                command
            }
        }
    }

    async fn declare_policy(&self) {
        let policy = json!({
            "apiVersion": "twinops.dev/v1alpha1", "kind": "TwinPolicy",
            "metadata": {"name": "bench", "namespace": self.namespace},
            "spec": {"policyId": POLICY, "entries": {"people": people()}},
        });
        let resource = kube::api::ApiResource::erase::<twinops::api::TwinPolicy>(&());
        let policies: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let policy: DynamicObject = serde_json::from_value(policy).expect("a policy");
        match policies.create(&PostParams::default(), &policy).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            answer => drop(answer.expect("created")),
        }
    }

    pub fn twins(&self) -> Api<DigitalTwin> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates twins; the seconds it took.
    pub fn create(&self, range: std::ops::Range<u32>) -> f64 {
        let (twins, started) = (self.twins(), Instant::now());
        let creates = stream::iter(range)
            .map(|index| {
                let twins = twins.clone();
                async move { twins.create(&PostParams::default(), &twin(index)).await.map(drop) }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>();
        self.runtime.block_on(creates).expect("created");
        started.elapsed().as_secs_f64()
    }

    /// Waits until `count` twins are Ready.
    pub fn wait_ready(&self, count: u32) {
        let (twins, started) = (self.twins(), Instant::now());
        // Old enough answers cost the API server less than a read from etcd.
        let page = ListParams::default().match_any();
        loop {
            let listed = self.runtime.block_on(twins.list(&page)).expect("listed");
            let ready = listed.items.iter().filter(|twin| is_ready(twin)).count();
            if ready == count as usize {
                return;
            }
            assert!(started.elapsed() < WITHIN, "{ready} of {count} are Ready");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Writes to `digitaltwins` that the API server has counted.
    pub fn api_writes(&self) -> f64 {
        let text = self.runtime.block_on(async {
            let request = axum::http::Request::get("/metrics").body(Vec::new()).expect("a request");
            self.client.request_text(request).await.expect("an answer")
        });
        let is_write = |line: &&str| {
            line.starts_with("apiserver_request_total{")
                && line.contains("resource=\"digitaltwins\"")
                && ["APPLY", "PATCH", "POST", "PUT"]
                    .iter()
                    .any(|verb| line.contains(&format!("verb=\"{verb}\"")))
        };
        text.lines().filter(is_write).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a usable kubeconfig")).expect("a client")
}

fn people() -> Value {
    json!({
        "subjects": {"nginx:ditto": {"type": "user"}},
        "resources": {
            "thing:/": {"grant": ["READ", "WRITE"], "revoke": []},
            "policy:/": {"grant": ["READ", "WRITE"], "revoke": []},
        },
    })
}

pub fn twin(index: u32) -> DigitalTwin {
    serde_yaml::from_str(&sample::twin(index as usize)).expect("a twin")
}

pub fn is_ready(twin: &DigitalTwin) -> bool {
    let conditions = twin.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
