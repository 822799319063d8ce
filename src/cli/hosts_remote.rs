//! `skyclaw host list|show|drain|undrain|remove`, and `pause` and `resume` with names: the hosts of a coordinator, from outside.
//!
//! Not the daemon, and not the SSH hosts of `skyclaw fleet hosts`.

use clap::Subcommand;
use serde_json::json;
use wildmatch::WildMatch;

use super::args::{FormatArgs, JsonArgs};
use super::coordinators::CoordinatorArgs;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Format, Output};
use super::table::Table;
use crate::client::{Client, HostOrder};
use crate::protocol::api::{HostMode, HostRecord};
use crate::support::clock::{Clock, SystemClock};
use crate::support::span;

/// What can be done with the hosts of a coordinator.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// List the hosts that pull jobs from a coordinator
    List(ListArgs),
    /// Show everything about a host
    Show(ShowArgs),
    /// Let hosts finish what they have and give them no more
    Drain(OrderArgs),
    /// Give drained hosts work again
    Undrain(OrderArgs),
    /// Take hosts out of the list; what they hold goes back to the queue
    Remove(OrderArgs),
}

/// Flags of `host list`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw host list\n\nExit codes: 0 listed, 1 the coordinator refused, 2 usage or configuration error, 69 no coordinator could be reached."
)]
pub struct ListArgs {
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// Flags of `host show`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw host show lab-1\n\nExit codes: 0 shown, 1 the coordinator refused, 2 usage error or no such host, 69 no coordinator could be reached."
)]
pub struct ShowArgs {
    /// Its name or its id
    #[arg(value_name = "HOST")]
    pub host: String,
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// Flags of the verbs that decide something about hosts.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw host drain lab-1 'gpu*'\n\nExit codes: 0 done, also if it was so before, 1 the coordinator refused, 2 usage error or no such host, 69 no coordinator could be reached."
)]
pub struct OrderArgs {
    /// Names or ids; * and ? stand for any text and any character
    #[arg(value_name = "HOST", required = true)]
    pub hosts: Vec<String>,
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// Flags of `host pause` and `host resume`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw host pause lab-1 'gpu*'\n\nExit codes: 0 done, also if it was so before, 1 no daemon runs here or the coordinator refused, 2 usage error or no such host, 69 no coordinator could be reached."
)]
pub struct MaybeOrder {
    /// Hosts of a coordinator by name or id; * and ? match [default: the daemon on this machine]
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

impl HostCommand {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        match self {
            Self::List(args) => args.format.format(),
            Self::Show(args) => args.json.format(),
            Self::Drain(args) | Self::Undrain(args) | Self::Remove(args) => args.json.format(),
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// When there is no such host or the coordinator cannot be asked.
pub async fn run(command: &HostCommand, output: &Output) -> anyhow::Result<Exit> {
    match command {
        HostCommand::List(args) => list(args, output).await,
        HostCommand::Show(args) => show(args, output).await,
        HostCommand::Drain(args) => args.run(Some(HostOrder::Drain), output).await,
        HostCommand::Undrain(args) => args.run(Some(HostOrder::Undrain), output).await,
        HostCommand::Remove(args) => args.run(None, output).await,
    }
}

async fn list(args: &ListArgs, output: &Output) -> anyhow::Result<Exit> {
    let hosts = args.coordinator.client()?.hosts().await?;
    let mut table = Table::new([
        "HOST",
        "STATE",
        "JOBS",
        "SEEN",
        "CAPABILITIES",
        "LABELS",
        "ID",
    ]);
    for host in &hosts {
        let labels: Vec<String> = host
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        table.row([
            host.name.clone(),
            standing(host),
            format!("{}/{}", host.active_leases, host.max_parallel),
            seen(host),
            host.capabilities.join(","),
            labels.join(","),
            host.id.to_string(),
        ]);
        output.event("host", &json!({ "host": host }))?;
    }
    output.table(&table);
    output.document(&json!({ "hosts": hosts }))?;
    Ok(Exit::Success)
}

async fn show(args: &ShowArgs, output: &Output) -> anyhow::Result<Exit> {
    let client = args.coordinator.client()?;
    let hosts = chosen(&client, std::slice::from_ref(&args.host)).await?;
    let [host] = hosts.as_slice() else {
        return Err(Failure::usage(format!("`{}` is more than one host", args.host)).into());
    };
    for (name, value) in facts(host) {
        output.fact(name, &value);
    }
    output.document(&json!({ "host": host }))?;
    Ok(Exit::Success)
}

fn facts(host: &HostRecord) -> Vec<(&'static str, String)> {
    let facts = host.facts.clone().unwrap_or_default();
    let labels: Vec<String> = host
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let all = [
        ("host", host.name.clone()),
        ("id", host.id.to_string()),
        ("state", standing(host)),
        (
            "jobs",
            format!("{} of {}", host.active_leases, host.max_parallel),
        ),
        ("seen", seen(host)),
        ("registered", host.registered_at.to_string()),
        ("can do", host.capabilities.join(", ")),
        ("labels", labels.join(", ")),
        ("version", facts.version),
        ("system", [facts.os, facts.arch].join(" ").trim().to_owned()),
        (
            "processors",
            facts.cpus.map(|n| n.to_string()).unwrap_or_default(),
        ),
        (
            "memory",
            facts.memory_bytes.map(gibibytes).unwrap_or_default(),
        ),
        (
            "free space",
            facts.disk_free_bytes.map(gibibytes).unwrap_or_default(),
        ),
        ("gpus", facts.gpus.join(", ")),
        (
            "clock",
            host.clock_offset_ms
                .map(|ahead| format!("{ahead} ms ahead"))
                .unwrap_or_default(),
        ),
    ];
    all.into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

impl OrderArgs {
    async fn run(&self, order: Option<HostOrder>, output: &Output) -> anyhow::Result<Exit> {
        let client = self.coordinator.client()?;
        decide(&client, &self.hosts, order, output).await
    }
}

impl MaybeOrder {
    /// Tells whether it is about hosts of a coordinator.
    pub fn names_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        self.json.format()
    }

    /// Decides it for the hosts that are named.
    ///
    /// # Errors
    /// When there is no such host or the coordinator cannot be asked.
    pub async fn run(&self, order: HostOrder, output: &Output) -> anyhow::Result<Exit> {
        let client = self.coordinator.client()?;
        decide(&client, &self.hosts, Some(order), output).await
    }
}

/// Has a coordinator carry out an order; none takes the hosts out of its list.
async fn decide(
    client: &Client,
    names: &[String],
    order: Option<HostOrder>,
    output: &Output,
) -> anyhow::Result<Exit> {
    let mut after = Vec::new();
    for host in chosen(client, names).await? {
        let (host, word) = match order {
            Some(order) => {
                let host = client.order_host(&host.id, order).await?;
                let word = standing(&host);
                (host, word)
            }
            None => {
                client.deregister(&host.id).await?;
                (host, "removed".to_owned())
            }
        };
        output.line(&format!("{} {word}", host.name));
        after.push(host);
    }
    output.document(&json!({ "hosts": after }))?;
    Ok(Exit::Success)
}

/// Returns the hosts that `names` mean, each once. A plain name must mean one.
async fn chosen(client: &Client, names: &[String]) -> anyhow::Result<Vec<HostRecord>> {
    let hosts = client.hosts().await?;
    let mut chosen: Vec<HostRecord> = Vec::new();
    for name in names {
        let pattern = WildMatch::new(name);
        let mut found: Vec<&HostRecord> = hosts
            .iter()
            .filter(|host| host.id.as_str() == name)
            .collect();
        if found.is_empty() {
            found = hosts
                .iter()
                .filter(|host| pattern.matches(&host.name) || pattern.matches(host.id.as_str()))
                .collect();
        }
        if found.is_empty() {
            return Err(Failure::usage(format!("there is no host `{name}`"))
                .hint("`skyclaw host list` shows them")
                .into());
        }
        if found.len() > 1 && !name.contains(['*', '?']) {
            let ids: Vec<String> = found.iter().map(|host| host.id.to_string()).collect();
            return Err(Failure::usage(format!("several hosts are called `{name}`"))
                .hint(format!("name one by its id: {}", ids.join(", ")))
                .into());
        }
        for host in found {
            if !chosen.iter().any(|one| one.id == host.id) {
                chosen.push(host.clone());
            }
        }
    }
    Ok(chosen)
}

fn standing(host: &HostRecord) -> String {
    let state = host.state.as_str();
    let mode = match host.mode {
        HostMode::Active => None,
        HostMode::Draining => Some("draining"),
        HostMode::Paused => Some("paused"),
    };
    let words = [Some(state), mode, host.blocked.as_deref()];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn seen(host: &HostRecord) -> String {
    let ago = SystemClock.now().since(host.last_seen_at);
    format!(
        "{} ago",
        span::human(std::time::Duration::from_secs(ago.as_secs()))
    )
}
