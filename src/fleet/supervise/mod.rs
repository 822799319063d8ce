//! Runs one command on a connection, and ends it for certain.
//!
//! What it says comes by way of a session of its own or of a runner (`way.rs`); what that means and which clocks
//! run beside it is the same for both (`task.rs`).

mod backlog;
mod rest;
mod session;
mod task;
mod way;

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use self::task::Task;
use self::way::Way;
use crate::fleet::capture::Capture;
use crate::fleet::remote::Command;
use crate::fleet::run::RunEvent;
use crate::fleet::runner;
use crate::ssh::shell::Marker;
use crate::ssh::{Connection, Error, Exit};
use crate::support::shutdown::{Shutdown, Urgency};

/// After KILL, or when nobody holds the pipes, the channel must close within this time.
const LAST_CALL: Duration = Duration::from_secs(5);

/// Which stream a piece of output belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes output as it arrives, for showing it. May be slow.
pub type Live = tokio::sync::mpsc::Sender<RunEvent>;

/// Limits of one task.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long it may run; none = for ever.
    pub timeout: Option<Duration>,
    /// When the whole run must end.
    pub deadline: Option<Instant>,
    /// Between TERM and KILL.
    pub grace: Duration,
}

/// Why a task was ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It ran into its limit, or the run did.
    TimedOut,
    /// The user asked.
    Stopped,
}

/// Why a task never ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotStarted {
    /// The program is not installed.
    Missing(String),
    /// The directory does not exist.
    NoDirectory(String),
    /// The host's shell did not run our script; this is what it said instead.
    Shell(String),
}

/// How a supervised command came out.
#[derive(Debug)]
pub struct Finished {
    /// Exit status or signal; none = the host never told.
    pub exit: Option<Exit>,
    /// Set if we ended it.
    pub ended: Option<Ended>,
    /// Set if it never ran.
    pub not_started: Option<NotStarted>,
    /// Set if the connection died first.
    pub lost: Option<Error>,
    /// Whether anything was sent. Not, and it has not run for certain.
    pub sent: bool,
    /// Whether something still held its pipes when it was gone.
    pub pipe_held: bool,
    /// Live output that was not shown because its reader was too slow, in bytes.
    pub unseen: u64,
    /// From its start to its end.
    pub took: Duration,
}

/// Where the output of one task goes.
#[derive(Debug)]
pub struct Sink {
    /// The record of stdout.
    pub stdout: Capture,
    /// The record of stderr.
    pub stderr: Capture,
    /// The live view, and the number by which it knows this task.
    pub live: Option<(usize, Live)>,
}

/// Runs `command` and returns when nothing of it can say anything more.
///
/// The first command that a connection carries has a session of its own, which costs least for one; those after it
/// share runners where the host and the command allow.
pub async fn run(
    connection: &Connection,
    command: &Command,
    limits: Limits,
    sink: &mut Sink,
    shutdown: &mut Shutdown,
) -> Finished {
    let marker = Marker::fresh();
    let way = match open(connection, command, &marker, limits, shutdown).await {
        Ok(way) => way,
        Err(finished) => return *finished,
    };
    let mut task = Task::new(connection, way, marker.reply(), limits, sink);
    task.run(shutdown).await;
    let (way, finished, is_clean) = task.into_result();
    match way {
        Way::Session(_) => connection.parked().earn(),
        Way::Runner(runner) if is_clean => runner.give_back(connection),
        Way::Runner(_) => {}
    }
    finished
}

/// Sends the command. Fails with how it came out, if it cannot have run.
async fn open<'c>(
    connection: &'c Connection,
    command: &Command,
    marker: &Marker,
    limits: Limits,
    shutdown: &Shutdown,
) -> Result<Way<'c>, Box<Finished>> {
    let lost = |(error, sent)| Box::new(Finished::lost(error, sent));
    // Nothing of the command is sent before there is a runner.
    let runner = tokio::select! {
        biased;
        runner = runner::runner_for(connection, command) => runner,
        ended = called_off(limits.deadline, shutdown.clone()) => {
            let ended = Some(ended);
            return Err(Box::new(Finished { ended, sent: false, ..Finished::new() }));
        }
    };
    if let Some(mut runner) = runner.map_err(|error| lost((error, false)))? {
        let sent = runner.begin(command, &marker.reply(), limits.grace).await;
        sent.map_err(|error| lost((error, true)))?;
        return Ok(Way::Runner(Box::new(runner)));
    }
    let session = session::Session::open(connection, command, marker, limits.grace).await;
    Ok(Way::Session(Box::new(session.map_err(lost)?)))
}

/// Waits until the command need not be started any more.
async fn called_off(deadline: Option<Instant>, mut shutdown: Shutdown) -> Ended {
    tokio::select! {
        () = shutdown.reached(Urgency::Stop) => Ended::Stopped,
        () = at(deadline) => Ended::TimedOut,
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

impl Finished {
    fn new() -> Self {
        Self {
            exit: None,
            ended: None,
            not_started: None,
            lost: None,
            sent: true,
            pipe_held: false,
            unseen: 0,
            took: Duration::ZERO,
        }
    }

    fn lost(error: Error, sent: bool) -> Self {
        Self {
            lost: Some(error),
            sent,
            ..Self::new()
        }
    }
}
