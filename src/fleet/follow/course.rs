//! What is followed: the jobs of a run, where each belongs, and why a run cannot be followed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::client;
use crate::fleet::file::{Host, HostName};
use crate::fleet::link::Links;
use crate::protocol::{GroupId, JobId, Payload};

/// Where one job of a run belongs.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its job.
    pub job: JobId,
    /// Which task, from 0.
    pub task: usize,
    /// The host it must run on; none = any.
    pub host: Option<usize>,
    /// What it runs.
    pub payload: Payload,
}

/// Our own way to the hosts, to find out why one is not there.
pub struct Reach {
    /// How they are connected to.
    pub links: Links,
    /// The hosts, in the order of the run.
    pub hosts: Vec<Arc<Host>>,
}

/// What is followed, and how.
pub struct Course {
    /// The run.
    pub group: GroupId,
    /// Its jobs, in order.
    pub places: Vec<Place>,
    /// Its hosts, in order.
    pub names: Vec<HostName>,
    /// When it must end.
    pub deadline: Option<Duration>,
    /// Between TERM and KILL.
    pub grace: Duration,
    /// Our own way to the hosts, if we have one.
    pub reach: Option<Reach>,
    /// How long a host may be away before its tasks are `unreachable`; none = for ever.
    pub connect: Option<Duration>,
    /// The most output kept of a stream, in bytes.
    pub max_output: Option<u64>,
    /// Where output too large for memory goes.
    pub directory: PathBuf,
    /// Whether output is told while it comes.
    pub live: bool,
}

/// A run that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The coordinator did not take it. Nothing runs.
    #[error("`fleet up` did not take the run")]
    Submit(#[source] client::Error),
    /// The coordinator may have taken it and gone before it could say so.
    #[error(
        "`fleet up` does not answer; it may have taken the run: `skyclaw fleet {kind} --resume {run}` finds out"
    )]
    Unsure {
        /// The run.
        run: GroupId,
        /// The verb that made it.
        kind: String,
        /// Why.
        #[source]
        source: client::Error,
    },
    /// The coordinator is gone. What it was given goes on when it is back.
    #[error("`fleet up` is gone; run {run} goes on when it is back")]
    Away {
        /// The run.
        run: GroupId,
        /// Why.
        #[source]
        source: client::Error,
    },
}

impl Course {
    pub(super) fn file_name(&self, unit: usize, place: &Place, ending: &str) -> String {
        match place.host.and_then(|at| self.names.get(at)) {
            Some(name) => format!("{name}-{unit}.{ending}"),
            None => format!("any-{unit}.{ending}"),
        }
    }
}
