//! `skyclaw fleet …`: the list of its verbs.

use clap::{Args, Subcommand};

use super::exit::Exit;
use super::output::{Format, Output};
use super::{hosts, init, sandbox, validate};

/// Work with the fleet of SSH hosts
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Example: skyclaw fleet hosts 'web*'\n\nExit codes: 0 done, 1 something failed, 2 usage or configuration error; each command's help lists its own."
)]
pub struct Group {
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be done with a fleet.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write a fleet file to start from, unless there is one
    Init(init::Args),
    /// Check the fleet file
    Validate(validate::Args),
    /// Show which hosts a selection means
    Hosts(hosts::Args),
    /// Serve a fleet of SSH hosts on this machine, to try things on
    Sandbox(sandbox::Args),
}

impl Group {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        match &self.verb {
            Verb::Init(_) => Format::Human,
            Verb::Validate(args) => args.format.format(),
            Verb::Hosts(args) => args.format.format(),
            Verb::Sandbox(args) => args.json.format(),
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// As the verb does.
pub async fn run(group: &Group, output: &Output) -> anyhow::Result<Exit> {
    match &group.verb {
        Verb::Init(args) => init::run(args, output),
        Verb::Validate(args) => validate::run(args, output),
        Verb::Hosts(args) => hosts::run(args, output),
        Verb::Sandbox(args) => sandbox::run(args, output).await,
    }
}
