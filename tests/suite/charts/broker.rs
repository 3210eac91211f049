//! The broker as the chart configures it, with the passwords and topics that are made for it: a real Mosquitto.
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::render;
use super::secrets::{Home, data};
use crate::support::process::{Child, Output, run};
use crate::support::{free_port, wait_for};

const LISTENS_WITHIN: Duration = Duration::from_secs(20);
const VALUES: [&str; 4] = [
    "mosquitto.devices[0].user=lamp",
    "mosquitto.devices[0].thingId=com.example:lamp",
    "mosquitto.devices[1].user=pump",
    "mosquitto.devices[1].thingId=com.example:pump",
];

struct Broker {
    port: String,
    secret: Value,
    _child: Child,
    _folder: TempDir,
}

impl Broker {
    fn start() -> Self {
        let home = Home::new(&VALUES);
        home.ensure(&VALUES).ok();
        let secret =
            home.secrets().into_iter().find(|one| one["data"]["acl"].is_string()).expect("its Secret");
        let folder = tempfile::tempdir().unwrap();
        let port = free_port().to_string();
        let objects = render(&VALUES, &[]);
        let found =
            objects.iter().find_map(|one| one["data"]["mosquitto.conf"].as_str()).expect("its configuration");
        let place = folder.path().display().to_string();
        let text = found
            .replace("/run/mosquitto-users", &place)
            .replace("/mosquitto/data/", &format!("{place}/"))
            .replace("listener 1883", &format!("listener {port} 127.0.0.1"));
        // As root it would become the user of its package, who may not read the folder.
        let text = if is_root() { format!("{text}\nuser root\n") } else { text };
        std::fs::write(folder.path().join("mosquitto.conf"), text).unwrap();
        for key in ["passwords", "acl"] {
            std::fs::write(folder.path().join(key), data(&secret, key)).unwrap();
        }
        let mut command = Command::new(program("mosquitto", "mosquitto"));
        command.arg("-c").arg(folder.path().join("mosquitto.conf"));
        let mut child = Child::start("mosquitto", &command, folder.path()).expect("mosquitto starts");
        wait_for("mosquitto to listen", LISTENS_WITHIN, || {
            assert!(child.ended().is_none(), "{}", child.log());
            std::net::TcpStream::connect(format!("127.0.0.1:{port}")).ok()
        });
        Self { port, secret, _child: child, _folder: folder }
    }

    fn password(&self, user: &str) -> String {
        let key =
            if user == "twinops-bridge" { "bridge-password".to_owned() } else { format!("device-{user}") };
        data(&self.secret, &key)
    }

    fn client(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program(name, "mosquitto-clients"));
        command.args(["-h", "127.0.0.1", "-p", &self.port, "-V", "mqttv5", "-q", "1"]).args(args);
        command
    }

    /// Publishes with MQTT 5, which says whether the broker took it.
    fn publish(&self, user: &str, topic: &str, text: &str) -> Output {
        let password = self.password(user);
        run(self.client("mosquitto_pub", &["-d", "-u", user, "-P", &password, "-t", topic, "-m", text]), "")
    }

    /// What arrives within two seconds after `meanwhile`.
    fn hear(&self, user: &str, topic: &str, meanwhile: impl FnOnce()) -> String {
        let password = self.password(user);
        let args = ["-u", user, "-P", &password, "-t", topic, "-W", "3", "-v"];
        let mut command = self.client("mosquitto_sub", &args);
        let child =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(1));
        meanwhile();
        String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0)
}

fn program(name: &str, package: &str) -> String {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = places.iter().map(|place| format!("{place}/{name}")).find(|path| Path::new(path).is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: run `apt-get install {package}`"))
}

fn was_taken(output: &Output) -> bool {
    output.success
        && !output.stdout.contains("Not authorized")
        && !output.stderr.contains("Not authorized")
        && !output.stdout.contains("RC:135")
}

#[test]
fn a_device_may_use_its_own_topics_and_no_others() {
    let broker = Broker::start();
    for (user, topic, taken) in [
        ("lamp", "devices/com.example:lamp/telemetry", true),
        ("lamp", "devices/com.example:lamp/responses/7", true),
        ("lamp", "devices/com.example:lamp/commands/get", true),
        ("lamp", "devices/com.example:lamp/commands", false),
        ("lamp", "devices/com.example:pump/telemetry", false),
        ("lamp", "twinops/dead-letters/x", false),
        ("lamp", "$SYS/broker/x", false),
        ("twinops-bridge", "devices/com.example:pump/commands", true),
        ("twinops-bridge", "twinops/dead-letters/refused", true),
        ("twinops-bridge", "devices/com.example:pump/telemetry", false),
    ] {
        let output = broker.publish(user, topic, "{}");
        assert_eq!(was_taken(&output), taken, "{user} {topic}: {}{}", output.stdout, output.stderr);
    }
    let heard = broker.hear("twinops-bridge", "devices/+/telemetry", || {
        broker.publish("lamp", "devices/com.example:lamp/telemetry", "21.5");
    });
    assert_eq!(heard, "devices/com.example:lamp/telemetry 21.5\n");
    let heard = broker.hear("lamp", "#", || {
        broker.publish("pump", "devices/com.example:pump/telemetry", "1");
        broker.publish("twinops-bridge", "devices/com.example:pump/commands", "2");
        broker.publish("twinops-bridge", "devices/com.example:lamp/commands", "3");
    });
    assert_eq!(heard, "devices/com.example:lamp/commands 3\n", "whoever asks for everything gets its own");
}

#[test]
fn nobody_comes_in_without_the_right_password() {
    let broker = Broker::start();
    let publish = ["-t", "devices/com.example:lamp/telemetry", "-m", "1"];
    let pump = broker.password("pump");
    for login in [
        vec![],
        vec!["-u", "lamp"],
        vec!["-u", "lamp", "-P", "guess"],
        vec!["-u", "lamp", "-P", pump.as_str()],
    ] {
        let output = run(broker.client("mosquitto_pub", &[login.as_slice(), &publish].concat()), "");
        assert!(!output.success, "{login:?}: {}", output.stdout);
    }
}
