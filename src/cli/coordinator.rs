//! `skyclaw coordinator`: serves the queue over HTTP until it is told to stop.

mod among;
mod secrets;
pub(super) mod serving;
pub(super) mod settings;
mod socket;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;

use super::bind;
use super::coordinator_file::{self, CoordinatorCommand};
use super::error::Failure;
use super::exit::Exit;
use super::given::Given;
use super::output::{Format, Output};
use crate::coordinator::{self, Deps, Doors};
use crate::support::shutdown::Shutdown;
use crate::support::telemetry::Form;
use crate::support::{limits, privacy};

/// Enough for some thousand hosts, each with an open request and another for its heartbeats.
const OPEN_FILES: u64 = 65_536;

/// Serve the queue to hosts and clients over HTTP
///
/// Hosts register, ask for work and report here; clients submit jobs and read their results. What is
/// answered is on disk. Without a token only this machine is let in. Several coordinators are one queue: any of them
/// takes requests, and a majority of them goes on without the rest.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "Example: SKYCLAW_TOKEN_FILE=token skyclaw coordinator --host 0.0.0.0\n\n\
The token is read from SKYCLAW_TOKEN or SKYCLAW_TOKEN_FILE; `a,b` accepts both while it is changed.\n\
SKYCLAW_PUBLIC_API_KEYS (key:label:cap|cap[:shell][:env], …) switches the public API on.\n\n\
Several as one: SKYCLAW_PEER_URLS=http://a:8787 skyclaw coordinator joins the one at a; `skyclaw peer list` shows them.\n\n\
Exit codes: 0 stopped by a signal or left its cluster, 1 it could not run or go on (port in use, database newer, damaged or served \
by another, not empty and to join others, removed from its cluster), 2 usage."
)]
pub struct Args {
    /// What to do with the database instead of serving it.
    #[command(subcommand)]
    file: Option<CoordinatorCommand>,
    /// Address to listen on [default: 0.0.0.0 with a token, 127.0.0.1 without]
    #[arg(long, env = "SKYCLAW_COORDINATOR_HOST", hide_env_values = true)]
    host: Option<Given<String>>,
    /// Port to listen on; 0 picks one [default: 8787]
    #[arg(long, env = "SKYCLAW_COORDINATOR_PORT", hide_env_values = true)]
    port: Option<Given<u16>>,
    /// Also serve this Unix socket, for you and root of this machine only, without a token
    #[arg(
        long,
        value_name = "FILE",
        env = "SKYCLAW_COORDINATOR_SOCKET",
        hide_env_values = true
    )]
    socket: Option<Given<PathBuf>>,
    /// Database file [default: .skyclaw/coordinator.db]
    #[arg(
        long,
        value_name = "FILE",
        env = "SKYCLAW_DB_PATH",
        hide_env_values = true
    )]
    db: Option<Given<PathBuf>>,
    /// Id of this coordinator [default: made once and kept beside the database]
    #[arg(
        long,
        value_name = "ID",
        env = "SKYCLAW_COORDINATOR_NODE_ID",
        hide_env_values = true
    )]
    node_id: Option<Given<String>>,
    /// Where others reach this coordinator [default: the address it listens on, else the one that other
    /// coordinators reach it under]
    #[arg(
        long,
        value_name = "URL",
        env = "SKYCLAW_COORDINATOR_PUBLIC_URL",
        hide_env_values = true
    )]
    public_url: Option<Given<String>>,
    /// File with the token that callers must show
    #[arg(
        long,
        value_name = "FILE",
        env = "SKYCLAW_TOKEN_FILE",
        hide_env_values = true
    )]
    token_file: Option<Given<PathBuf>>,
    /// Let everybody in who can reach the port
    #[arg(long)]
    insecure_no_auth: bool,
    /// How long a lease lasts without renewal, in milliseconds [default: 60000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_LEASE_MS",
        hide_env_values = true
    )]
    lease_ms: Option<Given<u64>>,
    /// How long answers are remembered by idempotency key, in milliseconds [default: 86400000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_IDEMPOTENCY_TTL_MS",
        hide_env_values = true
    )]
    idempotency_ttl_ms: Option<Given<u64>>,
    /// How many jobs may wait before new ones are refused [default: 100000]
    #[arg(
        long,
        value_name = "N",
        env = "SKYCLAW_MAX_QUEUED",
        hide_env_values = true
    )]
    max_queued: Option<Given<u64>>,
    /// How long ended jobs stay, such as 7d, and how many at most: 7d,100000 [default]
    #[arg(
        long,
        value_name = "SPAN[,N]",
        env = "SKYCLAW_RETENTION",
        hide_env_values = true
    )]
    retention: Option<Given<settings::Kept>>,
    /// Origin that may read answers of the public API in a browser [default: none]
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "SKYCLAW_PUBLIC_CORS_ORIGIN",
        hide_env_values = true
    )]
    public_cors_origin: Option<Given<String>>,
    /// Shell command to run for each job that ended; gets the job as JSON on standard input
    #[arg(long, value_name = "CMD")]
    on_done: Option<String>,
    /// Address to post each job that ended to, as JSON; tried five times more. Signed with the
    /// secret in the file SKYCLAW_WEBHOOK_SECRET_FILE, if set
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Coordinators to join, as a comma list: any members of a cluster, one that runs alone, or others that wait
    /// as this one does. Only an empty database joins
    #[arg(
        long,
        value_name = "URLS",
        env = "SKYCLAW_PEER_URLS",
        hide_env_values = true
    )]
    peer_urls: Option<Given<String>>,
    /// Whether those that the named ones wait for are asked, too; 0 forbids it [default: 1]
    #[arg(
        long,
        value_name = "0|1",
        env = "SKYCLAW_PEER_DISCOVERY",
        hide_env_values = true
    )]
    peer_discovery: Option<Given<String>>,
    /// File with what the coordinators of a cluster prove to each other that they know [default:
    /// $SKYCLAW_CLUSTER_SECRET, else made from the token]
    #[arg(
        long,
        value_name = "FILE",
        env = "SKYCLAW_CLUSTER_SECRET_FILE",
        hide_env_values = true
    )]
    cluster_secret_file: Option<Given<PathBuf>>,
    /// How many coordinators must have a write before it is answered: writes are refused while the
    /// majority of those with a vote is fewer [default: 1]
    #[arg(
        long,
        value_name = "N",
        env = "SKYCLAW_MIN_REPLICATIONS",
        hide_env_values = true
    )]
    min_replications: Option<Given<u64>>,
    /// Form of log lines on stderr
    #[arg(long, value_name = "FORM", value_parser = ["text", "json"], default_value = "text")]
    log_format: String,
}

impl Args {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        self.file
            .as_ref()
            .map_or(Format::Human, CoordinatorCommand::format)
    }

    /// Returns the form of log lines.
    pub fn log_form(&self) -> Form {
        match self.log_format.as_str() {
            "json" => Form::Json,
            _ => Form::Text,
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// When the settings are wrong, the database cannot be used or the port is taken.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if let Some(command) = &args.file {
        return coordinator_file::run(command, output).await;
    }
    // This may start the program again, so it comes before everything else.
    let secrets = secrets::Secrets::read(args)?;
    privacy::hide();
    // Before anything is open, so that a signal never finds it without an owner.
    let shutdown = Shutdown::listen().context("listen for signals")?;
    let host = host(args, secrets.tokens.is_empty())?;
    let db = Given::of(&args.db)
        .cloned()
        .unwrap_or_else(|| PathBuf::from(".skyclaw/coordinator.db"));
    let _serving = serving::claim(&db)?;
    let among = among::Among::read(args, &secrets)?;
    let (queue, cluster) = among.open(&db).await?;
    let settings = settings::read(args, &secrets, &db)?;
    let port = Given::of(&args.port).copied().unwrap_or(8787);
    limits::raise_open_files(OPEN_FILES);
    let listener = listen(&host, port).await?;
    let port = listener.local_addr().context("look at the port")?.port();
    let place = among::Place {
        name: &settings.node_id,
        host: &host,
        port,
    };
    let membership = among.enter(cluster, &place, &db).await?;
    let part = among::Part::of(&membership);
    let socket = Given::of(&args.socket).map(|path| socket::open(path));
    let socket = socket.transpose()?;
    let node = settings.node_id.clone();
    let deps = Deps {
        queue,
        settings,
        on_event: None,
        cluster: Some(membership),
    };
    let serving = coordinator::load(deps).await?;
    let shown = if host.contains(':') {
        format!("[{host}]")
    } else {
        host
    };
    output.line(&format!(
        "[skyclaw] coordinator {node} listening on http://{shown}:{port}"
    ));
    if let Some(socket) = &socket {
        output.line(&format!(
            "[skyclaw] coordinator {node} listening on {}",
            socket::shown(socket.path())
        ));
    }
    let doors = Doors {
        unix: socket,
        ..Doors::from(listener)
    };
    let served = coordinator::serve(serving, doors, shutdown).await;
    part.close().await;
    served?;
    Ok(Exit::Success)
}

/// Returns the address to listen on. Without a token nobody from elsewhere is let in by mistake.
fn host(args: &Args, open: bool) -> Result<String, Failure> {
    bind::host(&bind::Wanted {
        asked: Given::of(&args.host),
        open,
        insecure: args.insecure_no_auth,
        danger: "without a token would let everybody in",
        remedy: "set SKYCLAW_TOKEN or --token-file",
    })
}

async fn listen(host: &str, port: u16) -> Result<TcpListener, Failure> {
    let bare = host.trim_matches(['[', ']']);
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((bare, port))
        .await
        .map_err(|error| Failure::usage(format!("no such address: {host}")).because(error))?
        .collect();
    TcpListener::bind(addresses.as_slice())
        .await
        .map_err(|error| {
            let busy = error.kind() == std::io::ErrorKind::AddrInUse;
            let failure = if busy {
                Failure::new(Exit::Failed, format!("port {port} on {host} is in use"))
                    .hint("another coordinator may be running; --port chooses another port")
            } else {
                Failure::new(Exit::Failed, format!("listen on {host} port {port}"))
            };
            failure.because(error)
        })
}

const fn millis(span: u64) -> Duration {
    Duration::from_millis(span)
}
