//! What an assignment means on this host: which program, with which arguments and variables, and where.

use std::path::Path;
use std::time::Duration;

use crate::host::allow::Refusal;
use crate::host::kinds::Kinds;
use crate::host::runner::Task;
use crate::host::watch::processes::ONLY;
use crate::protocol::JobId;
use crate::protocol::api::WantedAssignment;
use crate::support::paths;

/// One run of an assignment's program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'r> {
    /// Names this run for the watcher, as a job's id names a job.
    pub id: JobId,
    pub port: u16,
    /// Where it runs if it names no directory.
    pub home: &'r Path,
}

/// Returns what to run, or why this host never will.
pub(super) fn of(kinds: &Kinds, wanted: &WantedAssignment, run: Run<'_>) -> Result<Task, String> {
    let command = &wanted.command;
    let program = kinds
        .allowed
        .program(command, &wanted.args)
        .map_err(|why| match why {
            Refusal::NotAllowed => format!("command not allowed: {command}"),
            Refusal::Missing => {
                format!("spawn {command} ENOENT: there is no such program on this host")
            }
        })?;
    let port = run.port.to_string();
    let own = [
        ("PORT", port.as_str()),
        ("SKYCLAW_PORT", port.as_str()),
        ("SKYCLAW_SERVICE_ID", wanted.service_id.as_str()),
        ("SKYCLAW_SERVICE_NAME", wanted.name.as_str()),
        ("SKYCLAW_ASSIGNMENT_ID", wanted.assignment_id.as_str()),
    ];
    // A secret of the same name is the one that is meant.
    let given = [&wanted.env, &wanted.secret_env];
    let env = kinds
        .environment
        .for_service(run.id, &given, &own)
        .map_err(|name| format!("environment variable not allowed: {name}"))?;
    let directory = match &wanted.cwd {
        Some(named) => kinds.directory(named).map_err(|(_, text)| text)?,
        None => {
            paths::create_private_dir(run.home).map_err(|error| {
                format!(
                    "make a directory for it: {}",
                    crate::support::chain::chain(&error)
                )
            })?;
            run.home.to_owned()
        }
    };
    Ok(Task {
        job: run.id,
        attempt: ONLY,
        program,
        name: command.clone(),
        args: wanted.args.iter().map(Into::into).collect(),
        env,
        directory,
        scratch: None,
        keep_failed: false,
        input: None,
        limit: Duration::MAX,
        grace: Duration::ZERO,
        max_output: 0,
    })
}
