//! `skyclaw service list` for people, `skyclaw list-services` as the original prints it.

use std::time::Duration;

use serde_json::json;

use super::{shown, words};
use crate::cli::args::FormatArgs;
use crate::cli::coordinators::CoordinatorArgs;
use crate::cli::exit::Exit;
use crate::cli::output::{Format, Output};
use crate::cli::table::Table;
use crate::protocol::api::ServiceRecord;
use crate::support::clock::{Clock, SystemClock};
use crate::support::span;

/// List services, oldest first
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw service list\n\nExit codes: 0 listed, 1 the coordinator refused, 2 usage or configuration error, 69 no coordinator could be reached."
)]
pub struct Args {
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// Print all services as one JSON document, oldest first
///
/// `skyclaw service list` shows them as a table.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw list-services\n\nExit codes: 0 listed, 1 the coordinator refused, 2 usage or configuration error, 69 no coordinator could be reached."
)]
pub struct PlainArgs {
    /// Print one JSON document, as without this flag
    #[arg(long, hide = true)]
    pub json: bool,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

impl PlainArgs {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        Format::Json
    }

    /// Runs the verb.
    ///
    /// # Errors
    /// When the coordinator cannot be asked.
    pub async fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        list(&self.coordinator, output).await
    }
}

/// Runs the verb.
///
/// # Errors
/// When the coordinator cannot be asked.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    list(&args.coordinator, output).await
}

async fn list(coordinator: &CoordinatorArgs, output: &Output) -> anyhow::Result<Exit> {
    let services = coordinator.client()?.services().await?;
    let services: Vec<ServiceRecord> = services.iter().map(shown).collect();
    output.table(&table(&services));
    for service in &services {
        output.event("service", &json!({ "service": service }))?;
    }
    output.document(&json!({ "services": services }))?;
    Ok(Exit::Success)
}

fn table(services: &[ServiceRecord]) -> Table {
    let now = SystemClock.now();
    let mut table = Table::new(["SERVICE", "READY", "STATE", "ENDPOINTS", "AGE", "ID"]);
    for service in services {
        let age = now.since(service.created_at);
        table.row([
            service.name.clone(),
            words::ready(service),
            words::standing(service),
            words::endpoints(service),
            span::human(Duration::from_secs(age.as_secs())),
            service.id.clone(),
        ]);
    }
    table
}
