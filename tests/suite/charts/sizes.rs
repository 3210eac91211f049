//! Sizes: whether what the files promise fits where they say.
use serde_json::Value;

use super::{LAPTOP, PRODUCTION, pod_of, render};

/// `250m`, `1`.
fn millis(quantity: &Value) -> u64 {
    let text = quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned);
    match text.strip_suffix('m') {
        Some(number) => number.parse().unwrap(),
        None => text.parse::<u64>().unwrap() * 1_000,
    }
}

/// `64Mi`, `1Gi`, in MiB.
fn mebibytes(quantity: &Value) -> u64 {
    let text = quantity.as_str().expect("a quantity");
    match (text.strip_suffix("Mi"), text.strip_suffix("Gi")) {
        (Some(number), _) => number.parse().unwrap(),
        (_, Some(number)) => number.parse::<u64>().unwrap() * 1_024,
        _ => panic!("{text} is neither Mi nor Gi"),
    }
}

/// CPU asked for, in thousandths, and memory at most, in MiB, of every pod together.
fn sums(values: &[&str]) -> (u64, u64) {
    let (mut cpu, mut memory) = (0, 0);
    for object in render(values, &[]).iter().filter(|object| object["kind"] != "Pod") {
        let Some(pod) = pod_of(object) else { continue };
        let replicas = object["spec"]["replicas"].as_u64().unwrap_or(1);
        for container in pod["spec"]["containers"].as_array().unwrap() {
            let resources = &container["resources"];
            cpu += replicas * millis(&resources["requests"]["cpu"]);
            memory += replicas * mebibytes(&resources["limits"]["memory"]);
        }
    }
    (cpu, memory)
}

#[test]
fn a_laptop_of_4_cores_and_8_gb_has_room() {
    // What kubelet and the control plane of kind take stays free.
    let (cpu, memory) = sums(&[LAPTOP]);
    assert!(cpu <= 2_500 && memory <= 6_144, "{cpu} m, {memory} MiB");
    let (cpu, memory) = sums(&[LAPTOP, "backend=engine"]);
    assert!(cpu <= 1_000 && memory <= 3_072, "{cpu} m, {memory} MiB");
}

#[test]
fn production_stands_on_more_than_one_leg() {
    for object in render(&[PRODUCTION], &[]) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let scaled = ["Deployment", "StatefulSet"].contains(&object["kind"].as_str().unwrap_or_default());
        if !scaled || name.ends_with("-mosquitto") || name.ends_with("-facade") {
            continue;
        }
        assert!(object["spec"]["replicas"].as_u64().unwrap() >= 2, "{name}");
    }
    let objects = render(&[PRODUCTION], &[]);
    let find = |kind: &str| objects.iter().find(|object| object["kind"] == kind);
    assert!(find("HorizontalPodAutoscaler").is_some());
    // The facade speaks TLS behind it.
    let annotations = &find("Ingress").expect("an Ingress")["metadata"]["annotations"];
    assert_eq!(annotations["nginx.ingress.kubernetes.io/backend-protocol"], "HTTPS");
    // Prometheus is told where to look, and let in.
    assert!(find("PodMonitor").is_some());
    let lets_in =
        |object: &Value| object["kind"] == "NetworkPolicy" && object.to_string().contains("\"monitoring\"");
    assert!(objects.iter().any(lets_in));
    assert!(objects.iter().all(|object| !object["metadata"]["name"].as_str().unwrap().ends_with("-mongodb")));
}
