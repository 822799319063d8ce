//! `skyclaw peer remove --force-new-cluster`: the last survivor goes on alone, because a person decides it.

use std::path::PathBuf;

use serde_json::json;

use super::RemoveArgs;
use crate::cli::coordinator::serving;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::queue::cluster::force_new_cluster;

/// What everybody should know before.
const WARNING: &str = "This makes the coordinator of this machine the only member of a new cluster, with what its database has.\n\
- Whatever the others acknowledged and this one has not heard of is lost. Nobody can tell what that is.\n\
- If a majority of the others is alive, they go on as well, and there are two queues that run the same jobs: stop them first.\n\
- None of the others may come back with its data; it would be refused. Wipe them (move the database and the files beside it away), then let them join this one anew.";

/// Runs it.
///
/// # Errors
/// When nobody agrees, a coordinator serves the database, or it is none of a member.
pub async fn run(args: &RemoveArgs, output: &Output) -> anyhow::Result<Exit> {
    let path = args.db.clone().unwrap_or_else(default_file);
    if !path.is_file() {
        return Err(Failure::usage(format!("no database at {}", path.display()))
            .hint("name it with --db FILE")
            .into());
    }
    // Before the question: whoever answers it should not wait for the refusal.
    let _serving = serving::claim(&path)?;
    for line in WARNING.lines() {
        output.note(line);
    }
    let question = format!("Make {} a new cluster by itself?", path.display());
    if !output.confirm(&question, args.yes).await? {
        output.note("nothing was done");
        return Ok(Exit::Failed);
    }
    let file = path.clone();
    let forced = tokio::task::spawn_blocking(move || force_new_cluster(&file)).await??;
    output.line(&format!(
        "{} is the only member of the new cluster {}",
        forced.id, forced.cluster
    ));
    for (id, member) in &forced.dropped {
        output.line(&format!("{} at {} is out ({id})", member.name, member.url));
    }
    if forced.adopted > 0 {
        output.note(&format!(
            "{} entries of its log were kept that it did not know to be agreed on",
            forced.adopted
        ));
    }
    let dropped: Vec<_> = forced
        .dropped
        .iter()
        .map(|(id, member)| json!({ "id": id, "name": member.name, "url": member.url }))
        .collect();
    output.document(&json!({
        "id": forced.id, "cluster": forced.cluster, "dropped": dropped, "adopted": forced.adopted,
        "applied": forced.applied,
    }))?;
    Ok(Exit::Success)
}

fn default_file() -> PathBuf {
    let named = std::env::var_os("SKYCLAW_DB_PATH").filter(|path| !path.is_empty());
    named.map_or_else(|| PathBuf::from(".skyclaw/coordinator.db"), PathBuf::from)
}
