//! How the process was started: flags and environment, read once, every mistake named at once.
//!
//! `main` parses [`cli::Cli`], hands it to [`check`] and gives each role its part of [`Settings`].
//! Nothing else looks at the environment.
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod bridge;
pub mod cli;
mod ditto;
mod facade;
mod secrets;
mod table;
mod value;

pub use bridge::{Bridge, Mqtt, MqttTls, MqttVersion, Qos, Replica};
pub use cli::{Durability, LogFormat, Output};
pub use ditto::{Credentials, Ditto, LOOPBACK_SUBJECT, Secret};
pub use facade::{Facade, FacadeAuth, Oidc, Tls};
pub use secrets::{MongoDb, Secrets};
pub use table::table;

/// The owner of twins from a folder, unless `--owner` names another.
pub const FOLDER_OWNER: &str = "folder";

/// Where an engine keeps its state, unless `--data` names another place.
pub const DATA_FOLDER: &str = ".twinops";

/// Everything the process was told, and nothing that contradicts itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A filter as `tracing_subscriber::EnvFilter` reads it.
    pub log_filter: String,
    pub log_format: LogFormat,
    /// Unset: no spans are sent.
    pub otlp: Option<Otlp>,
    pub role: Role,
}

/// Where spans are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    /// In full, with `/v1/traces`.
    pub traces_url: String,
    /// What this process is called there.
    pub service: String,
}

/// What this process is.
#[derive(Clone, Debug)]
pub enum Role {
    Dev(Dev),
    Apply(Apply),
    Operator(Operator),
    Engine(Engine),
    Facade(Box<Facade>),
    Bridge(Box<Bridge>),
    Crds {
        /// Unset: print them.
        out: Option<PathBuf>,
    },
    /// Prints the routes of a server.
    Openapi(cli::Api),
    Health(Health),
    Secrets(Secrets),
    /// Prints the table of settings.
    Settings,
}

/// `twinops dev`
#[derive(Clone, Debug)]
pub struct Dev {
    pub engine_listen: SocketAddr,
    pub facade_listen: SocketAddr,
    pub mqtt_listen: SocketAddr,
    pub management_listen: SocketAddr,
    pub data: Data,
    pub folder: Folder,
    /// Look every second instead of being told.
    pub poll: bool,
}

/// `twinops apply`
#[derive(Clone, Debug)]
pub struct Apply {
    pub folder: Folder,
    pub dry_run: bool,
    pub output: Output,
    pub ditto: Ditto,
}

/// `twinops operator`
#[derive(Clone, Debug)]
pub struct Operator {
    /// Unset: as kubectl finds it, or the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    pub management_listen: SocketAddr,
    pub resync: Duration,
    /// Patterns; `*` as the last character matches anything, `<namespace>` stands for the Kubernetes one.
    pub ditto_namespaces: Vec<String>,
    pub bridge_subject: Option<String>,
    /// More twins than this must go within a minute for deletions to be held; 0: none ever is.
    pub breaker_twins: usize,
    /// As `breaker_twins`, of all twins.
    pub breaker_percent: usize,
    /// Unset: the one the process is at home in.
    pub lease_namespace: Option<String>,
    /// What this machine or pod is called.
    pub host: String,
    /// Whole seconds.
    pub lease_duration: Duration,
    /// Empty: all of them.
    pub watch_namespaces: Vec<String>,
    /// Only say what would be done.
    pub dry_run: bool,
    pub ditto: Ditto,
}

/// `twinops engine`
#[derive(Clone, Debug)]
pub struct Engine {
    pub listen: SocketAddr,
    pub data: Data,
    pub durability: Durability,
    pub pre_authenticated: bool,
    pub basic_auth_file: Option<PathBuf>,
}

/// `twinops health`
#[derive(Clone, Debug)]
pub struct Health {
    pub url: String,
    /// The CAs that are trusted, in PEM; unset: those of the system.
    pub ca_file: Option<PathBuf>,
    pub timeout: Duration,
}

/// Where an engine keeps its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    Folder(PathBuf),
    /// In memory, gone with the process.
    Ephemeral,
}

/// Where twins come from when there is no cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Folders and files, as the user wrote them.
    pub paths: Vec<PathBuf>,
    pub recursive: bool,
    pub owner: String,
    pub prune: Prune,
}

/// What becomes of what was declared earlier and no longer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    /// It is reported.
    Never,
    /// It is deleted, unless that is unusually much.
    Careful,
    /// It is deleted.
    Confirmed,
}

/// What the checks may look at besides the command line, so that a test can bring its own.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// An environment variable by name.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl Surroundings<'static> {
    /// The environment and the files of this process.
    pub fn of_process() -> Self {
        Self { variable: &|name| std::env::var(name).ok(), read: &|path| std::fs::read_to_string(path) }
    }
}

/// One thing that is wrong with the command line or the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The flag, or the variable where no flag exists.
    pub flag: &'static str,
    /// What is wrong, and what to write instead.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.flag, self.what)
    }
}

/// Mistakes on the way to [`Settings`]. With one of them no settings are handed out, so what stands in
/// for a wrong value is never used.
#[derive(Default)]
struct Mistakes(Vec<Mistake>);

impl Mistakes {
    fn add(&mut self, flag: &'static str, what: impl Into<String>) {
        self.0.push(Mistake { flag, what: what.into() });
    }

    fn or<T>(&mut self, flag: &'static str, read: Result<T, String>, stand_in: T) -> T {
        read.unwrap_or_else(|what| {
            self.add(flag, what);
            stand_in
        })
    }

    fn address(&mut self, flag: &'static str, text: &str) -> SocketAddr {
        self.or(flag, value::address(text), SocketAddr::from(([0, 0, 0, 0], 0)))
    }
}

/// Judges the command line as a whole.
///
/// # Errors
/// Every mistake there is, in the order of the help text.
pub fn check(cli: cli::Cli, around: &Surroundings) -> Result<Settings, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let command = cli.command.name();
    let role = match cli.command {
        cli::Command::Dev(args) => Role::Dev(dev(args, &mut mistakes)),
        cli::Command::Apply(args) => Role::Apply(apply(args, around, &mut mistakes)),
        cli::Command::Operator(args) => Role::Operator(operator(args, around, &mut mistakes)),
        cli::Command::Engine(args) => Role::Engine(engine(args, around, &mut mistakes)),
        cli::Command::Facade(args) => Role::Facade(Box::new(facade::check(&args, around, &mut mistakes))),
        cli::Command::Bridge(args) => Role::Bridge(Box::new(bridge::check(&args, around, &mut mistakes))),
        cli::Command::Crds(args) => Role::Crds { out: args.out },
        cli::Command::Openapi { api } => Role::Openapi(api),
        cli::Command::Health(args) => Role::Health(health(&args, around, &mut mistakes)),
        cli::Command::Secrets(args) => Role::Secrets(secrets::check(args, around, &mut mistakes)),
        cli::Command::Settings => Role::Settings,
    };
    let log_filter = mistakes.or("--log-level", value::log_filter(&cli.log_level), String::new());
    let otlp = otlp(cli.otlp_endpoint.as_deref(), command, around, &mut mistakes);
    let settings = Settings { log_filter, log_format: cli.log_format, otlp, role };
    if mistakes.0.is_empty() { Ok(settings) } else { Err(mistakes.0) }
}

/// The endpoint is that of all signals: spans have a place below it, unless a variable names one for spans alone.
fn otlp(
    endpoint: Option<&str>,
    command: &str,
    around: &Surroundings,
    mistakes: &mut Mistakes,
) -> Option<Otlp> {
    const SPANS: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let given = |name| (around.variable)(name).filter(|text| !text.is_empty());
    let endpoint = endpoint.filter(|text| !text.is_empty());
    let of_all =
        endpoint.map(|text| ("--otlp-endpoint", format!("{}/v1/traces", text.trim_end_matches('/'))));
    let (flag, traces_url) = given(SPANS).map(|text| (SPANS, text)).or(of_all)?;
    if let Err(what) = ditto::parse(&traces_url, ["http", "https"], "http://collector:4318") {
        mistakes.add(flag, what);
    }
    let service = given("OTEL_SERVICE_NAME").unwrap_or_else(|| format!("twinops-{command}"));
    Some(Otlp { traces_url, service })
}

fn dev(args: cli::DevArgs, mistakes: &mut Mistakes) -> Dev {
    let engine_listen = mistakes.address("--engine-listen", &args.engine_listen);
    let management_listen = mistakes.address("--management-listen", &args.management_listen);
    if engine_listen == management_listen && engine_listen.port() != 0 {
        mistakes.add("--management-listen", format!("{engine_listen} is the engine's: give it another port"));
    }
    let facade_listen = mistakes.address("--facade-listen", &args.facade_listen);
    if !facade_listen.ip().is_loopback() && facade_listen.port() != 0 {
        mistakes.add("--facade-listen", format!("{facade_listen} can be reached from outside, and nobody logs in here: run `twinops facade` for others"));
    }
    if [engine_listen, management_listen].contains(&facade_listen) && facade_listen.port() != 0 {
        mistakes.add(
            "--facade-listen",
            format!("{facade_listen} is taken by another server here: give it another port"),
        );
    }
    Dev {
        engine_listen,
        facade_listen,
        mqtt_listen: mistakes.address("--mqtt-listen", &args.mqtt_listen),
        management_listen,
        data: data(args.data, mistakes),
        folder: folder(args.folders, args.folder, mistakes),
        poll: args.poll,
    }
}

fn apply(args: cli::ApplyArgs, around: &Surroundings, mistakes: &mut Mistakes) -> Apply {
    Apply {
        folder: folder(args.folders, args.folder, mistakes),
        dry_run: args.dry_run,
        output: args.output,
        ditto: ditto::check(&args.ditto, around, true, mistakes),
    }
}

fn operator(args: cli::OperatorArgs, around: &Surroundings, mistakes: &mut Mistakes) -> Operator {
    if let Some(path) = &args.kubeconfig {
        ditto::readable("--kubeconfig", path, around, mistakes);
    }
    let bridge = args.bridge_subject.filter(|text| !text.is_empty());
    let lease = args.lease_namespace.filter(|name| !name.is_empty());
    let names = args.watch_namespaces.iter().filter(|name| !name.is_empty());
    Operator {
        kubeconfig: args.kubeconfig,
        management_listen: mistakes.address("--management-listen", &args.management_listen),
        resync: mistakes.or("--resync", value::duration(&args.resync), Duration::ZERO),
        ditto_namespaces: mistakes.or(
            "--ditto-namespaces",
            value::ditto_namespaces(&args.ditto_namespaces),
            vec![],
        ),
        bridge_subject: bridge
            .map(|text| mistakes.or("--bridge-subject", value::subject(&text), String::new())),
        breaker_twins: mistakes.or("--breaker-twins", value::number(&args.breaker_twins, usize::MAX), 0),
        breaker_percent: mistakes.or("--breaker-percent", value::number(&args.breaker_percent, 100), 0),
        lease_namespace: lease
            .map(|name| mistakes.or("--lease-namespace", value::kubernetes_namespace(&name), String::new())),
        host: (around.variable)("HOSTNAME").unwrap_or_else(|| "twinops".to_owned()),
        lease_duration: mistakes.or("--lease-duration", value::lease(&args.lease_duration), Duration::ZERO),
        watch_namespaces: names
            .map(|name| mistakes.or("--watch-namespace", value::kubernetes_namespace(name), String::new()))
            .collect(),
        dry_run: args.dry_run,
        ditto: ditto::check(&args.ditto, around, false, mistakes),
    }
}

fn engine(args: cli::EngineArgs, around: &Surroundings, mistakes: &mut Mistakes) -> Engine {
    let listen = mistakes.address("--listen", &args.listen);
    if let Some(path) = &args.basic_auth_file {
        ditto::readable("--basic-auth-file", path, around, mistakes);
    }
    let open = args.pre_authenticated || args.basic_auth_file.is_some();
    if !open && listen.port() != 0 && !listen.ip().is_loopback() {
        mistakes.add(
            "--listen",
            format!("{listen} can be reached from outside, and nobody could log in: give --basic-auth-file or --pre-authenticated"),
        );
    }
    Engine {
        listen,
        data: data(args.data, mistakes),
        durability: args.durability,
        pre_authenticated: args.pre_authenticated,
        basic_auth_file: args.basic_auth_file,
    }
}

fn health(args: &cli::HealthArgs, around: &Surroundings, mistakes: &mut Mistakes) -> Health {
    let parsed = ditto::parse(&args.url, ["http", "https"], "http://127.0.0.1:8000/health");
    if let Some(path) = &args.ca_file {
        ditto::readable("--ca-file", path, around, mistakes);
    }
    Health {
        url: mistakes.or("URL", parsed.map(String::from), String::new()),
        ca_file: args.ca_file.clone(),
        timeout: mistakes.or("--timeout", value::duration(&args.timeout), Duration::ZERO),
    }
}

fn data(args: cli::DataArgs, mistakes: &mut Mistakes) -> Data {
    match (args.data, args.ephemeral) {
        (Some(path), true) => {
            mistakes.add(
                "--data",
                format!("given together with --ephemeral: keep {}, or keep nothing", path.display()),
            );
            Data::Ephemeral
        }
        (None, true) => Data::Ephemeral,
        (path, false) => Data::Folder(path.unwrap_or_else(|| DATA_FOLDER.into())),
    }
}

fn folder(paths: Vec<PathBuf>, args: cli::FolderArgs, mistakes: &mut Mistakes) -> Folder {
    if args.prune && args.owner.is_none() {
        mistakes.add(
            "--prune",
            "needs --owner NAME: it deletes everything of that name which is not declared here",
        );
    }
    if args.yes && !args.prune {
        mistakes.add("--yes", "only means something with --prune");
    }
    let owner = args.owner.unwrap_or_else(|| FOLDER_OWNER.to_owned());
    Folder {
        paths,
        recursive: args.recursive,
        owner: mistakes.or("--owner", value::owner(&owner), owner),
        prune: match (args.prune, args.yes) {
            (false, _) => Prune::Never,
            (true, false) => Prune::Careful,
            (true, true) => Prune::Confirmed,
        },
    }
}

#[cfg(test)]
mod facade_tests;
#[cfg(test)]
mod tests;
