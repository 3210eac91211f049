//! Programs that a test starts, waits for, hurts and ends. None outlives the test process, however
//! that ends.
use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{LazyLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::POLL;

/// How long a program may take to end by itself before it is killed: our operator drains within 10 s.
const GRACE: Duration = Duration::from_secs(15);
/// Lines of a log that a failure message carries: enough for a cause, short enough to be read.
const TAIL_LINES: usize = 40;

/// What a test does to a program from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ask it to end.
    Term,
    /// Freeze it: its sockets stay open and nobody answers.
    Stop,
    /// Let a frozen program go on.
    Cont,
}

/// A program did not become what the test waited for. Its text ends with the last lines of its log.
pub struct NotReady(String);

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As text, so that `unwrap` prints the log line by line.
impl fmt::Debug for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for NotReady {
    fn from(error: io::Error) -> Self {
        Self(format!("the program does not start: {error}"))
    }
}

/// A running program. Dropping it ends it: TERM, then KILL after [`GRACE`].
pub struct Child {
    name: String,
    inner: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `command` with standard output and error in `<folder>/<name>.log`, appended to when
    /// a program of this name has run there before. `env_clear` on the command is not kept.
    pub fn start(name: &str, command: &Command, folder: &Path) -> io::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = ended_with_this_process(command);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        Ok(Self { name: name.to_owned(), inner: spawn_from_keeper(command)?, log })
    }

    /// The process id, of the program itself.
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// All it has printed, in every run under this name and folder.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.inner.try_wait().expect("a child can be waited for")
    }

    /// Sends a signal; nothing happens when the program has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_some() {
            return;
        }
        let name = match signal {
            Signal::Term => "TERM",
            Signal::Stop => "STOP",
            Signal::Cont => "CONT",
        };
        // The shell's own `kill`: a bare Debian has no /bin/kill.
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "sh", name])
            .arg(self.id().to_string())
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "{} takes signal {name}", self.name);
    }

    /// Ends it as an operator of machines would: TERM, and KILL when [`GRACE`] is over.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::Term);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return status;
            }
            thread::sleep(POLL);
        }
        self.kill()
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) -> ExitStatus {
        // An error means that it has ended already.
        let _ = self.inner.kill();
        self.inner.wait().expect("a child can be waited for")
    }

    /// Waits until `ready` says so. Fails when the program ends before, or at the deadline; the
    /// failure carries the end of its log.
    pub fn wait_ready(&mut self, within: Duration, mut ready: impl FnMut() -> bool) -> Result<(), NotReady> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended() {
                return Err(self.not_ready(&format!("ended before it was ready ({status})")));
            }
            if ready() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.not_ready(&format!("was not ready within {within:?}")));
            }
            thread::sleep(POLL);
        }
    }

    fn not_ready(&self, what: &str) -> NotReady {
        NotReady(format!("{} {what}; its log {} ends:\n{}", self.name, self.log.display(), self.tail()))
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if thread::panicking() {
            // Its folder goes with the test, and a failure that comes once in a while is not seen again.
            eprintln!("the log of {} ends:\n{}", self.name, self.tail());
        }
        // A frozen program would not hear TERM.
        self.signal(Signal::Cont);
        self.stop();
    }
}

/// What a program that ran to its end has said.
#[derive(Clone, Debug)]
pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The standard output of a program that succeeded.
    ///
    /// # Panics
    /// With both outputs when it failed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.success, "the command failed\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }

    /// The standard error of a program that had to fail.
    ///
    /// # Panics
    /// With the standard output when it succeeded.
    #[track_caller]
    pub fn refused(self) -> String {
        assert!(!self.success, "the command succeeded\nstdout: {}", self.stdout);
        self.stderr
    }
}

/// Runs a program to its end, with `stdin` as its input. The input is written before any output is
/// read: for programs that read before they write, as `kubectl apply -f -` does.
pub fn run(mut command: Command, stdin: &str) -> Output {
    let program = command.get_program().display().to_string();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let mut input = child.stdin.take().expect("standard input is a pipe");
    // A program that refuses early closes its input; what it prints tells more than the broken pipe.
    let _ = input.write_all(stdin.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("a child can be waited for");
    Output {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Becomes the program unless the test process, `$1`, ended before `setpriv` could ask the kernel.
const EXEC_UNLESS_ORPHANED: &str = r#"[ "$PPID" = "$1" ] || exit; shift; exec "$@""#;

/// The same command under `setpriv`, which has the kernel kill the program when its parent ends: no
/// destructor runs after SIGKILL, nor for a static. `setpriv` becomes the program, so the id is its own.
fn ended_with_this_process(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped
        .args(["--pdeathsig", "KILL", "--", "sh", "-c", EXEC_UNLESS_ORPHANED, "sh"])
        .arg(std::process::id().to_string())
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped
}

/// Spawns from a thread that lives as long as the process: the kernel takes the end of the *thread*
/// that spawned a child for the end of its parent, and a test's thread ends with the test.
/// Source: `PR_SET_PDEATHSIG(2const)`.
fn spawn_from_keeper(command: Command) -> io::Result<std::process::Child> {
    type Request = (Command, mpsc::Sender<io::Result<std::process::Child>>);
    static KEEPER: LazyLock<mpsc::Sender<Request>> = LazyLock::new(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in requests {
                // Nobody waits for the reply only when the asking test has ended.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = mpsc::channel();
    KEEPER.send((command, reply)).expect("the keeper thread never ends");
    answer.recv().expect("the keeper thread answers")
}
