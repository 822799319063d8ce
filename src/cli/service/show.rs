//! `skyclaw service show`: everything about one service but its whole output.

use std::time::Duration;

use serde_json::json;

use super::names::HostNames;
use super::{OneService, names, shown, words};
use crate::cli::args::JsonArgs;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::cli::table::Table;
use crate::protocol::api::service::{DRAIN_MS, READY_MS};
use crate::protocol::api::{Restart, ServiceRecord, Speaks};
use crate::support::span;

/// Show everything about a service but its whole output
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw service show api\n\nExit codes: 0 shown, 1 there is no such service, 2 usage or configuration error, 69 no coordinator could be reached."
)]
pub struct Args {
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Which service.
    #[command(flatten)]
    pub service: OneService,
}

/// Runs the verb.
///
/// # Errors
/// When there is no such service or the coordinator cannot be asked.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let client = args.service.coordinator.client()?;
    let service = shown(&names::find(&client, &args.service.service).await?);
    output.document(&json!({ "service": service }))?;
    let mut hosts = HostNames::default();
    hosts.learn(&client, std::slice::from_ref(&service)).await;
    for (name, value) in facts(&service) {
        output.fact(name, &value);
    }
    if !service.assignments.is_empty() {
        output.line("");
        output.table(&replicas(&service, &hosts));
    }
    for one in &service.assignments {
        if let Some(text) = &one.last_output {
            output.line("");
            let replica = hosts.replica(&service, one);
            output.line(&format!("the last output on {replica}:"));
            output.line(&words::indented(text));
        }
    }
    Ok(Exit::Success)
}

fn facts(service: &ServiceRecord) -> Vec<(&'static str, String)> {
    let pairs = |all: &Option<std::collections::BTreeMap<String, String>>| -> String {
        let pairs = all.iter().flatten();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join(" ")
    };
    let restart = match service.restart {
        Restart::Always => "always",
        Restart::OnFailure => "on failure",
        Restart::Never => "never",
    };
    // Everything does the other.
    let speaks = match service.protocol {
        Some(Speaks::H2c) => "HTTP/2 without TLS".to_owned(),
        Some(Speaks::Http1) | None => String::new(),
    };
    let after = |millis: Option<u64>, usual: u64| {
        span::human(Duration::from_millis(millis.unwrap_or(usual)))
    };
    let all = [
        ("service", service.name.clone()),
        ("id", service.id.clone()),
        ("state", words::standing(service)),
        ("ready", words::ready(service)),
        (
            "update",
            service
                .update_error
                .clone()
                .or_else(|| service.update_waits.clone())
                .unwrap_or_default(),
        ),
        ("command", words::command(service)),
        ("directory", service.cwd.clone().unwrap_or_default()),
        ("env", pairs(&service.env)),
        ("secrets", pairs(&service.secret_env)),
        ("needs", service.required_capabilities.join(", ")),
        (
            "health",
            service
                .health
                .clone()
                .unwrap_or_else(|| "the port accepts connections".to_owned()),
        ),
        ("speaks", speaks),
        ("ready within", after(service.ready_ms, READY_MS)),
        ("drain", after(service.drain_ms, DRAIN_MS)),
        ("restart", restart.to_owned()),
        ("generation", service.generation.to_string()),
        ("created", service.created_at.to_string()),
        ("changed", service.updated_at.to_string()),
    ];
    all.into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

fn replicas(service: &ServiceRecord, hosts: &HostNames) -> Table {
    let mut table = Table::new([
        "HOST", "PHASE", "GEN", "RESTARTS", "SINCE", "ENDPOINT", "DETAILS", "ID",
    ]);
    for one in &service.assignments {
        table.row([
            hosts.of(&one.host_id).to_owned(),
            words::phase_word(words::phase(one)).to_owned(),
            one.generation.to_string(),
            one.restarts.to_string(),
            one.updated_at.to_string(),
            one.endpoint.clone().unwrap_or_default(),
            one.error.clone().unwrap_or_default(),
            one.id.clone(),
        ]);
    }
    table
}
