//! `skyclaw fleet exec`: runs a command on the fleet.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::args::{SelectArgs, load_fleet};
use super::connect::selected;
use super::error::Failure;
use super::exit::Exit;
use super::output::Output;
use super::perform::{self, Performance};
use super::task_args::RunArgs;
use super::{resume, retry};
use crate::fleet::asked::Asked;
use crate::fleet::dispatch::{Spread, Work, prepare};
use crate::protocol::GroupId;

/// Run a command on the fleet
///
/// The command is an argument list that no shell looks at; --shell takes a line for the host's sh.
/// With --tasks every line is a shell line that runs once, on the next free host.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw fleet exec '@web' -- systemctl is-active nginx\n\n\
Exit codes: 0 every command succeeded, 1 one failed, 2 usage or configuration error, 4 a host was\n\
unreachable, 124 one ran into its limit, 130/143 stopped by a signal.\n\
With exactly one host: the command's own exit code, or 255 if SSH failed."
)]
pub struct Args {
    /// Which hosts.
    #[command(flatten)]
    pub select: SelectArgs,
    /// The command and its arguments
    #[arg(last = true, value_name = "CMD", required_unless_present_any = ["shell", "tasks", "resume", "retry"])]
    pub command: Vec<OsString>,
    /// A line for the host's sh, instead of a command
    #[arg(long, value_name = "LINE", conflicts_with_all = ["command", "tasks"])]
    pub shell: Option<String>,
    /// Go on with a run that was cut off, or tell again what came of it: its id, the beginning of it, or `last`
    #[arg(long, value_name = "RUN", conflicts_with_all = ["command", "shell", "hosts", "on", "hosts_from", "limit", "tasks", "each", "env", "env_from", "cwd", "sudo", "stdin", "timeout", "deadline", "dry_run"])]
    pub resume: Option<String>,
    /// Do again what did not come out well in a run, as a new run: its id, the beginning of it, or `last`
    #[arg(long, value_name = "RUN", conflicts_with_all = ["resume", "command", "shell", "hosts", "on", "hosts_from", "limit", "tasks", "each", "env", "env_from", "cwd", "sudo", "stdin"])]
    pub retry: Option<String>,
    /// Everything else.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Runs the verb.
///
/// # Errors
/// When nothing could be started; what fails on hosts is in the exit code.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if let Some(word) = &args.resume {
        return resume::run(word, "exec", &args.run, false, output).await;
    }
    if let Some(word) = &args.retry {
        return retry::run(word, "exec", &args.run, false, output).await;
    }
    let fleet = load_fleet(&args.run.fleet, output)?;
    let hosts = selected(&fleet, &args.select.selection()?, output)?;
    let lines = match &args.shell {
        Some(line) => vec![line.clone()],
        None => args.run.task.listed_tasks()?,
    };
    let commands: Vec<Vec<Vec<u8>>> = if lines.is_empty() {
        vec![
            args.command
                .iter()
                .map(|word| word.as_bytes().to_vec())
                .collect(),
        ]
    } else {
        lines
            .iter()
            .map(|line| {
                vec![
                    b"/bin/sh".to_vec(),
                    b"-c".to_vec(),
                    line.clone().into_bytes(),
                ]
            })
            .collect()
    };
    let listed = args.run.task.tasks.is_some();
    let spread = if listed && !args.run.task.each {
        Spread::Once
    } else {
        Spread::Each
    };
    let title = perform::title(&if lines.is_empty() {
        vec![
            args.command
                .iter()
                .map(|word| word.to_string_lossy())
                .collect::<Vec<_>>()
                .join(" "),
        ]
    } else {
        lines
    });
    let common = args.run.task.common(listed)?;
    let work = Work::Commands(commands);
    let asked = Asked::of(&work, spread, &common);
    let prepared = prepare(work, spread, common, &hosts)
        .map_err(|error| Failure::usage("exec").because(error))?;
    perform::perform(
        Performance {
            run: GroupId::fresh(),
            kind: "exec",
            title,
            asked,
            fleet: &fleet.path,
            hosts,
            prepared,
            task: &args.run.task,
            show: &args.run.show,
            connect: &args.run.connect,
            strip: false,
            attendant: None,
            one_by_one: false,
        },
        output,
    )
    .await
}
