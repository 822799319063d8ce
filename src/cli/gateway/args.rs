//! The arguments of `skyclaw gateway`. Each setting has a flag and a variable; the original's have its names.

use std::path::PathBuf;

use crate::cli::coordinators::CoordinatorArgs;
use crate::cli::given::Given;
use crate::gateway::choose::Balance;
use crate::gateway::sticky::Sticky;
use crate::support::telemetry::Form;

/// Pass requests from outside on to services, wherever they run
///
/// A service's paths are below /v1/gateway/NAME/ here; an id does as well as a name, and of services
/// that share a name the oldest that answers is meant. Without API keys only this machine is let in.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw gateway, then curl http://127.0.0.1:8790/v1/gateway/api/users\n\n\
API keys are read from SKYCLAW_GATEWAY_API_KEYS (key:label:service|service, …) and from a file;\n\
callers show theirs as `authorization: Bearer KEY` or `x-api-key: KEY`.\n\
GET /health, /metrics and /v1/gateways are the gateway's own.\n\n\
Exit codes: 0 stopped by a signal, 1 it could not run (port in use), 2 usage or configuration error."
)]
pub struct Args {
    /// Address to listen on [default: 0.0.0.0 with API keys, 127.0.0.1 without]
    #[arg(long, env = "SKYCLAW_GATEWAY_HOST", hide_env_values = true)]
    pub(super) host: Option<Given<String>>,
    /// Port to listen on; 0 picks one [default: 8790]
    #[arg(long, env = "SKYCLAW_GATEWAY_PORT", hide_env_values = true)]
    pub(super) port: Option<Given<u16>>,
    /// Where others reach this gateway [default: the address it listens on]
    #[arg(
        long,
        value_name = "URL",
        env = "SKYCLAW_GATEWAY_PUBLIC_URL",
        hide_env_values = true
    )]
    pub(super) public_url: Option<Given<String>>,
    /// What to call this gateway in the list of all
    #[arg(
        long,
        value_name = "NAME",
        env = "SKYCLAW_GATEWAY_NAME",
        hide_env_values = true
    )]
    pub(super) name: Option<Given<String>>,
    /// File with API keys, one per line: key:label:service|service
    #[arg(
        long,
        value_name = "FILE",
        env = "SKYCLAW_GATEWAY_API_KEYS_FILE",
        hide_env_values = true
    )]
    pub(super) api_keys_file: Option<Given<PathBuf>>,
    /// Let everybody in who can reach the port
    #[arg(long)]
    pub(super) insecure_no_auth: bool,
    /// How endpoints take turns: round-robin or least-conn [default: round-robin]
    #[arg(
        long,
        value_name = "HOW",
        env = "SKYCLAW_GATEWAY_LB",
        hide_env_values = true
    )]
    pub(super) lb: Option<Given<Balance>>,
    /// Keep a caller with one endpoint by header:NAME or cookie:NAME
    #[arg(
        long,
        value_name = "BY",
        env = "SKYCLAW_GATEWAY_STICKY",
        hide_env_values = true
    )]
    pub(super) sticky: Option<Given<Sticky>>,
    /// How often a request that may be repeated is sent again, elsewhere [default: 1]
    #[arg(
        long,
        value_name = "N",
        env = "SKYCLAW_GATEWAY_RETRY_ATTEMPTS",
        hide_env_values = true
    )]
    pub(super) retries: Option<Given<u32>>,
    /// How often to ask which services there are, in milliseconds [default: 3000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_GATEWAY_REFRESH_MS",
        hide_env_values = true
    )]
    pub(super) refresh_ms: Option<Given<u64>>,
    /// How often to probe an endpoint, in milliseconds [default: 5000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_GATEWAY_HEALTH_PROBE_MS",
        hide_env_values = true
    )]
    pub(super) probe_ms: Option<Given<u64>>,
    /// What to ask for of services that do not say, which must answer 2xx then [default: /health, where any
    /// answer but 5xx will do]
    #[arg(
        long,
        value_name = "PATH",
        env = "SKYCLAW_GATEWAY_HEALTH_PATH",
        hide_env_values = true
    )]
    pub(super) health_path: Option<Given<String>>,
    /// How long a probe may take, in milliseconds; at least 500 [default: 1500]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_GATEWAY_HEALTH_TIMEOUT_MS",
        hide_env_values = true
    )]
    pub(super) probe_timeout_ms: Option<Given<u64>>,
    /// How long to leave an endpoint alone after it failed, in milliseconds; at least 1000 [default: 10000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_GATEWAY_UNHEALTHY_COOLDOWN_MS",
        hide_env_values = true
    )]
    pub(super) cooldown_ms: Option<Given<u64>>,
    /// How many requests may be under way to one endpoint [default: 1000]
    #[arg(
        long,
        value_name = "N",
        env = "SKYCLAW_GATEWAY_MAX_IN_FLIGHT",
        hide_env_values = true
    )]
    pub(super) max_in_flight: Option<Given<u32>>,
    /// How long the body of a request may be, in bytes [default: 10485760]
    #[arg(
        long,
        value_name = "BYTES",
        env = "SKYCLAW_GATEWAY_MAX_BODY",
        hide_env_values = true
    )]
    pub(super) max_body: Option<Given<u64>>,
    /// How long a service may take for the first byte of its answer, in milliseconds [default: 30000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_GATEWAY_FIRST_BYTE_MS",
        hide_env_values = true
    )]
    pub(super) first_byte_ms: Option<Given<u64>>,
    /// How long a stream may be silent, in milliseconds [default: 300000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_GATEWAY_IDLE_MS",
        hide_env_values = true
    )]
    pub(super) idle_ms: Option<Given<u64>>,
    /// How long to wait in all for a body of known length, beside 1 s per KiB that came, in milliseconds; 0 = for ever
    /// [default: 60000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_GATEWAY_BODY_WAIT_MS",
        hide_env_values = true
    )]
    pub(super) body_wait_ms: Option<Given<u64>>,
    /// How many connections of callers may be open; further ones are closed at once [default: 10000]
    #[arg(
        long,
        value_name = "N",
        env = "SKYCLAW_GATEWAY_MAX_CONNECTIONS",
        hide_env_values = true
    )]
    pub(super) max_connections: Option<Given<u64>>,
    /// Speak TLS with callers: PEM file with the certificate and those above it, read again on SIGHUP
    #[arg(
        long,
        value_name = "FILE",
        env = "SKYCLAW_GATEWAY_TLS_CERT",
        hide_env_values = true
    )]
    pub(super) tls_cert: Option<Given<PathBuf>>,
    /// PEM file with the certificate's key
    #[arg(
        long,
        value_name = "FILE",
        env = "SKYCLAW_GATEWAY_TLS_KEY",
        hide_env_values = true
    )]
    pub(super) tls_key: Option<Given<PathBuf>>,
    /// Proxies whose x-forwarded-… headers are believed: addresses or networks, separated by commas
    #[arg(
        long,
        value_name = "LIST",
        env = "SKYCLAW_GATEWAY_TRUSTED_PROXIES",
        hide_env_values = true
    )]
    pub(super) trusted_proxies: Option<Given<String>>,
    /// Write one JSON line for each request to this file; - is stderr
    #[arg(
        long,
        value_name = "FILE",
        env = "SKYCLAW_GATEWAY_ACCESS_LOG",
        hide_env_values = true
    )]
    pub(super) access_log: Option<Given<PathBuf>>,
    /// Keep the list of services in this file, for a start while no coordinator answers
    #[arg(
        long,
        value_name = "FILE",
        env = "SKYCLAW_GATEWAY_CACHE",
        hide_env_values = true
    )]
    pub(super) cache: Option<Given<PathBuf>>,
    /// Let everybody read /metrics; otherwise it wants the coordinator's token, if there is one
    #[arg(long)]
    pub(super) metrics_open: bool,
    /// Form of log lines on stderr
    #[arg(long, value_name = "FORM", value_parser = ["text", "json"], default_value = "text")]
    pub(super) log_format: String,
    /// Where the services are known.
    #[command(flatten)]
    pub(super) coordinator: CoordinatorArgs,
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
