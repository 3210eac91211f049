//! The command line as a user meets it. Nothing is judged here: [`super::check`] does that, all at once.
#![allow(clippy::doc_markdown)] // these comments are the help text, which people read as it stands
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Keep digital twins, declared as YAML or as Kubernetes resources, true in Eclipse Ditto.
#[derive(Debug, Parser)]
#[command(name = "twinops", version, max_term_width = 110, arg_required_else_help = true)]
#[command(after_help = "Try it: twinops dev manifests/samples\nA command in full: twinops dev --help")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// How much to log: error, warn, info, debug, trace, off, or a filter such as `info,twinops=debug`.
    ///
    /// A plain word is about TwinOps itself; libraries never go beyond `info` unless a filter names them.
    #[arg(long, env = "LOG_LEVEL", value_name = "LEVEL", default_value = "info", global = true)]
    #[arg(help_heading = "Logging")]
    pub log_level: String,

    /// How log lines look on stderr.
    #[arg(long, env = "TWINOPS_LOG_FORMAT", value_name = "FORMAT", default_value = "text", global = true)]
    #[arg(help_heading = "Logging")]
    pub log_format: LogFormat,

    /// Where spans are sent: an OpenTelemetry collector that takes OTLP over HTTP. Unset: nowhere.
    ///
    /// They go to `/v1/traces` below it, or to OTEL_EXPORTER_OTLP_TRACES_ENDPOINT as it stands. The other variables of
    /// OpenTelemetry are taken too: OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
    /// OTEL_TRACES_SAMPLER, OTEL_BSP_*.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", global = true)]
    #[arg(help_heading = "Logging")]
    pub otlp_endpoint: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Dev(DevArgs),
    Apply(ApplyArgs),
    Operator(OperatorArgs),
    Engine(EngineArgs),
    Facade(Box<FacadeArgs>),
    Bridge(Box<BridgeArgs>),
    Health(HealthArgs),
    Secrets(SecretsArgs),
    Crds(CrdsArgs),
    /// Print the routes of the engine, or of the facade, as an OpenAPI document.
    #[command(
        hide = true,
        after_long_help = "Examples:
  twinops openapi > docs/openapi-engine.json
  twinops openapi facade > docs/openapi-facade.json"
    )]
    Openapi {
        /// Whose routes.
        #[arg(value_name = "API", default_value = "engine")]
        api: Api,
    },
    /// Print every setting as a table in Markdown.
    #[command(
        hide = true,
        after_long_help = "Examples:
  twinops settings > docs/settings.md"
    )]
    Settings,
}

impl Command {
    /// As it is written.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dev(_) => "dev",
            Self::Apply(_) => "apply",
            Self::Operator(_) => "operator",
            Self::Engine(_) => "engine",
            Self::Facade(_) => "facade",
            Self::Bridge(_) => "bridge",
            Self::Health(_) => "health",
            Self::Secrets(_) => "secrets",
            Self::Crds(_) => "crds",
            Self::Openapi { .. } => "openapi",
            Self::Settings => "settings",
        }
    }
}

/// Run everything on this machine: a Ditto-compatible engine, and folders of YAML kept true in it.
///
/// Each DIR is watched: save a file and its twins follow, with a line for every verdict that changes. No
/// cluster, no database and no other server is needed.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  twinops dev manifests/samples
  twinops dev --ephemeral --engine-listen 127.0.0.1:0 manifests/samples
  curl http://127.0.0.1:8080/api/2/things")]
pub struct DevArgs {
    /// Folders or files of YAML to watch. Without any, only the servers run.
    #[arg(value_name = "DIR")]
    pub folders: Vec<PathBuf>,

    /// Look at the folders every second instead of waiting to be told of changes: for network folders.
    #[arg(long, env = "TWINOPS_POLL", value_parser = BoolishValueParser::new())]
    pub poll: bool,

    /// Where the engine serves Ditto's API. Port 0 picks a free one.
    #[arg(long, env = "TWINOPS_ENGINE_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub engine_listen: String,

    /// Where the REST API is served. Port 0 picks a free one.
    #[arg(long, env = "TWINOPS_FACADE_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8000")]
    pub facade_listen: String,

    /// Where the MQTT broker is served. Port 0 picks a free one.
    #[arg(long, env = "TWINOPS_MQTT_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:1883")]
    pub mqtt_listen: String,

    /// Where health and metrics are served. Port 0 picks a free one.
    #[arg(long, env = "TWINOPS_MANAGEMENT_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9090")]
    pub management_listen: String,

    #[command(flatten)]
    pub data: DataArgs,

    #[command(flatten)]
    pub folder: FolderArgs,
}

/// Bring a Ditto in line with folders of YAML, once, and say what was done.
///
/// Exit code 0: everything is in sync or was applied. 1: at least one resource failed or is held.
/// 2: nothing was tried, because of the command line, a folder, or a Ditto that is out of reach.
#[derive(Args, Debug)]
#[command(after_long_help = concat!("Examples:
  twinops apply manifests/samples
  twinops apply --dry-run -o json manifests/samples
  twinops apply --owner plant-7 --prune twins/
  DITTO_PASSWORD_FILE=password.txt twinops apply --ditto-username ada \\
      --ditto-url https://ditto.example.com twins/

", "Variables without a flag:
  DITTO_PASSWORD, DITTO_PASSWORD_FILE   the password for --ditto-username, or the file that holds it"))]
pub struct ApplyArgs {
    /// Folders or files of YAML to apply.
    #[arg(value_name = "DIR", required = true)]
    pub folders: Vec<PathBuf>,

    #[command(flatten)]
    pub folder: FolderArgs,

    /// Say what would be done, and do nothing.
    #[arg(long, env = "TWINOPS_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub dry_run: bool,

    /// How the result is printed.
    #[arg(long, short, env = "TWINOPS_OUTPUT", value_name = "FORMAT", default_value = "text")]
    pub output: Output,

    #[command(flatten)]
    pub ditto: DittoArgs,
}

/// Keep the DigitalTwin and TwinPolicy resources of a Kubernetes cluster true in Ditto.
///
/// Runs in the cluster with the pod's service account, or outside of it with a kubeconfig.
#[derive(Args, Debug)]
#[command(after_long_help = concat!("Examples:
  twinops operator --ditto-url http://ditto-gateway:8080 --ditto-pre-authenticated pre:twinops
  twinops operator --kubeconfig ~/.kube/config --watch-namespace plant-7 --ditto-pre-authenticated pre:twinops

", "Variables without a flag:
  DITTO_PASSWORD, DITTO_PASSWORD_FILE   the password for --ditto-username, or the file that holds it"))]
pub struct OperatorArgs {
    /// The kubeconfig to use. Unset: the one kubectl uses, or the pod's service account.
    #[arg(long, env = "TWINOPS_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Where health and metrics are served. Port 0 picks a free one.
    #[arg(long, env = "TWINOPS_MANAGEMENT_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:9090")]
    pub management_listen: String,

    /// How often every twin is compared with Ditto, changed or not.
    #[arg(long, env = "TWINOPS_RESYNC", value_name = "DURATION", default_value = "10m")]
    pub resync: String,

    /// The Ditto namespaces that a Kubernetes namespace may name, unless its annotation
    /// `twinops.dev/ditto-namespaces` says otherwise.
    ///
    /// A comma list; `*` alone or as the last character matches anything, `<namespace>` stands for the
    /// Kubernetes namespace, the empty text allows none.
    #[arg(long, env = "TWINOPS_DITTO_NAMESPACES", value_name = "LIST", default_value = "*")]
    pub ditto_namespaces: String,

    /// The subject of the MQTT bridge in Ditto; policies with `access: Managed` let it in.
    #[arg(long, env = "TWINOPS_BRIDGE_SUBJECT", value_name = "SUBJECT")]
    pub bridge_subject: Option<String>,

    /// Deletions are held when more twins than this go within a minute, and more than --breaker-percent.
    ///
    /// They wait for the annotation `twinops.dev/confirm-deletion`. 0 holds none.
    #[arg(long, env = "TWINOPS_BREAKER_TWINS", value_name = "NUMBER", default_value = "50")]
    pub breaker_twins: String,

    /// The share of all twins that may go within a minute, beside --breaker-twins. 0 holds none.
    #[arg(long, env = "TWINOPS_BREAKER_PERCENT", value_name = "NUMBER", default_value = "20")]
    pub breaker_percent: String,

    /// The Kubernetes namespace of the Lease `twinops`, which decides who leads among several operators.
    /// Unset: the one the operator runs in, or that of the kubeconfig's context.
    ///
    /// Operators that watch different namespaces need different ones.
    #[arg(long, env = "TWINOPS_LEASE_NAMESPACE", value_name = "NAME")]
    pub lease_namespace: Option<String>,

    /// How long a leader that died still counts as alive; one that cannot renew stops after two thirds of it.
    #[arg(long, env = "TWINOPS_LEASE_DURATION", value_name = "DURATION", default_value = "15s")]
    pub lease_duration: String,

    /// A Kubernetes namespace to watch; may be given several times. Unset: all of them.
    #[arg(long = "watch-namespace", env = "TWINOPS_WATCH_NAMESPACE", value_name = "NAME")]
    #[arg(value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,

    /// Say in the log and in the metrics what would be done, and do nothing: neither in Ditto nor in Kubernetes.
    ///
    /// Takes part in no election, and needs no right but to read.
    #[arg(long, env = "TWINOPS_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub dry_run: bool,

    #[command(flatten)]
    pub ditto: DittoArgs,
}

/// Serve Ditto's API from this process, for development, tests and small edge sites.
///
/// Production is Eclipse Ditto on MongoDB; whatever runs against this engine runs against that.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  twinops engine --pre-authenticated --data /var/lib/twinops
  twinops engine --ephemeral --listen 127.0.0.1:0")]
pub struct EngineArgs {
    /// Where Ditto's API is served. Port 0 picks a free one.
    #[arg(long, env = "TWINOPS_ENGINE_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: String,

    #[command(flatten)]
    pub data: DataArgs,

    /// When a write is answered.
    #[arg(long, env = "TWINOPS_ENGINE_DURABILITY", value_name = "WHEN", default_value = "durable")]
    pub durability: Durability,

    /// Trust the header `x-ditto-pre-authenticated`: whoever reaches the port may be anybody.
    #[arg(long, env = "TWINOPS_ENGINE_PRE_AUTHENTICATED", value_parser = BoolishValueParser::new())]
    pub pre_authenticated: bool,

    /// The users that may log in, with their passwords; user `ada` is the subject `nginx:ada`.
    #[arg(long, env = "TWINOPS_ENGINE_BASIC_AUTH_FILE", value_name = "FILE")]
    pub basic_auth_file: Option<PathBuf>,
}

pub use super::bridge::BridgeArgs;
pub use super::facade::FacadeArgs;
pub use super::secrets::SecretsArgs;

/// Print the custom resource definitions, or write them to a folder.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  twinops crds | kubectl apply --server-side -f -
  twinops crds --out crds/")]
pub struct CrdsArgs {
    /// The folder to write one file per kind to. Unset: print them.
    #[arg(long, env = "TWINOPS_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Ask a server whether it is well: exit code 0 when it answers 200, 1 when not.
///
/// For images without a shell: container health checks and `helm test`.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  twinops health http://127.0.0.1:8000/health
  twinops health --ca-file ca.crt https://twinops-facade:8000/health")]
pub struct HealthArgs {
    /// The address to ask.
    #[arg(value_name = "URL")]
    pub url: String,

    /// Trust the CA certificates in this PEM file, and no others. Unset: those of the system.
    #[arg(long, env = "TWINOPS_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// How long the answer may take.
    #[arg(long, env = "TWINOPS_HEALTH_TIMEOUT", value_name = "DURATION", default_value = "10s")]
    pub timeout: String,
}

/// Where an engine keeps its state.
#[derive(Args, Debug)]
pub struct DataArgs {
    /// The folder the engine keeps its state in [default: .twinops/]
    #[arg(long, env = "TWINOPS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Keep the engine's state in memory only.
    #[arg(long, env = "TWINOPS_EPHEMERAL", value_parser = BoolishValueParser::new())]
    pub ephemeral: bool,
}

/// How a folder of YAML is taken.
#[derive(Args, Debug)]
pub struct FolderArgs {
    /// The name that stands in Ditto for "declared here"; two folders need two [default: folder]
    #[arg(long, env = "TWINOPS_OWNER", value_name = "NAME")]
    pub owner: Option<String>,

    /// Delete what this owner declared earlier and no longer declares. Needs --owner.
    #[arg(long, env = "TWINOPS_PRUNE", value_parser = BoolishValueParser::new())]
    pub prune: bool,

    /// Let --prune go on when it would delete unusually much.
    #[arg(long, env = "TWINOPS_YES", value_parser = BoolishValueParser::new())]
    pub yes: bool,

    /// Read subfolders too.
    #[arg(long, short = 'R', env = "TWINOPS_RECURSIVE", value_parser = BoolishValueParser::new())]
    pub recursive: bool,
}

/// Which Ditto to talk to, and as whom.
#[derive(Args, Debug)]
#[command(next_help_heading = "Ditto")]
pub struct DittoArgs {
    /// Where Ditto's HTTP API is, with or without `/api/2`.
    #[arg(long, env = "DITTO_API_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub ditto_url: String,

    /// Where Ditto's WebSocket is. Unset: `/ws/2` on the host of --ditto-url.
    #[arg(long, env = "DITTO_WS_URL", value_name = "URL")]
    pub ditto_ws_url: Option<String>,

    /// Speak as this subject, which Ditto is configured to take our word for.
    #[arg(long, env = "DITTO_PRE_AUTHENTICATED", value_name = "SUBJECT")]
    pub ditto_pre_authenticated: Option<String>,

    /// Log in as this user, with the password in DITTO_PASSWORD or in the file DITTO_PASSWORD_FILE names.
    #[arg(long, env = "DITTO_USERNAME", value_name = "NAME", hide_env_values = true)]
    pub ditto_username: Option<String>,

    /// Log in with the bearer token in this file.
    #[arg(long, env = "DITTO_TOKEN_FILE", value_name = "FILE", hide_env_values = true)]
    pub ditto_token_file: Option<PathBuf>,

    /// Trust the CA certificates in this PEM file, and no others. Unset: those of the system.
    #[arg(long, env = "DITTO_CA_FILE", value_name = "FILE")]
    pub ditto_ca_file: Option<PathBuf>,

    /// How long one call to Ditto may take.
    #[arg(long, env = "TWINOPS_DITTO_TIMEOUT", value_name = "DURATION", default_value = "10s")]
    pub ditto_timeout: String,
}

/// Whose routes `openapi` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Api {
    Engine,
    Facade,
}

/// How `apply` prints what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A line per resource and a summary, for people.
    Text,
    /// One JSON document, for programs.
    Json,
}

/// When the engine answers a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// Once it is on disk.
    Durable,
    /// Before it is on disk, where it is 0.1 s later: a power cut can lose that much, the end of the process nothing.
    Relaxed,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object per line, for log collectors.
    Json,
}
