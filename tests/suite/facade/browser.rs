//! A Chromium without a window, driven over its own protocol. Source: Chrome `DevTools` Protocol 1.3.
use std::process::Command;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::PATIENCE;
use crate::support::process::Child;
use crate::support::wait_for;

/// A page in a browser of its own.
pub struct Page<'r> {
    runtime: &'r Runtime,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    sent: u64,
    errors: Vec<String>,
    _browser: Child,
    _profile: tempfile::TempDir,
}

impl<'r> Page<'r> {
    /// # Panics
    /// When there is no Chromium, naming what installs it.
    pub fn open(runtime: &'r Runtime, url: &str) -> Self {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let found = names.iter().find(|name| Command::new(name).arg("--version").output().is_ok());
        let program = found.expect("no Chromium: install it with `apt-get install chromium`");
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]);
        command.args(["--remote-debugging-port=0", "--window-size=1200,1000"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let browser = Child::start("chromium", &command, profile.path()).expect("Chromium starts");
        let port = wait_for("Chromium to listen", PATIENCE, || {
            let text = std::fs::read_to_string(profile.path().join("DevToolsActivePort")).ok()?;
            Some(text.lines().next()?.to_owned())
        });
        let list = format!("http://127.0.0.1:{port}/json/list");
        let target = wait_for("a page in Chromium", PATIENCE, || {
            let (status, text) = crate::support::ditto::get(&list);
            let pages: Value = (status == 200).then(|| serde_json::from_str(&text).ok())??;
            let page = pages.as_array()?.iter().find(|page| page["type"] == "page")?;
            page["webSocketDebuggerUrl"].as_str().map(str::to_owned)
        });
        let (socket, _) =
            runtime.block_on(tokio_tungstenite::connect_async(&target)).expect("Chromium speaks");
        let mut page =
            Self { runtime, socket, sent: 0, errors: vec![], _browser: browser, _profile: profile };
        for domain in ["Page", "Runtime", "Log"] {
            page.call(&format!("{domain}.enable"), &json!({}));
        }
        page.call("Page.navigate", &json!({"url": url}));
        page
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.sent += 1;
        let id = self.sent;
        let text = json!({"id": id, "method": method, "params": params}).to_string();
        self.runtime.block_on(async {
            self.socket.send(Message::text(text)).await.expect("Chromium listens");
            loop {
                let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await;
                let frame = frame
                    .unwrap_or_else(|_| panic!("{method}: no answer"))
                    .expect("a frame")
                    .expect("a frame");
                let Ok(said) = serde_json::from_str::<Value>(frame.to_text().unwrap_or_default()) else {
                    continue;
                };
                match said["method"].as_str() {
                    Some("Runtime.exceptionThrown") => self.errors.push(said["params"].to_string()),
                    Some("Log.entryAdded") if said["params"]["entry"]["source"] == "security" => {
                        self.errors.push(said["params"].to_string());
                    }
                    _ if said["id"] == id => return said["result"].clone(),
                    _ => {}
                }
            }
        })
    }

    /// The value of an expression in the page; null while it throws.
    pub fn run(&mut self, expression: &str) -> Value {
        self.call("Runtime.evaluate", &json!({"expression": expression, "returnByValue": true}))["result"]["value"].clone()
    }

    #[track_caller]
    pub fn until(&mut self, condition: &str) {
        wait_for(condition, PATIENCE, || (self.run(condition) == json!(true)).then_some(()));
    }

    /// A PNG, also kept in `target/tmp/docs.png`.
    pub fn screenshot(&mut self) -> Vec<u8> {
        use base64::Engine as _;
        let taken = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        let text = taken["data"].as_str().unwrap_or_default();
        let picture = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
        std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/docs.png"), &picture)
            .expect("target/tmp is there");
        picture
    }

    /// What the page complained about: exceptions, and what its policy forbids.
    pub fn errors(&self) -> Vec<String> {
        self.errors.clone()
    }
}
