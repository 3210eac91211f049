//! A disk that is really full: a small tmpfs in a mount namespace of its own, with a file in it that can be taken away.
use std::io::{BufRead, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::wire::{self, Reply};

/// Runs the engine; a first line on its stdin frees space, a second one kills the engine and starts it again.
const SCRIPT: &str = r#"
mount -t tmpfs -o size=16m tmpfs "$1"
head -c 8M /dev/zero > "$1/filler"
run() { "$2" engine --listen 127.0.0.1:0 --pre-authenticated --data "$1/data" 2> /dev/null & }
run "$1" "$2"
read line; rm "$1/filler"
read line; kill -9 $!; wait $! || true; run "$1" "$2"
read line
"#;
/// The engine tries a full disk again every half second.
const PATIENCE: Duration = Duration::from_mins(1);

struct SmallDisk {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    base: String,
    _folder: tempfile::TempDir,
}

/// Rights to mount, from a user namespace or from sudo.
fn namespace() -> Command {
    let own = ["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"];
    let works =
        |command: &mut Command| command.arg("true").output().is_ok_and(|ended| ended.status.success());
    let unshare = |user: bool| {
        let mut command = Command::new(if user { "unshare" } else { "sudo" });
        if user {
            command.args(own)
        } else {
            command.args(["-n", "unshare"]).args(&own[2..])
        };
        command
    };
    let able = [true, false].into_iter().find(|user| works(&mut unshare(*user)));
    unshare(able.expect("this test mounts a tmpfs: it needs user namespaces, or sudo without a password"))
}

impl SmallDisk {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = namespace();
        command.args(["sh", "-ec", SCRIPT, "sh"]).arg(folder.path()).arg(env!("CARGO_BIN_EXE_twinops"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare starts");
        let stdin = child.stdin.take().expect("stdin is piped");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut disk = Self { child, stdin, lines, base: String::new(), _folder: folder };
        disk.listening();
        disk
    }

    fn listening(&mut self) {
        let line = self.lines.next().expect("a line on stdout").expect("text");
        let base = line.strip_prefix("engine listening on ");
        base.unwrap_or_else(|| panic!("not the line of a start: {line:?}")).clone_into(&mut self.base);
    }

    fn go_on(&mut self) {
        self.stdin.write_all(b"\n").expect("the script reads");
    }

    fn put(&self, number: usize) -> Reply {
        let body = format!(r#"{{"attributes":{{"big":"{}"}}}}"#, "x".repeat(90_000));
        self.ask("PUT", &format!("/api/2/things/f43:t{number:03}"), Some(&body))
    }

    fn status(&self, target: &str) -> u16 {
        self.ask("GET", target, None).status
    }

    fn ask(&self, method: &str, target: &str, body: Option<&str>) -> Reply {
        let headers = [("x-ditto-pre-authenticated", "nginx:ditto"), ("content-type", "application/json")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        wire::send(&self.base, method, target, &headers, body.map(str::as_bytes))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn f43_a_small_disk_fills_up_and_is_written_again_once_there_is_space() {
    let mut disk = SmallDisk::start();
    let mut written = 0;
    let refused = loop {
        assert!(written < 500, "16 MiB hold no 500 things of 90 kB");
        match disk.put(written) {
            reply if reply.status == 201 => written += 1,
            refused => break refused,
        }
    };
    assert!(written > 10, "there was space for {written} things");
    assert_eq!(refused.status, 507, "{}", refused.text);
    assert!(refused.text.contains("free some space"), "{}", refused.text);
    let missing = format!("/api/2/things/f43:t{written:03}");
    assert_eq!(
        [disk.status("/health"), disk.status("/api/2/things/f43:t000"), disk.status(&missing)],
        [503, 200, 404]
    );

    disk.go_on();
    let since = Instant::now();
    while disk.put(written).status != 201 {
        assert!(since.elapsed() < PATIENCE, "there is space, and no write is taken");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!([disk.status("/health"), disk.status(&missing)], [200, 200]);

    disk.go_on();
    disk.listening();
    for number in 0..=written {
        let thing = format!("/api/2/things/f43:t{number:03}?fields=_revision");
        assert_eq!(disk.ask("GET", &thing, None).text, r#"{"_revision":1}"#, "thing {number} of {written}");
    }
}
