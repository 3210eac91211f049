//! 1,000 `DigitalTwin` objects from create to Ready in a real API server, beside a plain writer that does
//! the three writes each of them needs.
use std::path::Path;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use twinops::api::DigitalTwin;
use twinops::ditto::{Connection, Credentials, DittoClient};
use twinops::ports::Things;
use twinops::twin::id::ThingId;

use crate::sample;
use crate::support::apiserver::Cluster;
use crate::support::ditto::{Engine, twinops};
use crate::support::process::Child;

const TWINS: usize = 1_000;
const ROUNDS: usize = 3;
/// Creates under way at once; the operator has as many passes under way.
const AT_ONCE: usize = 16;
const WITHIN: Duration = Duration::from_mins(5);

pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut figures: [Vec<f64>; 8] = Default::default();
    for _ in 0..ROUNDS {
        let cluster = Cluster::start().expect("an API server");
        for manifest in ["crds/digitaltwins.yaml", "crds/twinpolicies.yaml"] {
            cluster.kubectl("admin", &["apply", "--server-side", "-f", manifest]).ok();
        }
        cluster.kubectl("admin", &["wait", "--for=condition=Established", "crd", "--all"]).ok();
        let work = tempfile::tempdir().expect("a folder");
        let engine = Engine::start(work.path(), Some(&work.path().join("data")));
        let client = runtime.block_on(client(&cluster.kubeconfig("admin")));
        let (fleet, plain_space) = (cluster.namespace(), cluster.namespace());
        let operator = operator(&cluster, &engine, work.path());

        let (wall, creating) = runtime.block_on(create_and_wait(&client, &fleet));
        std::thread::sleep(Duration::from_secs(2));
        let (rss, peak) = sample::rss(operator.id());
        figures[0].push(wall);
        figures[1].push(creating);
        figures[2].push(sample::cpu(operator.id()));
        figures[3].push(rss);
        figures[4].push(peak);
        drop(operator);

        let restarted = self::operator(&cluster, &engine, work.path());
        std::thread::sleep(Duration::from_secs(10));
        figures[5].push(sample::cpu(restarted.id()));
        drop(restarted);

        let (wall, cpu) = plain(&runtime, &client, &engine, &plain_space);
        figures[6].push(wall);
        figures[7].push(cpu);
    }
    let [wall, creating, cpu, rss, peak, quiet, plain_wall, plain_cpu] = figures;
    println!("{TWINS} twins, engine on disk, {ROUNDS} rounds: median (min to max)");
    sample::print("first create to last Ready", "s", wall);
    sample::print("of it, until the last create returned", "s", creating);
    sample::print("CPU of the operator", "s", cpu);
    sample::print("RSS of the operator after 2 s", "MB", rss);
    sample::print("RSS of the operator at its highest", "MB", peak);
    sample::print("CPU of a restart that writes nothing, first 10 s", "s", quiet);
    sample::print("plain writer: create, finalizer, thing, status", "s", plain_wall);
    sample::print("plain writer: CPU", "s", plain_cpu);
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a usable kubeconfig")).expect("a client")
}

fn operator(cluster: &Cluster, engine: &Engine, folder: &Path) -> Child {
    let mut command = twinops();
    command.args([
        "operator",
        "--management-listen",
        "127.0.0.1:0",
        "--ditto-pre-authenticated",
        "nginx:operator",
    ]);
    command.arg("--ditto-url").arg(&engine.ditto.url);
    command.arg("--kubeconfig").arg(cluster.kubeconfig("admin"));
    Child::start("operator", &command, folder).expect("the operator starts")
}

fn twin(namespace: &str, index: usize) -> DigitalTwin {
    let mut twin: Value = serde_yaml::from_str(&sample::twin(index)).expect("YAML");
    twin["spec"]["thingId"] = json!(format!("org.{}:t{index}", namespace.replace('-', "_")));
    serde_json::from_value(twin).expect("a twin")
}

/// Seconds until all are Ready, and until all are created.
async fn create_and_wait(client: &Client, namespace: &str) -> (f64, f64) {
    let policy = json!({
        "apiVersion": "twinops.dev/v1alpha1", "kind": "TwinPolicy", "metadata": {"name": "bench", "namespace": namespace},
        "spec": {"policyId": format!("org.{}:policy", namespace.replace('-', "_")), "entries": {"people": {
            "subjects": {"nginx:ditto": {"type": "user"}},
            "resources": {"thing:/": {"grant": ["READ", "WRITE"]}, "policy:/": {"grant": ["READ", "WRITE"]}},
        }}},
    });
    let resource = kube::api::ApiResource::erase::<twinops::api::TwinPolicy>(&());
    let policies: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let policy: DynamicObject = serde_json::from_value(policy).expect("a policy");
    policies.create(&PostParams::default(), &policy).await.expect("created");

    let twins: Api<DigitalTwin> = Api::namespaced(client.clone(), namespace);
    let started = Instant::now();
    let mut creates = stream::iter(0..TWINS)
        .map(|index| {
            let (twins, twin) = (twins.clone(), twin(namespace, index));
            async move { twins.create(&PostParams::default(), &twin).await.expect("created") }
        })
        .buffer_unordered(AT_ONCE);
    while creates.next().await.is_some() {}
    let creating = started.elapsed().as_secs_f64();
    loop {
        let listed = twins.list(&ListParams::default()).await.expect("listed");
        let ready = listed.items.iter().filter(|twin| is_ready(twin)).count();
        if ready == TWINS {
            return (started.elapsed().as_secs_f64(), creating);
        }
        assert!(started.elapsed() < WITHIN, "{ready} of {TWINS} are Ready");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn is_ready(twin: &DigitalTwin) -> bool {
    let conditions = twin.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The same writes without a watch and without a decision: the ceiling.
fn plain(runtime: &Runtime, client: &Client, engine: &Engine, namespace: &str) -> (f64, f64) {
    let connection = Connection {
        credentials: Credentials::PreAuthenticated("nginx:ditto".into()),
        ..Connection::new(&engine.ditto.url, "bench")
    };
    let ditto = DittoClient::new(connection).expect("a client");
    let twins: Api<DigitalTwin> = Api::namespaced(client.clone(), namespace);
    let (started, before) = (Instant::now(), sample::own_cpu());
    runtime.block_on(async {
        let mut writes = stream::iter(0..TWINS)
            .map(|index| {
                let (twins, ditto, twin) = (twins.clone(), ditto.clone(), twin(namespace, index));
                async move { write_one(&twins, &ditto, &twin).await }
            })
            .buffer_unordered(AT_ONCE);
        while writes.next().await.is_some() {}
    });
    (started.elapsed().as_secs_f64(), sample::own_cpu() - before)
}

async fn write_one(twins: &Api<DigitalTwin>, ditto: &DittoClient, twin: &DigitalTwin) {
    let name = twin.name_any();
    twins.create(&PostParams::default(), twin).await.expect("created");
    let finalizer = json!({"metadata": {"finalizers": ["twinops.dev/ditto"]}});
    twins.patch(&name, &PatchParams::default(), &Patch::Merge(&finalizer)).await.expect("patched");
    let id = ThingId::parse(twin.spec.thing_id.as_deref().unwrap_or_default()).expect("an id");
    let body = json!({"attributes": twin.spec.attributes, "features": twin.spec.features});
    ditto.create_thing(&id, &body, &json!({"uid": "u"})).await.expect("created");
    let status = json!({
        "apiVersion": "twinops.dev/v1alpha1", "kind": "DigitalTwin",
        "status": {"thingId": id.as_str(), "observedGeneration": 1},
    });
    let apply = PatchParams::apply("bench").force();
    twins.patch_status(&name, &apply, &Patch::Apply(&status)).await.expect("patched");
}
