//! `skyclaw gateway`: passes requests from outside on to services until it is told to stop.

mod args;
mod place;
mod secrets;
mod settings;

use std::net::SocketAddr;

use anyhow::Context;

pub use self::args::Args;
use super::bind;
use super::error::Failure;
use super::exit::Exit;
use super::given::Given;
use super::output::Output;
use crate::client::Client;
use crate::gateway::{self, AccessLog, Cache, Deps};
use crate::support::shutdown::Shutdown;
use crate::support::{limits, privacy};

/// Two for each of some thousand requests at once.
const OPEN_FILES: u64 = 65_536;

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
    let port = Given::of(&args.port).copied().unwrap_or(8790);
    limits::raise_open_files(OPEN_FILES);
    let listeners = listen(&host, port).await?;
    let port = match listeners.first() {
        Some(listener) => listener.local_addr().context("look at the port")?.port(),
        None => port,
    };
    let deps = Deps {
        own: place::own(args, &host, port, &reach.urls)?,
        coordinators: place::each(&reach)?,
        client: Client::new(reach)?,
        cache: Given::of(&args.cache).cloned().map(Cache::at),
        settings,
        log,
    };
    let loaded = gateway::load(deps).await;
    let shown = match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]"),
        false => host,
    };
    let scheme = place::scheme(args);
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
    bind::host(&bind::Wanted {
        asked: Given::of(&args.host),
        open,
        insecure: args.insecure_no_auth,
        danger: "without API keys would let everybody call every service",
        remedy: "set SKYCLAW_GATEWAY_API_KEYS or --api-keys-file",
    })
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
