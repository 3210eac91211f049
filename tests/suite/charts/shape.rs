//! What the chart renders: always the same, taken whole by a real API server, safe pods.
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{CHART, NAME, RELEASE, VARIANTS, helm, objects, pod_of, render, set, template, title};
use crate::crds::installed;

#[test]
fn every_variant_lints() {
    for (name, values) in VARIANTS {
        let output = helm(&[&["lint", CHART, "--strict"], set(values).as_slice()].concat());
        assert!(output.success, "{name}:\n{}{}", output.stdout, output.stderr);
    }
}

#[test]
fn two_renders_are_the_same() {
    for (name, values) in VARIANTS {
        assert_eq!(template(values, &[]), template(values, &[]), "{name}");
    }
}

/// Sent for real validation and thrown away: unknown and double fields are errors.
#[test]
fn the_api_server_takes_every_object_strictly() {
    let cluster = installed();
    let namespace = cluster.namespace();
    for (name, values) in VARIANTS {
        let sent: Vec<_> = render(values, &["--namespace", &namespace])
            .into_iter()
            // Those of the Prometheus operator have no definition here.
            .filter(|object| object["apiVersion"] != "monitoring.coreos.com/v1")
            .collect();
        if sent.is_empty() {
            continue;
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": sent}).to_string();
        let args = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
        let output = cluster.kubectl_stdin("admin", &args, &list);
        // The definitions are installed here already.
        let refused: Vec<_> = output.stderr.lines().filter(|line| !line.contains("already exists")).collect();
        assert!(refused.is_empty(), "{name}:\n{}", refused.join("\n"));
        assert!(output.stdout.lines().count() + 2 >= sent.len(), "{name}:\n{}", output.stdout);
    }
}

#[test]
fn every_pod_may_run_where_pod_security_is_restricted() {
    let cluster = installed();
    let namespace = cluster.namespace();
    let label = "pod-security.kubernetes.io/enforce=restricted";
    cluster.kubectl("admin", &["label", "namespace", &namespace, label]).ok();
    let try_pod = |name: &str, template: &Value| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
        pod["metadata"]["name"] = json!("tried");
        pod["metadata"]["namespace"] = json!(namespace);
        // There is no controller here that makes accounts.
        pod["spec"].as_object_mut().unwrap().remove("serviceAccountName");
        let output =
            cluster.kubectl_stdin("admin", &["create", "--dry-run=server", "-f", "-"], &pod.to_string());
        (output.success, format!("{name}: {}", output.stderr))
    };
    let mut seen = 0;
    for (variant, values) in VARIANTS {
        for object in render(values, &[]) {
            let Some(mut template) = pod_of(&object) else { continue };
            // What the controller makes of claims.
            for claim in object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
                let volume = json!({"name": claim["metadata"]["name"], "emptyDir": {}});
                let spec = template["spec"].as_object_mut().unwrap();
                spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut().unwrap().push(volume);
            }
            let (taken, why) = try_pod(&format!("{variant} {}", title(&object)), &template);
            assert!(taken, "{why}");
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} pods were tried");
    let bad = json!({"metadata": {}, "spec": {"containers": [{"name": "x", "image": "x", "securityContext": {"privileged": true}}]}});
    let (taken, why) = try_pod("a privileged pod", &bad);
    assert!(!taken && why.contains("violates PodSecurity \"restricted"), "{why}");
}

/// No API server here knows their kinds. Source of the fields: the API reference of the Prometheus operator.
#[test]
fn monitors_find_the_ports_that_tell_metrics_and_bear_the_labels_asked_for() {
    let asked = [
        "metrics.podMonitor.enabled=true",
        "metrics.podMonitor.labels.release=prometheus",
        "metrics.serviceMonitor.enabled=true",
        "metrics.serviceMonitor.labels.release=prometheus",
    ];
    let selects = |monitor: &Value, labels: &Value| {
        let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().expect("a selector");
        wanted.iter().all(|(key, value)| labels[key] == *value)
    };
    for (backend, of_ditto) in [("backend=ditto", 5), ("backend=engine", 0)] {
        let objects = render(&[&asked[..], &[backend]].concat(), &[]);
        let named = |kind: &str| {
            let name = format!("{NAME}-metrics");
            let found = objects.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
            found.unwrap_or_else(|| panic!("no {kind}"))
        };
        let (of_pods, of_services) = (named("PodMonitor"), named("ServiceMonitor"));
        let pods: Vec<_> = objects.iter().filter(|one| one["kind"] != "Pod").filter_map(pod_of).collect();
        let with_port = |port: &Value| -> BTreeSet<&str> {
            let has = |pod: &&Value| {
                let ports = pod["spec"]["containers"][0]["ports"].as_array();
                ports.into_iter().flatten().any(|one| one["name"] == *port)
            };
            let labels = pods.iter().filter(has).map(|pod| &pod["metadata"]["labels"]);
            let selected = labels.filter(|&labels| selects(of_pods, labels));
            selected.map(|labels| labels["app.kubernetes.io/component"].as_str().expect("a part")).collect()
        };
        for (monitor, field) in [(of_pods, "podMetricsEndpoints"), (of_services, "endpoints")] {
            assert_eq!(monitor["apiVersion"], "monitoring.coreos.com/v1");
            assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
            let fields: BTreeSet<_> = monitor["spec"].as_object().expect("a spec").keys().collect();
            assert!(fields.iter().all(|name| *name == "selector" || *name == field), "{fields:?}");
            for endpoint in monitor["spec"][field].as_array().expect("endpoints") {
                let mut fields = endpoint.as_object().expect("an endpoint").keys();
                let known = ["port", "path", "interval", "relabelings"];
                assert!(fields.all(|name| known.contains(&name.as_str())), "{endpoint}");
            }
            // Of the pods that have the port ours alone are asked.
            let ours = &monitor["spec"][field][0]["relabelings"][0];
            assert_eq!((&ours["action"], &ours["regex"]), (&json!("keep"), &json!("operator|facade|bridge")));
            let labels = json!(["__meta_kubernetes_pod_label_app_kubernetes_io_component"]);
            assert_eq!(ours["sourceLabels"], labels);
        }
        let endpoints = of_pods["spec"]["podMetricsEndpoints"].as_array().expect("endpoints");
        assert_eq!(
            (&endpoints[0]["port"], &endpoints[0]["path"]),
            (&json!("management"), &json!("/metrics"))
        );
        let ours = BTreeSet::from(["operator", "facade", "bridge"]);
        assert!(with_port(&endpoints[0]["port"]).is_superset(&ours), "{backend}");
        assert_eq!(endpoints.len(), if of_ditto > 0 { 2 } else { 1 }, "{backend}");
        let ditto = endpoints.get(1).map(|one| with_port(&one["port"]).len());
        assert_eq!(ditto.unwrap_or_default(), of_ditto, "{backend}");
        let service = named("Service");
        assert!(selects(of_services, &service["metadata"]["labels"]), "{backend}");
        let port = &service["spec"]["ports"][0];
        assert_eq!(of_services["spec"]["endpoints"][0]["port"], port["name"]);
        assert_eq!(port["targetPort"], endpoints[0]["port"]);
    }
}

#[test]
fn no_secret_is_rendered_and_no_hook_stands_in_the_way_of_an_install() {
    for (name, values) in VARIANTS {
        for object in render(values, &[]) {
            assert_ne!(object["kind"], "Secret", "{name}: {}", title(&object));
            if let Some(hook) = object["metadata"]["annotations"]["helm.sh/hook"].as_str() {
                assert_eq!(hook, "test", "{name}: {}", title(&object));
            }
        }
    }
}

/// Helm writes 1000.0 as 1000.
fn as_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => *value = json!(number.as_f64()),
        Value::Array(items) => items.iter_mut().for_each(as_numbers),
        Value::Object(members) => members.values_mut().for_each(as_numbers),
        _ => {}
    }
}

#[test]
fn definitions_stand_in_the_chart_as_they_are_generated() {
    for file in ["digitaltwins.yaml", "twinpolicies.yaml"] {
        let read = |folder: &str| std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
        assert_eq!(read(root), read(&format!("{CHART}/crds")), "{file}: run `make generate`");
    }
    let templated = render(&["crds.templated=true"], &[]);
    let shipped = objects(&helm(&["show", "crds", CHART]).ok());
    assert_eq!(shipped.len(), 2);
    for mut definition in shipped {
        definition["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
        as_numbers(&mut definition);
        let same = templated.iter().any(|object| {
            let mut object = object.clone();
            as_numbers(&mut object);
            object == definition
        });
        assert!(same, "{}", title(&definition));
    }
    assert!(render(&[], &[]).iter().all(|object| object["kind"] != "CustomResourceDefinition"));
}

#[test]
fn names_hold_the_release_and_stay_short_enough() {
    let long = "a-release-name-that-is-as-long-as-helm-lets-it-be-53c";
    let text = helm(&["template", long, CHART, "--namespace", RELEASE]).ok();
    for object in objects(&text) {
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(name.len() <= 63, "{name}");
    }
}
