//! Hands jobs to a coordinator, and waits for them if that was asked.

use std::sync::OnceLock;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::args::JsonArgs;
use crate::cli::coordinators::CoordinatorArgs;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::job;
use crate::cli::output::{Format, Output};
use crate::client::{self, Client, LogQuery};
use crate::protocol::api::{GroupRequest, SubmitJob, SubmitMany};
use crate::protocol::{GroupId, JobId, JobRecord};
use crate::support::ids;

/// A request may be 1 MiB long; this leaves room for what stands around the jobs.
const REQUEST_BYTES: usize = 768 << 10;
/// The most jobs in one request.
const REQUEST_JOBS: usize = 10_000;

/// What follows on the request.
#[derive(Debug, Clone, Default, Args)]
pub struct AfterArgs {
    /// Wait until it has ended, and exit as it did
    #[arg(long)]
    pub wait: bool,
    /// Wait, and print what it prints while it runs; its id goes to stderr
    #[arg(short = 'F', long, conflicts_with = "json")]
    pub follow: bool,
    /// With --follow, do not escape control sequences on a terminal
    #[arg(long, requires = "follow")]
    pub raw: bool,
    /// Ask only once for the same key, however often this is run within a day
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Jobs to be asked for together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The jobs.
    pub jobs: Vec<SubmitJob>,
    /// The group to be made for them.
    pub group: Option<GroupRequest>,
}

/// What a coordinator made of a batch.
#[derive(Debug, Default)]
struct Accepted {
    ids: Vec<JobId>,
    group: Option<GroupId>,
}

impl Batch {
    /// Returns a batch of one job without a group.
    pub fn one(job: SubmitJob) -> Self {
        Self {
            jobs: vec![job],
            group: None,
        }
    }

    /// Returns a batch of several jobs, in a group if one is asked for or if there is more than one.
    ///
    /// # Errors
    /// When there is no job.
    pub fn of(jobs: Vec<SubmitJob>, group: Option<GroupRequest>) -> anyhow::Result<Self> {
        if jobs.is_empty() {
            return Err(Failure::usage("there is no job in it").into());
        }
        let named = jobs.iter().any(|job| job.group.is_some());
        let group = group.or_else(|| (jobs.len() > 1 && !named).then(GroupRequest::default));
        Ok(Self { jobs, group })
    }
}

/// Hands the jobs over, prints their ids, and waits for them if `after` says so.
///
/// # Errors
/// When the flags do not fit the jobs or the coordinator cannot be asked.
pub async fn deliver(
    batch: Batch,
    after: &AfterArgs,
    coordinator: &CoordinatorArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    if after.follow && batch.jobs.len() > 1 {
        return Err(Failure::usage("--follow is for a single job")
            .hint("use --wait, or follow one of them with `skyclaw job logs -F ID`")
            .into());
    }
    let client = coordinator.client()?;
    if !after.wait && !after.follow {
        let accepted = submit(&client, batch, after.idempotency_key.as_deref()).await?;
        announce(&accepted, after.follow, output);
        output.document(&document(&accepted, &[]))?;
        return Ok(Exit::Success);
    }
    // Filled inside the part that a signal interrupts: from the first id on it says what goes on.
    let accepted = OnceLock::new();
    let work = async {
        let new = submit(&client, batch, after.idempotency_key.as_deref()).await?;
        let accepted = accepted.get_or_init(|| new);
        announce(accepted, after.follow, output);
        let jobs = ended(&client, accepted, after, output).await?;
        for job in jobs.iter().filter(|job| job.reason.is_some()) {
            output.note(&job::line(job));
        }
        output.document(&document(accepted, &jobs))?;
        Ok(Exit::fold(jobs.iter().map(job::exit_of)))
    };
    let still = || job::goes_on(&accepted.get()?.ids);
    let exit = job::unless_stopped(work, still, output).await?;
    if matches!(exit, Exit::Interrupted | Exit::Terminated)
        && let Some(accepted) = accepted.get()
        && output.format() == Format::Json
    {
        output.document(&document(accepted, &[]))?;
    }
    Ok(exit)
}

/// Waits for the jobs, showing what the only one prints if that was asked.
async fn ended(
    client: &Client,
    accepted: &Accepted,
    after: &AfterArgs,
    output: &Output,
) -> Result<Vec<JobRecord>, client::Error> {
    match (accepted.ids.as_slice(), accepted.group) {
        ([id], _) if after.follow => {
            let mut screen = job::follow::Screen::new(output, after.raw);
            let query = LogQuery::default();
            let job = job::follow::until_end(client, *id, &query, &mut screen).await?;
            Ok(vec![job])
        }
        (_, Some(group)) => job::group::wait(client, group, None).await,
        (ids, None) => job::group::wait_each(client, ids, None).await,
    }
}

async fn submit(client: &Client, batch: Batch, key: Option<&str>) -> anyhow::Result<Accepted> {
    let Batch { mut jobs, group } = batch;
    if let (1, None) = (jobs.len(), &group)
        && let Some(job) = jobs.pop()
    {
        let record = client.submit(&job, key).await?;
        return Ok(Accepted {
            ids: vec![record.id],
            group: record.group,
        });
    }
    let key = key.map_or_else(ids::random_hex::<16>, str::to_owned);
    let mut accepted = Accepted::default();
    let mut group = group;
    for (part, jobs) in parts(jobs)?.into_iter().enumerate() {
        let request = SubmitMany {
            jobs: jobs
                .into_iter()
                .map(|job| SubmitJob {
                    group: accepted.group.or(job.group),
                    ..job
                })
                .collect(),
            group: group.take(),
        };
        let done = client
            .submit_many(&request, Some(&format!("{key}-{part}")))
            .await;
        let done = done.map_err(|error| match accepted.group {
            // All or none holds for one request; what is in already must not be lost sight of.
            Some(id) => anyhow::Error::from(error).context(format!(
                "{} jobs are in group {id} already, the rest is not",
                accepted.ids.len()
            )),
            None => error.into(),
        })?;
        accepted.ids.extend(done.ids);
        accepted.group = accepted.group.or(done.group);
    }
    Ok(accepted)
}

/// Cuts a list of jobs into what fits one request each.
fn parts(jobs: Vec<SubmitJob>) -> anyhow::Result<Vec<Vec<SubmitJob>>> {
    let mut parts: Vec<Vec<SubmitJob>> = Vec::new();
    let mut room = 0;
    for job in jobs {
        let size = serde_json::to_vec(&job)?.len() + 64;
        match parts.last_mut() {
            Some(part) if size <= room && part.len() < REQUEST_JOBS => part.push(job),
            Some(_) | None => {
                room = REQUEST_BYTES;
                parts.push(vec![job]);
            }
        }
        room = room.saturating_sub(size);
    }
    Ok(parts)
}

fn announce(accepted: &Accepted, follow: bool, output: &Output) {
    for id in &accepted.ids {
        match follow {
            // stdout is the job's own.
            true => output.note(&id.to_string()),
            false => output.line(&id.to_string()),
        }
    }
    if let Some(group) = accepted.group.filter(|_| accepted.ids.len() > 1) {
        output.note(&format!(
            "group {group}: {} jobs; wait for them with `skyclaw job wait --group {group}`",
            accepted.ids.len()
        ));
    }
}

fn document(accepted: &Accepted, jobs: &[JobRecord]) -> Value {
    let mut body = Map::new();
    if let [id] = accepted.ids.as_slice() {
        body.insert("id".into(), json!(id));
    }
    body.insert("ids".into(), json!(accepted.ids));
    if let Some(group) = accepted.group {
        body.insert("group".into(), json!(group));
    }
    match jobs {
        [] => {}
        [job] => {
            body.insert("job".into(), json!(job));
        }
        jobs => {
            body.insert("jobs".into(), json!(jobs));
        }
    }
    Value::Object(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Payload;

    #[test]
    fn long_lists_are_cut_to_requests() {
        let job = |bytes: usize| SubmitJob {
            payload: Some(Payload::parse(format!("\"{}\"", "x".repeat(bytes))).unwrap()),
            ..SubmitJob::default()
        };
        let sizes = |jobs: Vec<SubmitJob>| -> Vec<usize> {
            parts(jobs).unwrap().iter().map(Vec::len).collect()
        };
        let many = sizes(vec![job(1); 20_001]);
        assert_eq!((many.len(), many.iter().sum::<usize>()), (3, 20_001));
        assert!(many.iter().all(|part| *part <= REQUEST_JOBS), "{many:?}");
        assert_eq!(sizes(vec![job(500_000); 3]), [1, 1, 1]);
        assert_eq!(sizes(vec![job(2_000_000)]), [1], "the coordinator says no");
    }
}
