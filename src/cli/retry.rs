//! `--retry RUN`: does again what did not come out well, as a new run that names the old one.

use std::sync::Arc;

use super::args::load_fleet;
use super::error::Failure;
use super::exit::Exit;
use super::output::Output;
use super::perform::{self, Performance};
use super::resume::refused;
use super::runs as records;
use super::task_args::RunArgs;
use crate::fleet::asked::Asked;
use crate::fleet::dispatch::{Prepared, prepare};
use crate::fleet::file::Host;
use crate::fleet::recall;
use crate::fleet::report::Status;
use crate::protocol::{GroupId, JobRecord};
use crate::support::span::Limit;

/// Repeats what `word` names, for the verb `kind`.
///
/// # Errors
/// When there is no such run, it is not over, or it cannot be repeated.
pub async fn run(
    word: &str,
    kind: &'static str,
    args: &RunArgs,
    strip: bool,
    output: &Output,
) -> anyhow::Result<Exit> {
    let run = records::find(word).await?;
    super::resume::check_kind(&run, kind, "--retry")?;
    let id = run.record.id;
    let old = Asked::read(&run.record.meta).map_err(|error| refused(&run, error))?;
    let (work, spread, common) = old.work().map_err(|error| refused(&run, error))?;
    let jobs = run.jobs().await?;
    if jobs.iter().any(|job| !job.status.is_final()) && !run.is_abandoned() {
        return Err(Failure::usage(format!("run {id} is not over"))
            .hint(format!("skyclaw fleet {kind} --resume {id} follows it"))
            .into());
    }
    let came_out_well =
        |job: &JobRecord| recall::verdict(job).is_some_and(|verdict| verdict.status == Status::Ok);
    let left: Vec<(usize, Option<usize>)> = jobs
        .iter()
        .enumerate()
        .filter(|(_, job)| !came_out_well(job))
        .map(|(at, _)| old.place(at))
        .collect();
    if left.is_empty() {
        output.note(&format!("nothing to retry: all of run {id} is ok"));
        return Ok(Exit::Success);
    }
    let fleet = load_fleet(&args.fleet, output)?;
    let hosts: Vec<Arc<Host>> = old
        .hosts
        .iter()
        .map(|name| {
            fleet.host(name).cloned().map(Arc::new).ok_or_else(|| {
                let why = format!("host `{name}` of run {id} is not in the fleet file any more");
                Failure::usage(why)
            })
        })
        .collect::<Result<_, _>>()?;
    crate::fleet::link::check(&hosts).map_err(|error| Failure::usage(error.to_string()))?;
    let asked = Asked {
        places: Some(left),
        parent: Some(id),
        ..old
    };
    let prepared = prepare(work, spread, common, &hosts)
        .map_err(|error| Failure::usage("the run").because(error))?;
    let prepared = Prepared {
        units: asked.pick(prepared.units),
        ..prepared
    };
    let mut task = args.task.clone();
    // Flags of now outrank those of then.
    task.timeout = task.timeout.or(asked.timeout().map(Limit));
    output.note(&format!(
        "retrying {} of {} of run {id}",
        prepared.units.len(),
        jobs.len()
    ));
    let one_by_one = asked.one;
    perform::perform(
        Performance {
            run: GroupId::fresh(),
            kind,
            title: run.record.title.clone(),
            asked,
            fleet: &fleet.path,
            hosts,
            prepared,
            task: &task,
            show: &args.show,
            connect: &args.connect,
            strip,
            attendant: None,
            one_by_one,
        },
        output,
    )
    .await
}
