//! `twinops engine` as a process of its own, whose memory can be looked at.
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

pub struct Process {
    child: Child,
    pub base: String,
    _folder: tempfile::TempDir,
}

/// What many systems let a process open: files and connections together.
const FILES: &str = "--nofile=1024:1024";

impl Process {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new("prlimit");
        command.args([FILES, env!("CARGO_BIN_EXE_twinops")]);
        command.args(["engine", "--listen", "127.0.0.1:0", "--pre-authenticated", "--data"]);
        command.arg(folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("prlimit of util-linux starts the twinops binary");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line on stdout");
        let base = line.trim().strip_prefix("engine listening on ");
        let base = base.unwrap_or_else(|| panic!("not the line of a start: {line:?}")).to_owned();
        Self { child, base, _folder: folder }
    }

    /// The most memory it has held so far, in MiB.
    pub fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib / 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
