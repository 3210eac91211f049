//! Kill -9 of the operator, again and again, while twins come, change and go.
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::{Client, Config};
use serde_json::{Value, json};

use super::{DEVICE, Desk, NO_RESYNC, QUICK_RESYNC, SOON, USER, ditto};
use crate::support::ditto::RUNTIME;
use crate::support::wait_for;

/// In `make test`; `make soak` asks for more, up to [`KILLS_MAX`].
const KILLS: u64 = 3;
const KILLS_MAX: u64 = 100;
/// Twins at the same time.
const TWINS_MAX: usize = 25;
const LEASE: [&str; 2] = ["--lease-duration", "1s"];

/// Numbers that are the same in each run: an `xorshift`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// What was asked for, by name. A name is used once.
#[derive(Default)]
struct Wanted {
    living: BTreeMap<String, Twin>,
    gone: Vec<String>,
}

struct Twin {
    location: String,
    /// What the device wrote last, and how often it wrote.
    serial: Option<usize>,
    writes: u64,
}

async fn twins(namespace: &str, kubeconfig: &Path) -> Api<DynamicObject> {
    let file = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    let resource = ApiResource::erase::<twinops::api::DigitalTwin>(&());
    Api::namespaced_with(Client::try_from(config).unwrap(), namespace, &resource)
}

/// One create, edit, deletion or device write, as the dice say.
async fn happen(dice: &mut Dice, number: usize, desk: &Desk, api: &Api<DynamicObject>, wanted: &mut Wanted) {
    let place = |dice: &mut Dice| format!("hall-{}", dice.roll(1_000));
    let names: Vec<String> = wanted.living.keys().cloned().collect();
    let name = names.get(dice.roll(names.len().max(1))).cloned();
    let (Some(name), turn) = (name, dice.roll(10)) else {
        return create(dice, number, desk, api, wanted).await;
    };
    match turn {
        0..=2 if names.len() < TWINS_MAX => create(dice, number, desk, api, wanted).await,
        3..=6 => {
            let location = place(dice);
            let patch = Patch::Merge(json!({"spec": {"attributes": {"location": location}}}));
            api.patch(&name, &PatchParams::default(), &patch).await.unwrap();
            wanted.living.get_mut(&name).unwrap().location = location;
        }
        7 => {
            api.delete(&name, &DeleteParams::default()).await.unwrap();
            wanted.living.remove(&name);
            wanted.gone.push(name);
        }
        _ => report(number, desk, &name, wanted).await,
    }
}

async fn create(dice: &mut Dice, number: usize, desk: &Desk, api: &Api<DynamicObject>, wanted: &mut Wanted) {
    let (name, location) = (format!("t{number}"), format!("hall-{}", dice.roll(1_000)));
    let mut twin = desk.twin(&name);
    twin["spec"]["attributes"]["location"] = json!(location);
    let twin: DynamicObject = serde_json::from_value(twin).unwrap();
    api.create(&PostParams::default(), &twin).await.unwrap();
    wanted.living.insert(name, Twin { location, serial: None, writes: 0 });
}

/// The device writes where nobody else does: a thing that is deleted and made again loses that.
async fn report(number: usize, desk: &Desk, name: &str, wanted: &mut Wanted) {
    let url =
        format!("{}/api/2/things/{}/features/temperature/properties/serial", ditto().url, desk.id(name));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .put(url)
        .header("x-ditto-pre-authenticated", DEVICE)
        .header("content-type", "application/json");
    let answer = request.body(number.to_string()).send().await.unwrap();
    if answer.status().is_success() {
        let twin = wanted.living.get_mut(name).unwrap();
        twin.serial = Some(number);
        twin.writes += 1;
    }
}

fn rounds() -> u64 {
    let asked = std::env::var("TWINOPS_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    asked.unwrap_or(KILLS).clamp(KILLS, KILLS_MAX)
}

#[test]
fn killed_again_and_again_in_a_storm_it_loses_repeats_and_leaves_nothing() {
    let (rounds, started) = (rounds(), Instant::now());
    // Deletions come one after the other here, and are meant.
    let flags = [&LEASE[..], &["--breaker-twins", "0"]].concat();
    let mut desk = Desk::with(NO_RESYNC, &flags);
    desk.apply(&desk.policy("sensors")).ok();
    desk.wait_ready("tp", "sensors");
    let kubeconfig = desk.cluster.kubeconfig("admin");
    let api = RUNTIME.block_on(twins(&desk.namespace, &kubeconfig));
    let (mut dice, mut wanted, mut number) = (Dice(0x7715_0b5e), Wanted::default(), 0);
    let mut passes = 0;
    for _ in 0..rounds {
        wait_for("an operator that leads", SOON, || desk.operator.leads().then_some(()));
        let until = Instant::now() + Duration::from_millis(50 + dice.roll(600) as u64);
        while Instant::now() < until {
            RUNTIME.block_on(happen(&mut dice, number, &desk, &api, &mut wanted));
            number += 1;
        }
        passes += desk.operator.passes();
        desk.operator.child.kill();
        // While nobody leads, people go on.
        for _ in 0..5 {
            RUNTIME.block_on(happen(&mut dice, number, &desk, &api, &mut wanted));
            number += 1;
        }
        desk.operator = desk.another(&[&flags[..], &["--resync", NO_RESYNC]].concat());
    }
    assert!(passes > rounds, "{passes} passes in {rounds} rounds: it was killed before it began");
    desk.operator.child.kill();
    desk.operator = desk.another(&[&flags[..], &["--resync", QUICK_RESYNC]].concat());
    for name in wanted.living.keys() {
        desk.wait_ready("dt", name);
    }
    for name in &wanted.gone {
        desk.wait_gone("dt", name);
    }
    desk.operator.wait_resyncs();
    check(&desk, &wanted);
    println!(
        "kill -9: {rounds} times in {number} edits, {} twins stay and {} went, {passes} passes, {:?}",
        wanted.living.len(),
        wanted.gone.len(),
        started.elapsed()
    );
}

fn check(desk: &Desk, wanted: &Wanted) {
    let mut problems = vec![];
    for (name, twin) in &wanted.living {
        let (thing, resource) = (desk.thing(name).expect("a thing"), desk.get("dt", name).expect("a twin"));
        let mark = &thing["_metadata"]["twinops"];
        let generation = resource["metadata"]["generation"].as_u64().unwrap();
        // One write for each generation that was met, one for each of the device: no more.
        let most = generation + twin.writes;
        let serial = thing["features"]["temperature"]["properties"]["serial"].as_u64();
        let wrong = thing["attributes"]["location"] != twin.location
            || mark["uid"] != resource["metadata"]["uid"]
            || mark["generation"] != resource["metadata"]["generation"]
            || serial != twin.serial.map(|serial| serial as u64)
            || thing["_revision"].as_u64().unwrap() > most;
        if wrong {
            problems.push(format!(
                "{name}: at most {most}, device {:?}, {thing}\n{}",
                twin.serial, resource["metadata"]
            ));
        }
    }
    for name in &wanted.gone {
        problems.extend(desk.thing(name).map(|thing| format!("an orphan: {thing}")));
    }
    let filter =
        format!("/search/things?namespaces={}&option=size(200)&fields=thingId", desk.ditto_namespace);
    let (_, found) = ditto().call(USER, "GET", &filter, None);
    let found = found["items"].as_array().map_or(0, Vec::len);
    if found != wanted.living.len() {
        problems.push(format!("{found} things for {} twins", wanted.living.len()));
    }
    assert!(problems.is_empty(), "{}\n{}", problems.join("\n"), desk.operator.child.log());
    let revisions = || -> Vec<Value> {
        wanted.living.keys().map(|name| desk.thing(name).expect("a thing")["_revision"].clone()).collect()
    };
    let before = revisions();
    desk.operator.wait_resyncs();
    assert_eq!(revisions(), before, "it is quiet");
}
