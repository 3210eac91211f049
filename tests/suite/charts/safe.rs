//! Safe by default: what the chart asks for, and what it refuses to.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{CHART, NAME, RELEASE, VARIANTS, helm, pod_of, render, set, template, title};
use crate::support::generated;

/// Every container of a pod, those that run first among them.
fn containers(pod: &Value) -> Vec<&Value> {
    let lists = [&pod["spec"]["initContainers"], &pod["spec"]["containers"]];
    lists.into_iter().filter_map(Value::as_array).flatten().collect()
}

#[test]
fn s51_defaults_are_safe() {
    let mut images = BTreeMap::new();
    for (variant, values) in VARIANTS {
        let objects = render(values, &[]);
        let text = template(values, &[]);
        for word in
            ["foobar", "bitnami", ":latest", "privileged: true", "hostPath:", "hostNetwork", "hostPID"]
        {
            assert!(!text.contains(word), "{variant}: {word}");
        }
        for object in &objects {
            let Some(pod) = pod_of(object) else { continue };
            let what = format!("{variant} {}", title(object));
            let security = &pod["spec"]["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{what}");
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{what}");
            for container in containers(&pod) {
                let own = &container["securityContext"];
                assert_eq!(own["readOnlyRootFilesystem"], true, "{what}");
                assert_eq!(own["allowPrivilegeEscalation"], false, "{what}");
                assert_eq!(own["capabilities"]["drop"], json!(["ALL"]), "{what}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{what}");
                assert!(container["resources"]["requests"]["cpu"].is_string(), "{what}");
                let image = container["image"].as_str().unwrap();
                let tag = image.rsplit_once(':').map(|(_, tag)| tag).unwrap_or_default();
                assert!(tag.split('.').count() == 3, "{what}: {image} has no exact tag");
                images.insert(image.rsplit(['/', ':']).nth(1).unwrap().to_owned(), image.to_owned());
            }
        }
        let broker = objects.iter().find(|one| one["data"]["mosquitto.conf"].is_string());
        if let Some(configuration) = broker {
            let text = configuration["data"]["mosquitto.conf"].as_str().unwrap();
            for line in [
                "allow_anonymous false",
                "password_file /",
                "acl_file /",
                "max_inflight_messages 16384",
                "max_queued_messages 100000",
            ] {
                assert!(text.contains(line), "{variant}: {line}");
            }
            assert_eq!(text.matches("\nlistener ").count(), 1, "{variant}: one way in");
        }
    }
    assert_eq!(images["mongo"], "docker.io/library/mongo:7.0.28");
    assert_eq!(images["ditto-gateway"], "docker.io/eclipse/ditto-gateway:3.8.12");
    assert_eq!(images.len(), 9, "{images:?}");
    // MongoDB asks for a password, and for the key of its set.
    let text = template(&[], &[]);
    assert!(text.contains("--keyFile=/run/key/keyfile") && text.contains("MONGO_INITDB_ROOT_PASSWORD_FILE"));
    assert!(text.matches("kind: NetworkPolicy").count() >= 10);
}

#[test]
fn a_digest_counts_instead_of_a_tag() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let (ours, broker) = (format!("image.digest={digest}"), format!("mosquitto.image.digest={digest}"));
    let text = template(&[&ours, &broker, "image.repository=registry.example/twinops"], &[]);
    assert!(text.contains(&format!("\"registry.example/twinops@{digest}\"")));
    assert!(text.contains(&format!("\"docker.io/library/eclipse-mosquitto@{digest}\"")));
    assert!(!text.contains("eclipse-mosquitto:"));
}

/// What each account may do, and whose pods have its token, as one document a reviewer reads.
fn rights(values: &[&str]) -> Value {
    let objects = render(values, &[]);
    let of = |kinds: &[&str]| {
        let chosen = objects.iter().filter(|one| kinds.contains(&one["kind"].as_str().unwrap_or_default()));
        chosen.map(|one| (title(one), one.clone())).collect::<BTreeMap<_, _>>()
    };
    let rules: BTreeMap<_, _> =
        of(&["Role", "ClusterRole"]).into_iter().map(|(name, one)| (name, one["rules"].clone())).collect();
    let bindings: BTreeMap<_, _> = of(&["RoleBinding", "ClusterRoleBinding"])
        .into_iter()
        .map(|(name, one)| {
            let subjects = one["subjects"].as_array().unwrap().iter().map(|subject| &subject["name"]);
            (name, json!({"role": one["roleRef"]["name"], "accounts": subjects.collect::<Vec<_>>()}))
        })
        .collect();
    let tokens: BTreeMap<_, _> = objects
        .iter()
        .filter_map(|object| Some((title(object), pod_of(object)?)))
        .map(|(name, pod)| {
            let mounts = pod["spec"]["automountServiceAccountToken"].as_bool().expect("said for every pod");
            let account = if mounts { pod["spec"]["serviceAccountName"].clone() } else { json!(null) };
            (name, account)
        })
        .collect();
    json!({"rules": rules, "bindings": bindings, "tokens": tokens})
}

#[test]
fn s44_rights_are_those_of_the_golden_file() {
    let rights = json!({
        "ditto": rights(&["ditto.ui.enabled=true"]),
        "engine": rights(&["backend=engine"]),
    });
    let text = serde_json::to_string_pretty(&rights).unwrap() + "\n";
    generated::compare("tests/data/charts/rights.json", &text);
    // And whatever the file says: never these.
    for word in
        ["\"*\"", "escalate", "bind\"", "impersonate", "pods/exec", "\"deletecollection\"", "\"delete\""]
    {
        assert!(!text.contains(word), "{word}");
    }
    for set in ["ditto", "engine"] {
        for (name, rules) in rights[set]["rules"].as_object().unwrap() {
            let of = |resource: &str| {
                let rules = rules.as_array().unwrap().clone().into_iter();
                rules.filter(|rule| rule["resources"] == json!([resource])).collect::<Vec<_>>()
            };
            let is_named =
                |rule: &Value| rule["resourceNames"].is_array() || rule["verbs"] == json!(["create"]);
            for rule in of("secrets") {
                assert!(name.starts_with("Role/"), "{name}: secrets of other namespaces");
                let lists = rule["verbs"].as_array().unwrap().contains(&json!("list"));
                assert!(is_named(&rule) && !lists, "{name}: {rule}");
            }
            for rule in of("leases") {
                assert!(name.starts_with("Role/") && is_named(&rule), "{name}: the leases of others: {rule}");
            }
        }
        for part in ["facade", "bridge"] {
            let kind = if part == "facade" { "Deployment" } else { "StatefulSet" };
            assert_eq!(rights[set]["tokens"][format!("{kind}/{NAME}-{part}")], json!(null), "{part}");
        }
    }
}

/// Every probe says what it proves: the process, the work, and the start are three questions.
#[test]
fn every_server_is_probed_for_start_life_and_readiness() {
    for object in render(&[], &[]).iter().chain(&render(&["backend=engine"], &[])) {
        let Some(pod) = pod_of(object).filter(|_| object["kind"] != "Pod") else { continue };
        let container = &pod["spec"]["containers"][0];
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert!(container[probe].is_object(), "{}: {probe}", title(object));
        }
    }
}

#[test]
fn contact_points_follow_from_the_services_that_run() {
    let contacts = |values: &[&str]| {
        let text = template(values, &[]);
        let mut found: Vec<_> = text
            .split("name: CLUSTER_BS_REQUIRED_CONTACTS\n")
            .skip(1)
            .map(|rest| {
                rest.trim_start().trim_start_matches("value: ").split('\n').next().unwrap().to_owned()
            })
            .collect();
        let services = found.len();
        found.dedup();
        assert_eq!(found.len(), 1, "all members agree");
        (services, found.remove(0))
    };
    assert_eq!(contacts(&[]), (5, "\"5\"".to_owned()));
    assert_eq!(contacts(&["ditto.services.connectivity.enabled=false"]), (4, "\"4\"".to_owned()));
    assert_eq!(contacts(&["ditto.services.things.replicas=3"]), (5, "\"5\"".to_owned()));
}

/// The operator's label on its subject, the bridge's, and the facade's idea of both are one.
#[test]
fn subjects_agree() {
    let values = ["operator.subject=pre:one", "bridge.subject=pre:two"];
    let objects = render(&values, &[]);
    let pod = |part: &str| {
        let object = objects
            .iter()
            .find(|one| pod_of(one).is_some() && title(one).ends_with(&format!("{NAME}-{part}")));
        pod_of(object.expect(part)).unwrap()["spec"]["containers"][0].clone()
    };
    let argument = |part: &str, text: &str| pod(part)["args"].as_array().unwrap().contains(&json!(text));
    let login = |part: &str| {
        let container = pod(part);
        let env = container["env"].as_array().unwrap().iter();
        env.clone().find(|one| one["name"] == "DITTO_PRE_AUTHENTICATED").map(|one| one["value"].clone())
    };
    for part in ["operator", "facade"] {
        assert!(argument(part, "--bridge-subject=pre:two"), "{part}");
    }
    assert!(argument("facade", "--operator-subject=pre:one"));
    assert_eq!((login("operator"), login("bridge")), (Some(json!("pre:one")), Some(json!("pre:two"))));
    assert_eq!(login("facade"), None, "its callers are themselves");
}

/// Where operator and bridge have one login, nobody is let in by a name that no login of ours bears.
#[test]
fn one_login_for_both_is_one_subject() {
    let external =
        ["backend=external", "externalDitto.url=https://ditto.example", "externalDitto.login.secret=login"];
    let text = template(&external, &[]);
    assert!(!text.contains("--bridge-subject") && !text.contains("--operator-subject"), "{text}");
    let text = template(&[&external[..], &["externalDitto.login.subject=nginx:twinops"]].concat(), &[]);
    assert_eq!(text.matches("--operator-subject=nginx:twinops").count(), 1);
    assert!(!text.contains("--bridge-subject"));
    let text = template(&[&external[..], &["externalDitto.login.mode=pre-authenticated"]].concat(), &[]);
    assert_eq!(text.matches("--bridge-subject=pre:twinops-bridge").count(), 2);
}

#[test]
fn the_bridge_runs_where_a_broker_is_and_says_so_where_none_is() {
    let has_bridge = |values: &[&str]| {
        render(values, &[]).iter().any(|one| title(one) == format!("StatefulSet/{NAME}-bridge"))
    };
    assert!(has_bridge(&[]), "the chart brings a broker");
    let elsewhere = ["mosquitto.enabled=false", "externalBroker.url=mqtt://broker.example:1883"];
    assert!(has_bridge(&elsewhere));
    assert!(!has_bridge(&["mosquitto.enabled=false", "bridge.enabled=false"]));
    let refused = |values: &[&str]| helm(&[&["template", "x", CHART][..], &set(values)].concat()).refused();
    let said = refused(&["mosquitto.enabled=false"]);
    assert!(said.contains("externalBroker.url") && said.contains("bridge.enabled=false"), "{said}");
    for value in ["externalBroker.caSecret", "externalBroker.clientSecret"] {
        let said = refused(&[&elsewhere[..], &[&format!("{value}=x")]].concat());
        assert!(said.contains(value) && said.contains("mqtts://"), "{said}");
    }
}

/// The operator's pod makes the Secrets: without it every other pod would wait for them for ever.
#[test]
fn without_the_operator_helm_names_the_secrets_that_nobody_makes() {
    let off = ["operator.enabled=false", "backend=engine"];
    let said = helm(&[&["template", RELEASE, CHART][..], &set(&off)].concat()).refused();
    for part in ["facade", "engine", "mosquitto"] {
        assert!(said.contains(&format!("{NAME}-{part}")), "{part}: {said}");
    }
    assert!(said.contains("existingSecret") && said.contains("secrets.ensure=false"), "{said}");
    let brought = [
        "facade.auth.existingSecret=users",
        "engine.existingSecret=engine",
        "mosquitto.existingSecret=broker",
    ];
    for more in [&brought[..], &["secrets.ensure=false"]] {
        assert!(!render(&[&off[..], more].concat(), &[]).is_empty());
    }
}

/// As the process reads it: a flag or a variable it does not know would end it.
#[test]
fn the_bridge_takes_what_the_chart_gives_it() {
    // These have no flag: the help text tells them.
    const WITHOUT_FLAG: [&str; 2] = ["MQTT_PASSWORD_FILE", "DITTO_PASSWORD_FILE"];
    let settings = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md")).unwrap();
    let (of_all, rest) = settings.split_once("\n## twinops ").expect("the table of all commands");
    let (_, rest) = rest.split_once("\n## twinops bridge\n").expect("its table");
    let known = format!("{of_all}{}", rest.split("\n## ").next().unwrap());
    let mut seen = 0;
    for (variant, values) in VARIANTS {
        for object in
            render(values, &[]).iter().filter(|one| title(one) == format!("StatefulSet/{NAME}-bridge"))
        {
            let container = &pod_of(object).unwrap()["spec"]["containers"][0];
            let args = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
            for flag in args.filter_map(|arg| arg.split('=').next()).filter(|arg| arg.starts_with("--")) {
                assert!(known.contains(&format!("`{flag} ")), "{variant}: {flag}");
            }
            for variable in container["env"].as_array().unwrap() {
                let name = variable["name"].as_str().unwrap();
                let is_known = known.contains(&format!("`{name}`")) || WITHOUT_FLAG.contains(&name);
                assert!(is_known, "{variant}: {name}");
            }
            let mounted: Vec<_> = container["volumeMounts"].as_array().into_iter().flatten().collect();
            for file in container["env"].as_array().unwrap().iter().filter_map(|one| one["value"].as_str()) {
                let is_mounted =
                    mounted.iter().any(|one| file.starts_with(one["mountPath"].as_str().unwrap()));
                assert!(!file.starts_with('/') || is_mounted, "{variant}: nothing is mounted for {file}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, VARIANTS.len() - 1, "in every variant but that of nothing");
}
