//! `skyclaw fleet down`: ends the controller that runs.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::sleep;

use super::serve::DRAIN;
use crate::cli::args::JsonArgs;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::fleet::controller::{Place, Running, Seen};

/// How often it is looked whether it is gone.
const LOOK: Duration = Duration::from_millis(50);
/// How long it may take beyond what its jobs are given: they are ended, reported, and connections closed.
const BEYOND: Duration = Duration::from_secs(90);
/// How long it may take when nothing is waited for, before it is killed.
const NOW: Duration = Duration::from_secs(30);
/// How long a killed process may stay.
const KILLED: Duration = Duration::from_secs(10);
/// A controller that has only just taken the lock says who it is by then.
const NEW: Duration = Duration::from_secs(5);

/// End the controller that `fleet up` started
///
/// It takes no more work; running jobs get SKYCLAW_DRAIN_MS (30 s) to end, then they are ended and go back to the
/// queue as their tries allow. Waits until it is gone, but not for ever.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw fleet down --now\n\nExit codes: 0 none runs any more, 1 it cannot be ended."
)]
pub struct DownArgs {
    /// End running jobs at once; kill the controller if it is not gone after 30 s
    #[arg(long)]
    pub now: bool,
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Runs the verb.
///
/// # Errors
/// When the lock cannot be used or the process cannot be signalled.
pub async fn run(args: &DownArgs, output: &Output) -> anyhow::Result<Exit> {
    let place = Place::of_this_machine()?;
    let Some(running) = who(&place).await? else {
        output.line("no controller runs");
        output.document(&json!({ "stopped": null }))?;
        return Ok(Exit::Success);
    };
    signal(running.pid, Signal::TERM)?;
    if args.now {
        // Another signal, because two of the same kind may arrive as one.
        signal(running.pid, Signal::INT)?;
    }
    let given = running.drain_ms.map_or(DRAIN, Duration::from_millis);
    let patience = if args.now {
        NOW
    } else {
        given.saturating_add(BEYOND)
    };
    let mut gone = ends(&place, running.pid, patience).await?;
    if !gone && args.now {
        // Its number cannot be another's: it has just been seen to hold the lock.
        signal(running.pid, Signal::KILL)?;
        output.note(&format!(
            "controller {} did not end and was killed",
            running.pid
        ));
        gone = ends(&place, running.pid, KILLED).await?;
    }
    if !gone {
        return Err(stuck(running.pid, patience, args.now).into());
    }
    output.line(&format!("controller {} has ended", running.pid));
    output.document(&json!({ "stopped": running.pid }))?;
    Ok(Exit::Success)
}

/// Waits for the end of a controller. Tells whether it came within `patience`.
async fn ends(place: &Place, pid: i32, patience: Duration) -> anyhow::Result<bool> {
    let since = Instant::now();
    loop {
        match place.look()? {
            Seen::Nobody => return Ok(true),
            // The next one runs already.
            Seen::Running(other) if other.pid != pid => return Ok(true),
            // It may just be writing down who it is.
            Seen::Running(_) | Seen::Somebody => {}
        }
        if since.elapsed() > patience {
            return Ok(false);
        }
        sleep(LOOK).await;
    }
}

fn stuck(pid: i32, patience: Duration, now: bool) -> Failure {
    let text = format!(
        "the controller {pid} has not ended within {} s",
        patience.as_secs()
    );
    let hint = match now {
        true => "it cannot even be killed: the machine's disk or kernel may hold it",
        false => "it may be stopped or stuck: `skyclaw fleet down --now` ends it whatever it does",
    };
    Failure::new(Exit::Failed, text).hint(hint)
}

/// Returns the controller that runs, if one does.
///
/// # Errors
/// When the lock cannot be used, or does not tell who holds it.
pub async fn who(place: &Place) -> anyhow::Result<Option<Running>> {
    let since = Instant::now();
    let mut before = None;
    loop {
        match place.look()? {
            Seen::Nobody => return Ok(None),
            // Said twice, because what stands there in the very first moment is about the one before.
            Seen::Running(running) if before.as_ref() == Some(&running.pid) => {
                return Ok(Some(running));
            }
            Seen::Running(running) => before = Some(running.pid),
            Seen::Somebody if since.elapsed() > NEW => {
                return Err(
                    Failure::new(Exit::Failed, "a controller runs and does not say which")
                        .hint("try again in a moment")
                        .into(),
                );
            }
            Seen::Somebody => {}
        }
        sleep(LOOK).await;
    }
}

fn signal(pid: i32, signal: Signal) -> Result<(), Failure> {
    let failed = |error: rustix::io::Errno| {
        Failure::new(Exit::Failed, format!("signal the controller {pid}")).because(error)
    };
    let Some(pid) = Pid::from_raw(pid) else {
        return Err(failed(rustix::io::Errno::SRCH));
    };
    match kill_process(pid, signal) {
        // Gone in this moment, which is what was wanted.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
