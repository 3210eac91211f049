//! A Ditto to test against: our engine as a process of its own, and plain calls to it as any user.
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::Duration,
};

use serde_json::Value;
use tokio::runtime::Runtime;

use super::{process::Child, wait_for};

/// How long a role of our binary may take until it listens.
pub const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// Carries the calls of all tests.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
});

/// The binary under test.
pub fn twinops() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinops"));
    for name in [
        "DITTO_API_URL",
        "DITTO_CA_FILE",
        "DITTO_PASSWORD",
        "DITTO_PRE_AUTHENTICATED",
        "DITTO_TOKEN_FILE",
        "DITTO_USERNAME",
        "LOG_LEVEL",
    ] {
        command.env_remove(name);
    }
    command
}

/// An engine process. Ends with the value.
pub struct Engine {
    pub ditto: Ditto,
    /// Ends the engine when it is dropped; tests freeze it.
    pub child: Child,
}

impl Engine {
    /// Without `data` it keeps nothing.
    pub fn start(folder: &Path, data: Option<&Path>) -> Self {
        Self::start_at("127.0.0.1:0", folder, data)
    }

    /// At this address, for one that is started again.
    pub fn start_at(address: &str, folder: &Path, data: Option<&Path>) -> Self {
        let mut command = twinops();
        command.args(["engine", "--listen", address, "--pre-authenticated"]);
        match data {
            Some(path) => command.arg("--data").arg(path),
            None => command.arg("--ephemeral"),
        };
        let mut child = Child::start("engine", &command, folder).expect("the engine starts");
        let url = wait_for("the engine to listen", STARTS_WITHIN, || {
            assert!(child.ended().is_none(), "the engine ended:\n{}", child.log());
            last_after(&child.log(), "engine listening on ")
        });
        Self { ditto: Ditto { url }, child }
    }
}

/// The word after the last occurrence of `label`.
pub fn last_after(log: &str, label: &str) -> Option<String> {
    let rest = &log[log.rfind(label)? + label.len()..];
    let end = rest.find([',', '\n', ' ', ';'])?;
    Some(rest[..end].to_owned())
}

/// A Ditto at a URL, called as any subject.
#[derive(Clone, Debug)]
pub struct Ditto {
    pub url: String,
}

impl Ditto {
    /// One call to `/api/2{path}` as `subject`; a PATCH is a merge patch. The body is `Null` when empty.
    #[track_caller]
    pub fn call(&self, subject: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.call_with(subject, method, path, body, &[])
    }

    /// As [`Ditto::call`], with more headers.
    #[track_caller]
    pub fn call_with(
        &self,
        subject: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let url = format!("{}/api/2{path}", self.url);
        RUNTIME.block_on(async {
            let client = reqwest::Client::builder().no_proxy().build().expect("a client");
            let mut request = client
                .request(method.parse().expect("a method"), &url)
                .header("x-ditto-pre-authenticated", subject)
                .timeout(Duration::from_secs(30));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(body) = body {
                let media =
                    if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
                request = request.header("content-type", media).body(body.to_string());
            }
            let response = request.send().await.unwrap_or_else(|error| panic!("{method} {url}: {error}"));
            let status = response.status().as_u16();
            let text = response.text().await.unwrap_or_default();
            (status, serde_json::from_str(&text).unwrap_or(Value::Null))
        })
    }

    /// The thing with its revision and its mark.
    #[track_caller]
    pub fn thing(&self, subject: &str, id: &str) -> Option<Value> {
        let fields = "thingId,policyId,definition,attributes,features,_revision,_metadata";
        match self.call(subject, "GET", &format!("/things/{id}?fields={fields}"), None) {
            (200, thing) => Some(thing),
            (404, _) => None,
            other => panic!("GET {id}: {other:?}"),
        }
    }
}

/// Status and text of one GET without credentials; status 0 when nobody answers.
pub fn get(url: &str) -> (u16, String) {
    RUNTIME.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        match client.get(url).timeout(Duration::from_secs(30)).send().await {
            Ok(response) => (response.status().as_u16(), response.text().await.unwrap_or_default()),
            Err(error) => (0, error.to_string()),
        }
    })
}

/// A fresh folder with these files.
pub fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

pub fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file in a temporary folder");
    path
}
