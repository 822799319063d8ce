//! What a run is to do, and how that is handed in to the queue.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::fleet::attend::Attendant;
use crate::fleet::file::Host;
use crate::fleet::remote::Command;
use crate::protocol::{GroupId, JobId, Payload, Requirement};
use crate::queue::{IntoGroup, NewGroup, NewJob, Submit};

/// One job of a run.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its job.
    pub job: JobId,
    /// Which task, from 0.
    pub task: usize,
    /// The host it must run on; none = any.
    pub host: Option<usize>,
    /// What the queue keeps of it.
    pub payload: Payload,
}

/// Makes the command of a unit for a host.
pub type MakeCommand = dyn Fn(&Unit, &Host) -> Command + Send + Sync;

/// A local file for the standard input of every task.
#[derive(Debug, Clone)]
pub struct InputFile {
    /// Where it is on this machine.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

/// All that a run needs to know.
pub struct Plan {
    /// What makes it: `dispatch` or `exec`.
    pub kind: &'static str,
    /// One line for people; without secrets.
    pub title: String,
    /// What `fleet show` wants to know later; without secrets.
    pub meta: Payload,
    /// The hosts, in order.
    pub hosts: Vec<Arc<Host>>,
    /// The jobs, in order.
    pub units: Vec<Unit>,
    /// What to run.
    pub command: Box<MakeCommand>,
    /// What every task gets on its standard input, if not what its command says.
    pub input: Option<InputFile>,
    /// Who installs the agent first and cleans up afterwards, if anybody.
    pub attendant: Option<Arc<Attendant>>,
    /// Whether the hosts are tried in order, one after the other, until one takes the work.
    pub one_by_one: bool,
    /// Limit of each task where its host sets none.
    pub timeout: Option<Duration>,
    /// When the run must end.
    pub deadline: Option<Duration>,
    /// Between TERM and KILL.
    pub grace: Duration,
    /// The most output kept of a stream, in bytes.
    pub max_output: Option<u64>,
    /// Where output too large for memory goes.
    pub directory: PathBuf,
    /// Whether output is shown while it comes.
    pub live: bool,
}

/// Returns what the queue is asked to take.
pub(super) fn submission(plan: &Plan, group: GroupId, parent: Option<GroupId>) -> Submit {
    let jobs = plan.units.iter().map(|unit| NewJob {
        id: unit.job,
        requirement: Requirement {
            hosts: unit
                .host
                .and_then(|at| plan.hosts.get(at))
                .map(|host| host.name.to_string())
                .into_iter()
                .collect(),
            ..Requirement::default()
        },
        // Tasks may have effects: one that was cut off is looked at by a person before it runs again.
        max_attempts: 1,
        timeout_ms: plan
            .timeout
            .and_then(|limit| u64::try_from(limit.as_millis()).ok()),
        ..NewJob::new(unit.payload.clone())
    });
    let group = NewGroup {
        id: group,
        kind: plan.kind.to_owned(),
        title: plan.title.clone(),
        parent,
        meta: plan.meta.clone(),
    };
    Submit {
        group: Some(IntoGroup::New(group)),
        jobs: jobs.collect(),
    }
}
