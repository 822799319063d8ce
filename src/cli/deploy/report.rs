//! What became of each host, as a table, a document or events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::super::exit::Exit;
use super::super::output::{Format, Output};
use super::super::table::Table;
use crate::fleet::deploy::plan::Step;
use crate::fleet::deploy::{Component, DeployError, Deployed, Planned};
use crate::fleet::file::Host;
use crate::ssh;

/// What became of one host.
pub(in crate::cli) enum Outcome {
    /// It is as asked.
    Deployed(Box<Deployed>),
    /// This would be done (`--dry-run`).
    Planned(Box<Planned>),
    /// A step failed.
    Failed(DeployError),
    /// The connection died in the middle.
    Lost(ssh::Error),
    /// There never was a connection.
    NotConnected(ssh::Error),
}

/// One host as JSON shows it.
#[derive(Serialize)]
struct Row {
    name: String,
    result: &'static str,
    version: Option<String>,
    versions: BTreeMap<String, String>,
    /// What runs the host daemon, if it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    seconds: f64,
    created: Vec<String>,
    replaced: Vec<String>,
    steps: Vec<String>,
    warnings: Vec<String>,
    error: Option<String>,
    hint: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'r> {
    dry_run: bool,
    hosts: Vec<&'r Row>,
    summary: &'r BTreeMap<&'static str, usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'r> {
    dry_run: bool,
    summary: &'r BTreeMap<&'static str, usize>,
}

/// Collects what became of the hosts.
pub(in crate::cli) struct Report<'o> {
    rows: Vec<Option<Row>>,
    names: Vec<String>,
    dry_run: bool,
    output: &'o Output,
    broken: Option<anyhow::Error>,
}

impl<'o> Report<'o> {
    pub(in crate::cli) fn new(hosts: &[Arc<Host>], dry_run: bool, output: &'o Output) -> Self {
        Self {
            rows: hosts.iter().map(|_| None).collect(),
            names: hosts.iter().map(|host| host.name.to_string()).collect(),
            dry_run,
            output,
            broken: None,
        }
    }

    /// Takes the outcome of the host at `position`; as an event it is shown at once.
    pub(in crate::cli) fn take(&mut self, position: usize, outcome: Outcome, took: Duration) {
        let name = self.names.get(position).cloned().unwrap_or_default();
        let row = row(name, outcome, took);
        for warning in &row.warnings {
            self.output.note(&format!("{}: {warning}", row.name));
        }
        if let Err(error) = self.output.event("host", &row) {
            self.broken.get_or_insert(error);
        }
        if let Some(slot) = self.rows.get_mut(position) {
            *slot = Some(row);
        }
    }

    /// Shows everything and returns the exit code it means. Hosts without an outcome were cancelled.
    pub(in crate::cli) fn finish(self) -> anyhow::Result<Exit> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let names = self.names.into_iter();
        let rows: Vec<Row> = self
            .rows
            .into_iter()
            .zip(names)
            .map(|(row, name)| row.unwrap_or_else(|| cancelled(name)))
            .collect();
        let mut summary = BTreeMap::new();
        for row in &rows {
            *summary.entry(row.result).or_insert(0) += 1;
        }
        match self.output.format() {
            Format::Human => self.output.table(&table(&rows)),
            Format::Json => self.output.document(&Document {
                dry_run: self.dry_run,
                hosts: rows.iter().collect(),
                summary: &summary,
            })?,
            Format::Ndjson => self.output.event(
                "summary",
                &Summary {
                    dry_run: self.dry_run,
                    summary: &summary,
                },
            )?,
        }
        for row in &rows {
            if let Some(hint) = &row.hint {
                self.output.note(&format!("{}: hint: {hint}", row.name));
            }
        }
        Ok(Exit::fold(rows.iter().map(|row| row.exit)))
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["NAME", "RESULT", "VERSION", "SECONDS", "DETAILS"]);
    for row in rows {
        table.row([
            row.name.clone(),
            row.result.to_owned(),
            row.version.clone().unwrap_or_default(),
            format!("{:.1}", row.seconds),
            details(row),
        ]);
    }
    table
}

fn details(row: &Row) -> String {
    let mut parts = Vec::new();
    parts.extend(row.error.clone());
    parts.extend(row.steps.iter().cloned());
    let files = row.created.iter().chain(&row.replaced);
    let written: Vec<&str> = files.map(String::as_str).collect();
    if !written.is_empty() {
        parts.push(format!("wrote {}", written.join(", ")));
    }
    parts.extend(row.warnings.iter().map(|text| format!("warning: {text}")));
    parts.join("; ")
}

fn empty(name: String, result: &'static str, exit: Exit) -> Row {
    Row {
        name,
        result,
        version: None,
        versions: BTreeMap::new(),
        service: None,
        seconds: 0.0,
        created: Vec::new(),
        replaced: Vec::new(),
        steps: Vec::new(),
        warnings: Vec::new(),
        error: None,
        hint: None,
        exit,
    }
}

fn cancelled(name: String) -> Row {
    Row {
        error: Some("stopped before it was done".to_owned()),
        ..empty(name, "cancelled", Exit::Failed)
    }
}

fn row(name: String, outcome: Outcome, took: Duration) -> Row {
    let mut row = match outcome {
        Outcome::Deployed(deployed) => deployed_row(name, *deployed),
        Outcome::Planned(planned) => planned_row(name, &planned),
        Outcome::Failed(error) => Row {
            hint: error.hint(),
            error: Some(error.to_string()),
            ..empty(name, "failed", Exit::Failed)
        },
        Outcome::Lost(error) => Row {
            hint: error.hint(),
            error: Some(error.chain()),
            ..empty(name, "lost", Exit::Failed)
        },
        Outcome::NotConnected(error) => not_connected_row(name, &error),
    };
    row.seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
    row
}

fn deployed_row(name: String, deployed: Deployed) -> Row {
    let versions =
        |(component, version): &(Component, String)| (component.to_string(), version.clone());
    Row {
        version: deployed
            .versions
            .first()
            .map(|(_, version)| version.clone()),
        versions: deployed.versions.iter().map(versions).collect(),
        service: deployed
            .service
            .map(|service| service.running.manager.to_string()),
        created: deployed.created,
        replaced: deployed.replaced,
        warnings: deployed.warnings,
        ..empty(name, deployed.change.as_str(), Exit::Success)
    }
}

fn planned_row(name: String, planned: &Planned) -> Row {
    let result = if planned.changes() {
        "planned"
    } else {
        "unchanged"
    };
    Row {
        steps: planned.steps.iter().map(Step::to_string).collect(),
        warnings: planned.warnings.clone(),
        ..empty(name, result, Exit::Success)
    }
}

fn not_connected_row(name: String, error: &ssh::Error) -> Row {
    let (result, exit) = match error.kind() {
        ssh::Kind::Unreachable => ("unreachable", Exit::Unreachable),
        ssh::Kind::Auth => ("auth", Exit::Unreachable),
        ssh::Kind::HostKey => ("host-key", Exit::Unreachable),
        ssh::Kind::Lost => ("lost", Exit::Failed),
    };
    Row {
        error: Some(error.chain()),
        hint: error.hint(),
        ..empty(name, result, exit)
    }
}
