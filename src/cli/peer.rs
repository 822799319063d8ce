//! `skyclaw peer list|remove|leave`: the coordinators of a cluster.

mod force;
mod list;

use std::path::PathBuf;

use clap::Subcommand;

use super::args::JsonArgs;
use super::coordinators::CoordinatorArgs;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Format, Output};
use crate::protocol::api::{Peers, RemovePeer};

/// Look at the coordinators of a cluster, and take some out
#[derive(Debug, clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Example: skyclaw peer list\n\nExit codes: 0 done, 1 the coordinator refused, 2 usage or configuration error, 69 no coordinator could be reached."
)]
pub struct Group {
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be done with coordinators.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the coordinators: who leads, who votes, how far behind each is, how its clock goes
    List(ListArgs),
    /// Take a coordinator out of the cluster, also one that is gone for good
    Remove(RemoveArgs),
    /// Let a coordinator leave its cluster and end
    Leave(LeaveArgs),
}

/// Flags of `peer list`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw peer list --coordinator http://a:8787\n\nExit codes: 0 listed, 1 the coordinator refused, 2 usage or configuration error, 69 no coordinator could be reached."
)]
pub struct ListArgs {
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// Flags of `peer remove`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: skyclaw peer remove http://c:8787\n\n\
When a majority is lost for good, nothing can be written any more. Then, on the machine of one that is left, with its coordinator stopped: \
skyclaw peer remove --force-new-cluster\n\n\
Exit codes: 0 done, 1 refused (no such member, the others could not go on, no majority), 2 usage or configuration error, 69 no coordinator could be reached.")]
pub struct RemoveArgs {
    /// The coordinator: its id, its name or its URL, as `peer list` shows them
    #[arg(
        value_name = "MEMBER",
        required_unless_present = "force_new_cluster",
        conflicts_with = "force_new_cluster"
    )]
    pub member: Option<String>,
    /// Make the coordinator of this machine, which must be stopped, the only member of a new cluster: all others are
    /// out. What it has not heard of is lost
    #[arg(long)]
    pub force_new_cluster: bool,
    /// Its database [default: $SKYCLAW_DB_PATH, else .skyclaw/coordinator.db]
    #[arg(long, value_name = "FILE", requires = "force_new_cluster")]
    pub db: Option<PathBuf>,
    /// Do not ask
    #[arg(short, long, requires = "force_new_cluster")]
    pub yes: bool,
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// Flags of `peer leave`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw peer leave --coordinator http://c:8787\n\nExit codes: 0 it has left, 1 refused (it is in no cluster, the others could not go on), 2 usage or configuration error, 69 it could not be reached."
)]
pub struct LeaveArgs {
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

impl Group {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        match &self.verb {
            Verb::List(args) => args.json.format(),
            Verb::Remove(args) => args.json.format(),
            Verb::Leave(args) => args.json.format(),
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// When the coordinator cannot be asked, or refuses.
pub async fn run(group: &Group, output: &Output) -> anyhow::Result<Exit> {
    match &group.verb {
        Verb::List(args) => {
            let peers = args.coordinator.client()?.network().await?;
            list::print(&peers, output)?;
        }
        Verb::Remove(args) if args.force_new_cluster => return force::run(args, output).await,
        Verb::Remove(args) => {
            let word = args.member.as_deref().unwrap_or_default();
            let client = args.coordinator.client()?;
            let peers = client.remove_peer(&meant(word)).await?;
            output.line(&format!("{word} removed"));
            output.document(&peers)?;
        }
        Verb::Leave(args) => {
            let peers = leave(args).await?;
            output.line(&format!("{} has left", peers.node_id));
            output.document(&peers)?;
        }
    }
    Ok(Exit::Success)
}

/// Returns what a word means: an address, the id of a member, or a name.
fn meant(word: &str) -> RemovePeer {
    let word = word.to_owned();
    let is_id = word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    if word.contains("://") {
        RemovePeer {
            url: Some(word),
            ..RemovePeer::default()
        }
    } else if is_id {
        RemovePeer {
            id: Some(word),
            ..RemovePeer::default()
        }
    } else {
        RemovePeer {
            name: Some(word),
            ..RemovePeer::default()
        }
    }
}

async fn leave(args: &LeaveArgs) -> anyhow::Result<Peers> {
    let client = args.coordinator.client()?;
    // Whichever of several answers first is not the one that somebody had in mind.
    if client.urls().len() > 1 {
        return Err(
            Failure::usage("several coordinators are named: which one is to leave?")
                .hint("name it with --coordinator URL")
                .into(),
        );
    }
    Ok(client.leave().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_named_by_url_id_or_name() {
        assert!(meant("http://a:8787").url.is_some());
        assert!(meant("00000000000000ab").id.is_some());
        assert!(meant("node_ab").name.is_some());
    }
}
