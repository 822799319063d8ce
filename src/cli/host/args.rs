//! The arguments of `skyclaw host`. Each setting has a flag and the variable that the original has for it.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::rule_args::RuleArgs;
use super::service_args::ServiceArgs;
use crate::cli::given::Given;
use crate::cli::hosts_remote::{HostCommand, MaybeOrder};

/// Takes what was given, if anything was.
pub(super) fn of<T: Clone>(given: &Option<Given<T>>) -> Option<T> {
    Given::of(given).cloned()
}

/// What happens to running jobs once the lease has surely run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnLost(pub crate::host::settings::OnLeaseLost);

impl FromStr for OnLost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        use crate::host::settings::OnLeaseLost;
        match text {
            "kill" => Ok(Self(OnLeaseLost::Kill)),
            "finish" => Ok(Self(OnLeaseLost::Finish)),
            _ => Err("write kill or finish".to_owned()),
        }
    }
}

/// How lines on stdout are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// Run jobs of a coordinator on this machine
#[derive(Debug, ClapArgs)]
#[command(
    subcommand_precedence_over_arg = true,
    after_help = "Jobs run with this user's rights: at least once each, each in a session of its own, with a small\n\
        environment, and nothing of them outlives the daemon. A list of commands with a shell or an\n\
        interpreter in it limits nothing; --allowed-argv does.\n\n\
        Example: SKYCLAW_COORDINATOR_URL=http://10.0.0.5:8787 skyclaw host --token-file ~/.skyclaw-token\n\n\
        Exit codes: 0 stopped or nothing left to do, 1 another daemon has the state directory or the host id,\n\
        2 usage or configuration error, 69 --once and no coordinator answered"
)]
pub struct Args {
    /// Where the daemon keeps its files [default: one directory for each host id or name]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "SKYCLAW_HOST_STATE_DIR",
        hide_env_values = true
    )]
    pub state_dir: Option<Given<String>>,
    /// The id to register with [default: made once and kept]
    #[arg(
        long,
        global = true,
        value_name = "ID",
        env = "SKYCLAW_HOST_ID",
        hide_env_values = true
    )]
    pub id: Option<Given<String>>,
    /// What people call this host [default: the machine's name]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "SKYCLAW_HOST_NAME",
        hide_env_values = true
    )]
    pub name: Option<Given<String>>,
    /// How the daemon takes work.
    #[command(flatten)]
    pub work: WorkArgs,
    /// What jobs may do.
    #[command(flatten)]
    pub rules: RuleArgs,
    /// How services are run.
    #[command(flatten)]
    pub services: ServiceArgs,
    /// Run what is there, then leave
    #[arg(long)]
    pub once: bool,
    /// How lines on stdout are written: text or json [default: text]
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub log_format: LogFormat,
    /// Print a systemd unit for this daemon and leave
    #[arg(long)]
    pub print_unit: bool,
    /// What to ask the running daemon.
    #[command(subcommand)]
    pub command: Option<Local>,
}

/// Asks the daemon that runs on this machine, or a coordinator about its hosts.
#[derive(Debug, Subcommand)]
pub enum Local {
    /// What a coordinator knows and decides.
    #[command(flatten)]
    Remote(HostCommand),
    /// Show what runs here, and for whom
    Jobs(super::super::args::JsonArgs),
    /// End a job that runs here
    StopJob {
        /// The job
        #[arg(value_name = "JOB")]
        job: crate::protocol::JobId,
    },
    /// Take no more work until `resume`, also after a restart; with HOST, give those hosts none
    Pause(MaybeOrder),
    /// Take work again; with HOST, give those hosts work again
    Resume(MaybeOrder),
}

/// How the daemon takes work.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Work")]
pub struct WorkArgs {
    /// A coordinator; repeat for more [env: SKYCLAW_COORDINATOR_URLS, SKYCLAW_COORDINATOR_URL]
    #[arg(long, value_name = "URL")]
    pub coordinator: Vec<String>,
    /// File that says where the coordinator is, read again when that does not answer [env: SKYCLAW_COORDINATOR_FILE]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["coordinator", "token_file"])]
    pub coordinator_file: Option<PathBuf>,
    /// File with the coordinator's token [env: SKYCLAW_TOKEN, SKYCLAW_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// What this host can do, with commas [default: shell, and the agents found here]
    #[arg(
        long,
        value_name = "LIST",
        env = "SKYCLAW_CAPABILITIES",
        hide_env_values = true
    )]
    pub capabilities: Option<Given<String>>,
    /// What this host is labelled with: key=value, with commas
    #[arg(
        long,
        value_name = "LIST",
        env = "SKYCLAW_LABELS",
        hide_env_values = true
    )]
    pub labels: Option<Given<String>>,
    /// How many jobs run at once [default: 1]
    #[arg(
        long,
        value_name = "N",
        env = "SKYCLAW_MAX_PARALLEL",
        hide_env_values = true
    )]
    pub max_parallel: Option<Given<u16>>,
    /// Take work only when all of these hold: load<0.7, idle>10m, hours=22-07, ac
    #[arg(
        long,
        value_name = "LIST",
        env = "SKYCLAW_CLAIM_WHEN",
        hide_env_values = true
    )]
    pub claim_when: Option<Given<String>>,
    /// Take only these jobs: SUBMITTER or SUBMITTER=KIND|KIND, with commas; * and ? match [default: all]
    #[arg(
        long,
        value_name = "LIST",
        env = "SKYCLAW_ACCEPT_FROM",
        hide_env_values = true
    )]
    pub accept_from: Option<Given<String>>,
    /// How often work is asked for where it cannot be waited for [default: 2000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_POLL_MS",
        hide_env_values = true
    )]
    pub poll_ms: Option<Given<u64>>,
    /// Jobs that take less than this on the average are fetched a few ahead; 0: none are [default: 20]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_SHORT_MS",
        hide_env_values = true
    )]
    pub short_ms: Option<Given<u64>>,
    /// How often the coordinator hears of this host [default: 5000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_HEARTBEAT_MS",
        hide_env_values = true
    )]
    pub heartbeat_ms: Option<Given<u64>>,
    /// When a lease has surely run out: kill the job, or finish it and offer the result later [default: kill]
    #[arg(
        long,
        value_name = "WHAT",
        env = "SKYCLAW_ON_LEASE_LOST",
        hide_env_values = true
    )]
    pub on_lease_lost: Option<Given<OnLost>>,
    /// How long running jobs may go on when the daemon is stopped [default: 30000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_DRAIN_MS",
        hide_env_values = true
    )]
    pub drain_ms: Option<Given<u64>>,
    /// Whether the local OpenClaw is described to the coordinator, never with a token: on or off [default: on]
    #[arg(
        long,
        value_name = "WORD",
        env = "SKYCLAW_OPENCLAW_PROFILE",
        hide_env_values = true
    )]
    pub openclaw_profile: Option<Given<String>>,
}
