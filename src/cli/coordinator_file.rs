//! `skyclaw coordinator backup|restore|gc`: the file of a coordinator, whether one serves it or not.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::args::JsonArgs;
use super::coordinator::settings::Kept;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Format, Output};
use crate::protocol::Invalid;
use crate::queue::{self, Queue, sweeper};
use crate::support::clock::{Clock, SystemClock};

/// Where a coordinator keeps its queue unless it is told otherwise.
const DEFAULT_FILE: &str = ".skyclaw/coordinator.db";

/// What can be done with the file of a coordinator.
#[derive(Debug, Subcommand)]
pub enum CoordinatorCommand {
    /// Copy the database into one file, also while the coordinator serves it
    Backup(BackupArgs),
    /// Make the database from a backup; refuses if there is something in it
    Restore(RestoreArgs),
    /// Forget ended jobs that are old, now instead of by and by
    Gc(GcArgs),
}

/// Which database.
#[derive(Debug, Clone, clap::Args)]
pub struct FileArgs {
    /// Database [default: $SKYCLAW_DB_PATH, else .skyclaw/coordinator.db]
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Flags of `coordinator backup`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw coordinator backup /var/backups/skyclaw.db\n\nExit codes: 0 the backup is on disk, 1 it failed, 2 usage error, there is no database, or there is something in FILE."
)]
pub struct BackupArgs {
    /// File to make
    #[arg(value_name = "FILE")]
    pub to: PathBuf,
    /// Which database.
    #[command(flatten)]
    pub file: FileArgs,
}

/// Flags of `coordinator restore`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw coordinator restore /var/backups/skyclaw.db\n\nExit codes: 0 the database is on disk, 1 it failed or the backup is damaged, 2 usage error, there is no backup, or there is something in the database."
)]
pub struct RestoreArgs {
    /// Backup to read
    #[arg(value_name = "FILE")]
    pub from: PathBuf,
    /// Which database.
    #[command(flatten)]
    pub file: FileArgs,
}

/// Flags of `coordinator gc`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw coordinator gc --dry-run\n\nExit codes: 0 done, 1 it failed, 2 usage error or there is no database."
)]
pub struct GcArgs {
    /// Say what would go, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long ended jobs stay, and how many at most [default: $SKYCLAW_RETENTION, else 7d,100000]
    #[arg(long, value_name = "SPAN[,N]")]
    pub retention: Option<String>,
    /// Which database.
    #[command(flatten)]
    pub file: FileArgs,
}

impl CoordinatorCommand {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        match self {
            Self::Backup(args) => args.file.json.format(),
            Self::Restore(args) => args.file.json.format(),
            Self::Gc(args) => args.file.json.format(),
        }
    }
}

impl FileArgs {
    fn path(&self) -> PathBuf {
        let variable = || variable("SKYCLAW_DB_PATH").map(PathBuf::from);
        let given = self.db.clone().or_else(variable);
        given.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
    }

    /// Returns the database, which must be there: opening another one would make it.
    fn existing(&self) -> Result<PathBuf, Failure> {
        let path = self.path();
        existing(&path, "database")?;
        Ok(path)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.trim().is_empty())
}

fn existing(path: &Path, what: &str) -> Result<(), Failure> {
    match path.metadata() {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(Failure::usage(format!("{} is no file", path.display()))),
        Err(error) => {
            let failure = Failure::usage(format!("no {what} at {}", path.display()));
            Err(failure.because(error))
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// When a file cannot be used.
pub async fn run(command: &CoordinatorCommand, output: &Output) -> anyhow::Result<Exit> {
    match command {
        CoordinatorCommand::Backup(args) => {
            let from = args.file.existing()?;
            copy(from, args.to.clone(), queue::back_up, output).await
        }
        CoordinatorCommand::Restore(args) => {
            existing(&args.from, "backup")?;
            copy(args.from.clone(), args.file.path(), queue::restore, output).await
        }
        CoordinatorCommand::Gc(args) => gc(args, output).await,
    }
}

async fn copy(
    from: PathBuf,
    to: PathBuf,
    act: fn(&Path, &Path) -> Result<u64, queue::CopyError>,
    output: &Output,
) -> anyhow::Result<Exit> {
    let target = to.clone();
    let bytes = tokio::task::spawn_blocking(move || act(&from, &target))
        .await?
        .map_err(|error| match error {
            queue::CopyError::NotEmpty { .. } => anyhow::Error::from(
                Failure::usage(error.to_string()).hint("name another file, or move it away first"),
            ),
            other => other.into(),
        })?;
    output.line(&format!("{} ({bytes} bytes)", to.display()));
    output.document(&json!({ "file": to, "bytes": bytes }))?;
    Ok(Exit::Success)
}

async fn gc(args: &GcArgs, output: &Output) -> anyhow::Result<Exit> {
    let path = args.file.existing()?;
    let given = args
        .retention
        .clone()
        .or_else(|| variable("SKYCLAW_RETENTION"));
    let retention = retention(given.as_deref())?;
    let now = SystemClock.now();
    let pruned = if args.dry_run {
        let rule = retention.rule(now);
        tokio::task::spawn_blocking(move || queue::would_prune(&path, now, &rule)).await??
    } else {
        let queue =
            tokio::task::spawn_blocking(move || Queue::open(queue::Options::new(path))).await??;
        sweeper::prune_all(&queue, &retention, now).await?
    };
    let would = if args.dry_run { "would be " } else { "" };
    output.line(&format!(
        "{} jobs, {} groups and {} idempotency keys {would}removed",
        pruned.jobs,
        pruned.groups.len(),
        pruned.keys
    ));
    output.document(&json!({
        "dryRun": args.dry_run, "jobs": pruned.jobs, "groups": pruned.groups.len(), "keys": pruned.keys,
    }))?;
    Ok(Exit::Success)
}

/// Reads `7d`, `12h,5000`; `0` keeps for ever. Groups of a coordinator have no rule of their own.
fn retention(text: Option<&str>) -> Result<sweeper::Retention, Failure> {
    let default = sweeper::Retention {
        keep_groups: None,
        ..sweeper::Retention::default()
    };
    let Some(text) = text else {
        return Ok(default);
    };
    let kept: Kept = text
        .parse()
        .map_err(|error: Invalid| Failure::usage(error.to_string()))?;
    Ok(kept.applied_to(default))
}
