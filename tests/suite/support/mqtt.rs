//! A broker, a bridge and devices: the real Mosquitto of Debian, our binary, and clients on plain sockets.
use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::ditto::{STARTS_WITHIN, get, last_after, twinops, write};
use super::process::{Child, run};
use super::{free_port, wait_for};

/// A message arrives within milliseconds; the rest is a slow machine.
pub const SOON: Duration = Duration::from_secs(20);
/// What `bash .ci/run` installs; Mosquitto itself is not in the path of a plain user.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"];

/// Lines of a Mosquitto that saves with every change.
pub const SAVING: &str = "autosave_interval 1\nautosave_on_changes true\n";

/// A program of Debian's packages mosquitto and mosquitto-clients.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(PLACES).map(Path::new);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is not installed: run `apt-get install mosquitto mosquitto-clients`")
    })
}

/// A Mosquitto of its own. Ends with the value.
///
/// It saves what it keeps when it ends. With [`SAVING`] it survives a kill, and is slow.
pub struct Mosquitto {
    pub port: u16,
    pub child: Child,
    config: PathBuf,
    folder: PathBuf,
}

impl Mosquitto {
    /// `more` are lines of its configuration.
    pub fn start(folder: &Path, more: &str) -> Self {
        let port = free_port();
        let listener = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
        Self::with(folder, port, &format!("{listener}{more}"))
    }

    /// All of its configuration, but for what the tests stand on.
    pub fn with(folder: &Path, port: u16, lines: &str) -> Self {
        let data = folder.join("mosquitto");
        std::fs::create_dir_all(&data).expect("a folder");
        let config = folder.join("mosquitto.conf");
        let own = format!(
            "user root\npersistence true\npersistence_location {}/\n\
             max_inflight_messages 16384\nmax_queued_messages 100000\nlog_type error\nlog_type warning\n",
            data.display()
        );
        std::fs::write(&config, format!("{own}{lines}")).expect("a configuration");
        let child = Self::run(&config, folder, port);
        Self { port, child, config, folder: folder.to_owned() }
    }

    fn run(config: &Path, folder: &Path, port: u16) -> Child {
        let mut command = Command::new(program("mosquitto"));
        command.arg("-c").arg(config);
        let mut child = Child::start("mosquitto", &command, folder).expect("Mosquitto starts");
        child
            .wait_ready(SOON, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
            .expect("Mosquitto listens");
        child
    }

    /// Starts it again after it was killed.
    pub fn again(&mut self) {
        self.child = Self::run(&self.config, &self.folder, self.port);
    }
}

/// A bridge process. Ends with the value.
pub struct Bridge {
    pub child: Child,
    pub management: String,
}

impl Bridge {
    /// Between the broker on `port` and the Ditto at `ditto`.
    pub fn start(folder: &Path, port: u16, ditto: &str, more: &[&str]) -> Self {
        Self::named("bridge", folder, port, ditto, more)
    }

    pub fn named(name: &str, folder: &Path, port: u16, ditto: &str, more: &[&str]) -> Self {
        let bridge = Self::starting(name, folder, &format!("mqtt://127.0.0.1:{port}"), ditto, more);
        wait_for("the bridge to be ready", SOON, || {
            (get(&format!("{}/readyz", bridge.management)).0 == 200).then_some(())
        });
        bridge
    }

    /// It may not become ready.
    pub fn starting(name: &str, folder: &Path, broker: &str, ditto: &str, more: &[&str]) -> Self {
        let mut command = twinops();
        for variable in ["MQTT_BROKER_URL", "MQTT_USERNAME", "MQTT_PASSWORD", "MQTT_PASSWORD_FILE"] {
            command.env_remove(variable);
        }
        command.args(["bridge", "--management-listen", "127.0.0.1:0", "--mqtt-url", broker]);
        command.args(["--ditto-url", ditto, "--ditto-pre-authenticated", "nginx:ditto"]).args(more);
        Self::of(name, folder, &command)
    }

    /// A command that runs a bridge.
    pub fn of(name: &str, folder: &Path, command: &Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let before = std::fs::read_to_string(&log).unwrap_or_default().len();
        let mut child = Child::start(name, command, folder).expect("the bridge starts");
        let management = wait_for("the bridge to say where it is", STARTS_WITHIN, || {
            assert!(child.ended().is_none(), "the bridge ended:\n{}", child.log());
            last_after(&child.log()[before..], "management ")
        });
        Self { child, management }
    }

    /// A metric with its labels, such as `mqtt_messages_total{result="written"}`; 0 when there is none.
    pub fn metric(&self, name: &str) -> u64 {
        metric(&self.management, name)
    }

    /// Waits until a metric is at least this.
    #[track_caller]
    pub fn reaches(&self, name: &str, at_least: u64) {
        let what = format!("{name} to be {at_least}; log:\n{}", self.child.log());
        wait_for(&what, SOON, || (self.metric(name) >= at_least).then_some(()));
    }

    pub fn devices(&self, query: &str) -> Value {
        let (status, text) = get(&format!("{}/devices{query}", self.management));
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }
}

pub fn metric(management: &str, name: &str) -> u64 {
    let (_, text) = get(&format!("{management}/metrics"));
    let start = format!("twinops_{name} ");
    // Counters and gauges of ours are whole.
    text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok()).unwrap_or_default()
}

/// `mosquitto_pub`, once.
#[track_caller]
pub fn publish(port: u16, topic: &str, payload: &str, more: &[&str]) {
    let mut command = Command::new(program("mosquitto_pub"));
    command.args(["-p", &port.to_string(), "-q", "1", "-t", topic, "-m", payload]).args(more);
    run(command, "").ok();
}

/// `mosquitto_sub -v`; ends with the value.
pub fn subscribe(folder: &Path, name: &str, port: u16, topic: &str, more: &[&str]) -> Child {
    let mut command = Command::new(program("mosquitto_sub"));
    command.args(["-p", &port.to_string(), "-q", "1", "-v", "-t", topic]).args(more);
    Child::start(name, &command, folder).expect("mosquitto_sub starts")
}

/// A CA, a certificate for the broker on 127.0.0.1, and one for the bridge, `broker` and `twinops-bridge`: `.pem` and `.key`.
pub fn certificates(folder: &Path) {
    self_signed(folder, "ca", "ca");
    write(folder, "san", "subjectAltName=IP:127.0.0.1\n");
    for name in ["broker", "twinops-bridge"] {
        certificate(folder, name);
    }
}

/// One more of that CA, for the name: `.pem` and `.key`.
pub fn certificate(folder: &Path, name: &str) {
    openssl(
        folder,
        &format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ),
    );
    openssl(
        folder,
        &format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 30 -extfile san"
        ),
    );
}

/// A certificate that says it is for the name and nobody signed: `.pem` and `.key`.
pub fn self_signed(folder: &Path, file: &str, name: &str) {
    openssl(
        folder,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {file}.key -out {file}.pem -days 30 -subj /CN={name}"
        ),
    );
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    command.args(arguments.split_whitespace()).current_dir(folder);
    run(command, "").ok();
}

/// As [`subscribe`], to a topic on which commands for `thing` go out. A subscription takes a moment: the thing asks for
/// its commands until they are heard.
#[track_caller]
pub fn listening(folder: &Path, port: u16, topic: &str, thing: &str) -> Child {
    let ears = subscribe(folder, "all", port, topic, &[]);
    wait_for("the subscription", SOON, || {
        publish(port, &format!("devices/{thing}/commands/get"), "", &[]);
        ears.log().contains("desired").then_some(())
    });
    ears
}

/// A device on a plain socket, MQTT 3.1.1: fast, and another implementation than the one under test.
pub struct Device {
    stream: TcpStream,
    buffer: Vec<u8>,
    next: u16,
    acks: Arc<Acks>,
}

#[derive(Default)]
struct Acks {
    waiting: Mutex<HashMap<u16, u32>>,
    freed: Condvar,
    count: AtomicU64,
    /// The connection has ended.
    ended: std::sync::atomic::AtomicBool,
}

/// Messages without an acknowledgement, at most.
const WINDOW: usize = 2_000;
const BUFFER: usize = 32 * 1_024;

impl Device {
    /// With a clean session.
    pub fn connect(port: u16, client_id: &str) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        let mut connect = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60];
        text(&mut connect, client_id);
        let mut packet = vec![0x10];
        length(&mut packet, connect.len());
        packet.extend(connect);
        stream.write_all(&packet)?;
        let mut welcome = [0; 4];
        stream.read_exact(&mut welcome)?;
        if welcome[3] != 0 {
            return Err(std::io::Error::other(format!("refused: {}", welcome[3])));
        }
        let (acks, reading) = (Arc::<Acks>::default(), stream.try_clone()?);
        let told = Arc::clone(&acks);
        thread::spawn(move || {
            let mut reading = BufReader::new(reading);
            let mut ack = [0; 4];
            while reading.read_exact(&mut ack).is_ok() && ack[0] == 0x40 {
                let id = u16::from_be_bytes([ack[2], ack[3]]);
                told.waiting.lock().expect("no panic").remove(&id);
                told.count.fetch_add(1, Ordering::Relaxed);
                told.freed.notify_all();
            }
            told.ended.store(true, Ordering::SeqCst);
            told.freed.notify_all();
        });
        Ok(Self { stream, buffer: Vec::with_capacity(BUFFER), next: 0, acks })
    }

    /// `QoS` 0.
    pub fn throw(&mut self, topic: &str, payload: &[u8]) -> std::io::Result<()> {
        self.put(0x30, topic, None, payload)
    }

    /// `QoS` 1; waits while too many are not acknowledged.
    pub fn send(&mut self, topic: &str, payload: &[u8]) -> std::io::Result<()> {
        let is_full = self.acks.waiting.lock().expect("no panic").len() >= WINDOW;
        if is_full {
            self.flush()?;
            let waiting = self.acks.waiting.lock().expect("no panic");
            drop(self.acks.freed.wait_timeout_while(waiting, SOON, |waiting| {
                waiting.len() >= WINDOW && !self.acks.ended.load(Ordering::SeqCst)
            }));
        }
        if self.acks.ended.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.next = self.next.checked_add(1).unwrap_or(1);
        self.acks.waiting.lock().expect("no panic").insert(self.next, 0);
        self.put(0x32, topic, Some(self.next), payload)
    }

    fn put(&mut self, head: u8, topic: &str, id: Option<u16>, payload: &[u8]) -> std::io::Result<()> {
        self.buffer.push(head);
        length(&mut self.buffer, 2 + topic.len() + id.map_or(0, |_| 2) + payload.len());
        text(&mut self.buffer, topic);
        self.buffer.extend(id.into_iter().flat_map(u16::to_be_bytes));
        self.buffer.extend(payload);
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    pub fn flush(&mut self) -> std::io::Result<()> {
        self.stream.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Waits until the broker has everything.
    pub fn settle(&mut self) -> std::io::Result<()> {
        self.flush()?;
        let waiting = self.acks.waiting.lock().expect("no panic");
        let ended = || self.acks.ended.load(Ordering::SeqCst);
        let (waiting, late) = self
            .acks
            .freed
            .wait_timeout_while(waiting, SOON, |waiting| !waiting.is_empty() && !ended())
            .expect("no panic");
        if late.timed_out() || !waiting.is_empty() {
            Err(std::io::ErrorKind::TimedOut.into())
        } else {
            Ok(())
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        drop(self.flush());
        drop(self.stream.write_all(&[0xe0, 0]));
        drop(self.stream.shutdown(std::net::Shutdown::Write));
    }
}

fn text(to: &mut Vec<u8>, text: &str) {
    to.extend(u16::try_from(text.len()).expect("a short text").to_be_bytes());
    to.extend(text.as_bytes());
}

fn length(to: &mut Vec<u8>, mut length: usize) {
    loop {
        let byte = u8::try_from(length % 128).expect("below 128");
        length /= 128;
        to.push(if length > 0 { byte | 128 } else { byte });
        if length == 0 {
            return;
        }
    }
}
