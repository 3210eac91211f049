//! The facade and its peers, each before a Ditto that answers at once.
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::sample;
use crate::support::ditto::twinops;
use crate::support::free_port;

const STARTS_WITHIN: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Nobody between: what everything else is added to.
    Direct,
    TwinOps,
    Nginx,
    /// With so many workers.
    FastApi(usize),
    Node,
}

impl Peer {
    pub fn name(self) -> String {
        match self {
            Self::Direct => "nobody".to_owned(),
            Self::TwinOps => "twinops facade".to_owned(),
            Self::Nginx => "nginx proxy_pass".to_owned(),
            Self::FastApi(workers) => format!("FastAPI, {workers} worker"),
            Self::Node => "Node ws".to_owned(),
        }
    }

    /// Where it serves what Ditto has at `/api/2{path}`.
    pub fn path(self, path: &str) -> String {
        if self == Self::Direct { format!("/api/2{path}") } else { path.to_owned() }
    }
}

/// A process and its children; ended when dropped.
pub struct Server {
    child: Child,
    pub address: String,
    _work: Option<tempfile::TempDir>,
}

impl Server {
    /// User and system time of it and its children, in seconds.
    pub fn cpu(&self) -> f64 {
        family(self.child.id()).into_iter().map(sample::cpu).sum()
    }

    /// Resident memory of all of them, in MB.
    pub fn rss(&self) -> f64 {
        family(self.child.id()).into_iter().map(|pid| sample::rss(pid).0).sum()
    }

    /// Reads the address from the first line of its output.
    fn told(mut command: Command, label: &str) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let rest = line.split_once(label).unwrap_or_else(|| panic!("no address in {line:?}")).1;
        let address = rest.split([',', ' ', '\n']).next().unwrap_or_default().to_owned();
        Self { child, address, _work: None }
    }

    /// Waits until somebody listens.
    fn listening(mut command: Command, port: u16, work: Option<tempfile::TempDir>) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
        let address = format!("127.0.0.1:{port}");
        sample::until("a server to listen", STARTS_WITHIN, || std::net::TcpStream::connect(&address).ok());
        Self { child, address, _work: work }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Workers end with whoever started them, given the time to tell them.
        let _sent =
            Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh", &self.child.id().to_string()]).status();
        for _ in 0..100 {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn family(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let below = children.split_whitespace().filter_map(|word| word.parse().ok()).flat_map(family);
    std::iter::once(pid).chain(below).collect()
}

/// A Ditto that answers at once.
pub struct Stub {
    server: Server,
    ws: String,
    /// What stands before it runs there alone.
    core: Option<u32>,
}

impl Stub {
    /// Events a second, and the size of the value of each.
    pub fn start(rate: u32, bytes: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args([super::STUB, &rate.to_string(), &bytes.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let (ws, http) = line.trim().split_once(" http://").expect("two addresses");
        let server = Server { child, address: http.to_owned(), _work: None };
        Self { server, ws: ws.to_owned(), core: None }
    }

    /// Servers run on this core.
    pub fn with_servers_on(self, core: u32) -> Self {
        Self { core: Some(core), ..self }
    }

    fn placed(&self, command: Command) -> Command {
        let Some(core) = self.core else { return command };
        let mut placed = Command::new("taskset");
        placed.args(["-c", &core.to_string()]).arg(command.get_program()).args(command.get_args());
        placed.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        placed
    }

    pub fn before(&self, peer: Peer) -> Server {
        let ditto = &self.server.address;
        match peer {
            Peer::Direct => unreachable!("nobody is started"),
            Peer::TwinOps => {
                let mut command = twinops();
                command.args(["facade", "--auth", "none", "--listen", "127.0.0.1:0", "--drain-delay", "0s"]);
                command.args([
                    "--management-listen",
                    "127.0.0.1:0",
                    "--ditto-url",
                    &format!("http://{ditto}"),
                ]);
                command.args(["--ditto-ws-url", &self.ws]);
                Server::told(self.placed(command), "http://")
            }
            Peer::Nginx => self.nginx(),
            Peer::FastApi(workers) => self.fastapi(workers),
            Peer::Node => {
                let mut command = Command::new("node");
                command.args(["bench/peers/ws/server.mjs", "0", &self.ws]).arg(peers().join("ws"));
                Server::told(self.placed(command), "http://")
            }
        }
    }

    /// The address to ask, and the server to watch.
    pub fn address<'a>(&'a self, server: Option<&'a Server>) -> &'a str {
        server.map_or(&self.server.address, |server| &server.address)
    }

    fn nginx(&self) -> Server {
        let work = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let text = std::fs::read_to_string("bench/peers/nginx/nginx.conf").expect("it is there");
        let text = text
            .replace("LISTEN;", &format!("127.0.0.1:{port};"))
            .replace("DITTO;", &format!("{};", self.server.address));
        std::fs::write(work.path().join("nginx.conf"), text).expect("a file");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(work.path()).args(["-c", "nginx.conf", "-e", "stderr", "-g", "daemon off;"]);
        Server::listening(self.placed(command), port, Some(work))
    }

    fn fastapi(&self, workers: usize) -> Server {
        let port = free_port();
        let mut command = Command::new(peers().join("fastapi/bin/uvicorn"));
        command.args([
            "app:app",
            "--app-dir",
            "bench/peers/fastapi",
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
        ]);
        command.args(["--loop", "uvloop", "--http", "httptools", "--ws", "websockets", "--no-access-log"]);
        command.args(["--log-level", "warning", "--workers", &workers.to_string()]);
        command.env("DITTO_API_URL", format!("http://{}", self.server.address)).env("DITTO_WS_URL", &self.ws);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        if workers == 1 {
            command.env("FOLLOW", "1");
        }
        Server::listening(self.placed(command), port, None)
    }
}

fn peers() -> PathBuf {
    let peers = std::env::var("TWINOPS_PEERS").expect("run this as `bench/run`, which builds the peers");
    Path::new(&peers).to_owned()
}
