//! What the chart renders: always the same, taken whole by a real API server, safe pods.
use serde_json::{Value, json};

use super::{CHART, RELEASE, VARIANTS, helm, objects, pod_of, render, set, template, title};
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
