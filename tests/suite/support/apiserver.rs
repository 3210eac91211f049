//! A real Kubernetes API server with its etcd, on loopback. No controllers run: a deleted namespace
//! stays `Terminating`, nobody collects garbage, workloads never start, and the aggregated roles
//! (`view`, `edit`, `admin`) stay empty.
use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    free_port,
    process::{Child, NotReady, Output, run},
    tools,
};

/// Each user with the group its token carries. Only `admin` may do anything at first; tests bind
/// roles to `operator` and `user`, and so prove that those roles suffice.
const USERS: [(&str, &str); 3] = [("admin", "system:masters"), ("operator", ""), ("user", "")];
/// For etcd and the API server each: they take 3 s on an idle machine, many times that on one that
/// compiles.
const START_WITHIN: Duration = Duration::from_mins(2);
/// Another program can take a free port before ours does; thrice in a row it is no accident.
const START_ATTEMPTS: u32 = 3;
/// A request that hangs fails its test instead of the whole run.
const REQUEST_TIMEOUT: &str = "--request-timeout=60s";

/// A running API server and its etcd. Both end with it, and with the test process.
pub struct Cluster {
    /// Certificates, kubeconfigs, data and logs.
    folder: PathBuf,
    namespaces: AtomicU32,
    url: String,
    /// The API server and its etcd, which ends after it.
    programs: [Child; 2],
}

/// The cluster all tests share, started by the first that asks. Tests keep apart by namespace.
///
/// # Panics
/// When it does not start, with the end of the log that says why.
pub fn shared() -> &'static Cluster {
    static SHARED: LazyLock<Result<Cluster, NotReady>> = LazyLock::new(Cluster::start);
    SHARED.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

impl Cluster {
    /// Starts a cluster of one's own, for tests that stop or starve it; others use [`shared`].
    pub fn start() -> Result<Self, NotReady> {
        let mut attempt = 1;
        loop {
            match Self::start_once() {
                Err(error) if is_port_taken(&error) && attempt < START_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    fn start_once() -> Result<Self, NotReady> {
        let folder = fresh_folder();
        let (etcd_port, port) = (free_port(), free_port());
        write_access(&folder, port);

        let mut etcd = Child::start("etcd", &etcd_command(&folder, etcd_port), &folder)?;
        etcd.wait_ready(START_WITHIN, || is_listening(etcd_port))?;
        let server = Child::start("kube-apiserver", &server_command(&folder, etcd_port, port), &folder)?;

        let mut cluster = Self {
            folder,
            namespaces: AtomicU32::new(0),
            url: format!("https://127.0.0.1:{port}"),
            programs: [server, etcd],
        };
        cluster.wait_ready(port)?;
        Ok(cluster)
    }

    /// Waits until every part reports ready (roles and users are set up then) and the namespace
    /// `default`, which appears a moment later, is there.
    fn wait_ready(&mut self, port: u16) -> Result<(), NotReady> {
        let kubeconfig = self.kubeconfig("admin");
        let asks = |args: &[&str]| kubectl(&self.folder, &kubeconfig, args, "").success;
        let [server, etcd] = &mut self.programs;
        server.wait_ready(START_WITHIN, || {
            is_listening(port) && asks(&["get", "--raw=/readyz"]) && asks(&["get", "namespace", "default"])
        })?;
        // If another program had taken etcd's port, that one would have listened in its place.
        etcd.wait_ready(START_WITHIN, || true)
    }

    /// The kubeconfig of `admin` (group `system:masters`), `operator` or `user` (no rights but those
    /// a test binds to them).
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        assert!(USERS.iter().any(|(name, _)| *name == user), "the cluster has no user {user}");
        kubeconfig(&self.folder, user)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same kubeconfig, through another server that stands before this one.
    pub fn kubeconfig_through(&self, kubeconfig: &Path, server: &str) -> PathBuf {
        let text = fs::read_to_string(kubeconfig).expect("a kubeconfig");
        let path = self.folder.join(format!("through-{}.kubeconfig", Uuid::new_v4()));
        fs::write(&path, text.replace(&self.url, server)).expect("the folder is writable");
        path
    }

    /// Runs the real kubectl as this user.
    pub fn kubectl(&self, user: &str, args: &[&str]) -> Output {
        kubectl(&self.folder, &self.kubeconfig(user), args, "")
    }

    /// `kubectl apply -f -` as this user, with `yaml` as its input.
    pub fn apply_stdin(&self, user: &str, yaml: &str, server_side: bool) -> Output {
        let side = if server_side { "--server-side=true" } else { "--server-side=false" };
        kubectl(&self.folder, &self.kubeconfig(user), &["apply", side, "-f", "-"], yaml)
    }

    /// As [`Cluster::kubectl`], with an input.
    pub fn kubectl_stdin(&self, user: &str, args: &[&str], stdin: &str) -> Output {
        kubectl(&self.folder, &self.kubeconfig(user), args, stdin)
    }

    /// As [`Cluster::kubectl`], with a kubeconfig of the caller's.
    pub fn kubectl_with(&self, kubeconfig: &Path, args: &[&str]) -> Output {
        kubectl(&self.folder, kubeconfig, args, "")
    }

    /// A kubeconfig with a token of this account, as its pods have one. A file of its own each time: others may
    /// be reading theirs.
    pub fn kubeconfig_of_account(&self, namespace: &str, account: &str) -> PathBuf {
        let token =
            self.kubectl("admin", &["-n", namespace, "create", "token", account, "--duration=10h"]).ok();
        let text = fs::read_to_string(self.kubeconfig("user")).expect("a kubeconfig");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["users"][0]["user"]["token"] = json!(token.trim());
        let path = self.folder.join(format!("{namespace}-{account}-{}.kubeconfig", Uuid::new_v4()));
        fs::write(&path, config.to_string()).expect("the folder is writable");
        path
    }

    /// Creates a namespace that no other test uses, and tells its name.
    pub fn namespace(&self) -> String {
        let name = format!("test-{}", self.namespaces.fetch_add(1, Ordering::Relaxed) + 1);
        self.kubectl("admin", &["create", "namespace", &name]).ok();
        name
    }
}

/// Certificates, kubeconfigs, data and logs of one start. Logs outlive the run for a look at them; the
/// next run removes what ended processes left.
fn fresh_folder() -> PathBuf {
    static STARTS: AtomicU32 = AtomicU32::new(0);
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(root).expect("cargo made the folder for test files").flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("cluster-")?.split('-').next());
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // Another test process may be sweeping too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let start = STARTS.fetch_add(1, Ordering::Relaxed);
    let folder = root.join(format!("cluster-{}-{start}", std::process::id()));
    fs::create_dir_all(folder.join("certificates")).expect("the folder for test files is writable");
    folder
}

fn kubeconfig(folder: &Path, user: &str) -> PathBuf {
    folder.join(format!("{user}.kubeconfig"))
}

/// The API server's own certificate: it makes one for loopback, with its authority in the same file.
fn certificate(folder: &Path) -> PathBuf {
    folder.join("certificates/apiserver.crt")
}

/// Writes the server's token list and each user's kubeconfig (JSON, which is YAML).
fn write_access(folder: &Path, port: u16) {
    let mut tokens = vec![];
    for (user, groups) in USERS {
        let token = Uuid::new_v4().to_string();
        tokens.push(format!("{token},{user},{user},\"{groups}\""));
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority": certificate(folder),
            }}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        });
        fs::write(kubeconfig(folder, user), config.to_string()).expect("the folder is writable");
    }
    fs::write(folder.join("tokens.csv"), tokens.join("\n")).expect("the folder is writable");
}

fn etcd_command(folder: &Path, port: u16) -> Command {
    let url = format!("http://127.0.0.1:{port}");
    let mut command = Command::new(tools::bin("etcd"));
    command
        .arg("--data-dir")
        .arg(folder.join("etcd"))
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", "http://127.0.0.1:0", "--log-level", "warn"])
        // Its data need not outlive the machine.
        .arg("--unsafe-no-fsync");
    command
}

fn server_command(folder: &Path, etcd_port: u16, port: u16) -> Command {
    let file = |flag: &str, path: PathBuf| format!("--{flag}={}", path.display());
    let key = folder.join("certificates/apiserver.key");
    let mut command = Command::new(tools::bin("kube-apiserver"));
    command
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
        .arg(format!("--secure-port={port}"))
        // Nothing here reaches the `kubernetes` Service, and it may not point at loopback.
        .args(["--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.0.0.0/24"])
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd_port}"))
        .arg(file("cert-dir", folder.join("certificates")))
        .arg(file("token-auth-file", folder.join("tokens.csv")))
        .args(["--authorization-mode=RBAC", "--allow-privileged=true"])
        // Account tokens are signed with the key the server makes for its own certificate: it makes
        // that first, so nobody else has to make a key.
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(file("service-account-signing-key-file", key.clone()))
        .arg(file("service-account-key-file", key))
        // It waits for a controller to create each namespace's default account.
        .arg("--disable-admission-plugins=ServiceAccount");
    command
}

fn kubectl(folder: &Path, kubeconfig: &Path, args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(tools::bin("kubectl"));
    command
        .env("KUBECONFIG", kubeconfig)
        .env("KUBECACHEDIR", folder.join("kubectl-cache"))
        .arg(REQUEST_TIMEOUT)
        .args(args);
    run(command, stdin)
}

fn is_listening(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn is_port_taken(error: &NotReady) -> bool {
    error.to_string().contains("address already in use")
}
