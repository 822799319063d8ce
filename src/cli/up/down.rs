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
    let given = running.drain_ms.map_or(DRAIN, Duration::from_millis);
    let patience = if args.now {
        NOW
    } else {
        given.saturating_add(BEYOND)
    };
    if end(&place, running.pid, args.now, patience).await? {
        output.note(&format!(
            "controller {} did not end and was killed",
            running.pid
        ));
    }
    output.line(&format!("controller {} has ended", running.pid));
    output.document(&json!({ "stopped": running.pid }))?;
    Ok(Exit::Success)
}

/// Ends a controller. Tells whether it had to be killed, which is done only if it is to go `now`.
async fn end(place: &Place, pid: i32, now: bool, patience: Duration) -> anyhow::Result<bool> {
    signal(pid, Signal::TERM)?;
    if now {
        // Another signal, because two of the same kind may arrive as one.
        signal(pid, Signal::INT)?;
    }
    if ends(place, pid, patience).await? {
        return Ok(false);
    }
    if now {
        // Its number cannot be another's: it has just been seen to hold the lock.
        signal(pid, Signal::KILL)?;
        if ends(place, pid, KILLED).await? {
            return Ok(true);
        }
    }
    Err(stuck(pid, patience, now).into())
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::fleet::controller::Taken;

    #[tokio::test]
    async fn one_that_does_not_end_is_a_failure_and_lives_on() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path().to_owned());
        let Taken::Ours(mut lock) = place.take().unwrap() else {
            panic!("nobody else is there");
        };
        let mut deaf = Command::new("sh")
            .args(["-c", "trap '' TERM; echo deaf; exec sleep 600"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 5];
        std::io::Read::read_exact(deaf.stdout.as_mut().unwrap(), &mut said).unwrap();
        let pid = i32::try_from(deaf.id()).unwrap();
        lock.say(&Running {
            pid,
            url: None,
            drain_ms: Some(0),
            fleet: None,
            hosts: None,
        })
        .unwrap();
        let ended = end(&place, pid, false, Duration::from_millis(200)).await;
        let lives = deaf.try_wait().unwrap().is_none();
        deaf.kill().unwrap();
        deaf.wait().unwrap();
        let failure = ended.unwrap_err();
        assert_eq!(crate::cli::error::classify(&failure).0, Exit::Failed);
        let text = format!("the controller {pid} has not ended within 0 s");
        assert_eq!(failure.to_string(), text);
        assert!(lives, "it was only asked");
        drop(lock);
        // Somebody else's end is not waited for.
        assert!(ends(&place, pid, Duration::ZERO).await.unwrap());
    }
}
