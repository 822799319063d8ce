//! `skyclaw service …`: the list of its verbs, and what they share.

pub mod arrange;
mod change;
pub mod deploy;
mod environment;
mod goal;
pub mod list;
mod logs;
mod names;
#[cfg(test)]
mod samples;
mod screen;
mod show;
mod wait;
mod words;

use clap::{Args, Subcommand};

use super::coordinators::CoordinatorArgs;
use super::exit::Exit;
use super::output::{Format, Output};
use crate::protocol::api::{ChangeService, ServiceRecord};

pub use arrange::arrange;

/// Work with services: processes that should always run
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Example: skyclaw service list\n\nExit codes: 0 done, 1 something failed, 2 usage or configuration error, 69 no coordinator could be reached; each command's help lists its own."
)]
pub struct Group {
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be done with services.
#[derive(Debug, Subcommand)]
#[allow(
    missing_docs,
    reason = "a doc here would replace the help text of the arguments"
)]
pub enum Verb {
    Deploy(Box<deploy::Args>),
    List(list::Args),
    Show(show::Args),
    Logs(logs::Args),
    /// Run it on more or fewer hosts
    Scale(change::ScaleArgs),
    /// Replace its processes, one after the other
    Restart(change::Args),
    /// End it everywhere but keep it; open requests get their time
    Stop(change::Args),
    /// Run it again
    Start(change::Args),
    /// End it everywhere and forget it
    Rm(change::Args),
}

impl Group {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        match &self.verb {
            Verb::Deploy(args) => args.format(),
            Verb::List(args) => args.format.format(),
            Verb::Show(args) => args.json.format(),
            Verb::Logs(args) => args.format(),
            Verb::Scale(args) => args.change.format(),
            Verb::Restart(args) | Verb::Stop(args) | Verb::Start(args) | Verb::Rm(args) => {
                args.format()
            }
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// As the verb does.
pub async fn run(group: &Group, output: &Output) -> anyhow::Result<Exit> {
    match &group.verb {
        Verb::Deploy(args) => deploy::run(args, output).await,
        Verb::List(args) => list::run(args, output).await,
        Verb::Show(args) => show::run(args, output).await,
        Verb::Logs(args) => logs::run(args, output).await,
        Verb::Scale(args) => args.change.run(args.change(), output).await,
        Verb::Restart(args) => args.run(ChangeService::Restart, output).await,
        Verb::Stop(args) => args.run(ChangeService::Stop, output).await,
        Verb::Start(args) => args.run(ChangeService::Start, output).await,
        Verb::Rm(args) => args.run(ChangeService::Remove, output).await,
    }
}

/// For verbs about one service.
#[derive(Debug, Clone, Args)]
pub struct OneService {
    /// The service: its name, or its id if several have the name
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// Returns a record to be printed: nothing secret is in it, whatever the coordinator sent.
fn shown(service: &ServiceRecord) -> ServiceRecord {
    service.clone().masked()
}
