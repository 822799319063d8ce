//! `skyclaw fleet validate`: says everything that is wrong with the fleet file.

use std::path::Path;

use serde::Serialize;

use super::args::load_fleet;
use super::args::{FleetArgs, JsonArgs};
use super::exit::Exit;
use super::output::{Format, Output, problem_line};
use crate::fleet::file::{Error, Fleet, Level, Overrides, Problem};

/// Check the fleet file
///
/// Every problem is shown with its line, column and JSON pointer. Warnings do not make the file invalid.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw fleet validate --config fleet.json\n\nExit codes: 0 valid, 2 invalid, missing or unreadable."
)]
pub struct Args {
    /// Which fleet file.
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// How to print.
    #[command(flatten)]
    pub format: JsonArgs,
}

#[derive(Serialize)]
struct Report<'r> {
    path: &'r Path,
    valid: bool,
    hosts: usize,
    errors: Vec<&'r Problem>,
    warnings: Vec<&'r Problem>,
}

/// Runs the verb.
///
/// # Errors
/// When the file is missing or cannot be read.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let path = args.fleet.path()?;
    let (problems, hosts) = match Fleet::load(&path, &Overrides::from_process()?) {
        Ok(fleet) => (fleet.warnings, Some(fleet.hosts.len())),
        Err(Error::Invalid { problems, .. }) => (problems, None),
        Err(Error::Missing { .. }) => {
            return load_fleet(&args.fleet, output).map(|_| Exit::Success);
        }
        Err(error) => return Err(error.into()),
    };
    let of = |level| {
        problems
            .iter()
            .filter(move |problem| problem.level == level)
    };
    let report = Report {
        path: &path,
        valid: hosts.is_some(),
        hosts: hosts.unwrap_or(0),
        errors: of(Level::Error).collect(),
        warnings: of(Level::Warning).collect(),
    };
    if output.format() == Format::Json {
        output.document(&report)?;
    } else {
        for problem in &problems {
            output.line(&problem_line(&path, problem));
        }
        output.line(&verdict(&report));
    }
    Ok(if report.valid {
        Exit::Success
    } else {
        Exit::Usage
    })
}

fn verdict(report: &Report<'_>) -> String {
    let word = if report.valid { "valid" } else { "invalid" };
    let mut parts = Vec::new();
    if report.valid {
        parts.push(counted(report.hosts, "host"));
    } else {
        parts.push(counted(report.errors.len(), "error"));
    }
    if !report.warnings.is_empty() {
        parts.push(counted(report.warnings.len(), "warning"));
    }
    format!("{}: {word}, {}", report.path.display(), parts.join(", "))
}

fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
