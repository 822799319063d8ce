//! `skyclaw fleet hosts`: shows which hosts a selection means.

use std::collections::BTreeMap;

use serde::Serialize;

use super::args::{FleetArgs, FormatArgs, SelectArgs, load_fleet};
use super::exit::Exit;
use super::output::{Format, Output};
use super::table::Table;
use crate::fleet::file::{Arch, Host};
use crate::fleet::select;

/// Show which hosts a selection means
///
/// Nothing is contacted. Hosts are in file order, each once; disabled hosts are left out.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw fleet hosts 'web*' zone=eu '!web3'\n\nExit codes: 0 hosts were selected, 2 no host matches, or the fleet file or a selector is wrong."
)]
pub struct Args {
    /// Which hosts.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Which fleet file.
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// One host as JSON shows it. Absent is what only the SSH configuration or the host itself can say.
#[derive(Serialize)]
struct Row<'h> {
    name: &'h str,
    host: &'h str,
    user: Option<&'h str>,
    port: Option<u16>,
    arch: Option<Arch>,
    groups: &'h [String],
    labels: &'h BTreeMap<String, String>,
}

impl<'h> From<&'h Host> for Row<'h> {
    fn from(host: &'h Host) -> Self {
        Self {
            name: host.name.as_str(),
            host: host.host.as_str(),
            user: host.user.as_deref(),
            port: host.port,
            arch: host.arch,
            groups: &host.groups,
            labels: &host.labels,
        }
    }
}

#[derive(Serialize)]
struct Document<'h> {
    hosts: Vec<Row<'h>>,
}

/// Runs the verb.
///
/// # Errors
/// When the fleet file or the selection is wrong.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let fleet = load_fleet(&args.fleet, output)?;
    let selected = select::select(&fleet, &args.select.selection()?)?;
    for note in &selected.notes {
        output.note(note);
    }
    let hosts = selected.hosts.iter().copied();
    match output.format() {
        Format::Human => output.table(&table(hosts)),
        Format::Json => output.document(&Document {
            hosts: hosts.map(Row::from).collect(),
        })?,
        Format::Ndjson => {
            for host in hosts {
                output.event("host", &Row::from(host))?;
            }
        }
    }
    Ok(Exit::Success)
}

fn table<'h>(hosts: impl Iterator<Item = &'h Host>) -> Table {
    let mut table = Table::new(["NAME", "HOST", "USER", "PORT", "ARCH", "GROUPS", "LABELS"]);
    for host in hosts {
        let labels: Vec<String> = host
            .labels
            .iter()
            .map(|(label, value)| format!("{label}={value}"))
            .collect();
        table.row([
            host.name.to_string(),
            host.host.to_string(),
            host.user.clone().unwrap_or_default(),
            host.port.map(|port| port.to_string()).unwrap_or_default(),
            host.arch.map(|arch| arch.to_string()).unwrap_or_default(),
            host.groups.join(","),
            labels.join(","),
        ]);
    }
    table
}
