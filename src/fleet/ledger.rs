//! All runs that this user's controller remembers, in both files: those that a process carried out itself,
//! and those that `fleet up` was given.

use std::collections::HashMap;

use crate::client::{self, Client};
use crate::fleet::controller::Seen;
use crate::fleet::file::HostName;
use crate::fleet::{controller, follow, runs};
use crate::protocol::{GroupId, GroupRecord, HostId, JobRecord};
use crate::queue::{self, Options, Queue};
use crate::support::paths;

/// The most runs that are listed.
const MOST_LISTED: u32 = 200;

/// Who remembers a run.
#[derive(Clone)]
pub enum Keeper {
    /// The queue of runs that a process carries out itself.
    Own(Queue),
    /// A running `fleet up`.
    Running(Client),
    /// The database of a `fleet up` that does not run now.
    Stopped(Queue),
}

/// A run and who remembers it.
pub struct Run {
    /// The run.
    pub record: GroupRecord,
    /// Who remembers it.
    pub keeper: Keeper,
}

/// Runs that cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The own queue cannot be looked at.
    #[error(transparent)]
    Own(#[from] runs::Error),
    /// There is no place for them.
    #[error(transparent)]
    Place(#[from] paths::Error),
    /// The database of `fleet up` cannot be read.
    #[error("the database of `fleet up`")]
    Stopped(#[source] queue::Error),
    /// The running `fleet up` cannot be asked.
    #[error("ask `fleet up`")]
    Running(#[from] client::Error),
    /// One runs that does not answer. Its database is its own as long as it lives.
    #[error("`fleet up` runs{} and does not answer", named(*pid))]
    Silent {
        /// Its process, if it has said so.
        pid: Option<i32>,
    },
}

fn named(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// Opens what there is.
async fn keepers() -> Result<Vec<Keeper>, Error> {
    let mut keepers = vec![Keeper::Own(runs::open_queue()?)];
    if let Some(found) = follow::find().await {
        keepers.push(Keeper::Running(found.client));
        return Ok(keepers);
    }
    let place = controller::Place::of_this_machine()?;
    match place.look()? {
        Seen::Nobody => {}
        Seen::Somebody => return Err(Error::Silent { pid: None }),
        Seen::Running(running) => {
            let pid = Some(running.pid);
            return Err(Error::Silent { pid });
        }
    }
    let database = place.database();
    if database.exists() {
        let queue = Queue::open(Options::new(database)).map_err(Error::Stopped)?;
        keepers.push(Keeper::Stopped(queue));
    }
    Ok(keepers)
}

/// Returns the newest runs, newest first.
///
/// # Errors
/// When one of the files cannot be read.
pub async fn list() -> Result<Vec<Run>, Error> {
    let mut all = Vec::new();
    for keeper in keepers().await? {
        let groups = match &keeper {
            Keeper::Own(queue) => runs::list(queue).await?,
            Keeper::Running(client) => client.groups(MOST_LISTED).await?,
            Keeper::Stopped(queue) => queue.groups(MOST_LISTED).await.map_err(Error::Stopped)?,
        };
        // What others gave to the coordinator is no run of a fleet.
        let own = matches!(keeper, Keeper::Own(_));
        let groups = groups
            .into_iter()
            .filter(|group| own || runs::is_of_the_fleet(group));
        all.extend(groups.map(|record| Run {
            record,
            keeper: keeper.clone(),
        }));
    }
    all.sort_by_key(|run| std::cmp::Reverse((run.record.created_at, run.record.id)));
    all.truncate(MOST_LISTED as usize);
    Ok(all)
}

/// Finds a run by its id, the beginning of it, or `last`.
///
/// # Errors
/// When there is none, or several.
pub async fn find(word: &str) -> Result<Run, Error> {
    let mut all = list().await?;
    if word == "last" {
        all.truncate(1);
    } else {
        all.retain(|run| run.record.id.to_string().starts_with(word));
    }
    match (all.pop(), all.is_empty()) {
        (Some(run), true) => Ok(run),
        (Some(_), false) => Err(runs::Error::Ambiguous(word.to_owned()).into()),
        (None, _) if word == "last" => Err(runs::Error::NoRuns.into()),
        (None, _) => Err(runs::Error::NoSuchRun(word.to_owned()).into()),
    }
}

impl Run {
    /// Tells whether nobody is at work on it any more though not all of it is done.
    pub fn is_abandoned(&self) -> bool {
        matches!(self.keeper, Keeper::Own(_)) && runs::is_abandoned(&self.record)
    }

    /// Returns its jobs in order.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn jobs(&self) -> Result<Vec<JobRecord>, Error> {
        Ok(match &self.keeper {
            Keeper::Own(queue) => records(queue, self.record.id).await?,
            Keeper::Running(client) => follow::jobs(client, self.record.id).await?,
            Keeper::Stopped(queue) => records(queue, self.record.id).await?,
        })
    }

    /// Returns what the hosts are called that have made tries; those that are not listed are called by their id.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn host_names(&self) -> Result<HashMap<HostId, String>, Error> {
        Ok(match &self.keeper {
            // They are called what the fleet file calls them.
            Keeper::Own(_) => HashMap::new(),
            Keeper::Running(client) => {
                let hosts = client.hosts().await?;
                hosts.into_iter().map(|host| (host.id, host.name)).collect()
            }
            Keeper::Stopped(queue) => {
                let hosts = queue.hosts().await.map_err(Error::Stopped)?;
                hosts
                    .into_iter()
                    .map(|host| (host.host.id, host.host.name))
                    .collect()
            }
        })
    }
}

async fn records(queue: &Queue, run: GroupId) -> Result<Vec<JobRecord>, runs::Error> {
    let views = runs::jobs(queue, run).await?;
    Ok(views.into_iter().map(|view| view.job).collect())
}

/// Returns who ran a job last, or is to run it.
pub fn host_of(job: &JobRecord, names: &HashMap<HostId, String>) -> Option<HostName> {
    let known = |id: &HostId| {
        names
            .get(id)
            .map_or_else(|| id.to_string(), ToString::to_string)
    };
    let name = job.last_host_id.as_ref().map(known);
    let name = name.or_else(|| job.requirement.pin().map(str::to_owned))?;
    HostName::new(&name).ok()
}
