//! `skyclaw gateway`: passes requests from outside on to services until it is told to stop.

mod secrets;
mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;

use super::coordinators::CoordinatorArgs;
use super::error::Failure;
use super::exit::Exit;
use super::given::Given;
use super::output::Output;
use crate::client::Client;
use crate::gateway::choose::Balance;
use crate::gateway::sticky::Sticky;
use crate::gateway::{self, AccessLog, Deps};
use crate::support::shutdown::Shutdown;
use crate::support::telemetry::Form;
use crate::support::{limits, privacy};

/// Two for each of some thousand requests at once.
const OPEN_FILES: u64 = 65_536;

/// Pass requests from outside on to services, wherever they run
///
/// A service's paths are below /v1/gateway/NAME/ here; an id does as well as a name, and of services
/// that share a name the oldest that answers is meant. Without API keys only this machine is let in.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw gateway, then curl http://127.0.0.1:8790/v1/gateway/api/users\n\n\
API keys are read from SKYCLAW_GATEWAY_API_KEYS (key:label:service|service, …) and from a file; callers\n\
show theirs as `authorization: Bearer KEY` or `x-api-key: KEY`.\n\
GET /health, /metrics and /v1/gateways are the gateway's own.\n\n\
Exit codes: 0 stopped by a signal, 1 it could not run (port in use), 2 usage or configuration error."
)]
pub struct Args {
    /// Address to listen on [default: 0.0.0.0 with API keys, 127.0.0.1 without]
    #[arg(long, env = "SKYCLAW_GATEWAY_HOST", hide_env_values = true)]
    host: Option<Given<String>>,
    /// Port to listen on; 0 picks one [default: 8790]
    #[arg(long, env = "SKYCLAW_GATEWAY_PORT", hide_env_values = true)]
    port: Option<Given<u16>>,
    /// File with API keys, one per line: key:label:service|service
    #[arg(
        long,
        value_name = "FILE",
        env = "SKYCLAW_GATEWAY_API_KEYS_FILE",
        hide_env_values = true
    )]
    api_keys_file: Option<Given<PathBuf>>,
    /// Let everybody in who can reach the port
    #[arg(long)]
    insecure_no_auth: bool,
    /// How endpoints take turns: round-robin or least-conn [default: round-robin]
    #[arg(
        long,
        value_name = "HOW",
        env = "SKYCLAW_GATEWAY_LB",
        hide_env_values = true
    )]
    lb: Option<Given<Balance>>,
    /// Keep a caller with one endpoint by header:NAME or cookie:NAME
    #[arg(
        long,
        value_name = "BY",
        env = "SKYCLAW_GATEWAY_STICKY",
        hide_env_values = true
    )]
    sticky: Option<Given<Sticky>>,
    /// How often a request that may be repeated is sent again, elsewhere [default: 1]
    #[arg(
        long,
        value_name = "N",
        env = "SKYCLAW_GATEWAY_RETRY_ATTEMPTS",
        hide_env_values = true
    )]
    retries: Option<Given<u32>>,
    /// How often to ask which services there are, in milliseconds [default: 3000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_GATEWAY_REFRESH_MS",
        hide_env_values = true
    )]
    refresh_ms: Option<Given<u64>>,
    /// How often to probe an endpoint, in milliseconds [default: 5000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_GATEWAY_HEALTH_PROBE_MS",
        hide_env_values = true
    )]
    probe_ms: Option<Given<u64>>,
    /// What to ask for of services that do not say, which must answer 2xx then [default: /health, where any
    /// answer but 5xx will do]
    #[arg(
        long,
        value_name = "PATH",
        env = "SKYCLAW_GATEWAY_HEALTH_PATH",
        hide_env_values = true
    )]
    health_path: Option<Given<String>>,
    /// How long a probe may take, in milliseconds; at least 500 [default: 1500]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_GATEWAY_HEALTH_TIMEOUT_MS",
        hide_env_values = true
    )]
    probe_timeout_ms: Option<Given<u64>>,
    /// How long to leave an endpoint alone after it failed, in milliseconds; at least 1000 [default: 10000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_GATEWAY_UNHEALTHY_COOLDOWN_MS",
        hide_env_values = true
    )]
    cooldown_ms: Option<Given<u64>>,
    /// How many requests may be under way to one endpoint [default: 1000]
    #[arg(
        long,
        value_name = "N",
        env = "SKYCLAW_GATEWAY_MAX_IN_FLIGHT",
        hide_env_values = true
    )]
    max_in_flight: Option<Given<u32>>,
    /// How long the body of a request may be, in bytes [default: 10485760]
    #[arg(
        long,
        value_name = "BYTES",
        env = "SKYCLAW_GATEWAY_MAX_BODY",
        hide_env_values = true
    )]
    max_body: Option<Given<u64>>,
    /// How long a service may take for the first byte of its answer, in milliseconds [default: 30000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_GATEWAY_FIRST_BYTE_MS",
        hide_env_values = true
    )]
    first_byte_ms: Option<Given<u64>>,
    /// How long a stream may be silent, in milliseconds [default: 300000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_GATEWAY_IDLE_MS",
        hide_env_values = true
    )]
    idle_ms: Option<Given<u64>>,
    /// How many connections of callers may be open; further ones are closed at once [default: 10000]
    #[arg(
        long,
        value_name = "N",
        env = "SKYCLAW_GATEWAY_MAX_CONNECTIONS",
        hide_env_values = true
    )]
    max_connections: Option<Given<u64>>,
    /// Speak TLS with callers: PEM file with the certificate and those above it, read again on SIGHUP
    #[arg(
        long,
        value_name = "FILE",
        env = "SKYCLAW_GATEWAY_TLS_CERT",
        hide_env_values = true
    )]
    tls_cert: Option<Given<PathBuf>>,
    /// PEM file with the certificate's key
    #[arg(
        long,
        value_name = "FILE",
        env = "SKYCLAW_GATEWAY_TLS_KEY",
        hide_env_values = true
    )]
    tls_key: Option<Given<PathBuf>>,
    /// Proxies whose x-forwarded-… headers are believed: addresses or networks, separated by commas
    #[arg(
        long,
        value_name = "LIST",
        env = "SKYCLAW_GATEWAY_TRUSTED_PROXIES",
        hide_env_values = true
    )]
    trusted_proxies: Option<Given<String>>,
    /// Write one JSON line for each request to this file; - is stderr
    #[arg(
        long,
        value_name = "FILE",
        env = "SKYCLAW_GATEWAY_ACCESS_LOG",
        hide_env_values = true
    )]
    access_log: Option<Given<PathBuf>>,
    /// Let everybody read /metrics; otherwise it wants the coordinator's token, if there is one
    #[arg(long)]
    metrics_open: bool,
    /// Form of log lines on stderr
    #[arg(long, value_name = "FORM", value_parser = ["text", "json"], default_value = "text")]
    log_format: String,
    /// Where the services are known.
    #[command(flatten)]
    coordinator: CoordinatorArgs,
}

impl Args {
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
/// When the settings are wrong or the port is taken.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    // This may start the program again, so it comes before everything else.
    let secrets = secrets::Secrets::read(args)?;
    privacy::hide();
    let listening = match Given::of(&args.tls_cert) {
        None => Shutdown::listen(),
        // It asks for the certificate to be read again.
        Some(_) => Shutdown::listen_without_hangup(),
    };
    let shutdown = listening.context("listen for signals")?;
    let host = host(args, secrets.keys.is_empty())?;
    let reach = args.coordinator.settings(|name| secrets.variable(name))?;
    let settings = settings::read(args, secrets.keys, reach.token.clone())?;
    let log = match Given::of(&args.access_log) {
        None => None,
        Some(path) if path.as_os_str() == "-" => {
            Some(AccessLog::to_stderr().context("start the access log")?)
        }
        Some(path) => Some(AccessLog::to_file(path).context("open the access log")?),
    };
    let tls = settings.tls.is_some();
    let port = Given::of(&args.port).copied().unwrap_or(8790);
    limits::raise_open_files(OPEN_FILES);
    let listeners = listen(&host, port).await?;
    let port = match listeners.first() {
        Some(listener) => listener.local_addr().context("look at the port")?.port(),
        None => port,
    };
    let deps = Deps {
        client: Client::new(reach)?,
        settings,
        log,
    };
    let loaded = gateway::load(deps).await;
    let shown = match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]"),
        false => host,
    };
    let scheme = if tls { "https" } else { "http" };
    output.line(&format!(
        "[skyclaw] gateway listening on {scheme}://{shown}:{port}"
    ));
    gateway::serve(loaded, listeners, shutdown)
        .await
        .context("serve the port")?;
    Ok(Exit::Success)
}

/// Returns the address to listen on. Without keys nobody from elsewhere is let in by mistake.
fn host(args: &Args, open: bool) -> Result<String, Failure> {
    let asked = Given::of(&args.host);
    if !open || args.insecure_no_auth {
        return Ok(asked.cloned().unwrap_or_else(|| "0.0.0.0".to_owned()));
    }
    let host = asked.cloned().unwrap_or_else(|| "127.0.0.1".to_owned());
    let local = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if local {
        return Ok(host);
    }
    Err(Failure::usage(format!(
        "listening on {host} without API keys would let everybody call every service"
    ))
    .hint("set SKYCLAW_GATEWAY_API_KEYS or --api-keys-file")
    .hint("--host 127.0.0.1 serves this machine only; --insecure-no-auth lets everybody in"))
}

async fn listen(host: &str, port: u16) -> Result<Vec<std::net::TcpListener>, Failure> {
    let bare = host.trim_matches(['[', ']']);
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((bare, port))
        .await
        .map_err(|error| Failure::usage(format!("no such address: {host}")).because(error))?
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    gateway::listen::open(&addresses, threads).map_err(|error| {
        let busy = error.kind() == std::io::ErrorKind::AddrInUse;
        let failure = if busy {
            Failure::new(Exit::Failed, format!("port {port} on {host} is in use"))
                .hint("another gateway may be running; --port chooses another port")
        } else {
            Failure::new(Exit::Failed, format!("listen on {host} port {port}"))
        };
        failure.because(error)
    })
}
