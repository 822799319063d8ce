//! `skyclaw fleet …`: the list of its verbs.

use clap::{Args, Subcommand};

use super::exit::Exit;
use super::output::{Format, Output};
use super::{
    deploy, dispatch, exec, hosts, init, rollback, runs, sandbox, status, teardown, up, validate,
};

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
#[allow(
    missing_docs,
    reason = "a doc here would replace the help text of the arguments"
)]
pub enum Verb {
    Init(init::Args),
    Validate(validate::Args),
    Hosts(hosts::Args),
    Status(status::Args),
    Deploy(Box<deploy::Args>),
    Rollback(rollback::Args),
    Dispatch(Box<dispatch::Args>),
    Exec(Box<exec::Args>),
    Runs(runs::ListArgs),
    Show(runs::ShowArgs),
    Teardown(teardown::Args),
    Sandbox(sandbox::Args),
    Up(Box<up::Args>),
    Down(up::DownArgs),
}

impl Group {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        match &self.verb {
            Verb::Init(_) => Format::Human,
            Verb::Validate(args) => args.format.format(),
            Verb::Hosts(args) => args.format.format(),
            Verb::Status(args) => args.format.format(),
            Verb::Deploy(args) => args.format.format(),
            Verb::Rollback(args) => args.format.format(),
            Verb::Dispatch(args) => args.run.format.format(),
            Verb::Exec(args) => args.run.format.format(),
            Verb::Runs(args) => args.format.format(),
            Verb::Show(args) => args.format.format(),
            Verb::Teardown(args) => args.format.format(),
            Verb::Sandbox(args) => args.json.format(),
            Verb::Up(args) => args.format.format(),
            Verb::Down(args) => args.json.format(),
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
        Verb::Status(args) => status::run(args, output).await,
        Verb::Deploy(args) => deploy::run(args, output).await,
        Verb::Rollback(args) => rollback::run(args, output).await,
        Verb::Dispatch(args) => dispatch::run(args, output).await,
        Verb::Exec(args) => exec::run(args, output).await,
        Verb::Runs(args) => runs::list(args, output).await,
        Verb::Show(args) => runs::show(args, output).await,
        Verb::Teardown(args) => teardown::run(args, output).await,
        Verb::Sandbox(args) => sandbox::run(args, output).await,
        Verb::Up(args) => up::run(args, output).await,
        Verb::Down(args) => up::down(args, output).await,
    }
}
